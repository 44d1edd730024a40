"""Cameras that send JPEG pictures by HTTP: one after another in an endless answer (MJPEG), or one a request.

FFmpeg follows the part headers of MJPEG, which many cameras write wrongly; here the pictures themselves are searched.
No picture is decoded before it is needed, so that a slow processor keeps up with a fast camera. Needs no PyAV.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from edge.capture.frame import Frame, Reducible
from edge.capture.http_client import Answer, HttpClient
from edge.capture.jpeg_scanner import MAX_BYTES, JpegScanner
from edge.errors import CameraError, ImageError
from edge.imaging import preprocess, reasons, turning
from edge.imaging.preprocess import Pixels
from edge.imaging.views import Size

POLL_SECONDS = 1.0  # from one request for a single picture to the next, unless the user names another interval
SHORTEST_POLL_SECONDS = 0.04
WAIT_SECONDS = 1.0  # in one call of `frame`, for the next request
# A camera that sends the same picture for longer counts as lost. It is less than the camera loop waits for a frame.
UNCHANGED_SECONDS = 20.0
MAX_PIXELS = 36_000_000  # of a picture: 8K
MAX_TEXT_BYTES = 1_000_000  # of a playlist

_JPEG_TYPES = ("image/jpeg", "image/jpg", "image/pjpeg")
_JPEG = b"\xff\xd8\xff"
_PLAYLIST = b"#EXTM3U"
_TO_DECIDE = len(_PLAYLIST)  # bytes by which kinds of content differ


@dataclass(frozen=True)
class OtherContent:
    """What an address gives that is not a picture.

    Attributes:
        type: media type, or empty.
        answer: whose body has been read to the end if it is a playlist, and is closed.
        playlist: its text, if it is one of HLS; otherwise empty.
    """

    type: str
    answer: Answer
    playlist: str = ""


def open_pictures(
    client: HttpClient, interval_seconds: float, connect_seconds: float, timeout_seconds: float
) -> "HttpPictures | OtherContent":
    """Ask a camera for pictures.

    Args:
        client: of the camera's address.
        interval_seconds: from one request to the next, if each gives one picture; 0: POLL_SECONDS.
        connect_seconds: time limit of the first answer.
        timeout_seconds: time limit of each picture.

    Raises:
        NotHttpError: the address is not one of HTTP.
        CameraError: the camera cannot be reached, or refuses.
    """
    answer = client.get(connect_seconds)
    is_kept = False
    try:
        beginning = b"" if _is_picture_type(answer.type) else _beginning(answer, connect_seconds)
        if beginning.startswith(_PLAYLIST):
            return OtherContent(answer.type, answer, text(answer, connect_seconds, beginning))
        if not _is_picture_type(answer.type) and not beginning.startswith((_JPEG, b"--")):
            return OtherContent(answer.type, answer)
        is_kept = True
        return HttpPictures(client, answer, beginning, interval_seconds, timeout_seconds)
    finally:
        if not is_kept:
            answer.close()


class HttpPictures:
    """A camera whose address gives pictures: JPEGs one after another, or one JPEG, PNG or the like a request.

    An answer that ends after one picture is asked for again and again. One that repeats the picture before it is no new
    frame.
    """

    is_live = True

    def __init__(
        self,
        client: HttpClient,
        answer: Answer,
        beginning: bytes,
        interval_seconds: float,
        timeout_seconds: float,
    ) -> None:
        """
        Args:
            client: sends the next requests.
            answer: to the first request.
            beginning: what has been read of its body.
            interval_seconds, timeout_seconds: see `open_pictures`.
        """
        self.name = client.name
        self._client, self._timeout_seconds = client, timeout_seconds
        self._interval_seconds = max(interval_seconds or POLL_SECONDS, SHORTEST_POLL_SECONDS)
        self._is_closing = threading.Event()
        self._is_single = answer.type.startswith("image/")
        self._answer: Answer | None = answer  # None as soon as each request gives one picture
        self._body = _Body(answer, self.name, beginning)
        self._headers: dict[str, str] = {}  # of the next request
        self._picture = b""  # the latest one
        self._frame: Frame | None = None  # of it
        self._asked = self._answered = self._changed = time.monotonic()

    def frame(self) -> Frame:
        """The next picture; the same frame as before if a camera that is asked for each picture has no new one yet.

        Raises:
            CameraError: the connection is lost, or no picture has come within two time limits, or only the same one.
        """
        frame = self._streamed() if self._answer else None
        return frame or self._polled()

    def interrupt(self) -> None:
        """End a call of `frame` in another thread: it returns or raises CameraError at once."""
        self._is_closing.set()
        self._client.interrupt()

    def close(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()

    def _streamed(self) -> Frame | None:
        """The next picture of the answer; None if that ended after one picture, and has to be asked for again."""
        assert self._answer is not None
        deadline = time.monotonic() + 2 * self._timeout_seconds
        while (picture := self._body.next(deadline, self._timeout_seconds)) is not None:
            try:
                frame = self._new_frame(picture)
            except CameraError:
                if self._is_single or time.monotonic() > deadline:
                    raise
                continue
            if self._is_single:
                self._ask_from_now_on()
            return frame
        if self._body.count != 1 or self._is_closing.is_set():
            raise CameraError(f"{self.name}: the stream has ended")
        self._ask_from_now_on()
        return None

    def _ask_from_now_on(self) -> None:
        assert self._answer is not None
        self._headers = _conditions(self._answer)
        self.close()

    def _polled(self) -> Frame:
        """The picture of the next request; the latest frame if that is not due or gives the same picture.

        One that fails is repeated until the time limit: small cameras often refuse one.
        """
        assert self._frame is not None
        left = self._asked + self._interval_seconds - time.monotonic()
        if left > 0 and (self._is_closing.wait(min(left, WAIT_SECONDS)) or left > WAIT_SECONDS):
            return self._frame
        self._asked = time.monotonic()
        try:
            picture = self._requested()
            self._answered = time.monotonic()
            if picture is not None and picture != self._picture:
                return self._new_frame(picture)
        except CameraError:
            if self._is_closing.is_set() or time.monotonic() - self._answered > self._timeout_seconds:
                raise
        longest = UNCHANGED_SECONDS + 2 * self._interval_seconds
        if time.monotonic() - self._changed > longest:
            raise CameraError(f"{self.name}: has sent the same picture for {longest:g} s")
        return self._frame

    def _requested(self) -> bytes | None:
        """Another picture; None if the server says that it is the same."""
        answer = self._client.get(self._timeout_seconds, headers=self._headers)
        try:
            if answer.status == 304:
                return None
            picture = _Body(answer, self.name).next(time.monotonic() + 2 * self._timeout_seconds, self._timeout_seconds)
            if picture is None:
                raise CameraError(f"{self.name}: no picture in the answer")
            self._headers = _conditions(answer)
            return picture
        finally:
            answer.close()

    def _new_frame(self, picture: bytes) -> Frame:
        frame = _frame(picture, self.name)
        self._frame, self._picture, self._changed = frame, picture, frame.seconds
        return frame


class _Body:
    """The pictures in the body of an answer.

    Attributes:
        count: how many there have been.
    """

    def __init__(self, answer: Answer, name: str, beginning: bytes = b"") -> None:
        self._answer, self._name, self._scanner, self.count = answer, name, JpegScanner(), 0
        # A picture in another format than JPEG does not show where it ends.
        is_other = answer.type.startswith("image/") and answer.type not in _JPEG_TYPES
        self._other: bytearray | None = bytearray() if is_other else None
        self._found: deque[bytes] = deque()
        self._add(beginning)

    def next(self, deadline: float, timeout_seconds: float) -> bytes | None:
        """The next picture; None at the end of the body.

        Args:
            deadline: time limit of the picture, as time.monotonic().
            timeout_seconds: time limit of the next bytes.

        Raises:
            CameraError: the connection is lost, or a time limit is reached.
        """
        while not self._found:
            if time.monotonic() > deadline:
                raise CameraError(f"{self._name}: no picture for {2 * timeout_seconds:g} s")
            data = self._answer.read(timeout_seconds)
            if data:
                self._add(data)
            elif self._other:
                self._found.append(bytes(self._other))
                self._other = None
            else:
                return None
        self.count += 1
        return self._found.popleft()

    def _add(self, data: bytes) -> None:
        if self._other is None:
            self._found.extend(self._scanner.feed(data))
        elif len(self._other) + len(data) > MAX_BYTES:
            raise CameraError(f"{self._name}: a picture of more than {MAX_BYTES // 1_000_000} MB")
        else:
            self._other += data


def _is_picture_type(media_type: str) -> bool:
    return media_type.startswith(("image/", "multipart/"))


def _beginning(answer: Answer, seconds: float) -> bytes:
    """A few bytes of the body by which its kind can be recognised, without leading white space."""
    data, deadline = b"", time.monotonic() + seconds
    while len(data) < _TO_DECIDE and (more := answer.read(seconds, deadline)):
        data = (data + more).lstrip()
    return data


def text(answer: Answer, seconds: float, beginning: bytes = b"") -> str:
    """The body of an answer as a text, up to MAX_TEXT_BYTES.

    Args:
        seconds: time limit.
        beginning: what has been read of it.

    Raises:
        CameraError: the connection is lost, or the time limit is reached.
    """
    data, deadline = bytearray(beginning), time.monotonic() + seconds
    while len(data) < MAX_TEXT_BYTES and (more := answer.read(seconds, deadline)):
        data += more
    return data.decode("utf-8", "replace")


def _conditions(answer: Answer) -> dict[str, str]:
    """Headers that ask for a picture only if it has changed since an answer (RFC 9110, 13.1)."""
    asked = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
    return {name: str(answer.headers[given]) for name, given in asked.items() if given in answer.headers}


def _frame(picture: bytes, name: str) -> Frame:
    """A frame; a JPEG is decoded when it is used.

    Raises:
        CameraError: it is no picture in a known format, or too large.
    """
    seconds = time.monotonic()
    try:
        if not picture.startswith(_JPEG):
            return Frame(np.asarray(preprocess.decoded(name, picture)[0]), seconds, encoded=picture)
        with Image.open(BytesIO(picture), formats=["JPEG"]) as image:
            size = turning.as_stored(image.size, turning.of(image))
    except (ImageError, *reasons.DECODER_ERRORS):
        raise CameraError(f"{name}: sends a picture that cannot be decoded") from None
    if size[0] * size[1] > MAX_PIXELS:
        raise CameraError(f"{name}: sends a picture of {size[0]} x {size[1]} pixels, which is too large")

    def whole() -> Pixels:
        try:
            return np.asarray(preprocess.decoded(name, picture)[0])
        except ImageError as error:
            raise CameraError(str(error)) from None

    def reduced(wanted: Size) -> Pixels:
        try:
            with preprocess.loaded(name, picture, lambda _: min(wanted)) as loaded:
                return np.asarray(preprocess.whole(loaded, wanted))
        except ImageError as error:
            raise CameraError(str(error)) from None

    return Frame(whole, seconds, Reducible(size, reduced), picture)
