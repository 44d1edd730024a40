"""Publish a model on the Hugging Face hub: the files of a folder, a card and checksums, in one commit."""

import fnmatch
import hashlib
import json
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from edge import __version__, requirements
from edge.errors import HubError, ModelError, printable, reason_of
from edge.hub.pull import SUMS
from edge.inference.model import description_path, load
from train.checkpoint import RECORD
from train.dataset import VALIDATION
from train.publish_card import CARD, Content, card

FIGURES = "figures"  # sub-folder that may hold figures
MOST_BYTES = 2_000_000_000  # of one file
_PARTS_OF_RUN = ("checkpoint-", "epoch-", "partial-")  # begin the names of files of a run that is not finished
_NAME = re.compile(r"[A-Za-z0-9][\w .+-]*", re.ASCII)
_NO_TOKEN = "no token for the hub: run `hf auth login`, or set HF_TOKEN to a token that may write"


@dataclass(frozen=True)
class Upload:
    """A file of the commit.

    Attributes:
        name: its path in the repository.
        content: read once, so that the checksum is of what is sent.
    """

    name: str
    content: bytes


def collect(
    folder: Path, repository: str, terms: str | None = None, exclude: Sequence[str] = ()
) -> tuple[list[Upload], list[str]]:
    """The files to publish; nothing is written.

    Args:
        folder: of a run with its converted models, or of several models.
        repository: "user/name", for the card.
        terms: the license; None: that of the folder's README.md, else mit.
        exclude: patterns of names to leave out.

    Returns:
        (files with the card first and SHA256SUMS last, names of the folder's files that are left out).

    Raises:
        ModelError: there is no model, or one is damaged.
        HubError: a file cannot be read, a name is not accepted, or the card's metadata are invalid.
        NotInstalledError: huggingface_hub is not installed.
    """
    requirements.load("huggingface_hub")
    chosen: list[tuple[str, Path]] = []
    left_out: list[tuple[str, Path]] = []
    for path in _candidates(folder):
        name = path.relative_to(folder).as_posix()
        is_wanted = _is_published(path, folder) and not any(fnmatch.fnmatch(name, pattern) for pattern in exclude)
        (chosen if is_wanted else left_out).append((name, path))
    models = {name: load(path) for name, path in chosen if name.endswith(".tflite")}
    for name, model in models.items():
        if model.description is None:
            raise ModelError(f"{printable(folder / name)}: no {description_path(model.path).name} beside it")
        if description_path(Path(name)).as_posix() not in dict(chosen):
            raise HubError(f"{printable(folder / name)}: its description must not be left out")
    networks = [name for name, _ in chosen if name.endswith(".keras")]
    for name in networks:
        if not zipfile.is_zipfile(folder / name):
            raise ModelError(f"{printable(folder / name)}: not a Keras model")
    if not models and not networks:
        raise ModelError(f"{printable(folder)}: no model to publish (.tflite with its .json, or .keras)")
    contents = {name: _content(name, path) for name, path in chosen}
    content = Content(
        repository=repository,
        descriptions={name: model.description for name, model in models.items() if model.description},
        contents=contents,
        record=_record(folder / RECORD),
    )
    contents = {CARD: card(content, terms).encode()} | {key: one for key, one in contents.items() if key != CARD}
    uploads = [Upload(name, one) for name, one in contents.items()]
    sums = "".join(f"{hashlib.sha256(one.content).hexdigest()}  {one.name}\n" for one in uploads)
    return [*uploads, Upload(SUMS, sums.encode())], [name for name, _ in left_out]


def push(repository: str, files: Sequence[Upload], *, private: bool, revision: str) -> tuple[str, list[str]]:
    """Upload files in one commit; other files of the repository stay.

    Args:
        repository: it is created if it does not exist.
        private: create it as a private one, and refuse one that is public.
        revision: an existing branch.

    Returns:
        (the commit, warnings of the hub in one line each).

    Raises:
        HubError: there is no token, the hub cannot be reached or refuses; the text has no token.
        NotInstalledError: huggingface_hub is not installed.
    """
    library: Any = requirements.load("huggingface_hub")
    token = library.get_token()
    if not token:
        raise HubError(_NO_TOKEN)
    api = library.HfApi(token=token, library_name="edge-detect", library_version=__version__)
    operations = [library.CommitOperationAdd(one.name, one.content) for one in files]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            api.create_repo(repository, private=private or None, exist_ok=True)
            if private and api.repo_info(repository).private is not True:
                raise HubError(f"{repository}: exists and is public; omit --private, or make it private first")
            message = f"Publish with edge-detect {__version__}"
            done = api.create_commit(repository, operations, commit_message=message, revision=revision)
            commit = str(done.oid)
        except HubError:
            raise
        except Exception as error:  # a foreign library, with answers of a server, may raise anything
            raise HubError(_without(token, f"{repository}: {_explained(error, api.endpoint, revision)}")) from None
    lines = [_one_line(str(one.message)) for one in caught if issubclass(one.category, UserWarning)]
    return commit, [_without(token, line) for line in lines]


def _candidates(folder: Path) -> Iterator[Path]:
    """The files that lie in the folder and its figures, sorted; hidden ones are left out.

    Raises:
        HubError: a folder cannot be read.
    """
    for part in (folder, folder / FIGURES):
        try:
            paths = sorted(part.iterdir()) if part == folder or part.is_dir() else []
        except OSError as error:
            raise HubError(f"{printable(part)}: {reason_of(error)}") from error
        yield from (path for path in paths if path.is_file() and not path.name.startswith("."))


def _is_published(path: Path, folder: Path) -> bool:
    """Whether a file is of a kind that is published; a list of the training's pictures, for one, is not."""
    name = path.name
    if path.parent != folder:
        return path.suffix == ".png"
    if name in (SUMS, RECORD, VALIDATION) or name.startswith(_PARTS_OF_RUN):
        return False
    if path.suffix == ".json":
        return path.with_suffix(".tflite").exists() or "evaluation" in name
    return path.suffix in (".tflite", ".keras", ".png", ".md") or name.startswith("LICENSE")


def _content(name: str, path: Path) -> bytes:
    """The content of a file; of an evaluation without the folder of the model, which is of no use elsewhere.

    Raises:
        HubError: it cannot be read or is too large, or its name is not accepted.
    """
    if not all(_NAME.fullmatch(part) for part in PurePath(name).parts):
        raise HubError(f"{printable(path)}: rename it, or --exclude it; names have letters, digits and . _ + -")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise HubError(f"{printable(path)}: larger than {MOST_BYTES} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise HubError(f"{printable(path)}: {reason_of(error)}") from error
    if path.suffix == ".json" and "evaluation" in path.name:
        try:
            data = json.loads(content)
            data["model"] = PurePath(data["model"]).name
        except (ValueError, TypeError, KeyError, RecursionError):
            raise HubError(
                f"{printable(path)}: not an evaluation (python -m train evaluate --json); --exclude it"
            ) from None
        content = (json.dumps(data, indent=1) + "\n").encode()
    return content


def _record(path: Path) -> dict[str, Any]:
    """The record of a training run; empty if the folder is not that of a run.

    Raises:
        HubError: it is damaged.
    """
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "damaged"
        raise HubError(f"{printable(path)}: {reason}") from error
    return record if isinstance(record, dict) else {}


def _explained(error: BaseException, endpoint: str, revision: str) -> str:
    """What a failure means, in one line."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None and len(chain) < 10:
        chain.append(cause)
    for one in chain:
        response = getattr(one, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            return _refusal(status, one, revision)
    for one in chain:
        if type(one).__module__.startswith(("httpx", "httpcore", "requests", "urllib3")) or isinstance(
            one, ConnectionError | TimeoutError
        ):
            return f"cannot reach {endpoint}: {_one_line(str(one)) or type(one).__name__}"
    return f"unexpected answer of {endpoint}: {_one_line(str(error)) or type(error).__name__}"


def _refusal(status: int, error: BaseException, revision: str) -> str:
    if status == 401:
        return "the hub does not accept the token (401); run `hf auth login` again, or set HF_TOKEN"
    if status == 403:
        return "the token may not write there (403); it needs the role write, and the right to this user's repositories"
    if status == 404 and type(error).__name__ == "RevisionNotFoundError":
        return f"no branch {printable(revision)} (404); create it first: hf repos branch create"
    if status == 404:
        return "no such user, organisation or repository (404)"
    detail = _one_line(str(getattr(error, "server_message", None) or ""))
    reason = "the hub has failed; try again later" if status >= 500 else "the hub refuses"
    return f"{reason} ({status}){f': {detail}' if detail else ''}"


def _one_line(text: str) -> str:
    return printable(" ".join(text.split())[:300])


def _without(token: str, text: str) -> str:
    return text.replace(token, "***")
