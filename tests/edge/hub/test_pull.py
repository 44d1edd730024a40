"""Downloads of models: from a sound repository, from hostile ones, and over bad connections."""

import contextlib
import hashlib
import json
import os
import struct
import time
from pathlib import Path

import pytest

from edge.errors import HubError, ModelError
from edge.hub.client import Hub
from edge.hub.pull import Pulled, commit_of, require_repository, require_sha256
from edge.hub.pull import pull as pull_models
from tests.conftest import MODELS
from tests.support import hub as stub
from tests.support.hub import model_files, with_sums

PHOTO_LIKE = MODELS / "photo_like_int8.tflite"
REPOSITORY = "user/name"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def pull(hub: stub.Hub, commit: str, *wanted: str, seconds: float = 60, token: str | None = None) -> list[Pulled]:
    return pull_models(Hub(hub.endpoint, token, seconds), REPOSITORY, commit, commit, wanted, lambda _: None)


def nothing_is_left(folder: Path) -> bool:
    return not folder.exists() or os.listdir(folder) == []


def test_model_of_commit_is_installed_with_description_and_origin(hub: stub.Hub, folder: Path) -> None:
    commit = hub.add(REPOSITORY, model_files(PHOTO_LIKE))
    (found,) = pull(hub, commit)
    assert found.is_new
    assert found.name == f"user/name/photo_like_int8@{commit[:12]}"
    (own,) = folder.iterdir()
    assert sorted(os.listdir(own)) == ["origin.json", "photo_like_int8.json", "photo_like_int8.tflite"]
    assert (own / "photo_like_int8.tflite").read_bytes() == PHOTO_LIKE.read_bytes()
    origin = json.loads((own / "origin.json").read_text())
    assert (origin["repository"], origin["commit"]) == (REPOSITORY, commit)
    assert any(path.startswith("/storage/") for path in hub.asked("GET")), "a redirect to the storage was followed"


def test_second_pull_leaves_sound_model_and_replaces_damaged_one(hub: stub.Hub, folder: Path) -> None:
    commit = hub.add(REPOSITORY, model_files(PHOTO_LIKE))
    pull(hub, commit)
    assert [one.is_new for one in pull(hub, commit)] == [False]
    (own,) = folder.iterdir()
    (own / "photo_like_int8.tflite").write_bytes(b"damaged")
    assert [one.is_new for one in pull(hub, commit)] == [True]
    assert (own / "photo_like_int8.tflite").read_bytes() == PHOTO_LIKE.read_bytes()
    assert os.listdir(folder) == [own.name]


def test_two_commits_of_one_model_lie_side_by_side(hub: stub.Hub, folder: Path) -> None:
    first = hub.add(REPOSITORY, model_files(PHOTO_LIKE))
    second = hub.repositories[REPOSITORY].commit({"note.txt": b"later"})
    pull(hub, first)
    pull(hub, second)
    assert len(os.listdir(folder)) == 2


def test_sha256_chooses_one_model_of_several(hub: stub.Hub, folder: Path) -> None:
    files = {f"{name}{end}": PHOTO_LIKE.with_suffix(end).read_bytes() for name in "ab" for end in (".tflite", ".json")}
    description = json.loads(files["b.json"])
    files["b.tflite"] += b"\0"
    files["b.json"] = json.dumps(description | {"sha256": hashlib.sha256(files["b.tflite"]).hexdigest()}).encode()
    commit = hub.add(REPOSITORY, with_sums(files))
    wanted = hashlib.sha256(files["b.tflite"]).hexdigest()
    assert [one.name for one in pull(hub, commit, wanted)] == [f"user/name/b@{commit[:12]}"]
    assert len(pull(hub, commit)) == 2
    with pytest.raises(HubError, match="no model with SHA-256 0000"):
        pull(hub, commit, "0" * 64)


def test_branch_is_resolved_to_its_commit_and_commit_is_not_looked_up(hub: stub.Hub) -> None:
    commit = hub.add(REPOSITORY, model_files(PHOTO_LIKE))
    assert commit_of(Hub(hub.endpoint), REPOSITORY, "main") == commit
    assert hub.asked("GET") == ["/api/models/user/name/revision/main"]
    assert commit_of(Hub(hub.endpoint), REPOSITORY, COMMIT) == COMMIT
    assert len(hub.calls) == 1
    with pytest.raises(HubError, match="not there"):
        commit_of(Hub(hub.endpoint), REPOSITORY, "other")


@pytest.mark.parametrize("answer", [{"sha": "main"}, {"sha": 1}, {}, {"sha": "../" + "0" * 37}])
def test_answer_without_commit_is_refused(hub: stub.Hub, answer: dict[str, object]) -> None:
    hub.special["revision/main"] = lambda handler: handler.reply(200, answer)
    with pytest.raises(HubError, match="names no commit for main"):
        commit_of(Hub(hub.endpoint), REPOSITORY, "main")


def test_html_instead_of_checksums_is_refused(hub: stub.Hub, folder: Path) -> None:
    hub.special["/"] = stub.html
    with pytest.raises(HubError, match="SHA256SUMS is damaged"):
        pull(hub, COMMIT)
    assert nothing_is_left(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.tflite",
        "/etc/evil.tflite",
        "a/../../evil.json",
        "..\\evil.tflite",
        ".hidden.tflite",
        "-rf.tflite",
        "x\x1b[2J.tflite",
        "x" * 200 + ".tflite",
        "ünsafe.tflite",
        "a b.json",
        "a.tflite\0.json",
    ],
)
def test_unsafe_file_name_is_refused(hub: stub.Hub, folder: Path, name: str) -> None:
    files = model_files(PHOTO_LIKE)
    files["SHA256SUMS"] += f"{'0' * 64}  {name}\n".encode()
    commit = hub.add(REPOSITORY, files)
    with pytest.raises(HubError, match="unsafe file name") as error:
        pull(hub, commit)
    assert str(error.value).isprintable()
    assert nothing_is_left(folder)


def test_files_of_other_kinds_and_folders_are_not_downloaded(hub: stub.Hub, folder: Path) -> None:
    files = model_files(PHOTO_LIKE)
    for name in ("model.py", "model.keras", "figures/a.png", "sub/b.tflite", "setup.json"):
        files["SHA256SUMS"] += f"{'0' * 64}  {name}\n".encode()
    pull(hub, hub.add(REPOSITORY, files))
    names = {path.rpartition("/")[2] for path in hub.asked("GET") if "resolve" in path}
    assert names == {"SHA256SUMS", "photo_like_int8.tflite", "photo_like_int8.json"}


@pytest.mark.parametrize(
    ("sums", "reason"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"hello\n", "is not a checksum and a name"),
        (b"%b  a.tflite\n%b  A.tflite\n" % (b"0" * 64, b"1" * 64), "occurs twice"),
        (b"", "names no model"),
        (b"%b  a.tflite\n" % (b"0" * 64), "a.tflite has no description"),
        (b"".join(b"%b  m%d.tflite\n" % (b"%064d" % i, i) for i in range(400)), "too many files"),
        (b"".join(b"%b  m%d.tflite\n" % (b"%064d" % i, i) for i in range(20)), "20 models; choose some"),
        (b"x" * 600_000, "larger than the limit"),
    ],
)
def test_damaged_checksums_are_refused(hub: stub.Hub, folder: Path, sums: bytes, reason: str) -> None:
    commit = hub.add(REPOSITORY, {"SHA256SUMS": sums})
    with pytest.raises(HubError, match=reason):
        pull(hub, commit)
    assert nothing_is_left(folder)


@pytest.mark.parametrize("name", ["photo_like_int8.tflite", "photo_like_int8.json"])
def test_file_with_wrong_checksum_is_not_installed(hub: stub.Hub, folder: Path, name: str) -> None:
    files = model_files(PHOTO_LIKE)
    files[name] = files[name][:-1] + b"!"
    commit = hub.add(REPOSITORY, files)
    with pytest.raises(HubError, match=f"{name} is not the file that SHA256SUMS lists"):
        pull(hub, commit)
    assert nothing_is_left(folder)


def test_all_models_are_checked_before_one_is_installed(hub: stub.Hub, folder: Path) -> None:
    sound = model_files(PHOTO_LIKE)
    del sound["SHA256SUMS"]
    commit = hub.add(REPOSITORY, with_sums(sound | {"z.tflite": b"0000TFL3", "z.json": b"{}"}))
    with pytest.raises(ModelError, match=r"z\.json: cannot read the model's description"):
        pull(hub, commit)
    assert nothing_is_left(folder)


def described(content: bytes, **changes: object) -> dict[str, bytes]:
    """A repository with a model file whose description has its checksum."""
    description = json.loads(PHOTO_LIKE.with_suffix(".json").read_text())
    text = json.dumps(description | {"sha256": hashlib.sha256(content).hexdigest()} | changes)
    return with_sums({"m.tflite": content, "m.json": text.encode()})


@pytest.mark.parametrize(
    ("content", "changes", "reason"),
    [
        (b"not a model", {}, "not a LiteRT model"),
        (b"\xff\xff\xff\x7fTFL3" + b"\xff" * 100, {}, "refers to parts that are not there"),
        (PHOTO_LIKE.read_bytes(), {"width": 77}, "m.tflite: "),
        (PHOTO_LIKE.read_bytes(), {"sha256": "0" * 64}, "damaged, or not the file"),
        (PHOTO_LIKE.read_bytes(), {"name": "x" * 101}, "no usable name"),
        (PHOTO_LIKE.read_bytes(), {"name": "\x1b[2J"}, "no usable name"),
        (PHOTO_LIKE.read_bytes(), {"format_version": 99}, "format_version 99"),
        (PHOTO_LIKE.read_bytes(), {"resampling": "nearest"}, "scaled with nearest"),
        ((MODELS / "brightness_int8_edgetpu.tflite").read_bytes(), {}, "m.tflite: "),
    ],
)
def test_unacceptable_model_is_refused_in_one_line(
    hub: stub.Hub, folder: Path, content: bytes, changes: dict[str, object], reason: str
) -> None:
    commit = hub.add(REPOSITORY, described(content, **changes))
    with pytest.raises(ModelError, match=reason) as error:
        pull(hub, commit)
    assert str(error.value).isprintable()
    assert nothing_is_left(folder)


def test_deeply_nested_description_is_refused(hub: stub.Hub, folder: Path) -> None:
    commit = hub.add(REPOSITORY, with_sums({"m.tflite": PHOTO_LIKE.read_bytes(), "m.json": b"[" * 1_000_000}))
    with pytest.raises(ModelError, match="cannot read the model's description"):
        pull(hub, commit)
    assert nothing_is_left(folder)


def test_damaged_model_never_crashes_this_process(hub: stub.Hub, folder: Path) -> None:
    sound = PHOTO_LIKE.read_bytes()
    for position in range(40, len(sound) - 4, 97):
        content = sound[:position] + b"\xfe\xff\xff\x7f" + sound[position + 4 :]
        commit = hub.add(REPOSITORY, described(content))
        with contextlib.suppress(ModelError):
            pull(hub, commit)
    assert all(not name.startswith(".") for name in os.listdir(folder))


@pytest.mark.parametrize("respond", [stub.endless, stub.announced(10**12)])
def test_huge_file_is_refused_at_the_limit(
    hub: stub.Hub, folder: Path, respond: stub.Respond, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.hub.pull.MOST_MODEL_BYTES", 3_000_000)
    commit = hub.add(REPOSITORY, model_files(PHOTO_LIKE))
    hub.special["tflite$"] = respond
    with pytest.raises(HubError, match="larger than the limit of 3000000 bytes"):
        pull(hub, commit)
    assert nothing_is_left(folder)


def test_cut_off_download_is_refused(hub: stub.Hub, folder: Path) -> None:
    commit = hub.add(REPOSITORY, model_files(PHOTO_LIKE))
    hub.special["tflite$"] = stub.cut_off
    with pytest.raises(HubError, match="cut off after 100 of 5000 bytes"):
        pull(hub, commit)
    assert nothing_is_left(folder)


@pytest.mark.parametrize(
    "name", ["", "name", "a/b/c", "a--b/c", "../b", "a/..", "a/b c", "a/-b", "ä/b", "a/b\n", "x" * 97 + "/b"]
)
def test_invalid_repository_name_is_refused(name: str) -> None:
    with pytest.raises(HubError, match="invalid name of a repository"):
        require_repository(name)


@pytest.mark.parametrize("revision", ["", "../x", "-x", "a b", "x" * 201, "a?b", "a#b", "main\n"])
def test_invalid_revision_is_refused(revision: str) -> None:
    with pytest.raises(HubError, match="invalid revision"):
        commit_of(Hub(), REPOSITORY, revision)


def test_invalid_sha256_is_refused() -> None:
    assert require_sha256("AB" * 32) == "ab" * 32
    with pytest.raises(HubError, match="not a SHA-256"):
        require_sha256("ab" * 31)


def test_abandoned_download_is_deleted_by_the_next(hub: stub.Hub, folder: Path) -> None:
    commit = hub.add(REPOSITORY, model_files(PHOTO_LIKE))
    for name, age in ((".pull-old", 100_000), (".pull-other", 10)):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (time.time() - age, time.time() - age))
    pull(hub, commit)
    assert sorted(name for name in os.listdir(folder) if name.startswith(".")) == [".pull-other"]


def test_folder_that_cannot_be_written_is_one_line(hub: stub.Hub, folder: Path) -> None:
    commit = hub.add(REPOSITORY, model_files(PHOTO_LIKE))
    folder.parent.mkdir(parents=True)
    folder.write_text("a file")
    with pytest.raises(HubError, match="models: cannot write"):
        pull(hub, commit)


def test_model_that_asks_for_too_much_memory_is_refused(hub: stub.Hub, folder: Path) -> None:
    own = json.loads(PHOTO_LIKE.with_suffix(".json").read_text())
    shape, huge = (struct.pack("<4i", 1, *size, 3) for size in ((own["height"], own["width"]), (30_000, 30_000)))
    content = PHOTO_LIKE.read_bytes()
    assert shape in content
    commit = hub.add(REPOSITORY, described(content.replace(shape, huge), width=30_000, height=30_000))
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"m\.tflite: cannot be run; does it need too much memory\?"):
        pull(hub, commit)
    assert time.monotonic() - began < 60
    assert nothing_is_left(folder)
