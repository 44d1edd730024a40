"""Memory that the C library keeps from one large image to the next. Without glibc nothing happens."""

import contextlib
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
KEPT_BYTES = 1 << 30


def keep() -> None:
    """From now on, keep what is freed until `give_back`.

    Otherwise the memory of each large image goes back to the kernel, which then has to clear every page again for the
    next one: a sixth of the time in which a PNG of 12 megapixels is decoded.
    """
    with contextlib.suppress(ImportError, AttributeError, OSError):
        libc = _libc()
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def give_back() -> None:
    """Give what is kept back to the kernel."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        _libc().malloc_trim(0)


def _libc() -> Any:
    import ctypes  # an incomplete Python lacks it

    return ctypes.CDLL(None)
