"""The folder of installed models, and the file that names those in use instead of bundled ones.

Read at each start, so it imports nothing that a start does not import anyway.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from edge.errors import ModelError, printable, reason_of
from edge.paths import xdg_folder

FILE = "defaults.json"
FORMAT_VERSION = 1
_MOST_BYTES = 100_000  # the file has some 200

_log = logging.getLogger(__name__)


def models_folder() -> Path | None:
    """The folder of installed models, which may not exist; None for an account without a home."""
    base = xdg_folder("XDG_DATA_HOME", ".local/share")
    return None if base is None else base / "edge-detect" / "models"


def chosen_paths(slots: Iterable[str]) -> dict[str, Path]:
    """The installed models in use, by the file name of the bundled model that each replaces.

    Args:
        slots: file names of the bundled models; other entries of the file are ignored.

    Raises:
        ModelError: the file is damaged.
    """
    folder = models_folder()
    if folder is None:
        return {}
    try:
        entries = _entries(folder / FILE)
    except (FileNotFoundError, NotADirectoryError):  # usually
        return {}
    except OSError as error:
        _log.warning("%s: %s; the bundled models are used", printable(folder / FILE), reason_of(error))
        return {}
    return {slot: folder / entries[slot] for slot in slots if slot in entries}


def choose(slot: str, path: Path | None) -> None:
    """Use an installed model instead of a bundled one, from the next start on.

    Args:
        slot: file name of the bundled model.
        path: in the folder of installed models; None: use the bundled model again.

    Raises:
        ModelError: the file cannot be written.
    """
    from edge.files import whole_file  # here: `classify` starts faster without

    folder = models_folder()
    if folder is None:
        raise ModelError("this account has no home folder for models; set XDG_DATA_HOME")
    entries: dict[str, str] = {}
    try:
        entries = _entries(folder / FILE)
        if path is None and slot not in entries:
            return
    except FileNotFoundError:
        if path is None:
            return
    except (OSError, ModelError):  # a damaged file is replaced
        pass
    entries.pop(slot, None)
    if path is not None:
        entries[slot] = path.relative_to(folder).as_posix()
    text = json.dumps({"format_version": FORMAT_VERSION, "defaults": entries}, indent=1) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / FILE, partial=f".{FILE}.{os.getpid()}") as file:
            file.write(text.encode())
    except OSError as error:
        raise ModelError(f"{printable(folder / FILE)}: cannot write: {reason_of(error)}") from error


def _entries(path: Path) -> dict[str, str]:
    """The entries of a file: path of the model file in the folder of models, by bundled file name.

    Raises:
        OSError: the file cannot be read.
        ModelError: it is damaged.
    """
    with open(path, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    try:
        if len(content) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        data = json.loads(content)
        if not isinstance(data, Mapping) or data.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"not of format_version {FORMAT_VERSION}")
        entries = data["defaults"]
        if not isinstance(entries, dict) or not all(_is_inside(value) for value in entries.values()):
            raise ValueError("an entry does not name a model in this folder")
    except (ValueError, KeyError, RecursionError) as error:
        raise ModelError(
            f"{printable(path)}: damaged: {printable(str(error))}; write it again: edge-detect model use compact_int8"
        ) from error
    return entries


def _is_inside(value: object) -> bool:
    """Whether a value is the path of a file in a sub-folder: "FOLDER/FILE", without "..", or NUL."""
    parts = PurePosixPath(value).parts if isinstance(value, str) and "\0" not in value else ()
    return len(parts) == 2 and parts[0] != "/" and ".." not in parts
