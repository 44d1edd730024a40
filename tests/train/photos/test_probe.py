"""The bias probe: features of files and crops that predict the label and should not."""

import json
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.errors import ImageError
from tests.conftest import MODELS
from tests.support.modules import run_module
from train.photos.probe import AS_CUT, AS_SHOWN, LabelCue, Probe, Shift, table
from train.photos.separability import held_out_scores
from train.photos.traces import GRID, of_crop, of_file

SOURCES, PICTURES = 6, 7  # of each class, and of each source


def scene(width: int, height: int, seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(40, 216, (10, 10, 3), np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), int)
    return Image.fromarray((smooth + random.integers(-6, 6, smooth.shape)).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same kind of picture in both classes; photographs are JPEGs of several sizes, the others square PNGs."""
    folder = tmp_path_factory.mktemp("photos")
    for source in range(SOURCES):
        for number in range(PICTURES):
            seed = source * PICTURES + number
            real, fake = (folder / label / f"s{source}" / f"{number}" for label in ("REAL", "FAKE"))
            real.parent.mkdir(parents=True, exist_ok=True)
            fake.parent.mkdir(parents=True, exist_ok=True)
            width, height = np.random.default_rng(seed).integers(200, 260, 2)
            scene(int(width), int(height), seed).save(real.with_suffix(".jpg"), quality=70 + 3 * (seed % 8))
            scene(256, 256, 1000 + seed).save(fake.with_suffix(".png"))
    (folder / "REAL" / "s0" / "broken.jpg").write_text("no image")
    sides = {"validation": ["REAL/s0", "FAKE/s0"], "test": ["REAL/s1"]}
    (folder / "split.json").write_text(json.dumps(sides))
    return folder


def probe(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # One thread: several wait for each other on a busy machine.
    return run_module("train", "probe", *arguments, OPENBLAS_NUM_THREADS="1")


@pytest.fixture(scope="module")
def found(collection: Path) -> dict[str, Any]:
    model = MODELS / "photo_like_int8.tflite"
    done = probe(
        *("--data", collection, "--split", collection / "split.json", "--model", model, "--crops", "400", "--json")
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def figure(found: dict[str, Any], of: str, features: str) -> float:
    (row,) = [row for row in found["told"] if (row["of"], row["features"]) == (of, features)]
    assert 0 <= row["low"] <= row["balanced_accuracy"] <= row["high"] <= 1
    return float(row["balanced_accuracy"])


def test_files_of_a_biased_collection_predict_the_label(found: dict[str, Any]) -> None:
    assert figure(found, "files", "format") == 1.0
    assert figure(found, "files", "size in pixels") > 0.9
    assert figure(found, "files", "all of these") > 0.95
    (reason,) = found["unreadable"]
    assert "broken.jpg" in reason


def test_augmentation_removes_the_trace_of_the_format(found: dict[str, Any]) -> None:
    assert figure(found, AS_CUT, GRID) > 0.65
    assert abs(figure(found, AS_SHOWN, GRID) - 0.5) < 0.1
    assert [row["is_format"] for row in found["told"] if row["features"] == GRID] == [True, True]


def test_re_encoding_does_not_change_a_model_of_brightness(found: dict[str, Any]) -> None:
    assert [(row["encoding"], row["label"]) for row in found["shifts"]] == [
        ("JPEG 90", "FAKE"),
        ("WebP 90", "FAKE"),
        ("JPEG 90", "REAL"),
        ("WebP 90", "REAL"),
    ]
    for row in found["shifts"]:
        assert row["pictures"] == PICTURES
        assert abs(row["score"]) < 0.05
        assert row["points"] == pytest.approx(100 * (row["right_after"] - row["right"]))


def test_table_lists_cues_shifts_and_unreadable_files() -> None:
    cues = [
        LabelCue("files", "format", 9, 1.0, 0.9, 1.0),
        LabelCue(AS_SHOWN, GRID, 80, 0.52, 0.48, 0.57, is_format=True),
    ]
    rows = table(Probe(cues, [Shift("JPEG 90", "FAKE", 20, 0.8, 0.75, 0.04)], ["x.jpg: damaged"])).splitlines()
    assert rows[1].split() == ["files:", "format", "9", "100.0%", "(90.0%-100.0%)"]
    assert rows[2].endswith("52.0% (48.0%-57.0%)  format: should be near 50%")
    assert rows[5].split() == ["JPEG", "90:", "FAKE", "20", "80.0%", "75.0%", "-5.0", "+0.040"]
    assert rows[-1] == "1 unreadable files"


@pytest.mark.parametrize("quality", [30, 60, 90, 98])
def test_jpeg_quality_is_estimated(tmp_path: Path, quality: int) -> None:
    scene(64, 64, 0).save(tmp_path / "x.jpg", quality=quality)
    (found, subsampling) = of_file(tmp_path / "x.jpg")["JPEG quality"]
    assert found == pytest.approx(quality, abs=1.5)
    assert subsampling == 2


def test_undecodable_file_raises_image_error(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("no image")
    with pytest.raises(ImageError, match=r"x\.jpg"):
        of_file(tmp_path / "x.jpg")


@pytest.mark.parametrize(("left", "top"), [(0, 0), (3, 5), (7, 1)])
def test_jpeg_grid_is_found_at_any_offset(left: int, top: int) -> None:
    buffer = BytesIO()
    picture = scene(160, 160, 0)
    picture.save(buffer, "JPEG", quality=40)
    decoded = np.asarray(Image.open(buffer))[top : top + 128, left : left + 128]
    across = np.array(of_crop(decoded)[GRID][2:10])
    down = np.array(of_crop(decoded)[GRID][12:20])
    assert (across.argmax() + left) % 8 == 7  # the step between the last column of a block and the next
    assert (down.argmax() + top) % 8 == 7
    assert across.max() > 1.2
    plain = np.array(of_crop(np.asarray(picture)[:128, :128])[GRID][2:10])
    assert plain.max() < 1.1


def test_classifier_finds_informative_features_and_ignores_noise() -> None:
    random = np.random.default_rng(0)
    labels = np.tile(np.array([0, 1], np.int8), 300)
    groups = np.array([f"{label}-{number // 2 % 10}" for number, label in enumerate(labels)])
    noise = random.standard_normal((600, 4))
    of_group = random.standard_normal(20)[[int(label * 10 + number // 2 % 10) for number, label in enumerate(labels)]]
    scores = held_out_scores(np.column_stack([noise, of_group]), labels, groups, np.ones(600))
    assert ((scores > 0.5) == labels).mean() < 0.65  # a feature of the group does not predict the label of other groups
    informed = np.column_stack([noise, np.where(labels == 1, 512.0, random.integers(400, 600, 600))])
    scores = held_out_scores(informed, labels, groups, np.ones(600))
    assert ((scores > 0.5) == labels).mean() > 0.9
