"""Live HLS (RFC 8216): a playlist that names the latest segments, each of which arrives at once.

Frames of a segment are released at the pace of the stream's own clock: given out as they arrive, most of them would be
replaced by newer ones within milliseconds. So are those of other streams that turn out to be delivered in bursts.
"""

import contextlib
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from edge.capture.http_client import Answer

START_INDEX = -2  # the segment to begin with, counted from the end of the playlist: the one after it is there already
USUAL_SECONDS = 6.0  # duration of a segment if the playlist has none
LONGEST_SECONDS = 60.0  # of a segment; a longer duration counts as this
SPARE_SECONDS = 1.0  # by which a segment may be late
STEP_SECONDS = 1.0  # a longer step of the stream's clock is one over lost segments, or back to a new beginning
BLOCKED_SECONDS = 0.5  # a read that takes longer has waited for a segment
BURSTS = 3  # in succession that make a stream one of bursts
BURST_FRAMES = 4  # the least number of frames in each of them
WAITED_SHARE = 0.7  # of the time between them in which nothing came
CATCH_UP = 0.05  # how much faster than real time frames are released while their age exceeds the target

_VARIANT = "#EXT-X-STREAM-INF:"
_ATTRIBUTE = re.compile(r'(?<![A-Z0-9-])([A-Z0-9-]+)=("[^"]*"|[^,]*)')
_SOUND = ("mp4a", "ac-3", "ec-3", "opus", "flac", "alac")  # names of codecs (RFC 6381) begin so
_DURATION = re.compile(r"^#EXTINF:\s*([0-9]+(?:\.[0-9]+)?)", re.MULTILINE)
_TARGET = re.compile(r"^#EXT-X-TARGETDURATION:\s*([0-9]+(?:\.[0-9]+)?)", re.MULTILINE)


@dataclass(frozen=True)
class LivePlaylist:
    """What the playlist of a live stream shows.

    Attributes:
        segment_seconds: the longest duration of a segment.
        begin_seconds: how long ago the first frame of the segment at START_INDEX was taken, when `read_at` was.
        read_at: when the playlist was read, as time.monotonic().
    """

    segment_seconds: float
    begin_seconds: float
    read_at: float


@dataclass(frozen=True)
class _Variant:
    """One of the streams that a master playlist offers (RFC 8216, section 4.3.4.2); 0 for what it does not name."""

    address: str
    width: int
    height: int
    bandwidth: int
    is_sound: bool


def variant(playlist: str, url: str, size: tuple[int, int] | None = None) -> str | None:
    """The address of the media playlist to read among those that a master playlist offers; None if it is no such one.

    FFmpeg would download all of them.

    Args:
        url: address of the playlist.
        size: (width, height) in pixels: the smallest stream that has it is chosen, otherwise the largest one.
    """
    offered = list(_variants(playlist, url))
    videos = [one for one in offered if not one.is_sound] or offered
    large = [one for one in videos if size and one.width >= size[0] and one.height >= size[1]]
    if large:
        return min(large, key=lambda one: (one.width * one.height, -one.bandwidth)).address
    return max(videos, key=lambda one: (one.width * one.height, one.bandwidth)).address if videos else None


def _variants(playlist: str, url: str) -> Iterator[_Variant]:
    attributes: dict[str, str] | None = None
    for line in map(str.strip, playlist.splitlines()):
        if line.startswith(_VARIANT):
            attributes = dict(_ATTRIBUTE.findall(line))
        elif line and not line.startswith("#") and attributes is not None:
            resolution = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", attributes.get("RESOLUTION", ""))
            width, height = resolution.groups() if resolution else (0, 0)
            bandwidth = re.fullmatch(r"[0-9]{1,12}", attributes.get("BANDWIDTH", ""))
            codecs = attributes.get("CODECS", "").strip('"').lower().split(",")
            is_sound = all(codec.strip().startswith(_SOUND) for codec in codecs)
            with contextlib.suppress(ValueError):  # not an address
                address = urljoin(url, line)
                if urlsplit(address).scheme in ("http", "https") and urlsplit(address).hostname:
                    yield _Variant(address, int(width), int(height), int(bandwidth[0]) if bandwidth else 0, is_sound)
            attributes = None


def live(playlist: str, answer: Answer, read_at: float) -> LivePlaylist | None:
    """The facts of a media playlist; None if it is the playlist of a recording, which has an end.

    The age of the newest segment is that of the playlist by the server's clock, if the answer has both times; otherwise
    half a segment is assumed.
    """
    if "#EXT-X-ENDLIST" in playlist:
        return None
    durations = [min(float(text), LONGEST_SECONDS) for text in _DURATION.findall(playlist)]
    target = _TARGET.search(playlist)
    longest = min(max([float(target[1]) if target else 0.0, *durations]), LONGEST_SECONDS) or USUAL_SECONDS
    age = _age(answer)
    newest = longest / 2 if age is None else min(max(age, 0.0), longest)
    return LivePlaylist(longest, sum(durations[START_INDEX:]) + newest, read_at)


def _age(answer: Answer) -> float | None:
    """Seconds from the last change of an answer's content to the answer, by the server's clock."""
    try:
        date, changed = (parsedate_to_datetime(str(answer.headers[name])) for name in ("Date", "Last-Modified"))
        return (date - changed).total_seconds()
    except (TypeError, ValueError, IndexError):  # missing or malformed
        return None


class BurstDetector:
    """Finds out whether a live stream without a playlist is delivered in bursts, as a server of segments sends it.

    It is if nothing came for most of the time, and then several frames at once, several times in succession. A stall of
    the network does not look like that.
    """

    def __init__(self) -> None:
        self._bursts: deque[_Burst] = deque(maxlen=BURSTS + 1)  # the last one is still going on

    def update(self, now: float, blocked_seconds: float) -> LivePlaylist | None:
        """What a playlist would show, as soon as the delivery in bursts is certain; otherwise None.

        Args:
            now: time.monotonic(), when a frame was read.
            blocked_seconds: how long the read of the frame took.
        """
        if blocked_seconds > BLOCKED_SECONDS:
            self._bursts.append(_Burst(now, blocked_seconds))
            longest = max(burst.waited for burst in self._bursts)
            waited = sum(burst.waited for burst in list(self._bursts)[1:])
            least = min(burst.frames for burst in list(self._bursts)[:-1] or self._bursts)
            is_full = len(self._bursts) > BURSTS and least >= BURST_FRAMES
            if is_full and waited >= WAITED_SHARE * (now - self._bursts[0].began) and longest <= LONGEST_SECONDS:
                return LivePlaylist(longest, longest, now)
        if self._bursts:
            self._bursts[-1].frames += 1
        return None


@dataclass
class _Burst:
    """Frames that come at once.

    Attributes:
        began: when its first frame was read.
        waited: seconds for which nothing came before it.
        frames: their number.
    """

    began: float
    waited: float
    frames: int = 0


class StreamClock:
    """Finds out when a frame was taken and when to release it, from its position in the stream.

    A frame is released when its age reaches the delay. The delay grows if the stream is late, so that frames come at an
    even pace again, and shrinks to the target by releasing frames a little faster than in real time. If it has grown
    too much, frames are released at once until they have caught up.
    """

    def __init__(self, playlist: LivePlaylist) -> None:
        segment = self._segment_seconds = playlist.segment_seconds
        self._target = 1.5 * segment + SPARE_SECONDS
        self._longest = self._target + max(2 * segment, 10.0)
        self._first_taken = playlist.read_at - playlist.begin_seconds
        self._position: float | None = None  # of the latest frame
        self._offset = 0.0  # from a position to the time when it was taken
        self._delay = 0.0
        self._is_catching_up = False

    def schedule(self, position: float, now: float, blocked_seconds: float) -> tuple[float, float]:
        """When a frame was taken, and when to release it, both as time.monotonic().

        Args:
            position: of the frame, in seconds of the stream.
            now: time.monotonic().
            blocked_seconds: how long the read of the frame took.
        """
        step = 0.0 if self._position is None else position - self._position
        if self._position is None:
            self._begin(position, self._first_taken, now)
        elif step < -STEP_SECONDS or position + self._offset > now:  # the stream has begun again, or has jumped
            self._begin(position, now - self._delay, now)
        elif self._is_catching_up and blocked_seconds > BLOCKED_SECONDS:
            # It has waited for the newest segment, so that its clock must have been stopped for a while.
            self._begin(position, now - self._segment_seconds, now)
        self._position = position
        taken = position + self._offset
        age = now - taken
        if step > STEP_SECONDS and age < self._delay:
            self._delay = max(self._target, age)
        if self._is_catching_up:
            self._is_catching_up = age > self._delay
        elif age > self._delay:
            self._delay = age
        else:
            self._delay = max(self._target, self._delay - CATCH_UP * max(step, 0.0))
        if self._delay > self._longest:
            self._delay, self._is_catching_up = self._target, True
        return taken, max(now, taken + self._delay)

    def _begin(self, position: float, taken: float, now: float) -> None:
        self._offset = taken - position
        self._delay, self._is_catching_up = max(self._target, now - taken), False
