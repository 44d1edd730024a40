"""Timing of alternatives in turn, so that a machine that is busy for a while slows all of them."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

ROUNDS = 5
Name = TypeVar("Name")


@dataclass(frozen=True)
class Round:
    """One turn of something that is measured.

    Attributes:
        images: number of images done.
        seconds: duration of the turn.
        cpu_seconds: processor time, of all threads together.
        each: seconds an image of every step of the turn.
    """

    images: int
    seconds: float
    cpu_seconds: float
    each: tuple[float, ...]


@dataclass(frozen=True)
class Spread:
    """What the rounds of a measurement gave: the middle one, and how far the others lie."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of at least one value."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1])


Way = Callable[[float], Round]  # one turn of about so many seconds, and of at least one step


@dataclass(frozen=True)
class Timing:
    """All turns of something that was measured."""

    rounds: tuple[Round, ...]

    @property
    def median_seconds(self) -> float:
        """Median time of an image, seconds."""
        return statistics.median(self._each)

    @property
    def p95_seconds(self) -> float:
        """95th percentile of the time of an image, seconds (nearest rank)."""
        each = sorted(self._each)
        return each[math.ceil(0.95 * len(each)) - 1]

    @property
    def per_second(self) -> float:
        """Images a second: the median of the turns."""
        return statistics.median(turn.images / turn.seconds for turn in self.rounds)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of an image, seconds: the median of the turns."""
        return statistics.median(turn.cpu_seconds / turn.images for turn in self.rounds)

    @property
    def _each(self) -> list[float]:
        return [seconds for turn in self.rounds for seconds in turn.each]


def steps(step: Callable[[], int]) -> Way:
    """A turn that repeats a step; the step returns how many images it did."""

    def way(seconds: float) -> Round:
        images, each = 0, []
        cpu, began = time.process_time(), time.perf_counter()
        before = began
        while True:
            done = step()
            now = time.perf_counter()
            images += done
            each.append((now - before) / done)
            before = now
            if now - began >= seconds:
                return Round(images, now - began, time.process_time() - cpu, tuple(each))

    return way


def measure(ways: Mapping[Name, Way], seconds: float, rounds: int = ROUNDS) -> dict[Name, Timing]:
    """Measure all ways in turn, every other round in reverse order, after one short turn each to warm up.

    Args:
        ways: what to measure, by name.
        seconds: for each way, over all rounds.
    """
    for way in ways.values():
        way(0.0)
    taken: dict[Name, list[Round]] = {name: [] for name in ways}
    for turn in range(rounds):
        names = list(ways)
        for name in names if turn % 2 == 0 else reversed(names):
            taken[name].append(ways[name](seconds / rounds))
    return {name: Timing(tuple(turns)) for name, turns in taken.items()}
