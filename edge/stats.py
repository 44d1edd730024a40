"""What a run has done so far."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.verdict import Answer, Failure, Verdict


@dataclass
class Stats:
    """Counts, as a person wants to read them at the end.

    Attributes:
        known: files that had been answered before.
    """

    labels: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    known: int = 0
    began: float = field(default_factory=time.monotonic)
    last: Verdict | None = None
    last_error: Failure | None = None
    _samples: deque[tuple[float, int]] = field(default_factory=lambda: deque([(time.monotonic(), 0)], maxlen=60))

    def count(self, answer: Answer) -> None:
        if isinstance(answer, Verdict):
            self.labels[answer.label] = self.labels.get(answer.label, 0) + 1
            self.last = answer
        else:
            self.failures += 1
            self.last_error = answer

    def sample(self) -> None:
        """Called often: once a second the rate takes note."""
        now = time.monotonic()
        if now - self._samples[-1][0] >= 1.0:
            self._samples.append((now, self.answered))

    @property
    def rate(self) -> float:
        """Verdicts a second, of the last minute."""
        (since, before), now = self._samples[0], time.monotonic()
        return (self.answered - before) / max(1.0, now - since)

    @property
    def answered(self) -> int:
        return sum(self.labels.values())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def as_json(self) -> dict[str, Any]:
        """For `edge-detect status`."""
        return {
            "labels": self.labels,
            "failed": self.failures,
            "answered_before": self.known,
            "per_second": round(self.rate, 3),
            "last": self.last.as_json() if self.last else None,
            "last_error": self.last_error.as_json() if self.last_error else None,
        }

    @property
    def parts(self) -> list[str]:
        """What was counted, in words; nothing of what there is none."""
        return [
            *([in_words(self.labels)] if self.labels else []),
            *([f"{self.failures} failed"] if self.failures else []),
            *([f"{self.known} answered before"] if self.known else []),
        ]

    def __str__(self) -> str:
        rate = f" ({self.answered / self.seconds:.1f} a second)" if self.answered else ""
        return f"{', '.join(self.parts) or 'nothing new'} in {self.seconds:.1f} s{rate}"


def in_words(labels: Mapping[str, int]) -> str:
    """How many answers have each label, such as "3 FAKE, 12 REAL, 1 UNSURE"; nothing of none."""
    return ", ".join(f"{count} {label}" for label, count in sorted(labels.items()))
