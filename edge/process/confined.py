"""What a child process does first, so that it outlives neither its parent nor its time, whatever it loads then."""

import contextlib
import os
import resource
import signal

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG (prctl(2))


def confine(parent: int, processor_seconds: int | None) -> None:
    """Have the kernel kill this process when its parent ends, and when it has computed for too long.

    A library that was loaded by half may spin without end, and a parent that was killed ends nobody.

    Args:
        parent: process number of the parent, which waits for this process in the thread that has started it.
        processor_seconds: time limit of all threads together; None: no limit.
    """
    if processor_seconds is not None:
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        limit = processor_seconds if most == resource.RLIM_INFINITY else min(processor_seconds, most)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, most))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    # With too little memory even ctypes may fail to load: then only the time limit holds.
    with contextlib.suppress(ImportError, OSError, AttributeError, MemoryError):
        import ctypes

        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it has ended before
        os._exit(1)
