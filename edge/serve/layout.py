"""What all pages have in common: language, head, style; rendered by Jinja2 with every value escaped."""

import gzip
import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from edge import __version__
from edge.errors import printable
from edge.serve import assets
from edge.serve.messages import LANGUAGES, Messages, catalogue, preferred
from edge.verdict import GENERATED, LABELS, Verdict, utc

TEMPLATES = Path(__file__).parent / "templates"
COOKIE = "edge_detect_language"
PARAMETER = "lang"  # of an address: changes the language
KEPT = ("next", "label", "source", "since", "until", "provenance", "before", "after")  # parameters of pages
YEAR_SECONDS = 365 * 86_400
LEAST_COMPRESSED = 1000  # bytes
COMPRESSION = 5
_OUTSIDE = re.compile(r"([0-9]+ x [0-9]+) pixels; the model was measured on ([0-9-]+ x [0-9-]+)", re.ASCII)
TIMES = "\N{MULTIPLICATION SIGN}"
LOCAL_INPUT = "%Y-%m-%dT%H:%M"  # of <input type="datetime-local">


def _kind(label: str) -> str:
    """The style class of a label."""
    return label.lower() if label in ("FAKE", "REAL", "UNSURE", "ERROR") else "other"


def _local_input(seconds: float | None) -> str:
    """A moment as <input type="datetime-local"> takes it, in the board's time zone; empty for none."""
    return "" if seconds is None else time.strftime(LOCAL_INPUT, time.localtime(seconds))


def _outside_sizes(reason: str) -> tuple[str, str] | None:
    """(the image's size, the sizes that were measured) of `Domain.reason_outside`; None of any other reason."""
    match = _OUTSIDE.fullmatch(reason)
    return (match[1].replace("x", TIMES), match[2].replace("x", TIMES)) if match else None


def is_decided_by_provenance(verdict: Verdict) -> bool:
    """Whether the label is FAKE because a verified statement of the file says so, against the percentages."""
    is_verified = any(one.verified and one.says == GENERATED for one in verdict.provenance)
    return is_verified and verdict.label == LABELS[False] and verdict.score > 0.5


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "kind": _kind,
        "local_input": _local_input,
        "outside_sizes": _outside_sizes,
        "printable": printable,
        "utc": utc,
    }
    environment.tests["text"] = catalogue().__contains__
    environment.globals |= {
        "asset": assets.address,
        "is_decided_by_provenance": is_decided_by_provenance,
        "languages": list(LANGUAGES.items()),
        "version": __version__,
    }
    return environment


ENVIRONMENT = _environment()


def root_of(path: str) -> str:
    """The relative address of the first page from the page at a path: "./" or "../", "../../" and so on.

    Links are relative, so that pages work below any path that a reverse proxy adds or removes.
    """
    return "../" * (path.count("/") - 1) or "./"


def language_of(headers: Headers, cookies: Mapping[str, str]) -> str:
    """The language that the user has chosen, or else the browser's wish."""
    chosen = cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else preferred(headers.get("accept-language", ""))


def change_of_language(request: Request, base: str) -> Response | None:
    """The answer to a link that changes the language: the same page without it; None for any other request.

    Args:
        base: what comes before every path of the server.
    """
    chosen = request.query_params.get(PARAMETER)
    if chosen is None or chosen not in LANGUAGES:
        return None
    rest = _kept(request.query_params)
    # With ./ before it, a name such as https:example.org is not taken as an address.
    here = f"./{quote(request.url.path.rpartition('/')[2])}"
    answer = RedirectResponse(f"{here}?{urlencode(rest)}" if rest else here, 303)
    answer.set_cookie(COOKIE, chosen, max_age=YEAR_SECONDS, path=f"{base}/", httponly=True, samesite="strict")
    return answer


def messages_of(request: Request) -> Messages:
    """The texts in the language of a request."""
    return Messages(language_of(request.headers, request.cookies))


def page(request: Request, template: str, context: Mapping[str, Any], status: int = 200) -> Response:
    """A page.

    Args:
        context: of the template; `summary` and `has_pages` are None and False if they are not given.
    """
    return _answer(request.scope, request.headers, messages_of(request), template, context, status)


def error_page(scope: Scope, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    """An error for a browser.

    Args:
        detail: one line in English.
        headers: further ones of the answer.
    """
    request = Request(scope)
    messages = messages_of(request)
    title = messages.get(f"error.{status}", "error.other")
    context = {
        "title": title,
        "status_code": status,
        "detail": detail,
        "has_pages": status in (404, 405, 413, 422, 503),
    }
    answer = _answer(scope, request.headers, messages, "error.html", context, status)
    for name, value in headers.items():
        answer.headers[name] = value
    return answer


def _answer(
    scope: Scope, headers: Headers, messages: Messages, template: str, context: Mapping[str, Any], status: int
) -> Response:
    query = QueryParams(scope["query_string"])
    text = ENVIRONMENT.get_template(template).render(
        {"active": "", "summary": None, "has_pages": False, "can_sign_out": False, "refresh": 0}
        | dict(context)
        | {
            "t": messages,
            "root": root_of(scope["path"]),
            "language_link": partial(_language_link, query),
            "label_word": messages.label,
        }
    )
    content = text.encode("utf-8", "backslashreplace")
    answer = HTMLResponse(b"", status)
    if len(content) >= LEAST_COMPRESSED and assets.accepts_gzip(headers):
        content = gzip.compress(content, COMPRESSION)
        answer.headers["Content-Encoding"] = "gzip"
    answer.headers["Vary"] = "Accept-Encoding, Accept-Language, Cookie"
    answer.headers["Content-Language"] = messages.language
    answer.body = content
    answer.headers["Content-Length"] = str(len(content))
    return answer


def _language_link(query: QueryParams, code: str) -> str:
    """The address of the present page in another language."""
    return f"?{urlencode([*_kept(query), (PARAMETER, code)])}"


def _kept(query: QueryParams) -> list[tuple[str, str]]:
    """The parameters that a page may have. Others are not repeated: one may hold a token by mistake."""
    return [(name, value) for name, value in query.multi_items() if name in KEPT]
