"""How far events were reported, and which devices a broker keeps: a file that survives restarts."""

import json
import logging
import time
from pathlib import Path
from typing import Any

from edge.errors import printable, reason_of
from edge.files import write_own
from edge.serve.mqtt.topics import Place

_log = logging.getLogger(__name__)

FILE = "mqtt.json"
FORMAT = 1
MAX_BYTES = 1_000_000
SAVE_SECONDS = 5.0  # after a kill, the events of this time are reported again
SEEN_SECONDS = 6 * 3600.0  # exactness of `seen`, so that the file is rarely written

Device = tuple[str, Place]  # address of the broker, and the place there


class Progress:
    """What is known of the broker.

    Attributes:
        cursors: by the ledger's name (`edge.store.history.ledger_name`): the last answer whose event the broker has
            acknowledged, or which needs none, as its id and time; the time tells when another ledger lies at the path.
        devices: those that the broker keeps, and when each was last seen, seconds since the epoch.
        is_first: whether there was no file: no event was ever reported.
        is_damaged: whether the file could not be read.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._saved_at, self._has_changed = file, float("-inf"), False
        self.cursors: dict[str, tuple[int, float]] = {}
        self.devices: dict[Device, float] = {}
        self.is_first = self.is_damaged = False
        self._load()

    def advance(self, ledger: str, id_: int, answered_at: float) -> None:
        """Note that all answers of a ledger up to this one are reported."""
        if self.cursors.get(ledger) != (id_, answered_at):
            self.cursors[ledger] = id_, answered_at
            self._has_changed = True

    def saw(self, device: Device, at: float | None = None) -> None:
        """Note that the broker keeps a device.

        Args:
            at: when its source was last there, seconds since the epoch; None: it is there now.
        """
        when = time.time() if at is None else at
        if device not in self.devices or when - self.devices[device] > SEEN_SECONDS:
            self.devices[device] = when
            self._has_changed = True

    def forget(self, device: Device) -> None:
        """Note that the broker does not keep a device any more."""
        self.devices.pop(device, None)
        self._has_changed = True

    def save(self, *, now: bool = False) -> None:
        """Write the file if anything has changed, at most every SAVE_SECONDS.

        Args:
            now: at once.
        """
        if not self._has_changed or (time.monotonic() - self._saved_at < SAVE_SECONDS and not now):
            return
        self._saved_at = time.monotonic()
        devices = [
            [broker, place.prefix, place.node, place.kind, place.id, seen]
            for (broker, place), seen in sorted(self.devices.items())
        ]
        content = json.dumps({"format": FORMAT, "cursors": self.cursors, "devices": devices})
        try:
            write_own(self._file, content.encode("ascii"))
            self._has_changed = False
        except OSError as error:
            reason = reason_of(error)
            _log.warning(
                "%s: cannot note which events were reported; after a restart they are reported again: %s",
                printable(self._file),
                reason,
            )

    def _load(self) -> None:
        try:
            with open(self._file, "rb") as opened:
                kept = json.loads(opened.read(MAX_BYTES))
            self._take(kept)
        except FileNotFoundError:
            self.is_first = True
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "damaged"
            _log.warning("%s: %s; the last events are reported again by MQTT", printable(self._file), reason)
            self.is_damaged = True

    def _take(self, kept: Any) -> None:
        if kept["format"] != FORMAT:
            raise ValueError("another format")
        cursors = {str(name): (int(id_), float(at)) for name, (id_, at) in kept["cursors"].items()}
        devices = {
            (str(broker), Place(str(prefix), str(node), _kind(kind), str(id_))): float(seen)
            for broker, prefix, node, kind, id_, seen in kept["devices"]
        }
        self.cursors, self.devices = cursors, devices


def _kind(kind: object) -> str:
    if kind not in ("board", "camera", "folder"):
        raise ValueError("another kind of device")
    return str(kind)
