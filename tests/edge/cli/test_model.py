"""`edge-detect model`: pull, list, use, remove, and what they change for `classify`."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.inference.model import bundled_paths, described
from tests.conftest import CIFAKE, DATA, MODELS, Examine, Run, command, environment
from tests.support import hub as stub
from tests.support.hub import TOKEN, model_files

PHOTO_LIKE = MODELS / "photo_like_int8.tflite"
PHOTO = DATA / "photos" / "FAKE" / "hiker.webp"
THUMBNAIL = next((CIFAKE / "test" / "REAL").iterdir())
NAME = "user/name/photo_like_int8"


@pytest.fixture
def hub() -> Iterator[stub.Hub]:
    with stub.serving() as hub:
        yield hub


@pytest.fixture
def model(edge_detect: Run, tmp_path: Path, hub: stub.Hub) -> Run:
    """Runs `edge-detect model ARGUMENTS` with a home of its own and a hub on this machine."""
    kept = {key: value for key, value in environment().items() if not key.startswith("HF_")}

    def run(*arguments: str | Path, **variables: str) -> object:
        env = kept | {"HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.endpoint} | variables
        return edge_detect("model", *arguments, env=env)

    return run  # type: ignore[return-value]


@pytest.fixture
def pulled(model: Run, hub: stub.Hub) -> str:
    """The commit of a model that is installed."""
    commit = hub.add("user/name", model_files(PHOTO_LIKE))
    done = model("pull", "user/name", "--revision", commit)
    assert done.returncode == 0, done.stderr
    return commit


def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / ".local" / "share" / "edge-detect" / "models"


def listed(model: Run) -> dict[str, dict[str, object]]:
    done = model("list", "--json")
    assert done.returncode == 0, done.stderr
    return {one["name"]: one for one in map(json.loads, done.stdout.splitlines())}


def test_pull_of_branch_shows_and_installs_its_commit(model: Run, hub: stub.Hub, tmp_path: Path) -> None:
    commit = hub.add("user/name", model_files(PHOTO_LIKE))
    done = model("pull", "user/name", "--revision", "main")
    assert done.returncode == 0
    assert f"main is now {commit}; with --revision {commit} you get the same files again" in done.stderr
    assert done.stdout.startswith(f"installed {NAME}@{commit[:12]}  2 kB  SHA-256 ")
    assert os.listdir(folder(tmp_path)) == [f"user--name--{commit[:12]}--photo_like_int8"]
    again = model("pull", "user/name", "--revision", commit)
    assert again.stdout.startswith(f"already installed: {NAME}")


def test_pull_needs_revision(model: Run, hub: stub.Hub) -> None:
    done = model("pull", "user/name")
    assert done.returncode == 2
    assert "--revision" in done.stderr
    assert hub.calls == []


def test_pull_with_other_sha256_installs_nothing(model: Run, hub: stub.Hub, tmp_path: Path) -> None:
    commit = hub.add("user/name", model_files(PHOTO_LIKE))
    done = model("pull", "user/name", "--revision", commit, "--sha256", "0" * 64)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"edge-detect: user/name: this commit has no model with SHA-256 {'0' * 64}\n"
    assert not folder(tmp_path).exists()


def test_pull_offline_is_one_line(model: Run) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = model("pull", "user/name", "--revision", "main", "--endpoint", endpoint)
    assert (done.returncode, done.stderr) == (2, f"edge-detect: cannot reach {endpoint}: connection refused\n")


def test_pull_of_private_repository_uses_token_and_never_prints_it(model: Run, hub: stub.Hub) -> None:
    commit = hub.add("user/name", model_files(PHOTO_LIKE))
    hub.repositories["user/name"].is_private = True
    done = model("pull", "user/name", "--revision", commit, HF_TOKEN=TOKEN[:-1])
    assert done.returncode == 2
    assert "the token may not read it" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert TOKEN[:-1] not in done.stderr + done.stdout
    assert model("pull", "user/name", "--revision", commit, HF_TOKEN=TOKEN).returncode == 0


def test_list_shows_bundled_and_installed_models_and_their_use(model: Run, pulled: str) -> None:
    models = listed(model)
    installed = models[f"{NAME}@{pulled[:12]}"]
    description = described(PHOTO_LIKE)
    assert description
    assert (installed["bundled"], installed["used_for"], installed["problem"]) == (False, [], "")
    assert (installed["bytes"], installed["sha256"]) == (PHOTO_LIKE.stat().st_size, description.sha256)
    assert installed["domain"] == {"width": [100, 20000], "height": [100, 20000]}
    bundled = {name: one["used_for"] for name, one in models.items() if one["bundled"]}
    assert bundled == {path.stem: [use] for path, use in zip(bundled_paths(), ("thumbnails", "photos"), strict=False)}
    text = model("list").stdout
    assert f"{NAME}@{pulled[:12]}" in text
    assert "100-20000 x 100-20000" in text


def test_used_model_classifies_images_of_its_domain_until_bundled_one_returns(
    model: Run, edge_detect: Run, pulled: str
) -> None:
    def models_of() -> list[str]:
        lines = edge_detect("classify", "--json", PHOTO, THUMBNAIL).stdout.splitlines()
        return [json.loads(line)["model"] for line in lines]

    before = models_of()
    assert before[0] != "photo_like_int8"
    done = model("use", NAME)
    assert done.stdout == f"{NAME}@{pulled[:12]} is now used for photos\n"
    assert models_of() == ["photo_like_int8", before[1]]
    assert listed(model)[f"{NAME}@{pulled[:12]}"]["used_for"] == ["photos"]
    assert model("use", "photo_int8").stdout == "photo_int8 is now used for photos\n"
    assert models_of() == before


def test_model_can_be_used_for_other_images_than_its_own(model: Run, edge_detect: Run, pulled: str) -> None:
    assert model("use", NAME, "--for", "thumbnails").returncode == 0
    assert json.loads(edge_detect("classify", "--json", PHOTO).stdout)["model"] == "photo_like_int8"
    done = model("use", "compact_int8", "--for", "photos")
    assert (
        done.stderr == "edge-detect: compact_int8 is the bundled model for thumbnails; it cannot be used for photos\n"
    )


@pytest.mark.parametrize(
    "shorten", [lambda name, digest: name, lambda name, digest: "photo_like_int8", lambda name, digest: digest[:8]]
)
def test_name_of_model_may_be_shortened(model: Run, pulled: str, shorten: object) -> None:
    name = f"{NAME}@{pulled[:12]}"
    reference = shorten(name, str(listed(model)[name]["sha256"]))  # type: ignore[operator]
    assert model("use", reference).stdout == f"{name} is now used for photos\n"


def test_ambiguous_and_unknown_names_are_refused(model: Run, hub: stub.Hub, pulled: str) -> None:
    later = hub.repositories["user/name"].commit({"note.txt": b"later"})
    assert model("pull", "user/name", "--revision", later).returncode == 0
    done = model("use", NAME)
    assert done.returncode == 2
    assert done.stderr.startswith(f"edge-detect: {NAME} names several models: ")
    done = model("use", "no\x1bsuch")
    assert done.stderr == "edge-detect: no\\x1bsuch: no such model; edge-detect model list shows them\n"


def test_remove_deletes_model_that_is_not_in_use(model: Run, tmp_path: Path, pulled: str) -> None:
    done = model("remove", NAME)
    assert done.stdout.startswith(f"removed {NAME}@{pulled[:12]} (")
    assert os.listdir(folder(tmp_path)) == []
    assert model("remove", NAME).returncode == 2


def test_remove_of_model_in_use_needs_force_and_restores_bundled_one(
    model: Run, edge_detect: Run, tmp_path: Path, pulled: str
) -> None:
    model("use", NAME)
    done = model("remove", NAME)
    assert done.returncode == 2
    assert "is in use for photos; use another model first, or --force" in done.stderr
    assert model("remove", NAME, "--force").returncode == 0
    assert os.listdir(folder(tmp_path)) == ["defaults.json"]
    assert edge_detect("classify", PHOTO).returncode == 0
    assert all(one["bundled"] for one in listed(model).values())


def test_bundled_model_cannot_be_removed(model: Run) -> None:
    done = model("remove", "compact_int8", "--force")
    assert (done.returncode, done.stderr) == (
        2,
        "edge-detect: compact_int8 is part of this program and cannot be removed\n",
    )


def test_damaged_installed_model_is_listed_with_problem_and_not_used(model: Run, tmp_path: Path, pulled: str) -> None:
    (own,) = folder(tmp_path).iterdir()
    (own / "photo_like_int8.tflite").write_bytes(PHOTO_LIKE.read_bytes()[:-1] + b"!")
    done = model("use", NAME)
    assert done.returncode == 2
    assert "damaged, or not the file that photo_like_int8.json describes" in done.stderr
    (own / "photo_like_int8.json").write_text("{")
    assert "cannot read the model's description" in str(listed(model)[f"{NAME}@{pulled[:12]}"]["problem"])


def test_model_in_use_that_is_gone_is_reported_by_classify(
    model: Run, edge_detect: Run, tmp_path: Path, pulled: str
) -> None:
    model("use", NAME)
    (own,) = (path for path in folder(tmp_path).iterdir() if path.is_dir())
    shutil.rmtree(own)
    done = edge_detect("classify", PHOTO)
    assert done.returncode == 2
    assert "photo_like_int8.tflite: cannot read the model" in done.stderr
    assert model("use", "photo_int8").returncode == 0
    assert edge_detect("classify", PHOTO).returncode == 0


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"format_version": 2, "defaults": {}}',
        '{"format_version": 1, "defaults": {"photo_int8.tflite": "../../x.tflite"}}',
        '{"format_version": 1, "defaults": {"photo_int8.tflite": "/etc/passwd"}}',
        '{"format_version": 1, "defaults": {"photo_int8.tflite": 7}}',
        "[" * 90_000,
        " " * 200_000,
    ],
)
def test_damaged_choice_is_one_line_and_can_be_written_again(
    model: Run, edge_detect: Run, tmp_path: Path, content: str
) -> None:
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / "defaults.json").write_text(content)
    done = edge_detect("classify", THUMBNAIL)
    assert done.returncode == 2
    assert "defaults.json: damaged: " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert model("use", "compact_int8").returncode == 0
    assert edge_detect("classify", THUMBNAIL).returncode == 0


def test_doctor_reports_model_in_use_and_its_damage(
    model: Run, edge_detect: Run, examine: Examine, tmp_path: Path, pulled: str
) -> None:
    model("use", NAME)
    checks = json.loads(edge_detect("doctor", "--json").stdout)["checks"]
    found = [one["found"] for one in checks if one["name"] in ("model", "inference") and one["state"] == "ok"]
    assert any("photo_like_int8.tflite, installed, " in one for one in found)
    assert any(one.startswith("photo_like_int8.tflite: ") for one in found), "it was run"
    assert not any(one.startswith("photo_int8.tflite: ") for one in found), "the model in its place was not run"
    (own,) = (path for path in folder(tmp_path).iterdir() if path.is_dir())
    (own / "photo_like_int8.tflite").write_bytes(b"0000TFL3")
    _, report = examine()
    assert report["model"]["state"] == "problem"
    assert "SHA-256 differs" in report["model"]["found"]
    (folder(tmp_path) / "defaults.json").write_text("{")
    _, report = examine()
    assert report["model"]["state"] == "problem"
    assert "defaults.json: damaged" in report["model"]["found"]


def test_killed_pull_leaves_nothing_that_is_listed(model: Run, hub: stub.Hub, tmp_path: Path) -> None:
    commit = hub.add("user/name", model_files(PHOTO_LIKE))
    hub.special["tflite$"] = stub.dripping
    env = environment(HOME=str(tmp_path / "home"), HF_ENDPOINT=hub.endpoint)
    words = command("model", "pull", "user/name", "--revision", commit)
    with subprocess.Popen(words, env=env, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not any(path.endswith(".tflite") for path in hub.asked("GET")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    assert [name[:6] for name in os.listdir(folder(tmp_path))] == [".pull-"]
    assert all(one["bundled"] for one in listed(model).values())
    hub.special.clear()
    assert model("pull", "user/name", "--revision", commit).returncode == 0
