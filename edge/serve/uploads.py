"""Images that clients send: from the body of a request, piece by piece, to files that only we read.

A file lies in a private folder for as long as its request takes. Its name there is our own: what the client calls it
is only shown.
"""

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from edge.errors import ServerError, printable, reason_of
from edge.files import free_bytes, private_folder
from edge.imaging import preprocess
from edge.serve.problems import Problem

MOST_BYTES = min(64 * 1024 * 1024, preprocess.MAX_BYTES)  # of one image
MOST_BYTES_OF_BODY = MOST_BYTES + 1024 * 1024  # with what a form has around it
MOST_BYTES_OF_JSON = 24 * 1024 * 1024  # it is held in memory, unlike a file
MOST_BYTES_OF_ALL_JSON = 48 * 1024 * 1024  # at the same time
MOST_VALUES = 10_000  # of JSON
MOST_BYTES_OF_ALL = 256 * 1024 * 1024  # images at the same time
MOST_PARTS = 32  # of a form
MOST_BYTES_OF_FIELDS = 64 * 1024  # all fields of a form that are no file
MOST_FILES = 8  # of one form
MOST_CHARACTERS = 200  # of a name
MOST_DEPTH = 16  # of JSON
NAMELESS = "upload"
PREFIX = "edge-detect-serve-"
ATTEMPTS = 100  # to make the folder


@dataclass
class Upload:
    """An image file of a client.

    Attributes:
        path: of the file, in our folder.
        name: what the client calls it, without folders, as one line of safe text.
        size: bytes.
    """

    path: Path
    name: str
    size: int = 0


@dataclass
class Form:
    """What a request's body held.

    Attributes:
        files: their parts, in their order.
        fields: the text of the other parts, by name.
    """

    files: list[Upload] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


class Uploads:
    """The folder of the uploads; removed with all of them by `close`."""

    def __init__(self, folder: Path | None = None) -> None:
        """
        Args:
            folder: in which the folder is made; None: that of temporary files.

        Raises:
            ServerError: it cannot be made.
        """
        self._stack = contextlib.ExitStack()
        try:
            self.folder = self._stack.enter_context(private_folder(PREFIX, folder))
        except OSError as error:
            base = printable(folder or tempfile.gettempdir())
            raise ServerError(f"{base}: cannot make a folder for uploads: {reason_of(error)}") from error
        self._nbytes = self._held = 0

    def close(self) -> None:
        """Remove the folder."""
        self._stack.close()

    def __enter__(self) -> "Uploads":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[Form]:
        """The body of a request: a form, or else the bytes of one image. Its files are removed at the end.

        Raises:
            Problem: the body is malformed, too large, cut off, or there is no room for it.
        """
        form = Form()
        kind, parameters = parse_options_header(request.headers.get("content-type", ""))
        try:
            if kind == b"multipart/form-data":
                await self._receive_form(request, form, parameters.get(b"boundary", b""))
            else:
                await self._receive_raw(request, form)
            yield form
        finally:
            for upload in form.files:
                self.remove(upload)

    def remove(self, upload: Upload) -> None:
        """Remove a file, so that its bytes count no longer."""
        with contextlib.suppress(OSError):
            upload.path.unlink()
        self._nbytes -= upload.size
        upload.size = 0

    @contextlib.asynccontextmanager
    async def json(self, request: Request) -> AsyncIterator[Any]:
        """A body as JSON, whatever type it claims to have. It is held in memory, so its bytes are counted.

        Raises:
            Problem: it is none, or too large, or nested too deeply; or too many are held.
        """
        held, data = 0, bytearray()
        try:
            async for piece in _pieces(request):
                if held + len(piece) > MOST_BYTES_OF_JSON:
                    raise Problem(413, f"JSON of more than {MOST_BYTES_OF_JSON} bytes; send the image as a file")
                if self._held + len(piece) > MOST_BYTES_OF_ALL_JSON:
                    raise Problem.later("too many requests of JSON at the same time", 2)
                held, self._held = held + len(piece), self._held + len(piece)
                data += piece
            value = parsed_json(bytes(data))
            del data
            yield value
        finally:
            self._held -= held

    @contextlib.contextmanager
    def written(self, name: str) -> Iterator["Writing"]:
        """Write a new file; it is removed if the block raises."""
        writing = Writing(self, Upload(self.folder / secrets.token_hex(16), shown_name(name)))
        try:
            yield writing
        except BaseException:
            writing.close()
            self.remove(writing.upload)
            raise
        writing.close()

    def grow(self, upload: Upload, nbytes: int) -> None:
        """Count further bytes of a file.

        Raises:
            Problem: 413, the file is too large; 503, all files together are.
        """
        if upload.size + nbytes > MOST_BYTES:
            raise Problem(413, f"the image has more than {MOST_BYTES} bytes")
        if self._nbytes + nbytes > MOST_BYTES_OF_ALL:
            raise Problem.later("too many uploads at the same time", 2)
        upload.size += nbytes
        self._nbytes += nbytes

    async def _receive_raw(self, request: Request, form: Form) -> None:
        with self.written(request.query_params.get("name", "")) as writing:
            async for piece in _pieces(request):
                writing.write(piece)
            form.files.append(writing.upload)

    async def _receive_form(self, request: Request, form: Form, boundary: bytes) -> None:
        if not boundary:
            raise Problem(400, "multipart/form-data without a boundary")
        parts = _Parts(self, form)
        try:
            parser = MultipartParser(boundary, parts.callbacks(), max_header_count=8, max_header_size=4096)
            async for piece in _pieces(request):
                parser.write(piece)
            parser.finalize()
        except FormParserError as error:
            raise Problem(400, f"malformed form: {printable(str(error))}") from error
        finally:
            parts.close()
        if not parts.is_complete:
            raise Problem(400, "the form was cut off")


class Writing:
    """A file of an upload while it is written."""

    def __init__(self, uploads: Uploads, upload: Upload) -> None:
        self._uploads, self.upload = uploads, upload
        try:
            self._descriptor = os.open(upload.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Problem.later(f"no room for an upload: {reason_of(error)}", 10) from error

    def write(self, data: bytes) -> None:
        """
        Raises:
            Problem: see `Uploads.grow`; or the disk is full.
        """
        self._uploads.grow(self.upload, len(data))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            raise Problem.later(f"no room for an upload: {reason_of(error)}", 10) from error

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class _Parts:
    """The parts of a form, as the parser finds them."""

    def __init__(self, uploads: Uploads, form: Form) -> None:
        self._uploads, self._form = uploads, form
        self._count = self._nbytes = 0
        self._header, self._value = b"", b""
        self._name, self._text = "", bytearray()
        self._writing: Writing | None = None
        self.is_complete = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._start,
            "on_part_data": self._add,
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def close(self) -> None:
        if self._writing is not None:
            self._writing.close()

    def _begin(self) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise Problem(413, f"the form has more than {MOST_PARTS} parts")
        self._header = self._value = self._disposition = b""
        self._text = bytearray()

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _start(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")[:MOST_CHARACTERS]
        if (file_name := options.get(b"filename")) is None:
            return
        if len(self._form.files) >= MOST_FILES:
            raise Problem(413, f"the form has more than {MOST_FILES} files")
        upload = Upload(self._uploads.folder / secrets.token_hex(16), shown_name(file_name.decode("utf-8", "replace")))
        self._form.files.append(upload)  # before anything is written: it is removed with the form
        self._writing = Writing(self._uploads, upload)

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._writing is not None:
            self._writing.write(data[start:end])
            return
        self._nbytes += end - start
        if self._nbytes > MOST_BYTES_OF_FIELDS:
            raise Problem(413, f"the fields of the form have more than {MOST_BYTES_OF_FIELDS} bytes")
        self._text += data[start:end]

    def _end(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None
        else:
            self._form.fields[self._name] = self._text.decode("utf-8", "replace")

    def _complete(self) -> None:
        self.is_complete = True


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            if piece:
                yield piece
    except ClientDisconnect:
        raise Problem(400, "the body was cut off") from None


async def body_of(request: Request, most: int) -> bytes:
    """A small body, in memory.

    Raises:
        Problem: it has more than `most` bytes, or was cut off.
    """
    data = bytearray()
    async for piece in _pieces(request):
        data += piece
        if len(data) > most:
            raise Problem(413, f"more than {most} bytes")
    return bytes(data)


def parsed_json(data: bytes) -> Any:
    """JSON, with limits to what it can become in memory.

    Raises:
        Problem: it is none, has too many values, or is nested too deeply.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise Problem(413, f"JSON of more than {MOST_VALUES} values")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not valid JSON") from None
    if _is_deeper(value, MOST_DEPTH):
        raise Problem(400, "the JSON is nested too deeply")
    return value


def _is_deeper(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_is_deeper(one, depth - 1) for one in inner)


def shown_name(name: str) -> str:
    """What a client calls a file, as one short line of safe text without folders."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return printable(last[:MOST_CHARACTERS]).strip() or NAMELESS


def room(folder: Path) -> int:
    """Bytes that uploads may still take."""
    return min(MOST_BYTES_OF_ALL, free_bytes(folder) // 2)
