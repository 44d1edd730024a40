"""The fork server, from which decoding processes are forked with their modules already loaded."""

import contextlib
import signal
from multiprocessing import forkserver, resource_tracker


def start_server(preloaded: str) -> None:
    """Start the server in the background, because loading takes a while; does nothing if it runs.

    Args:
        preloaded: name of the module that it loads.
    """
    forkserver.set_forkserver_preload([preloaded])
    with contextlib.suppress(OSError):  # tried again, and reported, when a process is started
        resource_tracker.ensure_running()  # started first: otherwise it would unblock signals
        # Ctrl-C goes to every process of a terminal. The server ignores it, but not before it has started.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
