"""`python -m edge`: the same as `edge-detect`."""

from edge.cli import main

if __name__ == "__main__":
    main(prog_name="edge-detect")
