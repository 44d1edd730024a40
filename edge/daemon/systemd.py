"""Service notifications to systemd (sd_notify(3)); does nothing outside a service."""

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends datagrams to the service manager that started this process, if there is one."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        is_watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog_seconds = int(environment.get("WATCHDOG_USEC", "0")) / 1e6 if is_watched else 0.0
        self._ping_seconds = watchdog_seconds / 2
        self._pinged_at = 0.0
        self._status = ""

    @property
    def is_listening(self) -> bool:
        """Whether a service manager started this process."""
        return self._socket is not None

    def ready(self) -> None:
        self._send("READY=1")

    def reloading(self) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self, status: str) -> None:
        """Send a heartbeat and the status text. Call it only from the work loop, so that none is sent when it hangs."""
        now = time.monotonic()
        if self._socket is None or now - self._pinged_at < min(1.0, self._ping_seconds or 1.0):
            return
        self._pinged_at = now
        message = ["WATCHDOG=1"] if self._ping_seconds else []
        if status != self._status:
            self._status = status
            message.append(f"STATUS={status}")
        if message:
            self._send("\n".join(message))

    def _send(self, message: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the service manager is gone: the work goes on
                self._socket.sendto(message.encode("utf-8", "replace"), self._address)
