"""Signing in and out with the token, for browsers."""

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from edge.serve import layout
from edge.serve.guard import require_patience
from edge.serve.problems import Problem
from edge.serve.uploads import body_of

if TYPE_CHECKING:
    from edge.serve.app import Services

MOST_BYTES = 4096  # of the form
# Where a browser may go after it has signed in: a page of ours, never another site.
_PAGE = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*(\?[A-Za-z0-9_=&%.+-]*)?", re.ASCII)


def routes(services: "Services") -> list[Route]:
    """The routes of signing in and out."""
    return [
        Route("/login", partial(form, services), methods=["GET"]),
        Route("/login", partial(sign_in, services), methods=["POST"]),
        Route("/logout", partial(sign_out, services), methods=["POST"]),
    ]


def page_after(services: "Services", wanted: str) -> str:
    """The path of the page that a browser wanted before it was asked to sign in; of the first page if it is none."""
    return f"{services.base}/{wanted}" if len(wanted) <= 500 and _PAGE.fullmatch(wanted) else f"{services.base}/"


async def form(services: "Services", request: Request) -> Response:
    """The page that asks for the token."""
    return layout.change_of_language(request, services.base) or login_page(request)


def login_page(request: Request, status: int = 200, *, is_wrong: bool = False) -> Response:
    """The page that asks for the token.

    Args:
        is_wrong: whether the last attempt failed.
    """
    messages = layout.messages_of(request)
    wanted = request.query_params.get("next", "")
    context = {
        "title": messages("login.heading"),
        "problem": messages("login.wrong") if is_wrong else "",
        "wanted": wanted if _PAGE.fullmatch(wanted) else "",
    }
    return layout.page(request, "login.html", context, status)


async def sign_in(services: "Services", request: Request) -> Response:
    """Check the token of the form; the answer sets the session's cookie."""
    address = request.client.host if request.client else ""
    data = await body_of(request, MOST_BYTES)
    try:
        token = parse_qs(data.decode("utf-8"), max_num_fields=8, strict_parsing=False).get("token", [""])[0].strip()
    except ValueError:
        raise Problem(400, "malformed form") from None
    wanted = request.query_params.get("next", "")
    if services.auth.is_required:
        require_patience(services.auth, address)
        if not services.auth.accepts(token, address):
            return login_page(request, 401, is_wrong=True)
    answer = RedirectResponse(page_after(services, wanted), 303)
    answer.set_cookie(
        services.auth.cookie,
        services.auth.session(),
        max_age=services.auth.session_seconds,
        path=f"{services.base}/",
        # A proxy speaks TLS for us; the origin was compared with the host name before.
        secure=request.headers.get("origin", "").startswith("https:"),
        httponly=True,
        samesite="strict",
    )
    return answer


async def sign_out(services: "Services", _: Request) -> Response:
    """Remove the session's cookie."""
    answer = RedirectResponse(f"{services.base}/login", 303)
    answer.delete_cookie(services.auth.cookie, path=f"{services.base}/", httponly=True, samesite="strict")
    return answer
