"""Live HLS (RFC 8216): a playlist that names the latest segments, each of which arrives at once.

Frames of a segment are released at the pace of the stream's own clock: given out as they arrive, most of them would be
replaced by newer ones within milliseconds.
"""

import re
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
CATCH_UP = 0.05  # how much faster than real time frames are released while their age exceeds the target

_VARIANT = re.compile(r"^#EXT-X-STREAM-INF:.*\n(?:#.*\n|\s*\n)*([^#\s].*)$", re.MULTILINE)
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


def variant(playlist: str, url: str) -> str | None:
    """The address of the first media playlist that a master playlist names; None if it is not a master playlist.

    Args:
        url: address of the playlist.
    """
    found = _VARIANT.search(playlist.replace("\r\n", "\n"))
    if found is None:
        return None
    try:
        address = urljoin(url, found[1].strip())
        return address if urlsplit(address).scheme in ("http", "https") else None
    except ValueError:
        return None


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
