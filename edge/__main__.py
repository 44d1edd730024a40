"""`python -m edge`, and what the command `edge-detect` calls."""

import atexit
import gc
import os
import sys
import threading


def run() -> None:
    """The command line, in a process that does nothing else: it may end without returning."""
    gc.disable()  # nothing that is allocated while modules are imported is garbage; the commands enable it again
    if os.getpid() == 1:  # in a container
        from edge.process.init import separate

        separate()
    from edge.cli import main  # here, for `watch`'s processes import this module again, and need no command line
    from edge.cli.commands import Finished

    try:
        main(prog_name="edge-detect")
    except Finished as finished:
        _end_at_once(finished.status)
        raise
    finally:
        # The process goes, and all memory with it: to look for garbage first takes a tenth of the time of a short run.
        gc.freeze()


def _end_at_once(status: int) -> None:
    """End the process without taking the interpreter apart; returns if something is left that may need that.

    Exit handlers run, and the standard streams are flushed. If that fails, the interpreter tries again and reports it.
    """
    if threading.active_count() > 1:
        return
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(status)


if __name__ == "__main__":
    run()
