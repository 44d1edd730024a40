"""Which files of a folder are classified, by their names."""

import fnmatch
import os
from dataclasses import dataclass

from edge.imaging.preprocess import FIGURE_SUFFIX, SUFFIXES

# Suffixes of unfinished files of browsers, editors and copying programs; rsync's are hidden.
UNFINISHED = ("~", ".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".swp")

# Folders that a system keeps for itself in every folder that it shares: thumbnails and deleted files. Hidden ones, such
# as .Trash-1000, are never entered.
SYSTEM_FOLDERS = ("@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found")


@dataclass(frozen=True)
class Names:
    """Selects files by patterns such as `*.jpg`. A pattern with a slash is matched with the path below the folder.

    Case is ignored: cameras write .JPG. Hidden and unfinished files are only
    selected by a pattern of the same form, such as `.*` or `*.tmp`.

    Attributes:
        include: at least one of these must match; if empty, the name must have an image's suffix.
        exclude: none of these may match.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def admit(self, path: str, root: str) -> bool:
        """Whether a file is selected, and is not a figure that `classify --figure` drew.

        Args:
            root: the folder that patterns with a slash are relative to.
        """
        name = os.path.basename(path).lower()
        chosen_by = [pattern.lower() for pattern in self.include if _matches(path, root, pattern)]
        if name.startswith(".") and not any(os.path.basename(pattern).startswith(".") for pattern in chosen_by):
            return False
        if name.endswith(UNFINISHED) and not any(pattern.endswith(UNFINISHED) for pattern in chosen_by):
            return False
        is_chosen = bool(chosen_by) if self.include else os.path.splitext(name)[1] in SUFFIXES
        return is_chosen and not any(_matches(path, root, pattern) for pattern in self.exclude) and not _is_figure(path)

    def admit_folder(self, path: str, root: str) -> bool:
        """Whether a sub-folder is entered: not a hidden one, one of SYSTEM_FOLDERS, or one that is excluded.

        A pattern excludes a folder if it matches the folder, or everything in it, such as `drafts/*`.

        Args:
            root: see `admit`.
        """
        name = os.path.basename(path).lower()
        if name.startswith(".") or name in SYSTEM_FOLDERS:
            return False
        patterns = [pattern.removesuffix("/*") for pattern in self.exclude]
        whole = ["/" in pattern for pattern in self.exclude]
        return not any(_matches(path, root, one, is_path=is_path) for one, is_path in zip(patterns, whole, strict=True))


def _is_figure(path: str) -> bool:
    if not path.endswith(FIGURE_SUFFIX):  # most files: the module that draws figures is not imported for them
        return False
    from edge.imaging.annotate import is_figure

    return is_figure(path)


def _matches(path: str, root: str, pattern: str, *, is_path: bool | None = None) -> bool:
    """
    Args:
        is_path: match the path below the root instead of the name; None: if the pattern has a slash.
    """
    text = os.path.relpath(path, root) if "/" in pattern or is_path else os.path.basename(path)
    return fnmatch.fnmatchcase(text.lower(), pattern.lower())
