"""Which installed model is used for which images, and the file that records it."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge.errors import ModelError
from edge.imaging.inputs import Domain
from edge.inference import installed
from edge.inference.chosen import choose, chosen_paths
from edge.inference.installed import Known, find, known, remove, slot_of, use
from edge.inference.model import BUNDLED, bundled_paths
from tests.conftest import MODELS

PHOTO_LIKE = MODELS / "photo_like_int8.tflite"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of installed models, which does not exist yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "edge-detect" / "models"


def install(folder: Path, stem: str = "m", **changes: object) -> Known:
    """Install a small model, with other values in its description."""
    own = folder / installed.folder_name("user/name", COMMIT, stem)
    own.mkdir(parents=True)
    shutil.copy(PHOTO_LIKE, own / f"{stem}.tflite")
    description = json.loads(PHOTO_LIKE.with_suffix(".json").read_text())
    (own / f"{stem}.json").write_text(json.dumps(description | changes))
    return find(f"user/name/{stem}")


@pytest.mark.parametrize(
    ("domain", "slot"),
    [
        (Domain((32, 32), (32, 32)), "thumbnails"),
        (Domain((1, 64), (1, 64)), "thumbnails"),
        (Domain((64, 64), (64, 64)), "thumbnails"),
        (Domain((128, 128), (128, 128)), "photos"),
        (Domain((200, 6000), (200, 6000)), "photos"),
        (Domain((1, 100_000), (1, 100_000)), "photos"),
        (None, None),
    ],
)
def test_slot_is_that_of_bundled_model_with_nearest_sizes(domain: Domain | None, slot: str | None) -> None:
    assert slot_of(domain) == slot


def test_chosen_model_replaces_bundled_one_in_its_place(folder: Path) -> None:
    before = bundled_paths()
    model = install(folder)
    assert use(model) == "photos"
    assert bundled_paths() == (before[0], model.path)
    assert use(model, "thumbnails") == "thumbnails"
    assert bundled_paths() == (model.path, model.path)
    for name in BUNDLED:
        choose(name, None)
    assert bundled_paths() == before


def test_model_without_domain_needs_a_slot(folder: Path) -> None:
    model = install(folder, domain=None)
    with pytest.raises(ModelError, match="unknown domain; name one: --for thumbnails or --for photos"):
        use(model)
    assert use(model, "photos") == "photos"


def test_model_with_other_labels_is_refused(folder: Path) -> None:
    model = install(folder, labels=["CAT", "DOG"])
    with pytest.raises(ModelError, match="its labels are CAT and DOG, not FAKE and REAL"):
        use(model)
    assert chosen_paths(BUNDLED) == {}


def test_file_that_cannot_be_read_leaves_the_bundled_models(folder: Path, logged: list[str]) -> None:
    before = bundled_paths()
    (folder / "defaults.json").mkdir(parents=True)
    assert bundled_paths() == before
    assert logged == [f"{folder / 'defaults.json'}: is a directory; the bundled models are used"]


def test_folder_in_whose_place_there_is_a_file_leaves_the_bundled_models(folder: Path, logged: list[str]) -> None:
    before = bundled_paths()
    folder.parent.mkdir(parents=True)
    folder.write_text("")
    assert bundled_paths() == before
    assert logged == []
    assert {one.name for one in known()} == {path.stem for path in before}
    with pytest.raises(ModelError, match="cannot write"):
        choose(BUNDLED[0], folder / "a" / "b.tflite")


def test_account_without_home_uses_the_bundled_models(monkeypatch: pytest.MonkeyPatch) -> None:
    before = bundled_paths()
    monkeypatch.setattr("edge.inference.chosen.models_folder", lambda: None)
    assert bundled_paths() == before
    with pytest.raises(ModelError, match="set XDG_DATA_HOME"):
        choose(BUNDLED[0], Path("x/y.tflite"))


def test_other_files_in_the_folder_are_not_listed(folder: Path) -> None:
    install(folder)
    for name in (".pull-abc", ".removed-x", "notes", "user--name--xyz--m", f"user--name--{COMMIT[:12]}"):
        (folder / name).mkdir()
    (folder / f"a--b--{COMMIT[:12]}--c").write_text("a file")
    names = [(one.name, one.problem) for one in known() if not one.is_bundled]
    assert names == [(f"a/b/c@{COMMIT[:12]}", "not a directory"), (f"user/name/m@{COMMIT[:12]}", "")]


def test_choosing_the_bundled_model_again_writes_nothing_without_need(folder: Path) -> None:
    use(find("compact_int8"))
    assert not folder.exists()


def test_remove_that_fails_is_one_line(folder: Path) -> None:
    model = install(folder)
    with pytest.raises(ModelError, match="cannot remove"):
        remove(replace(model, path=folder / "gone" / "m.tflite"))
    assert os.path.exists(model.path)
