"""Installed models: which there are, which are in use, and the check of one that came from elsewhere.

Each has a folder of its own, USER--NAME--COMMIT--MODEL, with the model file, its
description, a compiled form if there is one, and where they came from.
"""

import contextlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge import resources
from edge.errors import ModelError, printable, reason_of
from edge.imaging.inputs import Domain
from edge.inference import chosen
from edge.inference.edgetpu import COMPILED
from edge.inference.model import BUNDLED, LABELS, bundled_paths, described, is_compiled, load
from edge.inference.tflite_check import require_whole
from edge.process.isolated import Crashed, TimedOut, run_isolated

ORIGIN = "origin.json"
SLOTS = dict(zip(("thumbnails", "photos"), BUNDLED, strict=True))  # bundled model, by what it is for
PROBING_SECONDS = 60.0
MOST_NAME_LENGTH = 100
SHA256_PREFIX = 8  # least number of digits that name a model
UNFINISHED = ".pull-"  # begins the name of a folder that is being filled
REMOVED = ".removed-"

_FOLDER = re.compile(r"([\w.-]+?)--([\w.-]+?)--([0-9a-f]{12})--([\w.-]+)", re.ASCII)

# Opens the model and lets it judge a grey picture. The limit of the address space holds for what the file asks for.
_PROBE = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
import numpy as np
from edge.errors import EdgeDetectError
from edge.inference.classifier import Classifier
from edge.inference.model import load
try:
    classifier = Classifier(load(Path(sys.argv[1])))
    width, height = classifier.size
    count = classifier.views.first_count if classifier.views else 1
    classifier.judge(np.full((count, height, width, 3), 128, np.uint8))
except EdgeDetectError as error:
    print(str(error)[:1000])
    sys.exit(3)
"""
_REFUSED = 3  # exit status of _PROBE after it has printed why


@dataclass(frozen=True)
class Known:
    """A bundled or an installed model.

    Attributes:
        name: "compact_int8" of a bundled one, "user/name/compact_int8@COMMIT" of an installed one.
        path: of the model file.
        is_bundled: whether it came with this program.
        size: of the model file in bytes; 0 if it is missing.
        domain: the images that it was measured on; None: unknown.
        sha256: of the model file, by its description; empty if unknown.
        used_for: the slots of SLOTS that it is used for.
        problem: why it cannot be used, in one line; empty if nothing is known.
    """

    name: str
    path: Path
    is_bundled: bool
    size: int
    domain: Domain | None
    sha256: str
    used_for: tuple[str, ...]
    problem: str

    def as_json(self) -> dict[str, Any]:
        domain = self.domain and {"width": self.domain.width, "height": self.domain.height}
        return {
            "name": self.name,
            "path": os.fspath(self.path),
            "bundled": self.is_bundled,
            "bytes": self.size,
            "domain": domain,
            "sha256": self.sha256,
            "used_for": list(self.used_for),
            "problem": self.problem,
        }


def known() -> list[Known]:
    """All bundled and installed models, the bundled ones first.

    Raises:
        ModelError: the file that names the models in use is damaged.
    """
    return _all(_in_use())


def _all(in_use: dict[str, Path]) -> list[Known]:
    bundled = resources.folder("models")
    paths = [(Path(name).stem, bundled / name, True) for name in BUNDLED if (bundled / name).exists()]
    paths += [(name, path, False) for name, path in _installed()]
    return [_known(name, path, is_bundled, in_use) for name, path, is_bundled in paths]


def find(reference: str) -> Known:
    """The model of a name.

    Args:
        reference: a name; an installed model's without "@COMMIT", or the last part of it; or the first SHA256_PREFIX or
            more digits of its SHA-256.

    Raises:
        ModelError: there is none, or several.
    """
    try:
        models = known()
    except ModelError:  # which models are in use is unknown, until `use` writes it again
        models = _all({})
    is_digest = len(reference) >= SHA256_PREFIX and re.fullmatch("[0-9a-f]+", reference) is not None
    for found in (
        [one for one in models if one.name == reference],
        [one for one in models if one.name.rpartition("@")[0] == reference],
        [one for one in models if not one.is_bundled and one.path.stem == reference],
        [one for one in models if is_digest and one.sha256.startswith(reference)],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(one.name for one in found)
            raise ModelError(f"{printable(reference)} names several models: {printable(names)}")
    raise ModelError(f"{printable(reference)}: no such model; edge-detect model list shows them")


def use(model: Known, slot: str | None = None) -> str:
    """Make a model the default for thumbnails or for photos, from the next start on.

    Args:
        slot: a key of SLOTS; None: by the model's domain.

    Returns:
        The slot.

    Raises:
        ModelError: the model is damaged, has other labels or no domain, or the choice cannot be written.
    """
    if model.is_bundled:
        own = next(name for name, file in SLOTS.items() if file == model.path.name)
        if slot not in (None, own):
            raise ModelError(f"{model.name} is the bundled model for {own}; it cannot be used for {slot}")
        chosen.choose(SLOTS[own], None)
        return own
    loaded = load(model.path)
    if loaded.labels != LABELS:
        raise ModelError(
            f"{printable(model.name)}: its labels are {printable(' and '.join(loaded.labels))},"
            f" not {' and '.join(LABELS)}; choose it for one command with --model"
        )
    slot = slot or slot_of(model.domain)
    if slot is None:
        raise ModelError(f"{printable(model.name)}: unknown domain; name one: --for {' or --for '.join(SLOTS)}")
    chosen.choose(SLOTS[slot], model.path)
    return slot


def slot_of(domain: Domain | None) -> str | None:
    """The slot of a model for images of a domain: that of the bundled model whose images are nearest in size.

    "Nearest" is from the middle of the domain, the geometric mean of its least and greatest sides. None for None.
    """
    if domain is None:
        return None
    middle = (round(math.sqrt(math.prod(domain.width))), round(math.sqrt(math.prod(domain.height))))
    distances = {
        slot: found.domain.distance(middle)
        for slot, name in SLOTS.items()
        if (found := described(resources.folder("models") / name)) and found.domain
    }
    return min(distances, key=distances.__getitem__, default=None)


def remove(model: Known, *, force: bool = False) -> None:
    """Delete an installed model.

    Args:
        force: also one in use; the bundled model is used again.

    Raises:
        ModelError: it is bundled, or in use without `force`, or cannot be deleted.
    """
    if model.is_bundled:
        raise ModelError(f"{model.name} is part of this program and cannot be removed")
    if model.used_for and not force:
        raise ModelError(
            f"{printable(model.name)} is in use for {' and '.join(model.used_for)}; use another model first, or --force"
        )
    for slot in model.used_for:
        chosen.choose(SLOTS[slot], None)
    folder = model.path.parent
    try:
        # Renamed first: a stop in between leaves no half of a model that is listed.
        gone = Path(tempfile.mkdtemp(prefix=REMOVED, dir=folder.parent))
        os.rename(folder, gone / folder.name)
        shutil.rmtree(gone)
    except OSError as error:
        raise ModelError(f"{printable(folder)}: cannot remove: {reason_of(error)}") from error


def check(path: Path) -> None:
    """Check a model file of unknown origin, and run it once, in another process with limits of time and memory.

    Args:
        path: of the file; its description lies beside it.

    Raises:
        ModelError: it is damaged, has no valid description, cannot be run, or crashes the runtime.
    """
    model, name = load(path), printable(path.name)
    if model.description is None:
        raise ModelError(f"{name}: no description beside it")
    if not 0 < len(model.name) <= MOST_NAME_LENGTH or not model.name.isprintable():
        raise ModelError(f"{name}: its description has no usable name")
    try:
        require_whole(model.content)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    if path.stem.endswith(COMPILED):  # it runs on a Coral alone, and is tried when that is used
        if not is_compiled(model.content):
            raise ModelError(f"{name}: not compiled for the Edge TPU, which its name says")
        return
    try:
        done = run_isolated(_PROBE, os.fspath(path), seconds=PROBING_SECONDS)
    except Crashed as error:
        raise ModelError(f"{name}: crashes the runtime ({error})") from error
    except TimedOut as error:
        raise ModelError(f"{name}: takes longer than {PROBING_SECONDS:g} s for one picture") from error
    except OSError as error:
        raise ModelError(f"{name}: cannot start a process to try it: {reason_of(error)}") from error
    if done.status:
        line = printable(done.output.strip()) if done.status == _REFUSED else ""
        reason = line.removeprefix(f"{printable(path)}:").strip() or "cannot be run; does it need too much memory?"
        raise ModelError(f"{name}: {reason}")


def _known(name: str, path: Path, is_bundled: bool, in_use: dict[str, Path]) -> Known:
    domain, sha256, problem, size = None, "", "", 0
    try:
        size = path.stat().st_size
        description = described(path)
        if description is None:
            problem = "no description beside it"
        else:
            domain, sha256 = description.domain, str(description.sha256)
    except OSError as error:
        problem = reason_of(error)
    except ModelError as error:
        problem = str(error)
    used_for = tuple(slot for slot, used in in_use.items() if used == path)
    return Known(name, path, is_bundled, size, domain, sha256, used_for, problem)


def _in_use() -> dict[str, Path]:
    """The path of the model in use for each slot."""
    used = chosen.chosen_paths(BUNDLED)
    bundled = {path.name: path for path in bundled_paths() if path.name in BUNDLED}
    return {slot: path for slot, name in SLOTS.items() if (path := used.get(name) or bundled.get(name))}


def _installed() -> Iterator[tuple[str, Path]]:
    """(name, path of the model file) of each installed model, sorted."""
    folder = chosen.models_folder()
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()) if folder else ():
            if match := _FOLDER.fullmatch(path.name):
                user, name, commit, stem = match.groups()
                yield f"{user}/{name}/{stem}@{commit}", path / f"{stem}.tflite"


def folder_name(repository: str, commit: str, stem: str) -> str:
    """The name of an installed model's folder.

    Args:
        repository: "user/name", without "--" in it.
        commit: its hash, 40 hexadecimal digits.
        stem: of the model file.
    """
    return f"{repository.replace('/', '--')}--{commit[:12]}--{stem}"


def write_origin(folder: Path, origin: dict[str, Any]) -> None:
    """Record in an installed model's folder where it came from; for information only."""
    (folder / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", "utf-8")


def is_form_of(name: str, stem: str) -> bool:
    """Whether a file belongs to the model of this stem: itself, its compiled form, or the description of either."""
    return name in {f"{one}{suffix}" for one in (stem, f"{stem}{COMPILED}") for suffix in (".tflite", ".json")}
