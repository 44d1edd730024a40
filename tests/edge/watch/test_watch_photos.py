"""A folder of thumbnails and photos: each is answered once, by its own model."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.inference import model
from edge.inference.model import bundled_paths, load
from tests.conftest import age, command, environment, picture
from tests.support.photos import ROUTED, two_models
from tests.support.watching import PATIENCE, Running

COMPACT, PHOTO_LIKE = ROUTED
FAKE, UNSURE, REAL = 30, 128, 220  # levels of grey, as the tiny model sees a photo
PHOTO, THUMBNAIL = (300, 260), (32, 32)


def watch_models(inbox: Path, *arguments: str | Path) -> list[str]:
    """The command line of a watcher with several models."""
    words = [inbox, inbox.parent / "state", *arguments]
    return [sys.executable, "-m", "tests.support.watch_models", *map(os.fspath, words)]


def once(inbox: Path, *arguments: str | Path) -> list[dict[str, Any]]:
    """The answers of one `watch --once`; it must print nothing else.

    Args:
        arguments: models, if not both, and options.
    """
    done = subprocess.run(
        watch_models(inbox, *arguments, "--once"), env=environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")
    return list(map(json.loads, done.stdout.splitlines()))


def names(answers: list[dict[str, Any]]) -> list[str]:
    return sorted(Path(answer["path"]).name for answer in answers)


def models_of(answers: list[dict[str, Any]]) -> dict[str, str]:
    return {Path(answer["path"]).name: answer["model"] for answer in answers}


def mixed(folder: Path, count: int = 12) -> dict[str, str]:
    """Write photos and thumbnails in turn; returns the name of the model for each file name."""
    expected = {}
    for number in range(count):
        is_photo = number % 3 != 1
        name = f"{number:03}.{'jpg' if number % 2 else 'png'}"
        age(picture(folder / name, (FAKE, UNSURE, REAL)[number % 3], PHOTO if is_photo else THUMBNAIL, seed=number))
        expected[name] = (PHOTO_LIKE if is_photo else COMPACT).stem
    return expected


def recorded(inbox: Path) -> dict[str, str]:
    """The digest of the model that answered each file name, as in the ledger."""
    with closing(sqlite3.connect(inbox.parent / "state" / "ledger.sqlite3")) as database:
        rows = database.execute("SELECT path, model_sha256 FROM answers").fetchall()
    assert len(rows) == len({path for path, _ in rows})
    return {os.fsdecode(os.path.basename(path)): digest for path, digest in rows}


@pytest.fixture
def started() -> Iterator[list[Running]]:
    """Watchers that are ended with the test."""
    running: list[Running] = []
    yield running
    for one in running:
        one.kill()


class WatchingModels(Running):
    """A running watcher with several models."""

    def __init__(self, inbox: Path, *arguments: str | Path) -> None:
        self._start(inbox.parent, watch_models(inbox, *arguments))


def test_each_file_is_answered_once_by_its_own_model(inbox: Path) -> None:
    expected = mixed(inbox)
    answers = once(inbox)
    assert models_of(answers) == expected
    assert len(answers) == len(expected)
    digests = {path.stem: load(path).sha256 for path in ROUTED}
    assert recorded(inbox) == {name: digests[one] for name, one in expected.items()}
    both = two_models()
    for answer in answers:
        verdict = both.classify(answer["path"])
        assert (answer["label"], answer["score"]) == (verdict.label, round(verdict.score, 6))
        assert answer["outside"] is None
    assert once(inbox) == []


def test_new_size_is_answered_by_other_model_but_not_renamed_or_touched_files(inbox: Path) -> None:
    expected = mixed(inbox)
    assert len(once(inbox)) == len(expected)
    for number, name in enumerate(expected):
        if number % 3 == 2:
            (inbox / name).touch()
        else:
            (inbox / name).rename(inbox / f"renamed {name}")
    picture(inbox / "002.png", REAL, THUMBNAIL, seed=99)
    assert models_of(once(inbox)) == {"002.png": COMPACT.stem}


def test_arriving_files_are_answered_by_their_own_model(inbox: Path, started: list[Running]) -> None:
    before = {f"before {name}": one for name, one in mixed(inbox, 6).items()}
    for name in list(before):
        (inbox / name.removeprefix("before ")).rename(inbox / name)
    watcher = WatchingModels(inbox)
    started.append(watcher)
    watcher.until(lambda w: len(w.names) == 6)
    later = mixed(inbox, 6)
    watcher.until(lambda w: len(w.names) == 12)
    assert models_of(watcher.answers) == before | later


def test_kills_lose_and_duplicate_nothing(inbox: Path, started: list[Running]) -> None:
    expected = mixed(inbox, 120)
    log = inbox.parent / "log.jsonl"
    for at_least in (1, 30, 70):
        watcher = WatchingModels(inbox, "--log", log)
        started.append(watcher)
        deadline = time.monotonic() + PATIENCE
        while not log.exists() or len(log.read_text().splitlines()) < at_least:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        watcher.kill()
    once(inbox, "--log", log)
    logged = list(map(json.loads, log.read_text().splitlines()))
    assert len(logged) == len(expected)
    assert models_of(logged) == expected
    digests = {path.stem: load(path).sha256 for path in ROUTED}
    assert recorded(inbox) == {name: digests[one] for name, one in expected.items()}


def test_unsure_files_are_sorted_into_their_own_folder_and_overwrite_none(inbox: Path) -> None:
    sorted_into = inbox.parent / "sorted"
    (sorted_into / "UNSURE").mkdir(parents=True)
    (sorted_into / "UNSURE" / "unsure.png").write_text("another's")
    for name, level in (("fake.png", FAKE), ("unsure.png", UNSURE), ("real.png", REAL)):
        age(picture(inbox / name, level, PHOTO))
    once(inbox, "--sort-into", sorted_into)
    found = sorted(path.relative_to(sorted_into).as_posix() for path in sorted_into.rglob("*.png"))
    assert found == ["FAKE/fake.png", "REAL/real.png", "UNSURE/unsure (2).png", "UNSURE/unsure.png"]
    assert (sorted_into / "UNSURE" / "unsure.png").read_text() == "another's"
    assert os.listdir(inbox) == []


def test_other_thresholds_change_labels_of_new_files_only(inbox: Path) -> None:
    def labels(*options: str) -> dict[str, str]:
        done = subprocess.run(
            command("watch", inbox, "--once", "--json", "--model", PHOTO_LIKE, *options),
            env=environment(HOME=str(inbox.parent)),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return {Path(answer["path"]).name: answer["label"] for answer in map(json.loads, done.stdout.splitlines())}

    age(picture(inbox / "a.png", 120, PHOTO, seed=1))
    assert labels() == {"a.png": "UNSURE"}
    age(picture(inbox / "b.png", 120, PHOTO, seed=2))
    assert labels("--no-unsure", "--reclassify") == {"b.png": "FAKE"}
    age(picture(inbox / "c.png", 120, PHOTO, seed=3))
    assert labels("--false-alarms", "10%") == {"c.png": "FAKE"}
    age(picture(inbox / "d.png", 112, PHOTO, seed=4))
    assert labels("--false-alarms", "1%", "--reclassify") == {"d.png": "UNSURE"}


def test_answers_of_another_model_stay_without_reclassify(inbox: Path) -> None:
    expected = mixed(inbox)
    photos = sorted(name for name, one in expected.items() if one == PHOTO_LIKE.stem)
    log = inbox.parent / "log.jsonl"
    assert set(models_of(once(inbox, COMPACT, "--log", log)).values()) == {COMPACT.stem}
    assert once(inbox, "--log", log) == []
    again = once(inbox, "--reclassify", "--log", log)
    assert names(again) == photos, "thumbnails have an answer of the right model already"
    assert set(models_of(again).values()) == {PHOTO_LIKE.stem}
    assert once(inbox, "--reclassify", "--log", log) == []
    digests = {path.stem: load(path).sha256 for path in ROUTED}
    assert recorded(inbox) == {name: digests[one] for name, one in expected.items()}
    assert names(list(map(json.loads, log.read_text().splitlines()))) == sorted([*expected, *photos])


def test_reclassify_with_one_model_replaces_answers_of_another(inbox: Path, brightness: Path) -> None:
    expected = mixed(inbox, 4)
    once(inbox, brightness)
    assert names(once(inbox, PHOTO_LIKE, "--reclassify")) == sorted(expected)
    assert once(inbox, brightness) == []
    assert names(once(inbox, brightness, "--reclassify")) == sorted(expected)


def test_renamed_file_is_reclassified_once_and_undecodable_file_is_not(inbox: Path) -> None:
    age(picture(inbox / "photo.png", REAL, PHOTO))
    (inbox / "bad.png").write_text("no image")
    age(inbox / "bad.png")
    first = subprocess.run(
        watch_models(inbox, COMPACT, "--once"), env=environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    assert len(first.stdout.splitlines()) == 2
    (inbox / "photo.png").rename(inbox / "renamed.png")
    assert models_of(once(inbox, "--reclassify")) == {"renamed.png": PHOTO_LIKE.stem}
    (inbox / "renamed.png").rename(inbox / "again.png")
    assert once(inbox, "--reclassify") == []
    assert set(recorded(inbox)) == {"again.png", "bad.png"}


def test_reclassify_moves_files_of_the_folder_but_not_sorted_ones(inbox: Path) -> None:
    sorted_into = inbox.parent / "sorted"
    for name, seed in (("gone.png", 1), ("stays.png", 2)):
        age(picture(inbox / name, UNSURE, PHOTO, seed=seed))
    (inbox / "stays.png").rename(inbox.parent / "stays.png")
    (first,) = once(inbox, COMPACT, "--sort-into", sorted_into)
    (inbox.parent / "stays.png").rename(inbox / "stays.png")
    (second,) = once(inbox, COMPACT)
    assert {first["label"], second["label"]} <= {"FAKE", "REAL"}
    (third,) = once(inbox, "--reclassify", "--sort-into", sorted_into)
    assert (Path(third["path"]).name, third["label"]) == ("stays.png", "UNSURE")
    assert (sorted_into / "UNSURE" / "stays.png").exists()
    assert (sorted_into / first["label"] / "gone.png").exists()
    assert os.listdir(inbox) == []


def test_running_watcher_reclassifies_each_file_once(inbox: Path, started: list[Running]) -> None:
    """Also images outside of all domains, although every listing finds them."""
    expected = mixed(inbox, 6)
    age(picture(inbox / "outside.png", REAL, (50, 40)))
    once(inbox, COMPACT)
    watcher = WatchingModels(inbox, "--reclassify", "--poll", "0.3")
    started.append(watcher)
    photos = sorted(name for name, one in expected.items() if one == PHOTO_LIKE.stem)
    watcher.until(lambda w: len(w.names) == len(photos))
    age(picture(inbox / "new.png", REAL, PHOTO, seed=50))
    watcher.until(lambda w: "new.png" in w.names)
    time.sleep(2)
    assert sorted(watcher.names) == sorted([*photos, "new.png"])


def test_kill_during_reclassify_loses_nothing(inbox: Path, started: list[Running]) -> None:
    for number in range(60):
        age(picture(inbox / f"{number}.png", UNSURE, PHOTO, seed=number))
    log = inbox.parent / "log.jsonl"
    once(inbox, COMPACT)
    watcher = WatchingModels(inbox, "--reclassify", "--log", log)
    started.append(watcher)
    watcher.until(lambda w: len(w.names) >= 1)
    watcher.kill()
    once(inbox, "--reclassify", "--log", log)
    logged = list(map(json.loads, log.read_text().splitlines()))
    assert names(logged) == sorted(f"{number}.png" for number in range(60))
    assert set(recorded(inbox).values()) == {load(PHOTO_LIKE).sha256}


def test_damaged_model_is_one_line_error_before_any_answer(inbox: Path) -> None:
    folder = inbox.parent / "models"
    folder.mkdir()
    for path in ROUTED:
        for one in (path, path.with_suffix(".json")):
            shutil.copyfile(one, folder / one.name)
    (folder / PHOTO_LIKE.name).write_bytes(PHOTO_LIKE.read_bytes()[:-1])
    age(picture(inbox / "thumbnail.png", REAL, THUMBNAIL))
    models = [folder / path.name for path in ROUTED]
    done = subprocess.run(
        watch_models(inbox, *models, "--once"), env=environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"edge-detect: {models[1]}: damaged, or not the file that photo_like_int8.json describes (SHA-256 differs)\n"
    )


@pytest.mark.skipif(len(bundled_paths()) < 2, reason="models/photo_int8.tflite does not exist yet")
def test_bundled_photo_model_answers_photos(inbox: Path, started: list[Running]) -> None:
    expected = {name: one.replace("photo_like", "photo") for name, one in mixed(inbox).items()}
    watcher = Running(inbox.parent, "watch", inbox)
    started.append(watcher)
    watcher.until(lambda w: len(w.names) == len(expected))
    assert set(models_of(watcher.answers).values()) == {load(path).name for path in bundled_paths()}
    for answer in watcher.answers:
        is_photo = expected[Path(str(answer["path"])).name] != model.default_path().stem
        assert answer["model"] == load(bundled_paths()[is_photo]).name
