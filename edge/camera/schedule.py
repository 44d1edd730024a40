"""The times of day at which a camera works, in local time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time

from edge.errors import SettingsError, printable


@dataclass(frozen=True)
class Span:
    """A time span of each day, without its end; one whose end comes before its beginning passes midnight."""

    begin: time
    end: time

    def holds(self, at: time) -> bool:
        """Whether a time of day lies within the span."""
        if self.begin < self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end


def span(text: str) -> Span:
    """Parse a time span such as 08:00-20:00.

    Raises:
        SettingsError: the text is not a valid time span.
    """
    match = re.fullmatch(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", text)
    try:
        if match is None:
            raise ValueError
        hours = [int(number) for number in match.groups()]
        # 24:00 is how people write the end of a day.
        begin, end = time(hours[0], hours[1]), time(0) if hours[2:] == [24, 0] else time(hours[2], hours[3])
    except ValueError:
        raise SettingsError(f"{printable(text)}: invalid time span; write it as 08:00-20:00") from None
    if begin == end:
        raise SettingsError(f"{printable(text)}: invalid time span; its beginning and its end are the same")
    return Span(begin, end)


def is_open(spans: Sequence[Span], now: datetime) -> bool:
    """Whether a camera works at the time `now`: within one of the spans, or always if there are none."""
    return not spans or any(one.holds(now.time()) for one in spans)
