"""The pages: Try, History with a page for each answer, Cameras, Status."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.errors import LedgerError, printable
from edge.serve import entries, evidence_map, health, history, layout, tiles
from edge.serve.cameras import id_of
from edge.serve.entries import Entry
from edge.serve.problems import Problem
from edge.serve.summary import Summaries
from edge.serve.trials import KEPT_SECONDS, Trials
from edge.serve.uploads import MOST_BYTES
from edge.store.history import Filter, Position
from edge.verdict import Verdict

if TYPE_CHECKING:
    from edge.serve.app import Services

ANSWERS_OF_A_PAGE = 24
DISPLAY = 960  # longest side in pixels of a large picture
# Seconds between two looks at what has changed, while somebody looks at the page.
REFRESH = {"history": 20, "cameras": 1, "status": 3}

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(services: "Services") -> list[Route]:
    """The routes of the pages."""
    pages = Pages(services)

    def route(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
        return Route(path, _with_language(services.base, endpoint) if method == "GET" else endpoint, methods=[method])

    return [
        route("/", pages.try_),
        route("/", pages.check, "POST"),
        route("/try/{id}.jpg", pages.trial_picture),
        route("/try/{id}.json", pages.trial_json),
        route("/try/{id}", pages.trial),
        route("/history", pages.history),
        route("/history.csv", partial(pages.export, "csv")),
        route("/history.json", partial(pages.export, "json")),
        route("/history/{key}", pages.answer),
        route("/history/{key}/picture", pages.picture),
        route("/cameras", pages.cameras),
        route("/status", pages.status),
    ]


def _with_language(base: str, endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        return layout.change_of_language(request, base) or await endpoint(request)

    return answer


class Pages:
    """The pages of one server."""

    def __init__(self, services: "Services") -> None:
        self._services, self._trials = services, Trials()
        self._summaries, self._health = Summaries(services), health.HealthReader()

    async def try_(self, request: Request) -> Response:
        """The page that takes a picture."""
        if not request.scope.get("raw_path", b"/").endswith(b"/"):  # below a base path without the slash at its end
            return RedirectResponse(f"{self._services.base.rpartition('/')[2]}/", 308)
        return await self._try(request)

    async def _try(self, request: Request, problem: str = "", status: int = 200) -> Response:
        messages = layout.messages_of(request)
        context = {"title": messages("page.try"), "problem": problem, **self._upload()}
        return await self._page(request, "try", "try.html", context, status)

    async def check(self, request: Request) -> Response:
        """Classify the picture of the form; the answer leads to the page of the result."""
        services, messages = self._services, layout.messages_of(request)
        try:
            async with services.uploads.received(request) as form:
                upload = next((file for file in form.files if file.size), None)
                if upload is None:
                    return await self._try(request, messages("try.no_image"), 422)
                done = await services.classifier.classify(str(upload.path), upload.name, explain=True, display=DISPLAY)
        except Problem as problem:
            title = messages.get(f"error.{problem.status}", "error.other")
            answer = await self._try(request, f"{title}: {problem.detail}", problem.status)
            answer.headers.update(problem.headers)
            return answer
        return RedirectResponse(f"try/{self._trials.add(done.answer, done.display)}", 303)

    async def trial(self, request: Request) -> Response:
        """The result of a picture that was checked in the last minutes."""
        messages = layout.messages_of(request)
        found = self._trials.get(request.path_params["id"])
        if found is None:
            raise Problem(404, messages("trial.gone"))
        views = found.answer.explain if isinstance(found.answer, Verdict) else None
        context = {
            "title": messages("trial.heading"),
            "answer": found.answer,
            "id": request.path_params["id"],
            "has_picture": bool(found.picture),
            "cells": evidence_map.cells(views or ()) if found.picture else [],
            **self._upload(),
        }
        return await self._page(request, "try", "trial.html", context)

    async def trial_picture(self, request: Request) -> Response:
        """The picture of a trial."""
        found = self._trials.get(request.path_params["id"])
        if found is None or not found.picture:
            raise Problem(404, layout.messages_of(request)("trial.gone"))
        return Response(found.picture, media_type="image/jpeg")

    async def trial_json(self, request: Request) -> Response:
        """The verdict of a trial, as `edge-detect classify --json --explain` prints it."""
        found = self._trials.get(request.path_params["id"])
        if found is None:
            raise Problem(404, layout.messages_of(request)("trial.gone"))
        return Response(json.dumps(found.answer.as_json(), indent=1), media_type="application/json")

    async def history(self, request: Request) -> Response:
        """Recorded answers, the newest first."""
        services, messages = self._services, layout.messages_of(request)
        problem, sources = "", list[tuple[str, str]]()
        page = history.Page([], None, None, [])
        chosen, query, before, after = Filter(), dict[str, str](), None, None
        try:
            known = {id_of(one.name): one.name for one in await services.in_thread(services.history.sources)}
            sources = list(known.items())
            chosen, query = _filter(request.query_params, known)
            before, after = _position(request, "before"), _position(request, "after")
            page = await services.in_thread(
                services.history.page, chosen, before=before, after=after, limit=ANSWERS_OF_A_PAGE
            )
            problem = " ".join(page.errors)
        except ValueError:
            problem = messages("history.bad_filter")
            page = await services.in_thread(services.history.page, Filter(), limit=ANSWERS_OF_A_PAGE)
        except LedgerError as error:
            problem = f"{messages('history.unreadable')} {error}"
        context = {
            "title": messages("history.heading"),
            "problem": printable(problem),
            "items": [Entry(item) for item in page.items],
            "chosen": chosen,
            "source_id": query.get("source", ""),
            "is_filtered": bool(query),
            "is_newest": before is None and page.newer is None,
            "sources": sources,
            "newer": page.newer and urlencode({**query, "after": str(page.newer)}),
            "older": page.older and urlencode({**query, "before": str(page.older)}),
            "exported": urlencode(query),
        }
        return await self._page(request, "history", "history.html", context)

    async def export(self, format_: str, request: Request) -> Response:
        """The answers that a history with these filters shows, all of its pages.

        Raises:
            Problem: 400, 503.
        """
        services = self._services
        try:
            known = {id_of(one.name): one.name for one in await services.in_thread(services.history.sources)}
            chosen, _ = _filter(request.query_params, known)
            items = services.history.export(chosen)
            pieces = history.csv_text(items) if format_ == "csv" else history.json_text(items)
            first = await services.in_thread(partial(next, pieces, b""))
        except ValueError as error:
            raise Problem(400, printable(str(error))) from error
        except LedgerError as error:
            raise Problem.later(str(error), 10) from error
        name = f"attachment; filename=edge-detect.{format_}"
        return StreamingResponse(
            _joined(first, pieces),
            media_type="text/csv; charset=utf-8" if format_ == "csv" else "application/json",
            headers={"Content-Disposition": name} if format_ == "csv" else None,
        )

    async def answer(self, request: Request) -> Response:
        """The page of one answer."""
        item = await self._item(request)
        context = {"title": printable(item.title), "item": item}
        return await self._page(request, "history", "answer.html", context)

    async def picture(self, request: Request) -> Response:
        """The picture of an answer, larger than its thumbnail."""
        services, item = self._services, await self._item(request)
        jpeg = await services.in_thread(services.pictures.get, item.item)
        if jpeg is None:
            raise Problem(404, layout.messages_of(request)("answer.picture_gone"))
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    async def _item(self, request: Request) -> Entry:
        services, messages = self._services, layout.messages_of(request)
        try:
            item = await services.in_thread(services.history.one, request.path_params["key"])
        except ValueError:
            item = None
        except LedgerError as error:
            raise Problem.later(f"{messages('history.unreadable')} {error}", 10) from error
        if item is None:
            raise Problem(404, "there is no such answer")
        return Entry(item)

    async def cameras(self, request: Request) -> Response:
        """A card for each camera."""
        services, messages = self._services, layout.messages_of(request)
        running = await services.in_thread(services.cameras.running)
        try:
            known = await services.in_thread(services.history.sources)
        except LedgerError:
            known = []  # Status reports it
        context = {"title": messages("cameras.heading"), "cameras": entries.cameras(running, known)}
        return await self._page(request, "cameras", "cameras.html", context)

    async def status(self, request: Request) -> Response:
        """What runs on the board, and how the board is."""
        services, messages = self._services, layout.messages_of(request)
        running = await services.in_thread(services.cameras.running)
        found = await services.in_thread(self._health.read)
        ledgers = await services.in_thread(health.ledgers, services.history.ledgers)
        classifier = services.classifier
        own = entries.this_server(
            classifier.stats, classifier.waiting, classifier.trouble, ", ".join(classifier.models)
        )
        all_services = [*entries.services(running), own]
        trouble = [services.mqtt.trouble] if services.mqtt is not None and services.mqtt.trouble else []
        context = {
            "title": messages("status.heading"),
            "errors": [*(one.error for one in running if one.error), *trouble],
            "services": all_services,
            "ledgers": ledgers,
            "tiles": tiles.tiles(messages, all_services, found, ledgers),
        }
        return await self._page(request, "status", "status.html", context)

    async def _page(
        self, request: Request, name: str, template: str, context: Mapping[str, Any], status: int = 200
    ) -> Response:
        """A page with the head that all have.

        Args:
            name: of the page in the navigation.
        """
        given = {
            "active": name,
            "has_pages": True,
            "summary": await self._summaries.get(),
            "can_sign_out": self._services.auth.is_required,
            "refresh": REFRESH.get(name, 0),
        }
        return layout.page(request, template, given | dict(context), status)

    def _upload(self) -> dict[str, object]:
        """What the form for a picture needs."""
        return {"most_bytes": MOST_BYTES, "minutes": round(KEPT_SECONDS / 60)}


def _filter(query: Mapping[str, str], sources: Mapping[str, str]) -> tuple[Filter, dict[str, str]]:
    """The filter that a query asks for, and its parameters without the empty ones.

    Args:
        sources: names by id.

    Raises:
        ValueError: a parameter is invalid.
    """
    given = {
        name: query[name].strip()
        for name in ("label", "source", "provenance", "since", "until")
        if query.get(name, "").strip()
    }
    source = given.get("source")
    chosen = Filter(
        given.get("label"),
        None if source is None else sources.get(source, source),
        _moment(given.get("since")),
        _moment(given.get("until")),
        given.get("provenance"),
    )
    return chosen, given


def _moment(text: str | None) -> float | None:
    """Seconds since the epoch of a local time such as "2026-05-04T13:00"; None of None.

    Raises:
        ValueError: it is none.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text[:40]).timestamp()
    except (OverflowError, OSError) as error:
        raise ValueError(str(error)) from error


def _position(request: Request, name: str) -> Position | None:
    """The position in a parameter; None if it is not given.

    Raises:
        ValueError: it is invalid.
    """
    text = request.query_params.get(name)
    return None if text is None else Position.parse(text)


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
