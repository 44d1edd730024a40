"""Which names in a folder are looked at."""

import fnmatch
import os
from dataclasses import dataclass

from edge.imaging.preprocess import FIGURE_SUFFIX, SUFFIXES

# What browsers, editors and copying programs call a file that is not finished; rsync's are hidden.
UNFINISHED = ("~", ".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".swp")


@dataclass(frozen=True)
class Names:
    """A choice of names, by patterns such as `*.jpg`; one with a slash is matched with the path below the folder.

    Capitals and small letters are the same: cameras write .JPG. A hidden or
    unfinished name is chosen only by a pattern that says so: `.*` or `*.tmp`.

    Attributes:
        include: at least one must match; if there is none, the name must end like an image's.
        exclude: none may match.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def admit(self, path: str, root: str) -> bool:
        """Whether a file is to be looked at: not hidden, not unfinished, no figure of ours, and chosen."""
        name = os.path.basename(path).lower()
        chosen_by = [pattern.lower() for pattern in self.include if _matches(path, root, pattern)]
        if name.startswith(".") and not any(os.path.basename(pattern).startswith(".") for pattern in chosen_by):
            return False
        if name.endswith(UNFINISHED) and not any(pattern.endswith(UNFINISHED) for pattern in chosen_by):
            return False
        is_chosen = bool(chosen_by) if self.include else os.path.splitext(name)[1] in SUFFIXES
        return is_chosen and not any(_matches(path, root, pattern) for pattern in self.exclude) and not _is_figure(path)


def _is_figure(path: str) -> bool:
    if not path.endswith(FIGURE_SUFFIX):  # as most; what draws figures is imported for the others alone
        return False
    from edge.imaging.annotate import is_figure

    return is_figure(path)


def _matches(path: str, root: str, pattern: str) -> bool:
    text = os.path.relpath(path, root) if "/" in pattern else os.path.basename(path)
    return fnmatch.fnmatchcase(text.lower(), pattern.lower())
