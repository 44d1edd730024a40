"""The requests of Hugging Face's inference clients: of `InferenceClient(model=URL)`, and to /models/ANY/NAME."""

import base64
import binascii
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edge.serve.problems import Problem
from edge.verdict import LABELS, Failure, Verdict

if TYPE_CHECKING:
    from edge.serve.app import Services


def routes(services: "Services") -> list[Route]:
    """The routes of the inference clients."""
    infer = partial(inference, services)
    names = ("/models/{owner}/{name}", "/models/{name}")
    paths = [prefix + path for prefix in ("", "/hf-inference") for path in names]
    return [Route(path, infer, methods=["POST"]) for path in paths]


async def inference(services: "Services", request: Request) -> Response:
    """The probabilities of both labels, the likelier first; an error as {"error": ...}."""
    try:
        verdict, most = await _answered(services, request)
    except Problem as problem:
        return JSONResponse({"error": problem.detail}, problem.status, problem.headers)
    return JSONResponse([{"label": label, "score": score} for label, score in probabilities(verdict)][:most])


def probabilities(verdict: Verdict) -> list[tuple[str, float]]:
    """(label, probability) of both labels, the likelier first."""
    both = list(zip(LABELS, (1 - verdict.score, verdict.score), strict=True))
    return sorted(both, key=lambda one: -one[1])


async def _answered(services: "Services", request: Request) -> tuple[Verdict, int | None]:
    """The verdict, and how many labels are wanted."""
    if request.headers.get("content-type", "").lower().startswith("application/json"):
        async with services.uploads.json(request) as body:
            data, most = _of_json(body)
            with services.uploads.written("") as writing:
                writing.write(data)
        del body, data  # they are large, and the answer may take a while
        try:
            done = await services.classifier.classify(str(writing.upload.path), writing.upload.name)
        finally:
            services.uploads.remove(writing.upload)
    else:
        most = None
        async with services.uploads.received(request) as form:
            if not form.files or not form.files[0].size:
                raise Problem(422, "the request brings no image")
            done = await services.classifier.classify(str(form.files[0].path), form.files[0].name)
    if isinstance(done.answer, Failure):
        raise Problem(422, done.answer.reason)
    return done.answer, most


def _of_json(body: Any) -> tuple[bytes, int | None]:
    """The image in {"inputs": BASE64, "parameters": {"top_k": N}}, and N."""
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, str):
        raise Problem(422, '"inputs" must be an image in base64; addresses are not fetched')
    parameters = body.get("parameters")
    most = parameters.get("top_k") if isinstance(parameters, dict) else None
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise Problem(422, '"top_k" must be a positive number')
    return decoded(inputs), most


def decoded(text: str) -> bytes:
    """The bytes in base64, or in a data URL of base64.

    Raises:
        Problem: 422, it is neither; addresses are not fetched.
    """
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise Problem(422, "a data URL must be in base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Problem(422, "not an image in base64; addresses and paths are not fetched") from None
