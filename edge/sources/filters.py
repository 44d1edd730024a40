"""Selection of the files to classify, by their names."""

import fnmatch
import os
from collections import Counter

from edge.imaging.preprocess import FIGURE_SUFFIX, SUFFIXES
from edge.records import dataclass

# Suffixes of unfinished files of browsers, editors and copying programs; rsync's are hidden.
UNFINISHED = ("~", ".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".swp")

# Suffixes of pictures that are not read: newer or rarer formats, and the raw files of cameras.
UNREAD = (
    frozenset(
        (".jxl", ".jp2", ".j2k", ".jxr", ".heics", ".avifs", ".psd", ".tga", ".exr", ".pbm", ".pgm", ".ppm", ".pnm")
    )
    | frozenset(
        (".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef")
    )
    | frozenset(
        (".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f")
    )
)

# Folders for thumbnails and deleted files that operating systems and network drives create in shared folders. Hidden
# folders, such as .Trash-1000, are never entered.
SYSTEM_FOLDERS = ("@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found")


@dataclass(frozen=True)
class Names:
    """Selects files by patterns such as `*.jpg`; a pattern with a slash is compared with the path below the folder.

    Case is ignored, because cameras write .JPG. Hidden and unfinished files are selected only by a pattern that also
    begins with a dot, or ends with such a suffix: `.*` or `*.tmp`.

    Attributes:
        include: patterns of which at least one must match; if empty, the file must have the suffix of an image.
        exclude: patterns of which none may match.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def admit(self, path: str, root: str) -> bool:
        """Whether a file is selected, and is not a figure that `classify --figure` drew.

        Args:
            root: the folder that patterns with a slash are relative to.
        """
        name = path[path.rfind("/") + 1 :].lower()
        if not (self.include or self.exclude):  # no unfinished file has the suffix of an image
            return name[name.rfind(".") :] in SUFFIXES and not name.startswith(".") and not _is_figure(path)
        chosen_by = [pattern.lower() for pattern in self.include if _matches(path, root, pattern)]
        if name.startswith(".") and not any(os.path.basename(pattern).startswith(".") for pattern in chosen_by):
            return False
        if name.endswith(UNFINISHED) and not any(pattern.endswith(UNFINISHED) for pattern in chosen_by):
            return False
        is_chosen = bool(chosen_by) if self.include else os.path.splitext(name)[1] in SUFFIXES
        return is_chosen and not any(_matches(path, root, pattern) for pattern in self.exclude) and not _is_figure(path)

    def admit_folder(self, path: str, root: str) -> bool:
        """Whether a sub-folder is entered: not if it is hidden, one of SYSTEM_FOLDERS, or excluded.

        A pattern excludes a folder if it matches the folder, or everything in it, such as `drafts/*`.

        Args:
            root: see `admit`.
        """
        name = os.path.basename(path).lower()
        if name.startswith(".") or name in SYSTEM_FOLDERS:
            return False
        patterns = [pattern.removesuffix("/*") for pattern in self.exclude]
        has_slash = ["/" in pattern for pattern in self.exclude]  # before the removal of the suffix
        return not any(_matches(path, root, *each) for each in zip(patterns, has_slash, strict=True))


class UnreadFormats:
    """Counts the files of a folder that are skipped because their format is not read, for a line of the log.

    A suffix is reported once: the same files are found again at each listing.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._reported: set[str] = set()

    def note(self, path: str, root: str, names: Names) -> None:
        """Count a file that `names` did not select, unless the user's patterns or a hidden name explain that.

        Args:
            root: see `Names.admit`.
        """
        name = os.path.basename(path).lower()
        suffix = os.path.splitext(name)[1]
        if suffix in UNREAD and suffix not in self._reported and not names.include and not name.startswith("."):
            self._counts[suffix] += not any(_matches(path, root, pattern) for pattern in names.exclude)

    def line(self) -> str | None:
        """What was counted since the last call, in words; None if there is nothing to report."""
        counts = (+self._counts).most_common()
        self._reported.update(suffix for suffix, _ in counts)
        self._counts.clear()
        if not counts:
            return None
        total = sum(count for _, count in counts)
        files, formats = ("file", "a format that is") if total == 1 else ("files", "formats that are")
        return (
            f"{total} {files} skipped: {', '.join(f'{count} {suffix}' for suffix, count in counts)}: {formats} not read"
        )


def _is_figure(path: str) -> bool:
    if not path.endswith(FIGURE_SUFFIX):  # so that most files do not import the module that draws figures
        return False
    from edge.imaging.annotate import is_figure

    return is_figure(path)


def _matches(path: str, root: str, pattern: str, is_path: bool = False) -> bool:
    """
    Args:
        is_path: compare with the path below the root even if the pattern has no slash.
    """
    text = os.path.relpath(path, root) if is_path or "/" in pattern else os.path.basename(path)
    return fnmatch.fnmatchcase(text.lower(), pattern.lower())
