"""The server that processes of ours are forked from: it has loaded already what they need."""

import contextlib
import signal
from multiprocessing import forkserver, resource_tracker


def start_server(preloaded: str) -> None:
    """Let it begin, which takes a while, beside what else there is to do; nothing happens if it runs.

    Args:
        preloaded: the module that it loads.
    """
    forkserver.set_forkserver_preload([preloaded])
    with contextlib.suppress(OSError):  # it is tried again, and told of, when a process is to be started
        resource_tracker.ensure_running()  # by itself, for it would let signals through
        # Ctrl-C at a terminal goes to all, and until the server knows that it is none of its business, it would die.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
