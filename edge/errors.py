"""Every error that this package raises on purpose, in one tree.

Library code raises these; only the command line turns them into a line of
text and an exit status. Their text is one line and names the file.
"""

import os


class EdgeDetectError(Exception):
    """Root of the tree: anything that a user can mend."""


class ImageError(EdgeDetectError):
    """An image that gets no verdict; the rest of the work goes on.

    Attributes:
        path: the file as it was named by the caller.
        reason: one line, without the path.
    """

    def __init__(self, path: str | bytes | os.PathLike[str], reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


class UnreadableFileError(ImageError):
    """The bytes could not be had: missing, forbidden, not a regular file, too large."""


class UndecodableImageError(ImageError):
    """The bytes were read, but they are no image that we accept."""


class ModelError(EdgeDetectError):
    """A model file that is missing, damaged, or does not keep the contract."""


class RuntimeMissingError(EdgeDetectError):
    """The LiteRT runtime that was asked for is not installed."""


class NotInstalledError(EdgeDetectError):
    """An optional part is not installed; the text says what to install."""


class CameraError(EdgeDetectError):
    """A camera that cannot be opened, or that has gone."""


class RoiError(EdgeDetectError):
    """A part of the camera's picture that cannot be understood, or that is not there."""


class CoralError(EdgeDetectError):
    """A Coral that cannot be used, or that has gone; the text says what to do."""


class LedgerError(EdgeDetectError):
    """The record of verdicts cannot be opened or written."""


class BusyError(EdgeDetectError):
    """Another process does the same work already."""


class WorkerError(EdgeDetectError):
    """A process that decodes cannot be started."""


class ServiceError(EdgeDetectError):
    """The background service cannot be installed, removed or asked."""


class SettingsError(EdgeDetectError):
    """The settings file cannot be read, or says something that means nothing."""


class SourceError(EdgeDetectError):
    """The folder to watch cannot be watched."""


class MovedAwayError(SourceError):
    """The name of the folder leads to another one now."""


class CommandStoppedError(EdgeDetectError):
    """A command of the user's was ended because we are to end."""


class BenchmarkError(EdgeDetectError):
    """There is nothing to measure, or what was to be measured has failed."""


class SinkError(EdgeDetectError):
    """An output of ours cannot be written.

    Attributes:
        told: the id of the last answer that it has taken nevertheless; None if it has taken none.
    """

    told: int | None = None


class NotRunnableError(SinkError):
    """A command of the user's cannot even be begun."""


def reason_of(error: OSError | ValueError) -> str:
    """Why the operating system refused something, in lower case and without the path: "permission denied"."""
    missing = error.filename if isinstance(error, FileNotFoundError) else None
    if isinstance(missing, str | bytes | os.PathLike) and os.path.islink(missing):
        return "broken symbolic link"
    return (getattr(error, "strerror", None) or str(error)).lower()


def printable(path: str | bytes | os.PathLike[str]) -> str:
    """A file name of any bytes on one line of safe text.

    Control characters (a newline, a terminal's escape) and bytes that are no
    UTF-8 come out as backslash escapes, so that a hostile name can neither
    forge a line of output nor steer the terminal.
    """
    text = os.fsdecode(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
