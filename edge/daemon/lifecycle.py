"""How the work loop of a long-running command starts, shows that it is alive, waits, retries and stops."""

from collections.abc import Callable
from typing import TypeVar

from edge.daemon.stop import StopEvent
from edge.daemon.systemd import Notifier
from edge.errors import CoralError, LedgerError
from edge.retry import Backoff

WAIT_SECONDS = 0.5  # the longest time without a heartbeat while waiting; also the delay of the reaction to a signal

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818  # not an error
    """The work was asked to stop while it waited."""


class Lifecycle:
    """One process that works until it is stopped, perhaps several times with reloaded settings.

    Only waiting is interrupted: `sleep`, `wait_for` and `retry` raise Stopped. Work itself is not; its loops end at a
    point that they choose, by asking `stopping`. All methods but `stopping` are for the thread of the work loop: a
    heartbeat from another thread would tell the watchdog that a loop is alive which hangs.

    Attributes:
        stop: set when the work is to end.
        ended_by: the first signal that asked the process to end; None if there was none.
        reload: whether the work is to start again with reloaded settings.
        once: the work ends by itself; errors are raised instead of being retried.
        waits_at_start: whether the start waits for a missing Coral or disk, instead of failing: in a service that is
            started, but not with reloaded settings, which are rejected then.
        is_ready: whether the work has begun, see `ready`.
        is_reload: whether the present settings were reloaded and have not proved to work yet.
        on_heartbeat: called at each heartbeat.
    """

    def __init__(self, notifier: Notifier | None = None, *, once: bool = False) -> None:
        """
        Args:
            notifier: the connection to systemd; None: none.
        """
        self.notifier = notifier or Notifier({})
        self.stop = StopEvent()
        self.ended_by: int | None = None
        self.reload = self.is_reload = self.is_ready = False
        self.once, self.waits_at_start = once, self.is_service
        self.on_heartbeat: Callable[[], None] = lambda: None

    @property
    def is_service(self) -> bool:
        """Whether systemd started this process. A service waits for a missing folder or camera at the start."""
        return self.notifier.is_listening

    @property
    def stopping(self) -> bool:
        """Whether the work is to end, or to start again with reloaded settings."""
        return self.stop.is_set()

    def begin(self, *, waits_at_start: bool) -> None:
        """Start the work again, unless a signal has come that asks it to end."""
        self.is_ready = False
        self.waits_at_start, self.on_heartbeat = waits_at_start, lambda: None
        self.stop.clear()
        if self.ended_by is not None or self.reload:
            self.stop.set()

    def reloading(self) -> None:
        """Report to systemd that settings are being reloaded.

        Call it before they are read: a signal that comes later asks for another reload.
        """
        self.reload, self.is_reload = False, True
        self.notifier.reloading()

    def ready(self) -> None:
        """The work has begun: report it to systemd, once. Reloaded settings are confirmed by it."""
        if not self.is_ready:
            self.is_ready, self.is_reload = True, False
            self.notifier.ready()

    def heartbeat(self) -> None:
        """Show that the work goes on; cheap enough to be called for every file and frame."""
        self.on_heartbeat()

    def sleep(self, seconds: float) -> None:
        """Wait, with heartbeats.

        Raises:
            Stopped: at once when `stop` is set.
        """
        self.heartbeat()
        while seconds > 0 and not self.stop.wait(min(seconds, WAIT_SECONDS)):
            seconds -= WAIT_SECONDS
            self.heartbeat()
        if self.stopping:
            raise Stopped

    def wait_for(self, backoff: Backoff) -> None:
        """Sleep until the next attempt is due.

        Raises:
            Stopped: see `sleep`.
        """
        self.sleep(backoff.seconds_left)

    def retry(self, call: Callable[[], T], backoff: Backoff, on: type[Exception] | tuple[type[Exception], ...]) -> T:
        """Call until it succeeds; errors of the types `on` are logged and retried with back-off.

        Raises:
            Stopped: see `sleep`. A call is made first even if `stop` is set.
        """
        while True:
            try:
                result = call()
            except on as error:
                backoff.failed(error)
            else:
                backoff.succeeded()
                return result
            self.wait_for(backoff)

    def at_start(self, make: Callable[[], T]) -> T:
        """Make what the work needs; a service waits until the Coral is there, or the disk can be written to.

        Raises:
            LedgerError, CoralError: raised by `make`, and the start does not wait.
            Stopped: while it waited.
        """
        if not self.waits_at_start:
            return make()
        backoff = Backoff("; trying again")

        def report() -> None:
            self.notifier.ready()  # systemd would end a service that takes long to start
            self.notifier.alive(backoff.reason)

        self.on_heartbeat = report
        return self.retry(make, backoff, (LedgerError, CoralError))
