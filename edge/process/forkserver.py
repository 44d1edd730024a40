"""The fork server of multiprocessing: it imports the decoders once, and forks the decoding processes."""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from multiprocessing import current_process, forkserver, resource_tracker, util

SOCKET_FOLDERS = ("/tmp", "/var/tmp")  # short enough for a socket's address
MAX_ADDRESS_BYTES = 107  # of a Unix socket; the kernel's 108 include a final zero byte
OWN_ADDRESS_BYTES = len("/pymp-12345678/listener-12345678")  # what multiprocessing adds to the temporary folder
_lock = threading.Lock()


def start_server(*preloaded: str) -> None:
    """Start the fork server in the background, unless it runs.

    Errors are suppressed here: they occur again, and are reported, when a process is started.

    Args:
        preloaded: names of the modules that the server imports for its processes. One that is missing is passed over.
    """
    forkserver.set_forkserver_preload(["edge.process.orphan", *preloaded])
    with contextlib.suppress(OSError):
        with _lock:
            _shorten_socket_address()
            _spare_resource_tracker()
        resource_tracker.ensure_running()  # started first: otherwise its start would unblock SIGINT
        # Ctrl-C at a terminal reaches every process. It would kill the server before that has begun to ignore it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _spare_resource_tracker() -> None:
    """Have multiprocessing write to /dev/null instead of starting its resource tracker, unless that runs already.

    That process takes 7 MB and 30 ms, to remove named semaphores and shared memory of killed programs; the decoding
    processes have none.
    """
    tracker = vars(resource_tracker)["_resource_tracker"]
    if getattr(tracker, "_fd", 0) is None:
        tracker._fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _shorten_socket_address() -> None:
    """Have multiprocessing create its socket in /tmp or /var/tmp if $TMPDIR is too long for a socket's address.

    Later versions of Python do so themselves (multiprocessing.util._get_base_temp_dir).
    """
    settings: dict[str, object] = vars(current_process())["_config"]  # where multiprocessing keeps its folder
    if settings.get("tempdir") or len(os.fsencode(tempfile.gettempdir())) + OWN_ADDRESS_BYTES <= MAX_ADDRESS_BYTES:
        return
    for folder in SOCKET_FOLDERS:
        with contextlib.suppress(OSError):
            settings["tempdir"] = made = tempfile.mkdtemp(prefix="pymp-", dir=folder)
            # With the options that multiprocessing itself uses: after everything else that ends with the process.
            util.Finalize(None, shutil.rmtree, args=(made,), kwargs={"ignore_errors": True}, exitpriority=-100)
            return
