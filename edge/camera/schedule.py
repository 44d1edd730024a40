"""The times of day at which a camera is used, in local time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time

from edge.errors import SettingsError, printable


@dataclass(frozen=True)
class Span:
    """A part of the day, without its end; if `end` is before `begin`, it includes midnight."""

    begin: time
    end: time

    def holds(self, at: time) -> bool:
        """Whether a time of day lies in this part."""
        if self.begin < self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end


def span(text: str) -> Span:
    """Parse a part of the day, such as 08:00-20:00.

    Raises:
        SettingsError: the text is not a part of the day.
    """
    match = re.fullmatch(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", text)
    try:
        if match is None:
            raise ValueError
        hours = [int(number) for number in match.groups()]
        # 24:00 is commonly written for the end of a day.
        begin, end = time(hours[0], hours[1]), time(0) if hours[2:] == [24, 0] else time(hours[2], hours[3])
    except ValueError:
        raise SettingsError(f"{printable(text)}: no part of a day; write it as 08:00-20:00") from None
    if begin == end:
        raise SettingsError(f"{printable(text)}: begins when it ends")
    return Span(begin, end)


def is_open(spans: Sequence[Span], now: datetime) -> bool:
    """Whether the camera is used at a local time: in one of the spans, or always if there are none."""
    return not spans or any(one.holds(now.time()) for one in spans)
