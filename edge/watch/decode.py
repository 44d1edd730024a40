"""Reads a file of a watched folder, and prepares it for its model: digest, pixels, and what it says of its origin."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import NamedTuple

from edge.errors import UndecodableImageError, UnreadableFileError
from edge.files import FileId
from edge.imaging import preprocess
from edge.imaging.inputs import Input, choose, take, take_lazily
from edge.imaging.preprocess import Pixels
from edge.provenance.read import evidence
from edge.verdict import Evidence, Verdict
from edge.watch.inside import digest_inside, read_inside

DISPLAY_QUALITY = 80  # of JPEGs that are shown


class Task(NamedTuple):
    """A file to read.

    Attributes:
        stamp: its identity and state when it was found.
        seen_ns: when it was found, nanoseconds since the epoch.
        root: real path of the folder in which it must lie; empty: that of the pool.
        display: longest side in pixels of a JPEG to be made of the image, to be shown to people; 0: none is made.
        is_classified: whether the pixels for its model are wanted.
        explain: whether details of the file's statements on its origin are wanted, see `edge.provenance.read.evidence`.
    """

    path: str
    stamp: FileId
    seen_ns: int
    root: str = ""
    display: int = 0
    is_classified: bool = True
    explain: bool = False


class Prepared(NamedTuple):
    """A file that was read.

    Attributes:
        sha256: of its content.
        pixels: of all views that its model takes, shape (views, height, width, 3); None if the content is not an
            acceptable image, or was classified at once.
        size: (width, height) of the upright image.
        reason: why the content is not an acceptable image; empty if it is one.
        seconds: read and decode time.
        model: index of the model for this image.
        provenance: what the file says of its origin.
        display: a JPEG of the image, see `Task.display`; empty if none was wanted or made.
        further: cuts the further views, if `pixels` are the first ones alone. It holds the decoded picture.
        verdict: if it was classified at once.
        model_sha256: of the model that gave the verdict.
    """

    sha256: bytes
    pixels: Pixels | None
    size: tuple[int, int]
    reason: str
    seconds: float
    model: int = 0
    provenance: tuple[Evidence, ...] = ()
    display: bytes = b""
    further: Callable[[], Pixels] | None = None
    verdict: Verdict | None = None
    model_sha256: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels and of the JPEG."""
        return (0 if self.pixels is None else self.pixels.nbytes) + len(self.display)


class Content(NamedTuple):
    """The content of a file.

    Attributes:
        seconds: read time.
    """

    data: bytes
    seconds: float


@dataclass(frozen=True)
class Unread:
    """A file that could not be read; the reason is reported, and a later listing tries again."""

    reason: str


@dataclass(frozen=True)
class FileChanged:
    """A file that has changed since it was found, or is being written; it is read again when it has settled."""


@dataclass(frozen=True)
class WorkerDied:
    """The process that read a file hung, or was killed from outside, for example for lack of memory.

    That need not be the fault of the file, so a later listing tries again.
    """

    reason: str


Attempt = Content | Unread | FileChanged  # of reading a file
Outcome = Prepared | Unread | FileChanged | WorkerDied


def prepare_without_decoding(root: str, task: Task, reason: str) -> Outcome:
    """Read only the digest of a file whose decoding crashes or does not end.

    Args:
        root: the folder's real path.
        reason: why it cannot be decoded.
    """
    try:
        digest = digest_inside(task.root or root, task.path, task.stamp)
    except UnreadableFileError as error:
        return Unread(error.reason)
    return FileChanged() if digest is None else Prepared(digest, None, (0, 0), reason, 0.0)


def displayed(path: str, data: bytes, longest: int) -> bytes:
    """A JPEG of an image to show to people: upright, without metadata, at most `longest` pixels a side.

    Raises:
        UnreadableFileError, UndecodableImageError: see `edge.imaging.preprocess.pixels`.
    """
    buffer = BytesIO()
    preprocess.upright(path, longest, data).save(buffer, "JPEG", quality=DISPLAY_QUALITY)
    return buffer.getvalue()


def read(root: str, task: Task) -> Attempt:
    """Read one file.

    Args:
        root: the folder's real path.
    """
    began = time.perf_counter()
    try:
        data = read_inside(task.root or root, task.path, task.stamp)
    except UnreadableFileError as error:
        return Unread(error.reason)
    return FileChanged() if data is None else Content(data, time.perf_counter() - began)


def provenance(task: Task, content: Attempt) -> tuple[Evidence, ...]:
    """What a file says of its origin; nothing if it was not read, or is not to be classified."""
    if not (task.is_classified and isinstance(content, Content)):
        return ()
    return evidence(content.data, explain=task.explain)


def decoded(
    task: Task,
    content: Attempt,
    inputs: Sequence[Input],
    says: tuple[Evidence, ...] = (),
    *,
    lazily: bool = False,
) -> Outcome:
    """Decode a file that was read; one that was not is returned as it is.

    Args:
        inputs: of the models; the image's size decides which of them it goes to.
        says: see `provenance`.
        lazily: cut the further views of a picture only when `Prepared.further` is called.
    """
    if not isinstance(content, Content):
        return content
    began, data = time.perf_counter(), content.data
    sha256 = hashlib.sha256(data).digest()

    def seconds() -> float:
        return content.seconds + time.perf_counter() - began

    try:
        display = displayed(task.path, data, task.display) if task.display else b""
        if not task.is_classified:
            return Prepared(sha256, None, (0, 0), "", seconds(), display=display)
        choice, further = partial(choose, inputs=inputs), None
        if lazily:
            chosen, picture = take_lazily(task.path, data, choice)
            pixels, size = picture.first(), picture.own_size
            if chosen.views is not None:
                further = picture.further
        else:
            chosen, (pixels, size, _) = take(task.path, data, choice)
        return Prepared(sha256, pixels, size, "", seconds(), chosen.model, says, display, further)
    except UndecodableImageError as error:
        return Prepared(sha256, None, (0, 0), error.reason, seconds())
    except UnreadableFileError as error:
        return Unread(error.reason)
