"""The line in the head of every page: the state of the board, and the answers of today."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.errors import LedgerError
from edge.serve.entries import IDLE, PROBLEM, WORKING
from edge.verdict import LABELS

if TYPE_CHECKING:
    from edge.serve.app import Services

KEPT_SECONDS = 3.0  # the pages of several people share what was read


@dataclass(frozen=True)
class Summary:
    """What the head shows.

    Attributes:
        state: WORKING, PROBLEM, or IDLE if no watcher or camera runs.
        counts: of today's answers by label; None if they cannot be read.
        midnight: when today began, as <input type="datetime-local"> takes it.
    """

    state: str
    counts: dict[str, int] | None
    midnight: str

    @property
    def answers(self) -> int:
        """Number of answers."""
        return sum((self.counts or {}).values())

    @property
    def fakes(self) -> int:
        """Number of answers with the label FAKE."""
        return (self.counts or {}).get(LABELS[False], 0)


class Summaries:
    """Reads the summary, at most once in KEPT_SECONDS; for one event loop."""

    def __init__(self, services: "Services") -> None:
        self._services = services
        self._kept: Summary | None = None
        self._read_at = float("-inf")

    async def get(self) -> Summary:
        """The summary now."""
        if self._kept is None or time.monotonic() - self._read_at >= KEPT_SECONDS:
            self._kept = await self._services.in_thread(self._read)
            self._read_at = time.monotonic()
        return self._kept

    def _read(self) -> Summary:
        services = self._services
        now = time.localtime()
        midnight = time.mktime((now.tm_year, now.tm_mon, now.tm_mday, 0, 0, 0, 0, 0, -1))
        shown = f"{now.tm_year:04}-{now.tm_mon:02}-{now.tm_mday:02}T00:00"
        running = services.cameras.running()
        classifier = services.classifier
        is_problem = not classifier.is_healthy or bool(classifier.trouble)
        is_problem = is_problem or any(one.error or one.status.get("trouble") for one in running)
        try:
            counts: dict[str, int] | None = services.history.counts_since(midnight)
        except LedgerError:
            counts, is_problem = None, True
        return Summary(PROBLEM if is_problem else WORKING if running else IDLE, counts, shown)
