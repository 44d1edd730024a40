"""Errors that mean that a limit of this process is reached: open files, memory, processes (setrlimit(2))."""

import errno
import resource

_TO_LOAD = ("failed to map segment", "cannot allocate memory", "cannot create shared object descriptor")
_THREAD = "can't start new thread"


def reached(error: BaseException) -> str:
    """The limit that an error, or one of its causes, means, in one line with its value; empty for another error."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        if found := _of(following):
            return found
        following = following.__cause__ or following.__context__
    return ""


def of_memory() -> str:
    """That there is too little memory, in one line with the limit; empty if this process has no limit of memory."""
    limit = _limit(resource.RLIMIT_AS, "ulimit -v, in bytes")
    return f"too little memory{limit}" if limit else ""


def _of(error: BaseException) -> str:
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    if number == errno.EMFILE or "Too many open files" in text:
        return f"too many open files{_limit(resource.RLIMIT_NOFILE, 'ulimit -n')}"
    if number == errno.ENFILE:
        return "too many open files in the whole system (sysctl fs.file-max)"
    if number == errno.EAGAIN or text == _THREAD:
        where = _limit(resource.RLIMIT_NPROC, "ulimit -u") or "; a container may have a limit of its own"
        return f"too many processes or threads{where}"
    # Libraries report it as ImportError (OSError for ctypes), with the loader's text.
    is_of_loader = isinstance(error, ImportError | OSError) and any(one in text for one in _TO_LOAD)
    if number == errno.ENOMEM or isinstance(error, MemoryError) or is_of_loader:
        return f"too little memory{_limit(resource.RLIMIT_AS, 'ulimit -v, in bytes')}"
    return ""


def _limit(kind: int, command: str) -> str:
    value = resource.getrlimit(kind)[0]
    return "" if value == resource.RLIM_INFINITY else f": the limit is {value} ({command})"
