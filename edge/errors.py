"""All errors that this package raises on purpose, in one tree.

The text of each is one line and names the file. The command line prints it and
exits with a status.
"""

import os


class EdgeDetectError(Exception):
    """Root of the tree: an error that a user can fix."""


class ImageError(EdgeDetectError):
    """An image that gets no verdict; other images are not affected.

    Attributes:
        path: as the caller named it.
        reason: one line, without the path.
    """

    def __init__(self, path: str | bytes | os.PathLike[str], reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


class UnreadableFileError(ImageError):
    """The file cannot be read: missing, forbidden, not a regular file, too large."""


class UndecodableImageError(ImageError):
    """The file was read, but is not an acceptable image."""


class ModelError(EdgeDetectError):
    """A model file is missing, damaged, or not an image classifier."""


class HubError(EdgeDetectError):
    """A hub of models cannot be reached, refuses a request, or offers files that are not accepted."""


class RuntimeMissingError(EdgeDetectError):
    """The LiteRT runtime is not installed, or does not load."""


class NotInstalledError(EdgeDetectError):
    """An optional library is not installed; the text says how to install it."""


class CameraError(EdgeDetectError):
    """A camera cannot be opened, or was lost."""


class RoiError(EdgeDetectError):
    """A region of the camera's picture is invalid, or exceeds the picture."""


class CoralError(EdgeDetectError):
    """A Coral cannot be used, or was lost; the text is the reason and the fix.

    Attributes:
        reason: one line.
        fix: what helps; empty if that is unknown.
    """

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(f"{reason}: {fix}" if fix else reason)
        self.reason, self.fix = reason, fix


class LedgerError(EdgeDetectError):
    """The ledger cannot be opened, read or written."""


class BusyError(EdgeDetectError):
    """Another process watches the same folder already."""


class WorkerError(EdgeDetectError):
    """A decoding process cannot be started."""


class ServerError(EdgeDetectError):
    """The server cannot start, or a server that was asked does not answer as ours do."""


class BrokerError(EdgeDetectError):
    """An MQTT broker cannot be reached, refuses, or was lost; the text has no password."""


class ServiceError(EdgeDetectError):
    """A service cannot be installed, removed or queried."""


class FleetError(EdgeDetectError):
    """The queue of a fleet cannot be reached or used, or an image of it could not be tried."""


class SettingsError(EdgeDetectError):
    """The settings file cannot be read, or holds an unknown name or an invalid value."""


class SourceError(EdgeDetectError):
    """The folder cannot be watched."""


class MovedAwayError(SourceError):
    """The path of the watched folder leads to another folder now."""


class CommandStoppedError(EdgeDetectError):
    """A user's command was killed because this process was stopped."""


class BenchmarkError(EdgeDetectError):
    """There is nothing to measure, or a measured command failed."""


class SinkError(EdgeDetectError):
    """An output cannot be written.

    Attributes:
        delivered: id of the last answer that was written nevertheless; None if none was.
    """

    delivered: int | None = None


class NotRunnableError(SinkError):
    """A user's command cannot be started."""


def reason_of(error: OSError | ValueError) -> str:
    """Why the operating system refused something, in lower case and without the path: "permission denied"."""
    missing = error.filename if isinstance(error, FileNotFoundError) else None
    if isinstance(missing, str | bytes | os.PathLike) and os.path.islink(missing):
        return "broken symbolic link"
    return (getattr(error, "strerror", None) or str(error)).lower()


def printable(path: str | bytes | os.PathLike[str]) -> str:
    """A file name of any bytes as one line of safe text.

    Control characters (newlines, terminal escapes) and bytes that are not UTF-8
    become backslash escapes, so that a hostile name can neither forge a line of
    output nor control the terminal.
    """
    text = os.fsdecode(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
