"""`python -m edge`, and what the command `edge-detect` calls."""

import gc
import os


def run() -> None:
    """The command line."""
    if os.getpid() == 1:  # in a container
        from edge.process.init import separate

        separate()
    from edge.cli import main  # here, for `watch`'s processes import this module again, and need no command line

    try:
        main(prog_name="edge-detect")
    finally:
        # The process goes, and all memory with it: to look for garbage first takes a tenth of the time of a short run.
        gc.freeze()


if __name__ == "__main__":
    run()
