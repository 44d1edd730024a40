"""`python -m edge`, and what the command `edge-detect` calls."""

import gc

# Nothing of what imports make is garbage, but after each 700 objects of it Python looks whether some is. To look less
# often, and at the end, when the process goes anyway, not at all, takes a tenth off the time of a short run.
gc.set_threshold(50_000)

from edge.cli import main  # noqa: E402


def run() -> None:
    """The command line."""
    try:
        main(prog_name="edge-detect")
    finally:
        gc.freeze()


if __name__ == "__main__":
    run()
