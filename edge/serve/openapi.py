"""The description of the API (OpenAPI 3.1), made from one table of what `edge.serve.api` answers."""

from typing import Any

from edge import __version__
from edge.serve.query import MOST_CHARACTERS, MOST_CHARACTERS_OF_LABEL
from edge.store.history import PROVENANCE

JSON, PROBLEM = "application/json", "application/problem+json"
Fields = dict[str, Any]

_TEXT: Fields = {"type": "string"}
_NUMBER: Fields = {"type": "number"}
_SHARE: Fields = {"type": "number", "minimum": 0, "maximum": 1}
_POSITION = "^4[0-9a-f]{15}-[0-9a-f]{8}-[0-9]{1,18}$"


def _or_null(kind: str) -> Fields:
    return {"type": [kind, "null"]}


def _object(properties: Fields, required: list[str] | None = None, about: str = "") -> Fields:
    found: Fields = {"type": "object", "properties": properties}
    found["required"] = list(properties) if required is None else required
    return found | ({"description": about} if about else {})


def _ref(name: str) -> Fields:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Fields) -> Fields:
    return {"type": "array", "items": items}


_VERDICT = {
    "path": _TEXT | {"description": "The file's name: of an upload, as the client called it."},
    "label": _TEXT | {"enum": ["FAKE", "REAL", "UNSURE"]},
    "confidence": _SHARE | {"description": "Probability of the label; of UNSURE, that of the likelier one."},
    "score": _SHARE | {"description": "Probability of REAL."},
    "outside": _or_null("string") | {"description": "Why the image lies outside of what the model was measured on."},
    "model": _or_null("string"),
    "elapsed_ms": _or_null("number"),
    "provenance": _list(_ref("Evidence")),
}
_EVENT = {
    "state": _TEXT | {"enum": ["frame", "began", "ended", "interrupted"]},
    "began": _TEXT | {"format": "date-time"},
    "position": _or_null("number"),
    "seconds": _or_null("number"),
    "peak": _or_null("number"),
    "snapshot": _or_null("string"),
}
_COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}
_STATS = {
    "waiting": {"type": "integer", "minimum": 0},
    "labels": _COUNTS,
    "failed": {"type": "integer"},
    "answered_before": {"type": "integer"},
    "per_second": _NUMBER,
    "last": {"type": ["object", "null"]},
    "last_error": {"type": ["object", "null"]},
    "trouble": _or_null("string"),
}
_SCHEMAS: Fields = {
    "Evidence": _object(
        {
            "kind": _TEXT,
            "says": _TEXT | {"enum": list(PROVENANCE)},
            "program": _or_null("string"),
            "detail": _or_null("string"),
            "verified": _or_null("boolean"),
            "prompt": _TEXT,
        },
        ["kind", "says", "program", "detail", "verified"],
        "One thing that a file says of its own origin.",
    ),
    "View": _object(dict.fromkeys(("left", "top", "width", "height", "logit"), _NUMBER)),
    "Verdict": _object(_VERDICT | {"explain": _list(_ref("View"))}, list(_VERDICT)),
    "Answer": _object(
        {
            "id": _TEXT,
            "time": _TEXT | {"format": "date-time"},
            "source": _or_null("string") | {"description": "The watched folder, or the camera's name."},
            **_VERDICT,
            "error": _TEXT | {"description": "Why there is no verdict; the fields of a verdict are missing then."},
            "moved_to": _TEXT,
            "sha256": _TEXT,
            "event": _object(_EVENT, list(_EVENT), "The event or frame of a camera."),
        },
        ["id", "time", "source", "path"],
    ),
    "Results": _object(
        {
            "results": _list(_ref("Answer")),
            "newer": _or_null("string") | {"description": "The parameter `after` for newer answers."},
            "older": _or_null("string") | {"description": "The parameter `before` for older answers."},
            "errors": _list(_TEXT),
        }
    ),
    "Cameras": _object(
        {
            "cameras": _list(
                _object(
                    {"id": _TEXT, "name": _TEXT, "error": _or_null("string"), "status": {"type": ["object", "null"]}}
                )
            )
        }
    ),
    "Status": _object(
        {
            "version": _TEXT,
            "server": _object(_STATS),
            "services": _list({"type": "object", "description": "As `edge-detect status --json` prints it."}),
            "errors": _list(_TEXT),
            "mqtt": {
                "anyOf": [
                    {"type": "null"},
                    _object(
                        {
                            "broker": _TEXT,
                            "node": _TEXT,
                            "connected": {"type": "boolean"},
                            "trouble": _or_null("string"),
                        }
                    ),
                ]
            },
        }
    ),
    "Health": _object({"status": _TEXT | {"enum": ["ok", "failing"]}}),
    "Problem": _object(
        {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT}, about="RFC 9457."
    ),
}


def _content(kind: str, schema: Fields | None = None) -> Fields:
    return {"content": {kind: {"schema": schema} if schema else {}}}


def _problems(*statuses: int) -> Fields:
    about = {
        400: "A parameter or the body is malformed.",
        401: "The token is missing or wrong.",
        403: "A browser sent the request for a page of another site.",
        404: "There is no such thing.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        421: "The server does not answer to this host name.",
        422: "The body is not an image that can be classified.",
        429: "Too many wrong tokens.",
        503: "Busy, or a ledger cannot be read; Retry-After says when to try again.",
    }
    found: Fields = {}
    for status in sorted({401, 421, 429, *statuses}):
        found[str(status)] = {"description": about[status], **_content(PROBLEM, _ref("Problem"))}
    for status in {429, 503} & {429, *statuses}:
        found[str(status)]["headers"] = {"Retry-After": {"schema": {"type": "string"}}}
    return found


def _get(summary: str, answer: Fields, *statuses: int, parameters: list[Fields] | None = None) -> Fields:
    responses = {"200": {"description": "The answer.", **answer}, **_problems(*statuses)}
    return {"get": {"summary": summary, "parameters": parameters or [], "responses": responses}}


def _query(name: str, about: str, schema: Fields) -> Fields:
    return {"name": name, "in": "query", "required": False, "description": about, "schema": schema}


def _id(about: str, pattern: str) -> Fields:
    schema = _TEXT | {"pattern": pattern}
    return {"name": "id", "in": "path", "required": True, "description": about, "schema": schema}


_TIME = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "string", "pattern": r"^[0-9]{1,11}(\.[0-9]{1,9})?$", "description": "Seconds since 1970."},
        {"type": "string", "maxLength": 0, "description": "No limit, as a form sends it."},
    ]
}
_LABEL = _TEXT | {"maxLength": MOST_CHARACTERS_OF_LABEL}
_FILTER = [
    _query(
        "label",
        "REAL, FAKE or UNSURE; ERROR for images without a verdict.",
        _TEXT | {"maxLength": MOST_CHARACTERS_OF_LABEL},
    ),
    _query("source", "The watched folder, or the camera's name.", _TEXT | {"maxLength": MOST_CHARACTERS}),
    _query("since", "From this moment on.", _TIME),
    _query("until", "Before this moment.", _TIME),
    _query("provenance", "Only files that say so of themselves.", _TEXT | {"enum": [*PROVENANCE, ""]}),
]
_PAGE = [
    _query("before", "`older` of another page.", _TEXT | {"pattern": _POSITION}),
    _query("after", "`newer` of another page; without effect beside `before`.", _TEXT | {"pattern": _POSITION}),
    _query("limit", "Most answers of the page.", {"type": "integer", "minimum": 1, "maximum": 200, "default": 24}),
]
_KEY = _id("The answer's id.", "^[0-9a-f]{8}-[0-9]{1,18}$")
_JPEG = _content("image/jpeg", {"type": "string", "contentMediaType": "image/jpeg"})
_IMAGE = {"type": "string", "contentMediaType": "application/octet-stream"}
_FORM = _object({"image": _IMAGE | {"description": "The first file of the form is classified."}})
_CLASSIFY: Fields = {
    "post": {
        "summary": "Classify an image. It is not recorded in the ledger.",
        "parameters": [
            _query("explain", "Add what each part of the image said.", {"type": "boolean", "default": False}),
            _query("name", "The file's name, if the body is the image itself.", _TEXT | {"maxLength": 200}),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": _IMAGE},
                "multipart/form-data": {"schema": _FORM},
            },
        },
        "responses": {
            "200": {"description": "The verdict.", **_content(JSON, _ref("Verdict"))},
            **_problems(400, 403, 408, 413, 422, 503),
        },
    }
}


def _public(operation: Fields) -> Fields:
    """Without a token."""
    operation["get"] |= {"security": []}
    operation["get"]["responses"] = {
        name: value for name, value in operation["get"]["responses"].items() if name not in ("401", "429")
    }
    return operation


def description(base: str) -> Fields:
    """The description.

    Args:
        base: what comes before every path: "" or "/a/b".
    """
    health = _public(_get("Whether the server can classify.", _content(JSON, _ref("Health"))))
    health["get"]["responses"]["503"] = {"description": "It cannot.", **_content(JSON, _ref("Health"))}
    metrics = _get("Metrics in Prometheus' text format.", _content("text/plain", _TEXT))
    events = _get("New answers as server-sent events: `answer`, with an Answer.", _content("text/event-stream"), 503)
    paths = {
        "/api/v1/classify": _CLASSIFY,
        "/api/v1/results": _get(
            "A page of the recorded answers, the newest first.",
            _content(JSON, _ref("Results")),
            *(400, 503),
            parameters=[*_FILTER, *_PAGE],
        ),
        "/api/v1/results/{id}": _get("One answer.", _content(JSON, _ref("Answer")), 404, 503, parameters=[_KEY]),
        "/api/v1/results/{id}/thumbnail": _get("A small picture of it.", _JPEG, 404, 503, parameters=[_KEY]),
        "/api/v1/cameras": _get("The running cameras.", _content(JSON, _ref("Cameras"))),
        "/api/v1/cameras/{id}/latest.jpg": _get(
            "The newest frame of a camera.", _JPEG, 404, parameters=[_id("The camera's id.", "^[0-9a-f]{16}$")]
        ),
        "/api/v1/status": _get("What runs on this board.", _content(JSON, _ref("Status"))),
        "/api/v1/events": events,
        "/api/v1/openapi.json": _get("This description.", _content(JSON, {"type": "object"})),
        "/metrics": metrics,
        "/healthz": health,
    }
    token = {"type": "http", "scheme": "bearer", "description": "Needed unless the server listens at 127.0.0.1 alone."}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edge-detect",
            "version": __version__,
            "description": "Tells photographs (REAL) from AI-generated images (FAKE) on this board.",
        },
        "servers": [{"url": base or "/"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {"schemas": _SCHEMAS, "securitySchemes": {"token": token}},
    }
