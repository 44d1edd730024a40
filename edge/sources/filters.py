"""Selection of the files to classify, by their names."""

import fnmatch
import os
from dataclasses import dataclass

from edge.imaging.preprocess import FIGURE_SUFFIX, SUFFIXES

# Suffixes of unfinished files of browsers, editors and copying programs; rsync's are hidden.
UNFINISHED = ("~", ".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".swp")

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
        name = os.path.basename(path).lower()
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
