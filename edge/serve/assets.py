"""The fixed files of the pages: style, script, icon. Read once, compressed once, kept by browsers until they change."""

import functools
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edge.serve.problems import Problem

FOLDER = Path(__file__).parent / "static"
PATH = "static/"  # below which they are served
TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".md": "text/plain",
}
FOREVER = "public, max-age=31536000, immutable"
SHORTLY = "public, max-age=300"


@dataclass(frozen=True)
class Asset:
    """A fixed file.

    Attributes:
        version: changes with the content.
        compressed: the content by gzip.
    """

    media_type: str
    version: str
    content: bytes
    compressed: bytes


@functools.cache
def assets() -> dict[str, Asset]:
    """All of them, by name."""
    return {path.name: _read(path) for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    version = hashlib.sha256(content).hexdigest()[:12]
    return Asset(TYPES[path.suffix], version, content, gzip.compress(content, mtime=0))


def address(name: str) -> str:
    """The address of a file from the first page, with its version: "static/icon.svg?v=0123456789ab"."""
    return f"{PATH}{name}?v={assets()[name].version}"


async def serve(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application, to be mounted at PATH. Anybody may read these files.

    Raises:
        Problem: 404, 405.
    """
    if scope["method"] not in ("GET", "HEAD"):
        raise Problem(405, "this address does not take that method", {"Allow": "GET, HEAD"})
    asset = assets().get(scope["path"].rpartition(PATH)[2])
    if asset is None:
        raise Problem(404, "there is nothing at this address")
    headers = Headers(scope=scope)
    lasting = FOREVER if scope["query_string"] == f"v={asset.version}".encode() else SHORTLY
    given = {"Cache-Control": lasting, "ETag": f'"{asset.version}"', "Vary": "Accept-Encoding"}
    if headers.get("if-none-match") == given["ETag"]:
        await Response(None, 304, given)(scope, receive, send)
        return
    content = asset.content
    if accepts_gzip(headers):
        content = asset.compressed
        given["Content-Encoding"] = "gzip"
    await Response(content, 200, given, asset.media_type)(scope, receive, send)


def accepts_gzip(headers: Headers) -> bool:
    """Whether a client takes content compressed by gzip."""
    codings = (part.strip().lower().replace(" ", "") for part in headers.get("accept-encoding", "").split(","))
    return any(coding.startswith("gzip") and not coding.endswith(("q=0", "q=0.0")) for coding in codings)
