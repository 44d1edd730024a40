"""When a camera is to look: times of the day, by the clock of the place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time

from edge.errors import SettingsError, printable


@dataclass(frozen=True)
class Span:
    """A part of the day, its end excluded; one that ends before it begins goes over midnight."""

    begin: time
    end: time

    def holds(self, at: time) -> bool:
        if self.begin < self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end


def span(text: str) -> Span:
    """A span from text such as 08:00-20:00.

    Raises:
        SettingsError: it is none.
    """
    match = re.fullmatch(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", text)
    try:
        if match is None:
            raise ValueError
        hours = [int(number) for number in match.groups()]
        # 24:00 is how people write the end of a day.
        begin, end = time(hours[0], hours[1]), time(0) if hours[2:] == [24, 0] else time(hours[2], hours[3])
    except ValueError:
        raise SettingsError(f"{printable(text)}: no part of a day; write it as 08:00-20:00") from None
    if begin == end:
        raise SettingsError(f"{printable(text)}: begins when it ends")
    return Span(begin, end)


def is_open(spans: Sequence[Span], now: datetime) -> bool:
    """Whether one of the spans holds the present time; always, if there is none."""
    return not spans or any(one.holds(now.time()) for one in spans)
