"""Errors as answers: problem details as JSON (RFC 9457)."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/problem+json"

TITLES = {
    400: "Bad request",
    401: "Token needed",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request took too long",
    411: "Length needed",
    413: "Too large",
    415: "Unsupported media type",
    421: "Wrong host name",
    422: "Not acceptable as an image",
    429: "Too many attempts",
    431: "Too many header fields",
    500: "Internal error",
    503: "Not available now",
}


class Problem(Exception):  # noqa: N818  # the term of RFC 9457
    """An error that ends a request; `answer` of it is what the client gets.

    Attributes:
        status: of HTTP.
        detail: one line for people; it never contains a secret.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})

    @classmethod
    def later(cls, detail: str, seconds: float) -> "Problem":
        """503 with Retry-After."""
        return cls(503, detail, {"Retry-After": str(max(1, round(seconds)))})

    @property
    def title(self) -> str:
        return TITLES.get(self.status, "Error")

    def answer(self) -> Response:
        """The answer, as application/problem+json."""
        fields = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        return JSONResponse(fields, self.status, self.headers, MEDIA_TYPE)


def of_http_exception(error: HTTPException) -> Problem:
    """The problem for an error of Starlette itself: no such route, a method that a route lacks."""
    details = {404: "there is nothing at this address", 405: "this address does not take that method"}
    return Problem(error.status_code, details.get(error.status_code, error.detail), error.headers)
