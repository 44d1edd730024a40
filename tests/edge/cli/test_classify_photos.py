"""`edge-detect classify` with two models, and their operating points."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import CIFAKE, DATA, MODELS, Run, command, environment
from tests.support.bundled import COMPACT, PHOTO, package

PHOTO_LIKE = MODELS / "photo_like_int8.tflite"
THUMBNAIL = min((CIFAKE / "test" / "REAL").iterdir())
UNSURE = DATA / "photos" / "FAKE" / "living-room.webp"  # of the tiny model
FAKE = DATA / "photos" / "FAKE" / "hiker.webp"
REAL = DATA / "photos" / "FAKE" / "high-rise.webp"  # it knows nothing of photos

Classify = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def classify(tmp_path: Path) -> Classify:
    """Runs `edge-detect classify` of an installed package with both models, in `package` of the test's folder."""
    installed = package(tmp_path / "package")

    def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command("classify", *arguments),
            cwd=tmp_path,
            env=environment(HOME=str(tmp_path), PYTHONPATH=str(installed), **variables),
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def verdicts(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_model_is_chosen_by_image_size_unless_the_model_option_names_one(classify: Classify) -> None:
    thumbnail, photo = verdicts(classify("--json", THUMBNAIL, UNSURE))
    assert (thumbnail["model"], thumbnail["label"], thumbnail["outside"]) == (COMPACT, "REAL", None)
    assert (photo["model"], photo["label"], photo["outside"]) == (PHOTO, "UNSURE", None)
    assert photo["confidence"] == max(photo["score"], 1 - photo["score"])
    assert "explain" not in photo
    forced = verdicts(classify("--json", "--model", PHOTO_LIKE, THUMBNAIL, UNSURE))
    assert [one["model"] for one in forced] == ["photo_like_int8", "photo_like_int8"]
    assert "the model was measured on 100-20000" in forced[0]["outside"]


def test_thumbnail_is_classified_although_the_photo_model_is_damaged(classify: Classify, tmp_path: Path) -> None:
    for suffix in (".tflite", ".json"):
        (tmp_path / "package" / "edge" / "models" / f"{PHOTO}{suffix}").write_text("damaged")
    assert [one["model"] for one in verdicts(classify("--json", THUMBNAIL))] == [COMPACT]
    both = classify(THUMBNAIL, UNSURE)
    assert both.returncode == 2
    assert both.stdout.startswith("REAL")
    (line,) = both.stderr.splitlines()
    assert f"{PHOTO}.json: cannot read the model's description" in line


def test_text_output_shows_all_three_labels(classify: Classify) -> None:
    done = classify(REAL, FAKE, UNSURE)
    real, fake, unsure = done.stdout.splitlines()
    assert real.startswith("REAL    99.2%  /")
    assert fake.startswith("FAKE    89.3%  /")
    assert unsure.startswith("UNSURE  (59.6% REAL)  /")
    assert (done.returncode, done.stderr) == (0, "")


def test_false_alarms_and_no_unsure_options_choose_thresholds(edge_detect: Run, tmp_path: Path) -> None:
    def labels(*options: str | Path, **variables: str) -> list[str]:
        env = environment(HOME=str(tmp_path), **variables)
        done = edge_detect("classify", "--json", "--model", PHOTO_LIKE, FAKE, UNSURE, *options, env=env)
        return [one["label"] for one in verdicts(done)]

    usual = labels()
    assert usual == labels("--false-alarms", "3%") == labels("--false-alarms", "3") == ["FAKE", "UNSURE"]
    assert labels("--no-unsure") == ["FAKE", "REAL"]
    assert labels("--no-unsure", EDGE_DETECT_FALSE_ALARMS="") == ["FAKE", "REAL"]
    assert labels(EDGE_DETECT_NO_UNSURE="1") == ["FAKE", "REAL"]
    settings = tmp_path / ".config" / "edge-detect.toml"
    settings.parent.mkdir()
    settings.write_text("[classify]\nfalse-alarms = 10\n")
    assert labels() == ["FAKE", "UNSURE"]
    settings.write_text("[classify]\nno-unsure = true\n")
    assert labels() == ["FAKE", "REAL"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--false-alarms", "7"), "no operating point 7%; there are 1%, 3%, 10%"),
        (("--false-alarms", "few"), "no operating point few; there are 1%, 3%, 10%"),
        (("--false-alarms", "1%", "--no-unsure"), "--false-alarms and --no-unsure exclude each other."),
        (("--false-alarms", " "), "an operating point needs a name, such as 3%."),
    ],
)
def test_invalid_operating_points_are_a_one_line_error(
    classify: Classify, options: tuple[str, ...], reason: str
) -> None:
    done = classify(THUMBNAIL, *options)  # refused at once, although no photo needs that model
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].endswith(reason)
    assert "Traceback" not in done.stderr


def test_explain_lists_the_position_and_logit_of_every_view(classify: Classify, tmp_path: Path) -> None:
    thumbnail, sure, unsure = verdicts(classify("--json", "--explain", THUMBNAIL, FAKE, UNSURE))
    (whole,) = thumbnail["explain"]
    assert (whole["left"], whole["top"], whole["width"], whole["height"]) == (0, 0, 1, 1)
    assert (len(sure["explain"]), len(unsure["explain"])) == (5, 13)
    for view in unsure["explain"]:
        assert set(view) == {"left", "top", "width", "height", "logit"}
        assert 0 <= view["left"] < view["left"] + view["width"] <= 1
    done = classify("--explain", THUMBNAIL, FAKE)
    first, of_whole, second, *of_views = done.stdout.splitlines()
    assert first.endswith(str(THUMBNAIL))
    assert of_whole.split(maxsplit=2)[2] == "the whole picture"
    assert second.startswith("FAKE")
    assert len(of_views) == 5
    assert of_views[2] == "    FAKE   -4.22  16% x 12% of the picture, 17% from its left, 69% from its top"


def test_figure_shows_the_verdict_at_a_size_that_fits_the_image(classify: Classify, tmp_path: Path) -> None:
    with Image.open(UNSURE) as photo, Image.open(THUMBNAIL) as thumbnail:
        photo.convert("RGB").save(tmp_path / "photo.png")
        thumbnail.save(tmp_path / "thumbnail.png")
    told = verdicts(classify("--figure", "--json", "photo.png", "thumbnail.png"))
    assert [one["label"] for one in told] == ["UNSURE", "REAL"]
    assert not any("explain" in one for one in told)  # only with --explain
    with Image.open(tmp_path / "photo_results.png") as of_photo:
        assert of_photo.text["Description"].startswith("UNSURE 0.59")
        assert of_photo.width == 900 + 48
    with Image.open(tmp_path / "thumbnail_results.png") as of_thumbnail:
        assert of_thumbnail.size == (792, 502)


@pytest.mark.parametrize("colour", ["white", "black", "red", "#808080", "#3060a0"])
def test_picture_of_one_colour_is_unsure(edge_detect: Run, tmp_path: Path, colour: str) -> None:
    png, jpeg = tmp_path / "one.png", tmp_path / "one.jpg"
    for path in (png, jpeg):
        Image.new("RGB", (640, 480), colour).save(path)
    assert [one["label"] for one in verdicts(edge_detect("classify", "--json", png, jpeg))] == ["UNSURE", "UNSURE"]
    (forced,) = verdicts(edge_detect("classify", "--json", "--no-unsure", png))
    assert forced["label"] == ("REAL" if forced["score"] > 0.5 else "FAKE")
