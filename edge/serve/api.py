"""The API: /api/v1/..., /healthz and /metrics. `edge.serve.openapi` describes it; the tests compare both."""

import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edge.errors import LedgerError, printable
from edge.serve.cameras import Running
from edge.serve.events import TooManyListenersError
from edge.serve.history import as_json
from edge.serve.metrics import CONTENT_TYPE
from edge.serve.openapi import description
from edge.serve.problems import Problem
from edge.serve.query import filter_of, flag, position, whole_number
from edge.serve.status import status_fields
from edge.store.history import Item
from edge.verdict import Failure, Verdict

if TYPE_CHECKING:
    from edge.serve.app import Services

LIMIT, MOST = 24, 200  # answers of a page
KEEP_ALIVE_SECONDS = 15.0  # without an event, after which a comment is sent, so that the connection is not given up


def routes(services: "Services") -> list[Route]:
    """The routes of the API."""

    def route(path: str, endpoint: Any, method: str = "GET") -> Route:
        return Route(path, partial(endpoint, services), methods=[method])

    return [
        route("/healthz", healthz),
        route("/metrics", measures),
        route("/api/v1/openapi.json", openapi),
        route("/api/v1/classify", classify, "POST"),
        route("/api/v1/results", results),
        route("/api/v1/results/{id}", result),
        route("/api/v1/results/{id}/thumbnail", thumbnail),
        route("/api/v1/cameras", camera_list),
        route("/api/v1/cameras/{id}/latest.jpg", latest),
        route("/api/v1/status", status),
        route("/api/v1/events", stream),
    ]


async def healthz(services: "Services", _: Request) -> Response:
    """Whether the server can classify; needs no token, and reveals nothing else."""
    is_healthy = services.classifier.is_healthy
    return JSONResponse({"status": "ok" if is_healthy else "failing"}, 200 if is_healthy else 503)


async def openapi(services: "Services", _: Request) -> Response:
    """The description of this API."""
    return JSONResponse(description(services.base))


async def classify(services: "Services", request: Request) -> Response:
    """Classify an image that the request brings: as its body, or as the first file of a form."""
    verdict = await verdict_of(services, request, explain=flag(request.query_params, "explain"))
    return JSONResponse(verdict.as_json())


async def verdict_of(services: "Services", request: Request, *, explain: bool = False) -> Verdict:
    """The verdict on the image that a request brings.

    Raises:
        Problem: there is none, or it is not acceptable.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/json", "application/x-www-form-urlencoded"):
        raise Problem(422, "send the image itself, as the body or as a file of a form; addresses are not fetched")
    async with services.uploads.received(request) as form:
        if not form.files or not form.files[0].size:
            raise Problem(422, "the request brings no image; addresses are not fetched")
        upload = form.files[0]
        done = await services.classifier.classify(str(upload.path), upload.name, explain=explain)
    if isinstance(done.answer, Failure):
        raise Problem(422, f"{printable(done.answer.path)}: {done.answer.reason}")
    return done.answer


async def results(services: "Services", request: Request) -> Response:
    """A page of the answers in the ledgers, the newest first."""
    query = request.query_params
    limit = whole_number(query, "limit", LIMIT, MOST)
    before = position(query, "before")
    after = position(query, "after") if before is None else None
    page = await ledger_call(services, services.history.page, filter_of(query), before=before, after=after, limit=limit)
    return JSONResponse(
        {
            "results": [as_json(item) for item in page.items],
            "newer": None if page.newer is None else str(page.newer),
            "older": None if page.older is None else str(page.older),
            "errors": page.errors,
        }
    )


async def item_of(services: "Services", key: str) -> Item:
    """The recorded answer with a key.

    Raises:
        Problem: there is none, or its ledger cannot be read.
    """
    try:
        found: Item | None = await ledger_call(services, services.history.one, key)
    except ValueError:
        found = None
    if found is None:
        raise Problem(404, "there is no such answer")
    return found


async def result(services: "Services", request: Request) -> Response:
    """One answer in the ledgers."""
    return JSONResponse(as_json(await item_of(services, request.path_params["id"])))


async def thumbnail(services: "Services", request: Request) -> Response:
    """A small picture of the image of an answer."""
    item = await item_of(services, request.path_params["id"])
    jpeg = await services.in_thread(services.thumbnails.get, item)
    if jpeg is None:
        raise Problem(404, "the image of this answer is not there any more, or cannot be shown")
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})


async def camera_list(services: "Services", _: Request) -> Response:
    """The cameras of this board."""
    cameras = await services.in_thread(lambda: services.cameras.cameras)
    return JSONResponse({"cameras": [_camera(one) for one in cameras]})


def _camera(one: Running) -> dict[str, Any]:
    return {"id": one.id, "name": printable(one.name), "error": one.error or None, "status": one.status or None}


async def latest(services: "Services", request: Request) -> Response:
    """The newest frame of a camera."""
    found = await services.in_thread(services.cameras.latest, request.path_params["id"])
    if found is None:
        raise Problem(404, "there is no such camera, or it has no picture now")
    return Response(found[0], media_type="image/jpeg")


async def status(services: "Services", _: Request) -> Response:
    """What this server and the watchers and cameras of this board are doing."""
    return JSONResponse(await status_fields(services))


async def measures(services: "Services", _: Request) -> Response:
    """The metrics, for Prometheus."""

    def text() -> str:
        mqtt = services.mqtt
        return services.metrics.text(
            services.history.ledgers,
            services.cameras.running(),
            is_mqtt_connected=None if mqtt is None else mqtt.is_connected,
        )

    return Response(await services.in_thread(text), media_type=CONTENT_TYPE)


async def stream(services: "Services", request: Request) -> Response:
    """New answers as they come, as server-sent events."""
    events: Any = services.feed.listen(request.headers.get("last-event-id", ""), KEEP_ALIVE_SECONDS)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"retry: 3000\n\n"  # also: the headers leave at once
        try:
            async with contextlib.aclosing(events):
                async for event in events:
                    if event is None:
                        yield b": nothing new\n\n"
                        continue
                    fields = json.dumps(as_json(event.item))
                    yield f"id: {event.id}\nevent: answer\ndata: {fields}\n\n".encode("ascii")
        except TooManyListenersError:  # a client asks again after `retry`
            return

    return services.lasting(pieces())


async def ledger_call(services: "Services", call: Any, *arguments: object, **options: object) -> Any:
    """The result of a function that reads ledgers.

    Raises:
        Problem: 503, one cannot be read.
    """
    try:
        return await services.in_thread(call, *arguments, **options)
    except LedgerError as error:
        raise Problem.later(str(error), 10) from error
