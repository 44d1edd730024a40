"""The first process of a container: it adopts processes whose parents have ended, and must collect their statuses.

A user's command may leave processes behind. In a container without an init they become children of this program, and
stay zombies when they end, until no further process can be started. To collect them beside `subprocess`, which waits
for its own children, would be a race. So the program runs in a child, and the first process does nothing else.
"""

import contextlib
import os
import signal

FORWARDED = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2))
_OF_TERMINAL = 0x80  # SI_KERNEL (sigaction(2)): the terminal sends Ctrl-C to the child as well


def separate() -> None:
    """Go on in a child of this process, which waits for it, forwards signals to it and exits with its status.

    To be called before threads are started. Returns in the child only.
    """
    awaited = FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child:
        _wait(child, awaited)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(child: int, awaited: frozenset[signal.Signals]) -> None:
    while True:
        received = signal.sigwaitinfo(awaited)
        if received.si_signo == signal.SIGCHLD:
            status = _collected(child)
            if status is not None:
                os._exit(status if status >= 0 else 128 - status)  # of a signal as a shell reports it
        elif received.si_code != _OF_TERMINAL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, received.si_signo)


def _collected(child: int) -> int | None:
    """Collect the statuses of all children that have ended; that of `child`, a signal as negative number, or None."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                found = os.waitstatus_to_exitcode(ended[1])
    return found
