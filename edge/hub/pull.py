"""Download of the models of a repository: one commit, every file checked, installed completely or not at all."""

import contextlib
import errno
import filecmp
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from edge.errors import HubError, printable, reason_of
from edge.hub.client import Fetched, Hub
from edge.inference import installed
from edge.inference.chosen import models_folder
from edge.inference.edgetpu import COMPILED

SUMS = "SHA256SUMS"  # of every file of the repository, as sha256sum writes it
MOST_MODELS = 16
MOST_MODEL_BYTES = 64_000_000
MOST_JSON_BYTES = 2_000_000
MOST_SUMS_BYTES = 500_000
MOST_INFO_BYTES = 8_000_000
ABANDONED_SECONDS = 86_400.0  # age at which the folder of a download that was killed is deleted

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)
_COMMIT = re.compile("[0-9a-f]{40}")
_SHA256 = re.compile("[0-9a-f]{64}")
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_FILE = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_MODEL, _DESCRIPTION = ".tflite", ".json"


@dataclass(frozen=True)
class Pulled:
    """A model that is installed now.

    Attributes:
        name: of `edge.inference.installed.Known`.
        size: of the model file, bytes.
        sha256: of the model file.
        is_new: whether it was not installed before.
    """

    name: str
    size: int
    sha256: str
    is_new: bool


def require_repository(name: str) -> str:
    """The name, if it is one: user/name.

    Raises:
        HubError: it is not.
    """
    if not _REPOSITORY.fullmatch(name) or "--" in name or ".." in name:
        raise HubError(f"{printable(name[:200])}: invalid name of a repository; it is user/name")
    return name


def commit_of(hub: Hub, repository: str, revision: str) -> str:
    """The commit of a revision, 40 hexadecimal digits.

    Args:
        revision: a commit, which is not looked up; or a branch or tag.

    Raises:
        HubError: there is none, or see `Hub.save`.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise HubError(f"{printable(revision[:200])}: invalid revision; it is a commit, a branch or a tag")
    info = hub.json(f"/api/models/{repository}/revision/{quote(revision, safe='')}", MOST_INFO_BYTES)
    commit = info.get("sha") if isinstance(info, dict) else None
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise HubError(f"{repository}: the hub names no commit for {revision}")
    return commit


def pull(
    hub: Hub,
    repository: str,
    commit: str,
    asked: str,
    wanted: Collection[str],
    report: Callable[[str], object],
) -> list[Pulled]:
    """Install the models of a commit.

    Args:
        repository, commit: see `require_repository` and `commit_of`.
        asked: the revision that the user has given, for the record.
        wanted: SHA-256 of the model files to install; empty: all of the repository.
        report: receives a line before each longer step.

    Raises:
        HubError: see `Hub.save`; a checksum differs, a name is unsafe, there is no model, or not the wanted one.
        ModelError: a model is not accepted, see `edge.inference.installed.check`; nothing is installed then.
    """
    if not hub.is_protected and not wanted:
        raise HubError(f"{hub.endpoint}: without TLS anybody on the way can exchange the model; give its --sha256")
    folder = models_folder()
    if folder is None:
        raise HubError("this account has no home folder for models; set XDG_DATA_HOME")
    sums = _sums(hub.content(f"/{repository}/resolve/{commit}/{SUMS}", MOST_SUMS_BYTES), repository)
    groups = _groups(sums, repository, wanted)
    try:
        with _unfinished(folder) as scratch:
            ready = []
            for stem, names in groups.items():
                own = scratch / installed.folder_name(repository, commit, stem)
                own.mkdir()
                report(f"{repository}: downloading {', '.join(names)}")
                fetched = {name: _fetched(hub, repository, commit, own / name, sums[name]) for name in names}
                report(f"{repository}: checking {stem}{_MODEL}")
                for name in names:
                    if name.endswith(_MODEL):
                        installed.check(own / name)
                sha256 = {name: one.sha256 for name, one in fetched.items()}
                about = {"repository": repository, "commit": commit, "revision": asked, "endpoint": hub.endpoint}
                time_now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                installed.write_origin(own, about | {"time": time_now, "sha256": sha256})
                ready.append((own, stem, fetched[stem + _MODEL]))
            return [
                Pulled(f"{repository}/{stem}@{commit[:12]}", one.size, one.sha256, _placed(own, folder))
                for own, stem, one in ready
            ]
    except OSError as error:
        raise HubError(f"{printable(folder)}: cannot write: {reason_of(error)}") from error


def _sums(content: bytes, repository: str) -> dict[str, str]:
    """SHA-256 by file name, of the model files and JSON files at the top of the repository."""
    damaged = f"{repository}: {SUMS} is damaged"
    try:
        text = content.decode("utf-8")
    except ValueError:
        raise HubError(f"{damaged}: not UTF-8") from None
    found: dict[str, str] = {}
    for line in filter(None, text.split("\n")):
        match = _SUM.fullmatch(line.removesuffix("\r"))
        if match is None:
            raise HubError(f"{damaged}: {printable(line[:100])!r} is not a checksum and a name")
        name = match[2]
        if name.startswith("/") or ".." in name.split("/") or not name.isprintable() or "\\" in name:
            raise HubError(f"{repository}: {SUMS} has an unsafe file name: {printable(name[:100])}")
        if "/" in name or not name.endswith((_MODEL, _DESCRIPTION)):
            continue
        if not _FILE.fullmatch(name):
            raise HubError(f"{repository}: {SUMS} has an unsafe file name: {printable(name[:100])}")
        if name.lower() in (one.lower() for one in found):
            raise HubError(f"{damaged}: {name} occurs twice")
        found[name] = match[1]
        if len(found) > 20 * MOST_MODELS:
            raise HubError(f"{damaged}: it names too many files")
    return found


def _groups(sums: dict[str, str], repository: str, wanted: Collection[str]) -> dict[str, list[str]]:
    """The files of each model to install, by the model's stem."""
    stems = [name.removesuffix(_MODEL) for name in sums if name.endswith(_MODEL)]
    stems = [stem for stem in stems if not stem.endswith(COMPILED)]
    if wanted:
        missing = set(wanted) - {sums[stem + _MODEL] for stem in stems}
        if missing:
            raise HubError(f"{repository}: this commit has no model with SHA-256 {', '.join(sorted(missing))}")
        stems = [stem for stem in stems if sums[stem + _MODEL] in wanted]
    if not stems:
        raise HubError(f"{repository}: {SUMS} names no model ({_MODEL})")
    if len(stems) > MOST_MODELS:
        raise HubError(f"{repository}: {len(stems)} models; choose some by --sha256, at most {MOST_MODELS}")
    groups = {stem: [name for name in sums if installed.is_form_of(name, stem)] for stem in stems}
    for names in groups.values():
        for name in names:
            if name.endswith(_MODEL) and name.removesuffix(_MODEL) + _DESCRIPTION not in names:
                raise HubError(f"{repository}: {name} has no description in {SUMS}")
    return groups


def _fetched(hub: Hub, repository: str, commit: str, target: Path, expected: str) -> Fetched:
    """Download a file and compare its checksum."""
    most = MOST_MODEL_BYTES if target.suffix == _MODEL else MOST_JSON_BYTES
    fetched = hub.save(f"/{repository}/resolve/{commit}/{target.name}", target, most)
    if fetched.sha256 != expected:
        raise HubError(f"{repository}: {target.name} is not the file that {SUMS} lists (SHA-256 differs)")
    return fetched


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A new folder in the folder of models, deleted at the end; those that killed downloads left are deleted too."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name.startswith((installed.UNFINISHED, installed.REMOVED)):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(path)
    scratch = Path(tempfile.mkdtemp(prefix=installed.UNFINISHED, dir=folder))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _placed(own: Path, folder: Path) -> bool:
    """Move a model's folder to its place; False if a sound one is there already, perhaps of another download."""
    target = folder / own.name
    try:
        os.rename(own, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if _is_same(own, target):  # as always with the same commit, unless it was damaged since
            return False
        os.rename(target, own.with_name(f"{own.name}.former"))  # deleted with the folder of the download
        os.rename(own, target)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def _is_same(own: Path, other: Path) -> bool:
    """Whether two folders hold the same files, wherever they came from."""
    names = sorted(os.listdir(own))
    if sorted(os.listdir(other)) != names:
        return False
    files = [name for name in names if name != installed.ORIGIN]
    return not any(filecmp.cmpfiles(own, other, files, shallow=False)[1:])


def require_sha256(text: str) -> str:
    """A SHA-256 in lower case.

    Raises:
        HubError: it is not one.
    """
    if not _SHA256.fullmatch(text.lower()):
        raise HubError(f"{printable(text[:100])}: not a SHA-256, which has 64 hexadecimal digits")
    return text.lower()
