"""The requests of Gradio's clients, and those of programs that were written for Gradio's older demos.

Versions 4 to 6 upload a file, join a queue and follow a stream of messages. Version 3, and forms, get the answer at
once.
Every path is also answered below /gradio_api.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edge.serve.gradio_sessions import Sessions, message_of
from edge.serve.hub import decoded, probabilities
from edge.serve.problems import Problem
from edge.serve.uploads import Upload
from edge.verdict import Failure, Verdict

if TYPE_CHECKING:
    from edge.serve.app import Services

PREFIXES = ("", "/gradio_api")
KEEP_ALIVE_SECONDS = 10.0
JOIN_SECONDS = 10.0  # for which a stream waits for the first request of its session
MOST_CHARACTERS = 200  # of a session's name, and of a path
NOT_FETCHED = "the data must be an image in base64, or the path of an upload; addresses are not fetched"
_OLD = "gradio_client/0."  # the beginning of the User-Agent of Gradio's client for version 3


def routes(services: "Services") -> list[Route]:
    """The routes of Gradio's clients."""
    api = _Api(services)
    table = [
        ("GET", "/config", api.config),
        ("GET", "/info", api.info),
        ("GET", "/heartbeat/{session}", api.heartbeat),
        ("POST", "/upload", api.upload),
        ("POST", "/api/predict", api.predict),
        ("POST", "/api/predict/", api.predict),
        ("POST", "/run/predict", api.predict),
        ("POST", "/queue/join", api.join),
        ("GET", "/queue/data", api.data),
        ("POST", "/call/predict", api.call),
        ("GET", "/call/predict/{event}", api.outcome),
        ("POST", "/cancel", api.cancel),
        ("POST", "/reset", api.cancel),
    ]
    return [
        Route(prefix + path, partial(_answered, endpoint), methods=[method])
        for prefix in PREFIXES
        for method, path, endpoint in table
    ]


async def _answered(endpoint: Any, request: Request) -> Response:
    """The answer; an error as these clients show it: {"error": ..., "detail": ...}."""
    try:
        answer: Response = await endpoint(request)
        return answer
    except Problem as problem:
        fields = {"error": problem.detail, "detail": problem.detail}
        return JSONResponse(fields, problem.status, problem.headers)


class _Api:
    """The endpoints, and what they share."""

    def __init__(self, services: "Services") -> None:
        self._services, self._sessions = services, Sessions(services.uploads)

    async def config(self, request: Request) -> Response:
        """What the clients have to know of an application: one function, of an image to a label."""
        return JSONResponse(_config(is_old=request.headers.get("user-agent", "").startswith(_OLD)))

    async def info(self, request: Request) -> Response:
        """The parameters and results of the function."""
        return JSONResponse(_info(is_old=request.headers.get("user-agent", "").startswith(_OLD)))

    async def heartbeat(self, request: Request) -> Response:
        """A stream that lasts as long as the client."""

        async def pieces() -> AsyncIterator[bytes]:
            while not self._services.stopping.is_set():
                yield b"data: ALIVE\n\n"
                await _wait(self._services.stopping, KEEP_ALIVE_SECONDS)

        return self._services.lasting(pieces())

    async def upload(self, request: Request) -> Response:
        """Keep the files of a form for some minutes; answers with their names here."""
        async with self._services.uploads.received(request) as form:
            if not form.files or not all(one.size for one in form.files):
                raise Problem(422, "the form has no file, or an empty one")
            names = [self._sessions.keep(one) for one in form.files]
            form.files.clear()  # they are kept
        return JSONResponse(names)

    async def predict(self, request: Request) -> Response:
        """The answer at once: to a form with a file, or to JSON."""
        began = time.monotonic()
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            async with self._services.uploads.received(request) as form:
                if not form.files or not form.files[0].size:
                    raise Problem(422, "the form has no file")
                verdict = await self._verdict(form.files[0])
        else:
            async with self._services.uploads.json(request) as body:
                name = self._name_of(_data(body))
            del body
            verdict = await self._verdict_of(name)
        seconds = time.monotonic() - began
        return JSONResponse(
            {
                "data": [label_of(verdict)],
                "is_generating": False,
                "duration": round(seconds, 6),
                "average_duration": round(seconds, 6),
            }
        )

    async def join(self, request: Request) -> Response:
        """Begin to answer a request of a session; the answer comes by `data`."""
        async with self._services.uploads.json(request) as body:
            session = body.get("session_hash") if isinstance(body, dict) else None
            if not isinstance(session, str) or not 0 < len(session) <= MOST_CHARACTERS:
                raise Problem(422, "session_hash must be a short text")
            name = self._name_of(_data(body))
        event = self._sessions.begin(session, self._outcome(name))
        return JSONResponse({"event_id": event})

    async def data(self, request: Request) -> Response:
        """The messages of a session, until all of its requests are answered."""
        name = request.query_params.get("session_hash", "")
        if not 0 < len(name) <= MOST_CHARACTERS:
            raise Problem(422, "session_hash is missing, or too long")
        return self._services.lasting(self._messages(name))

    async def _messages(self, name: str) -> AsyncIterator[bytes]:
        until = time.monotonic() + JOIN_SECONDS
        async for message in self._sessions.messages(name, KEEP_ALIVE_SECONDS, until, self._services.stopping):
            yield f"data: {json.dumps(message)}\n\n".encode("ascii")

    async def call(self, request: Request) -> Response:
        """Begin to answer a request that needs no session; see `outcome`."""
        async with self._services.uploads.json(request) as body:
            name = self._name_of(_data(body))
        event = self._sessions.begin(None, self._outcome(name))
        return JSONResponse({"event_id": event})

    async def outcome(self, request: Request) -> Response:
        """The answer to a request of `call`, once."""
        task = self._sessions.single(request.path_params["event"])
        if task is None:
            raise Problem(404, "there is no such request")

        async def pieces() -> AsyncIterator[bytes]:
            while not task.done() and not self._services.stopping.is_set():
                done, _ = await asyncio.wait([task], timeout=KEEP_ALIVE_SECONDS)
                if not done:
                    yield b"event: heartbeat\ndata: null\n\n"
            output = task.result() if task.done() and not task.cancelled() else {"error": "the server is being stopped"}
            if "data" in output:
                yield f"event: complete\ndata: {json.dumps(output['data'])}\n\n".encode("ascii")
            else:
                yield f"event: error\ndata: {json.dumps(output)}\n\n".encode("ascii")

        return self._services.lasting(pieces())

    async def cancel(self, request: Request) -> Response:
        """Requests take so short that cancelling them would gain nothing."""
        return JSONResponse({"success": True})

    async def _outcome(self, name: str) -> dict[str, Any]:
        """What becomes of a request: the output of a `process_completed`."""
        began = time.monotonic()
        try:
            verdict = await self._verdict_of(name)
        except Problem as problem:
            return {"error": problem.detail}
        seconds = round(time.monotonic() - began, 6)
        return {"data": [label_of(verdict)], "is_generating": False, "duration": seconds, "average_duration": seconds}

    def _name_of(self, data: Any) -> str:
        """The name of the upload that a request has as its image; an image in base64 becomes one.

        Raises:
            Problem: it is neither.
        """
        given = data
        if isinstance(data, dict):  # in version 3, "name" is that of the client's file and "data" its content
            keys = ("data", "path", "name", "url")
            given = next((data[key] for key in keys if isinstance(data.get(key), str)), None)
        if not isinstance(given, str):
            raise Problem(422, NOT_FETCHED)
        if not given.startswith("data:"):
            if not self._sessions.has(given):
                raise Problem(422, NOT_FETCHED)
            return given
        with self._services.uploads.written("") as writing:
            writing.write(decoded(given))
            return self._sessions.keep(writing.upload)

    async def _verdict_of(self, name: str) -> Verdict:
        """The verdict on an upload.

        Raises:
            Problem: there is none of that name, or it is no image.
        """
        with self._sessions.used(name) as upload:
            if upload is None:
                raise Problem(422, NOT_FETCHED)
            return await self._verdict(upload)

    async def _verdict(self, upload: Upload) -> Verdict:
        done = await self._services.classifier.classify(str(upload.path), upload.name)
        if isinstance(done.answer, Failure):
            raise Problem(422, message_of(done.answer))
        return done.answer


def label_of(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the value of Gradio's component Label."""
    confidences = [{"label": label, "confidence": share} for label, share in probabilities(verdict)]
    return {"label": verdict.label, "confidences": confidences}


def _data(body: Any) -> Any:
    """The first input in a body {"data": [...]}.

    Raises:
        Problem: 422, there is none.
    """
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or not data:
        raise Problem(422, '"data" must be a list with an image')
    return data[0]


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


_IMAGE = {
    "title": "ImageData",
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "url": {"type": "string"},
        "orig_name": {"type": "string"},
        "meta": {"type": "object", "default": {"_type": "gradio.FileData"}},
    },
    "required": ["path"],
}
_LABEL = {
    "title": "LabelData",
    "type": "object",
    "properties": {"label": {"type": "string"}, "confidences": {"type": "array", "items": {"type": "object"}}},
}


def _config(*, is_old: bool) -> dict[str, Any]:
    image: dict[str, Any] = {"id": 1, "type": "image", "props": {"label": "Image", "name": "image"}}
    label: dict[str, Any] = {"id": 2, "type": "label", "props": {"label": "Verdict", "name": "label"}}
    function: dict[str, Any] = {
        "id": 0,
        "targets": [],
        "inputs": [1],
        "outputs": [2],
        "api_name": "predict",
        "backend_fn": True,
        "js": None,
        "queue": not is_old,
        "show_api": True,
        "types": {"generator": False, "cancel": False},
        "cancels": [],
        "trigger": "click",
    }
    fields: dict[str, Any] = {
        "mode": "interface",
        "title": "edge-detect",
        "space_id": None,
        "is_space": False,
        "dev_mode": False,
        "show_error": True,
        "components": [image, label],
        "dependencies": [function],
        "layout": {"id": 0, "children": [{"id": 1}, {"id": 2}]},
    }
    if is_old:
        image["serializer"], label["serializer"] = "ImgSerializable", "JSONSerializable"
        return {"version": "3.50.2", "enable_queue": False, **fields}
    image |= {"skip_api": False, "api_info": _IMAGE, "component_class_id": "image"}
    label |= {"skip_api": False, "api_info": _LABEL, "component_class_id": "label"}
    return {
        "version": "5.0.0",
        "protocol": "sse_v3",
        "api_prefix": "",
        "connect_heartbeat": False,
        "max_file_size": None,
        "enable_queue": True,
        **fields,
    }


def _info(*, is_old: bool) -> dict[str, Any]:
    image: dict[str, Any] = {"label": "Image", "component": "Image", "type": _IMAGE}
    image["python_type"] = {"type": "filepath", "description": "an image file"}
    image |= {"parameter_name": "image", "parameter_has_default": False, "parameter_default": None}
    label: dict[str, Any] = {"label": "Verdict", "component": "Label", "type": _LABEL}
    label["python_type"] = {"type": "Dict(Any, Any)", "description": "the label and the probabilities"}
    if is_old:
        image["serializer"], label["serializer"] = "ImgSerializable", "JSONSerializable"
    function = {"parameters": [image], "returns": [label], "show_api": True}
    return {"named_endpoints": {"/predict": function}, "unnamed_endpoints": {}}
