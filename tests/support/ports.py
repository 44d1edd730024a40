"""Ports for the servers of tests."""

import itertools
import os
import random
import socket

FIRST, COUNT = 10_000, 2_000  # below the ports that the kernel chooses; so many for each process of pytest-xdist
_offsets = itertools.count(random.randrange(COUNT))


def free_port() -> int:
    """A port of 127.0.0.1 that is free, and that neither this nor another process of the tests gets soon again.

    The kernel's choice (port 0) can be that of another server, or of a client, before the server listens.
    """
    own = FIRST + int(os.environ.get("PYTEST_XDIST_WORKER", "gw10").removeprefix("gw")) % 11 * COUNT
    for offset in itertools.islice(_offsets, COUNT):
        port = own + offset % COUNT
        with socket.socket() as listening:
            try:
                listening.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")
