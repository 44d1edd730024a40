"""Model files and their descriptions: what is accepted, and what is refused with which message."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ModelError
from edge.inference import model
from edge.inference.classifier import Classifier
from edge.inference.model import (
    NO_UNSURE,
    Domain,
    Fusion,
    ModelDescription,
    OperatingPoint,
    Quantisation,
    Views,
    ViewSet,
)
from edge.inference.runtime import RUNTIMES, is_installed
from edge.inference.tflite_check import require_whole
from tests.conftest import MODELS


def described(folder: Path, **changes: object) -> Path:
    """A copy of the brightness model with a description beside it."""
    path = Path(shutil.copyfile(MODELS / "brightness_int8.tflite", folder / "copy.tflite"))
    sha256 = model.load(path).sha256
    quantisation = Quantisation("int8", 1 / 255, -128)
    text = ModelDescription("copy", 16, 12, "bicubic", sha256, quantisation, quantisation).to_json()
    (folder / "copy.json").write_text(json.dumps(json.loads(text) | changes))
    return path


def test_description_round_trips_through_json(tmp_path: Path) -> None:
    domain = {"width": [30, 34], "height": [32, 32]}
    path = described(
        tmp_path, threshold=0.7, labels=["AI", "PHOTO"], output_is="logit", score_limit=0.01, domain=domain
    )
    loaded = model.load(path)
    assert (loaded.threshold, loaded.labels) == (0.7, ("AI", "PHOTO"))
    assert loaded.description is not None
    assert ModelDescription.from_json(loaded.description.to_json()) == loaded.description


VIEWS = {
    "reduce_above": 1024,
    "first": [{"short_side": None, "crops": 4}, {"short_side": 256, "crops": 1, "weight": 2, "flavour": "vanilla"}],
    "further": [{"crops": 8}],
    "further_between": [0.2, 0.8],
}
POINT = {"name": "3%", "false_alarms": 0.03, "misses": 0.10, "fake_below": 0.31, "real_above": 0.62}
STRICT = POINT | {"name": "1%", "fake_below": 0.2}


def test_views_fusion_and_operating_points_round_trip_through_json(tmp_path: Path) -> None:
    fusion = {"scale": 1.3, "offset": -0.1, "texture": None}
    path = described(tmp_path, views=VIEWS, fusion=fusion, operating_points=[STRICT, POINT], operating_point="3%")
    description = model.load(path).description
    assert description is not None
    assert description.views == Views((ViewSet(4), ViewSet(1, 256, 2.0)), (ViewSet(8),), (0.2, 0.8), 1024)
    assert description.views.weights == (1, 1, 1, 1, 2, *[1] * 8)
    assert description.fusion == Fusion(1.3, -0.1)
    assert description.operating_points[1] == OperatingPoint("3%", 0.03, 0.10, 0.31, 0.62)
    assert description.operating_point == "3%"
    assert ModelDescription.from_json(description.to_json()) == description


def test_operating_point_is_chosen_by_name(tmp_path: Path) -> None:
    loaded = model.load(described(tmp_path, operating_points=[STRICT, POINT], operating_point="3%"))
    chosen = [loaded.operating_point(name) for name in (None, "1%", "3%")]
    assert [point and point.name for point in chosen] == ["3%", "1%", "3%"]
    assert loaded.operating_point(NO_UNSURE) is None
    with pytest.raises(ModelError, match=r"copy\.tflite: no operating point 2%; there are 1%, 3%"):
        loaded.operating_point("2%")
    without_default = model.load(described(tmp_path, operating_points=[STRICT, POINT]))
    assert without_default.operating_point() == chosen[1]
    without_points = model.load(described(tmp_path))
    assert [without_points.operating_point(name) for name in (None, "1%", NO_UNSURE)] == [None] * 3


@pytest.mark.parametrize("version", [1, 2])
def test_views_in_an_older_description_are_ignored(tmp_path: Path, version: int) -> None:
    path = described(tmp_path, format_version=version, views="of the sea", fusion=[], operating_points=7)
    description = model.load(path).description
    assert description is not None
    assert (description.views, description.fusion, description.operating_points) == (None, None, ())


def test_bundled_paths_are_the_installed_models() -> None:
    names = [path.name for path in model.bundled_paths()]
    assert names in (["compact_int8.tflite"], ["compact_int8.tflite", "photo_int8.tflite"])
    assert model.bundled_paths()[0] == model.default_path()


def test_distance_to_domain_adds_both_sides() -> None:
    domain = Domain((100, 200), (100, 400))
    assert domain.distance((100, 400)) == 0
    assert domain.distance((50, 800)) == pytest.approx(2 * np.log(2))


def test_description_of_first_version_is_read(tmp_path: Path) -> None:
    path = described(tmp_path, format_version=1)
    text = json.loads(path.with_suffix(".json").read_text())
    for later in ("output_is", "score_limit", "domain"):
        del text[later]
    path.with_suffix(".json").write_text(json.dumps(text))
    description = model.load(path).description
    assert description is not None
    assert (description.output_is, description.score_limit, description.domain) == ("probability", 0.0, None)


@pytest.mark.parametrize(
    ("size", "inside"),
    [((32, 32), True), ((30, 40), True), ((29, 32), False), ((32, 41), False), ((4000, 3000), False)],
)
def test_a_domain_gives_the_reason_for_images_outside(size: tuple[int, int], inside: bool) -> None:
    reason = Domain((30, 34), (32, 40)).reason_outside(size)
    if inside:
        assert reason is None
    else:
        assert reason == f"{size[0]} x {size[1]} pixels; the model was measured on 30-34 x 32-40"


def test_unknown_fields_are_ignored(tmp_path: Path) -> None:
    assert model.load(described(tmp_path, flavour="vanilla")).description is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": "0" * 64}, "damaged"),
        ({"format_version": 4}, "format_version 4"),
        ({"output_is": "guess"}, "output_is"),
        ({"score_limit": 0.7}, "score_limit"),
        ({"domain": {"width": [32, 32]}}, "height"),
        ({"domain": {"width": 32, "height": 32}}, "copy.json"),
        ({"labels": ["REAL"]}, "labels"),
        ({"labels": None}, "labels"),
        ({"threshold": "high"}, "could not convert"),
        ({"resampling": "lanczos"}, "scaled with lanczos"),
        ({"input": {"dtype": "int8"}}, "scale"),
        ({"input": None}, "NoneType"),
        ({"threshold": 0.001, "score_limit": 0.01}, "threshold is not between"),
        ({"threshold": 0.995, "score_limit": 0.01}, "threshold is not between"),
        ({"views": {}}, "first is missing"),
        ({"views": []}, "list"),
        ({"views": {"first": []}}, "no first views"),
        ({"views": {"first": [{"crops": 0}]}}, "crops of a view set"),
        ({"views": {"first": [{"crops": True}]}}, "crops of a view set"),
        ({"views": {"first": [{"crops": 60}], "further": [{"crops": 5}]}}, "65 crops; 64 is the most"),
        ({"views": {"first": [{"crops": 1, "short_side": 0}]}}, "short_side"),
        ({"views": {"first": [{"crops": 1, "weight": 0}]}}, "no weight"),
        ({"views": {"first": [{"crops": 1, "weight": -1}]}}, "weight of a view set"),
        ({"views": {"first": "all"}}, "lists of view sets"),
        ({"views": VIEWS | {"further_between": [0.8, 0.2]}}, "further_between is not in order"),
        ({"views": VIEWS | {"further_between": 0.5}}, "further_between is not a pair"),
        ({"views": VIEWS | {"reduce_above": -3}}, "reduce_above"),
        ({"fusion": {"scale": 0}}, "scale above 0"),
        ({"fusion": {"texture": [1]}}, "texture"),
        ({"fusion": 3}, "copy.json"),
        ({"operating_points": [POINT | {"fake_below": 0.7}]}, "fake_below, real_above of 3% is not in order"),
        ({"operating_points": [POINT, POINT]}, "a name each"),
        ({"operating_points": [POINT | {"name": ""}]}, "a name each"),
        ({"operating_points": [{"name": "1%"}]}, "false_alarms is missing"),
        ({"operating_points": [POINT | {"misses": 3}]}, "misses"),
        ({"operating_points": {"3%": POINT}}, "not a list"),
        ({"operating_points": [POINT], "operating_point": "5%"}, "operating_point '5%' is none of"),
        ({"operating_point": "3%"}, "operating_point '3%' is none of"),
        ({"operating_points": [POINT], "labels": ["FAKE", "UNSURE"]}, "UNSURE cannot be"),
        ({"resampling": "\x1b[2J\n"}, r"\\x1b\[2J\\n"),
    ],
)
def test_an_invalid_description_is_refused(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as raised:
        model.load(described(tmp_path, **changes))
    assert "\n" not in str(raised.value)


def test_description_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = described(tmp_path)
    for text in ("{", "[]", "[" * 100_000, "\xff"):
        (tmp_path / "copy.json").write_text(text, "latin-1")
        with pytest.raises(ModelError, match=r"copy\.json"):
            model.load(path)


def test_description_that_contradicts_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="another size or quantisation"):
        Classifier(model.load(described(tmp_path, width=32)))


def test_a_model_without_description_gets_the_default_labels_and_threshold(brightness: Path) -> None:
    loaded = model.load(brightness)
    assert (loaded.description, loaded.labels, loaded.threshold) == (None, ("FAKE", "REAL"), 0.5)


def test_logit_model_without_description_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alone.tflite"
    path.write_bytes(model.default_path().read_bytes())
    with pytest.raises(
        ModelError, match=r"alone\.tflite: its output of .* is not a probability: is its \.json missing"
    ):
        Classifier(model.load(path))


def test_files_that_are_not_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("no model at all")
    (tmp_path / "empty.tflite").write_bytes(b"")
    (tmp_path / "folder.tflite").mkdir()
    for name in ("text", "empty", "folder", "missing"):
        with pytest.raises(ModelError, match=f"{name}.tflite"):
            model.load(tmp_path / f"{name}.tflite")


def test_truncated_model_is_refused(tmp_path: Path) -> None:
    whole = model.default_path().read_bytes()
    for length in range(8, len(whole), len(whole) // 20):
        (tmp_path / "short.tflite").write_bytes(whole[:length])
        for runtime in filter(is_installed, RUNTIMES):  # one of them would crash
            with pytest.raises(ModelError, match=r"short\.tflite: damaged or cut short"):
                Classifier(model.load(tmp_path / "short.tflite"), runtime=runtime)


def test_a_damaged_model_structure_is_refused() -> None:
    whole = (MODELS / "brightness_int8.tflite").read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        damaged = bytearray(whole)
        for place in random.integers(8, len(whole), 8):
            damaged[place] = random.integers(0, 256)
        try:
            require_whole(bytes(damaged))
        except ModelError:
            refused += 1
    assert refused > 10
    require_whole(whole)


def test_model_of_another_shape_is_refused() -> None:
    with pytest.raises(ModelError, match=r"ten_classes.*\(1, 10\).*\(1, 1\)"):
        Classifier(model.load(MODELS / "ten_classes.tflite"))


def test_the_default_model_matches_its_description() -> None:
    loaded = model.load()
    assert loaded.path.name == "compact_int8.tflite"
    assert loaded.description is not None
    classifier = Classifier(loaded)
    assert classifier.size == (loaded.description.width, loaded.description.height) == (32, 32)
    assert (classifier.input, classifier.output) == (loaded.description.input, loaded.description.output)
    assert len(loaded.content) <= 1_000_000
