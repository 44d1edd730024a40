"""`python -m train publish` with the real huggingface_hub, against a hub on this machine."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.errors import HubError, ModelError
from tests.conftest import CHECKOUT, MODELS, Run, environment
from tests.support import hub as stub
from tests.support.hub import TOKEN

pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")

from train.publish import collect

PHOTO_LIKE = MODELS / "photo_like_int8.tflite"
REPOSITORY = "user/name"
Publish = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hub() -> Iterator[stub.Hub]:
    with stub.serving() as hub:
        yield hub


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a finished and converted training run."""
    folder = tmp_path / "runs" / "photo"
    (folder / "figures").mkdir(parents=True)
    for path in (PHOTO_LIKE, PHOTO_LIKE.with_suffix(".json")):
        shutil.copy(path, folder)
    with zipfile.ZipFile(folder / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}" * 1000)
    record = {"settings": {"recipe": "photo", "seed": 3, "weights": "/home/me/secret.h5"}, "history": [{}, {}]}
    (folder / "run.json").write_text(json.dumps(record | {"images": {"training": 1234, "validation": 56}}))
    (folder / "validation.json").write_text('["REAL/grandma.jpg"]')
    (folder / "training.png").write_bytes(b"\x89PNG a figure")
    (folder / "figures" / "roc.png").write_bytes(b"\x89PNG another")
    figures = {"pictures": 40, "balanced_accuracy": {"value": 0.81}, "auc": {"value": 0.9}}
    tiers = {"clean": figures, "web": figures | {"balanced_accuracy": {"value": 0.7}, "auc": None}}
    evaluation = {"model": "/home/me/runs/photo/photo_like_int8.tflite", "tiers": tiers}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    (folder / ".hidden.tflite").write_text("x")
    (folder / "notes.txt").write_text("private")
    return folder


@pytest.fixture
def publish(tmp_path: Path, hub: stub.Hub) -> Publish:
    """Runs `python -m train publish ARGUMENTS --repo user/name` with a home of its own."""
    kept = {key: value for key, value in environment().items() if not key.startswith(("HF_", "HUGGING"))}

    def publish(*arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        own = {"HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1"}
        own |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_TOKEN": TOKEN}
        words = [sys.executable, "-m", "train", "publish", *map(os.fspath, arguments), "--repo", REPOSITORY]
        env = {key: value for key, value in (kept | own | variables).items() if value}
        return subprocess.run(words, env=env, cwd=CHECKOUT, capture_output=True, text=True, timeout=100)

    return publish


def refused(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line of an error, without the token."""
    assert (done.returncode, done.stdout) == (2, ""), done
    (line,) = done.stderr.splitlines()
    assert TOKEN not in line
    return line


def metadata(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


PUBLISHED = {
    "README.md",
    "SHA256SUMS",
    "evaluation.json",
    "figures/roc.png",
    "model.keras",
    "photo_like_int8.json",
    "photo_like_int8.tflite",
    "training.png",
}


def test_run_is_published_in_one_commit_and_folder_is_unchanged(publish: Publish, hub: stub.Hub, run: Path) -> None:
    before = state(run.parent)
    done = publish(run)
    assert done.returncode == 0, done.stderr
    assert state(run.parent) == before
    repository = hub.repositories[REPOSITORY]
    ((commit, files),) = repository.commits.items()
    assert repository.branches == {"main": commit}
    assert not repository.is_private
    assert set(files) == PUBLISHED
    for name in ("photo_like_int8.tflite", "photo_like_int8.json", "model.keras", "figures/roc.png"):
        assert files[name] == (run / name).read_bytes()
    assert f"in commit {commit}\nedge-detect model pull {REPOSITORY} --revision {commit}\n" in done.stdout
    assert done.stderr == "warning: Warnings while validating metadata in README.md: - a card may have a title\n"


def test_calls_are_those_recorded(publish: Publish, hub: stub.Hub, run: Path) -> None:
    publish(run)
    assert [path for path in hub.asked("POST") if not path.startswith("/storage")] == [
        "/api/repos/create",
        "/api/validate-yaml",
        f"/api/models/{REPOSITORY}/preupload/main",
        f"/{REPOSITORY}.git/info/lfs/objects/batch",
        f"/api/models/{REPOSITORY}/commit/main",
    ]
    assert all(path.startswith("/storage/") for path in hub.asked("PUT"))
    assert [path for path in hub.asked("GET") if REPOSITORY in path] == []
    assert {header for method, _, header in hub.calls if method == "POST"} == {f"Bearer {TOKEN}"}


def test_checksums_are_those_of_all_other_files(publish: Publish, hub: stub.Hub, run: Path) -> None:
    publish(run)
    (files,) = hub.repositories[REPOSITORY].commits.values()
    sums = dict(reversed(line.split("  ", 1)) for line in files["SHA256SUMS"].decode().splitlines())
    assert sums == {name: hashlib.sha256(one).hexdigest() for name, one in files.items() if name != "SHA256SUMS"}


def test_published_model_can_be_pulled_and_used(
    publish: Publish, hub: stub.Hub, run: Path, edge_detect: Run, tmp_path: Path
) -> None:
    publish(run)
    (commit,) = hub.repositories[REPOSITORY].commits
    variables = environment(HOME=str(tmp_path / "home"), HF_ENDPOINT=hub.endpoint)
    done = edge_detect("model", "pull", REPOSITORY, "--revision", commit, env=variables)
    assert done.stdout.startswith(f"installed {REPOSITORY}/photo_like_int8@{commit[:12]}"), done.stderr
    assert edge_detect("model", "use", f"{REPOSITORY}/photo_like_int8", env=variables).returncode == 0


def test_existing_repository_keeps_its_other_files(publish: Publish, hub: stub.Hub, run: Path) -> None:
    hub.add(REPOSITORY, {"other.bin": b"kept", "training.png": b"old"})
    assert publish(run).returncode == 0
    repository = hub.repositories[REPOSITORY]
    files = repository.commits[repository.branches["main"]]
    assert len(repository.commits) == 2
    assert (files["other.bin"], files["training.png"]) == (b"kept", (run / "training.png").read_bytes())


def test_private_repository_is_created_and_public_one_is_refused(publish: Publish, hub: stub.Hub, run: Path) -> None:
    assert publish(run, "--private").returncode == 0
    assert hub.repositories[REPOSITORY].is_private
    hub.repositories.clear()
    hub.add(REPOSITORY, {"a.txt": b"public"})
    assert "user/name: exists and is public" in refused(publish(run, "--private"))
    assert len(hub.repositories[REPOSITORY].commits) == 1


def test_branch_must_exist(publish: Publish, hub: stub.Hub, run: Path) -> None:
    hub.add(REPOSITORY, {"a.txt": b"a"})
    assert "no branch next (404)" in refused(publish(run, "--revision", "next"))
    hub.repositories[REPOSITORY].branches["next"] = hub.repositories[REPOSITORY].branches["main"]
    assert publish(run, "--revision", "next").returncode == 0
    branches = hub.repositories[REPOSITORY].branches
    assert branches["next"] != branches["main"]


def test_dry_run_lists_files_and_card_and_sends_nothing(publish: Publish, hub: stub.Hub, run: Path) -> None:
    before = state(run.parent)
    done = publish(run, "--dry-run", HF_TOKEN="")
    assert done.returncode == 0, done.stderr
    assert hub.calls == []
    assert state(run.parent) == before
    lines = done.stdout.splitlines()
    assert lines[0].startswith("user/name (public), branch main: 8 files, ")
    assert {line.split()[-1] for line in lines if " bytes  " in line} == PUBLISHED
    assert f"{PHOTO_LIKE.stat().st_size:>12,} bytes  photo_like_int8.tflite" in lines
    assert "left out: notes.txt, run.json, validation.json" in lines
    assert "pipeline_tag: image-classification" in lines


def test_no_token_is_one_line_before_anything_is_sent(publish: Publish, hub: stub.Hub, run: Path) -> None:
    assert "no token for the hub: run `hf auth login`, or set HF_TOKEN" in refused(publish(run, HF_TOKEN=""))
    assert hub.calls == []


def test_token_of_login_is_used(publish: Publish, hub: stub.Hub, run: Path, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(TOKEN)
    done = publish(run, HF_TOKEN="", HF_HOME=str(tmp_path / "hf"))
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_wrong_token_is_one_line(publish: Publish, run: Path) -> None:
    done = publish(run, HF_TOKEN="hf_wrong")
    assert "does not accept the token (401)" in refused(done)
    assert "hf_wrong" not in done.stderr


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("repos/create", 403, "the token may not write there (403)"),
        ("repos/create", 404, "no such user, organisation or repository (404)"),
        ("commit/main", 403, "the token may not write there (403)"),
        ("preupload", 400, "the hub refuses (400): refused with ***"),
        ("commit/main", 413, "the hub refuses (413): refused with ***"),
        ("repos/create", 500, "the hub has failed; try again later (500)"),
    ],
)
def test_refusal_is_one_line(publish: Publish, hub: stub.Hub, run: Path, path: str, status: int, reason: str) -> None:
    hub.special[path] = stub.refuse(status)
    line = refused(publish(run))
    assert line.startswith("python -m train: user/name: ") or "user/name: " in line
    assert reason in line
    assert all(not one.commits for one in hub.repositories.values())


@pytest.mark.parametrize("path", ["repos/create", "preupload", "objects/batch", "commit/main"])
def test_html_instead_of_json_is_one_line(publish: Publish, hub: stub.Hub, run: Path, path: str) -> None:
    hub.special[path] = stub.html
    assert "unexpected answer of http://127.0.0.1" in refused(publish(run))


def test_network_down_is_one_line(publish: Publish, run: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert f"user/name: cannot reach {endpoint}: " in refused(publish(run, HF_ENDPOINT=endpoint))


def test_card_of_run_has_metadata_and_text(run: Path) -> None:
    files, _ = collect(run, REPOSITORY)
    assert files[0].name == "README.md"
    text = files[0].content.decode()
    found = metadata(text)
    assert found["license"] == "mit"
    assert found["library_name"] == "litert"
    assert found["pipeline_tag"] == "image-classification"
    assert set(found["tags"]) >= {"ai-generated-image-detection", "tflite"}
    assert found["metrics"] == ["balanced_accuracy", "roc_auc"]
    (model,) = found["model-index"]
    measured = {
        (result["dataset"]["name"], one["type"]): one["value"]
        for result in model["results"]
        for one in result["metrics"]
    }
    assert measured == {
        ("40 test pictures, clean", "balanced_accuracy"): 0.81,
        ("40 test pictures, clean", "roc_auc"): 0.9,
        ("40 test pictures, web", "balanced_accuracy"): 0.7,
    }
    assert "recipe `photo` of edge-detect, 2 epochs, seed 3. 1,234 images were trained on, and 56 held out." in text
    assert "edge-detect model pull user/name --revision COMMIT" in text
    assert "![roc](figures/roc.png)" in text
    assert "100-20000 x 100-20000 pixels" in text
    assert "$" not in text


def test_nothing_private_is_published(run: Path) -> None:
    sent = b"".join(one.content for one in collect(run, REPOSITORY)[0])
    for private in (b"/home/me", b"secret.h5", b"grandma"):
        assert private not in sent


def test_own_card_keeps_text_and_metadata(run: Path) -> None:
    own = "---\nlicense: apache-2.0\ntags: [mine]\nlanguage: en\n---\n\n# My model\n\nMy words.\n"
    (run / "README.md").write_text(own)
    text = collect(run, REPOSITORY)[0][0].content.decode()
    found = metadata(text)
    assert (found["license"], found["language"], found["tags"][0]) == ("apache-2.0", "en", "mine")
    assert found["model-index"]
    assert text.endswith("---\n\n# My model\n\nMy words.\n")
    other = collect(run, REPOSITORY, "cc-by-4.0")[0][0].content.decode()
    assert metadata(other)["license"] == "cc-by-4.0"


def test_bundled_models_can_be_published() -> None:
    files, _ = collect(CHECKOUT / "models", REPOSITORY)
    names = {one.name for one in files}
    for path in (CHECKOUT / "models").glob("*"):
        assert path.is_dir() or path.name in names
    found = metadata(files[0].content.decode())
    assert (found["license"], found["library_name"]) == ("mit", "litert")
    accuracies = {
        one["name"]: (result["dataset"]["name"], one["value"])
        for result in found["model-index"][0]["results"]
        for one in result["metrics"]
        if one["type"] == "accuracy"
    }
    for stem in ("compact_int8", "photo_int8"):
        measured = json.loads((CHECKOUT / "models" / f"{stem}.json").read_text())["measured"]
        images, value = accuracies[f"accuracy of {stem}"]
        assert images == f"{measured['images']} validation images"
        assert value == pytest.approx(measured["accuracy"], abs=1e-5)


def test_excluded_files_are_left_out(run: Path) -> None:
    files, left_out = collect(run, REPOSITORY, exclude=["*.png", "model.*"])
    assert {one.name for one in files} == {name for name in PUBLISHED if not name.endswith((".png", ".keras"))}
    assert {"figures/roc.png", "training.png", "model.keras"} <= set(left_out)


def remove_all_models(run: Path) -> None:
    for path in (*run.glob("*.tflite"), *run.glob("*.keras")):
        path.unlink()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (remove_all_models, "no model to publish"),
        (lambda run: (run / "photo_like_int8.json").unlink(), "no photo_like_int8.json beside it"),
        (lambda run: (run / "photo_like_int8.tflite").write_bytes(b"0000TFL3"), "SHA-256 differs"),
        (lambda run: (run / "model.keras").write_bytes(b"x"), "not a Keras model"),
        (lambda run: (run / "evaluation.json").write_text("{"), "not an evaluation"),
        (lambda run: (run / "evaluation.json").write_text('{"model": "m", "tiers": 1}'), "not an evaluation"),
        (lambda run: (run / "evaluation.json").write_text('{"model": "m"}'), "not an evaluation"),
        (lambda run: (run / "run.json").write_text("{"), "run.json: damaged"),
        (lambda run: (run / "a\nb.png").write_bytes(b""), r"a\\nb.png: rename it"),
        (lambda run: (run / "README.md").write_text("---\n- a\n---\n"), "invalid metadata"),
        (lambda run: (run / "README.md").write_text("---\na: [\n---\n"), "invalid metadata"),
        (lambda run: (run / "README.md").write_bytes(b"\xff"), "invalid metadata"),
        (lambda run: (run / "README.md").write_text("---\nmodel-index: 3\n---\n"), "invalid metadata"),
    ],
)
def test_bad_folder_is_refused_in_one_line(run: Path, change: Callable[[Path], object], reason: str) -> None:
    change(run)
    with pytest.raises((HubError, ModelError), match=reason) as error:
        collect(run, REPOSITORY)
    assert str(error.value).isprintable()
    assert "\n" not in str(error.value)


def test_without_the_extra_it_says_what_to_install(publish: Publish, run: Path, tmp_path: Path) -> None:
    (tmp_path / "huggingface_hub.py").write_text("raise ModuleNotFoundError(name='huggingface_hub')")
    done = publish(run, "--dry-run", PYTHONPATH=f"{tmp_path}{os.pathsep}{CHECKOUT}")
    assert "pip install 'edge-detect[hub]'" in refused(done)


def test_commands_of_the_documentation_work(publish: Publish, hub: stub.Hub, edge_detect: Run, tmp_path: Path) -> None:
    text = (CHECKOUT / "docs" / "models.md").read_text("utf-8")
    commands = [line.strip().split() for line in text.splitlines() if line.startswith("    ")]
    variables = environment(HOME=str(tmp_path / "home"), HF_ENDPOINT=hub.endpoint)
    done = []
    for words in commands:
        if words[:4] == ["python", "-m", "train", "publish"]:
            ran = publish(*words[4 : words.index("--repo")], *words[words.index("--repo") + 2 :])
        elif words[0] == "edge-detect" or words[:1] + words[2:3] == ["sudo", "edge-detect"]:
            elsewhere = {"XDG_DATA_HOME": str(tmp_path / "share")} if words[0] == "sudo" else {}
            commit = next(iter(hub.repositories[REPOSITORY].commits))
            arguments = [commit if word == "COMMIT" else word for word in words[words.index("edge-detect") + 1 :]]
            ran = edge_detect(*arguments, env=variables | elsewhere)
        else:
            continue
        assert ran.returncode == 0, (words, ran.stderr)
        done.append(" ".join(words))
    assert len(done) == 9
