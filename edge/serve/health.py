"""What the pages show of the board itself: heat, power, disks, ledgers."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge.board import THROTTLING, Board, Throttling
from edge.errors import LedgerError, reason_of
from edge.files import free_bytes
from edge.store import history

KEPT_SECONDS = 10.0
CONDITIONS = dict(zip(THROTTLING, ("undervoltage", "capped", "throttled", "hot"), strict=True))  # keys of their texts


@dataclass(frozen=True)
class Health:
    """The board.

    Attributes:
        model: its name; empty on a PC.
        celsius: of the hottest thermal zone; None if unknown.
        throttling: None on other boards than a Raspberry Pi.
    """

    model: str
    celsius: float | None
    throttling: Throttling | None

    @property
    def is_throttled(self) -> bool | None:
        """Whether it is slowed down, or has too little voltage; None if unknown."""
        return None if self.throttling is None else bool(self.throttling.now)


class HealthReader:
    """Reads the board's files, at most once in KEPT_SECONDS."""

    def __init__(self, board: Board | None = None) -> None:
        self._board, self._read_at = board or Board(), float("-inf")
        self._found = Health("", None, None)

    def read(self) -> Health:
        """The board's health now. Blocks while the firmware is asked."""
        if time.monotonic() - self._read_at >= KEPT_SECONDS:
            board = self._board
            self._found = Health(board.model or "", board.celsius, board.throttling())
            self._read_at = time.monotonic()
        return self._found


@dataclass(frozen=True)
class LedgerState:
    """A ledger.

    Attributes:
        size: bytes of the file; None if it cannot be seen.
        free: bytes free on its disk; None if unknown.
        error: why it cannot be read; empty if it can.
    """

    path: str
    size: int | None
    free: int | None
    error: str


def ledgers(paths: Iterable[Path]) -> list[LedgerState]:
    """The state of each ledger. Blocks."""
    return [_ledger(path) for path in paths]


def _ledger(path: Path) -> LedgerState:
    size, free, error = None, None, ""
    try:
        size = os.stat(path).st_size
        free = free_bytes(path.parent)
        with history.reading(path):
            pass
    except OSError as found:
        error = reason_of(found)
    except LedgerError as found:
        error = str(found)
    return LedgerState(os.fspath(path), size, free, error)
