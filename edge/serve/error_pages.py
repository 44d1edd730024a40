"""The answer to an error: a page for a browser that shows pages, problem details for everybody else."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from edge.serve import layout
from edge.serve.problems import Problem, of_http_exception

FOR_PROGRAMS = ("/api/", "/metrics", "/healthz")  # whose errors are never pages


def answer_to(scope: Scope, problem: Problem) -> Response:
    """The answer to a request that ended with a problem."""
    answer = problem.answer()
    is_page = "text/html" in Headers(scope=scope).get("accept", "") and not scope["path"].startswith(FOR_PROGRAMS)
    if not is_page or answer.status_code < 400:  # below: a browser is sent to the page for signing in
        return answer
    return layout.error_page(scope, problem.status, problem.detail, problem.headers)


def handler(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for `Problem` and its own `HTTPException`."""
    if isinstance(error, HTTPException):
        error = of_http_exception(error)
    assert isinstance(error, Problem)
    return answer_to(request.scope, error)
