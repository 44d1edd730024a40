"""Classification with real models, on both runtimes."""

import shutil
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import CoralError, ModelError, RuntimeMissingError, UndecodableImageError
from edge.imaging import preprocess
from edge.inference import model
from edge.inference.classifier import Classifier
from edge.inference.model import NO_UNSURE, ModelDescription
from edge.inference.runtime import RUNTIMES, installed, interpreter
from edge.resources import folder
from edge.verdict import Failure
from tests.conftest import CIFAKE, MODELS, picture

SIZE = (40, 30)
BOTH = [
    pytest.param(name, marks=pytest.mark.skipif(not find_spec(package), reason=f"{name} does not install here"))
    for name, package in RUNTIMES.items()
]


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


@pytest.mark.parametrize("runtime", BOTH)
@pytest.mark.parametrize("variant", ["float16", "int8"])
@pytest.mark.parametrize("grey", [0, 60, 120, 140, 200, 255])
def test_scores_equal_network_output(runtime: str, variant: str, grey: int) -> None:
    classifier = Classifier(model.load(MODELS / f"brightness_{variant}.tflite"), runtime=runtime)
    assert classifier.size == (16, 12)
    score = classifier.score(np.full((12, 16, 3), grey, np.uint8))
    assert score == pytest.approx(sigmoid(12 * (grey / 255 - 0.5)), abs=0.02 if variant == "int8" else 0.002)


def test_an_int8_model_maps_every_pixel_value_exactly() -> None:
    classifier = Classifier(model.load())
    assert classifier.input.scale == pytest.approx(1 / 255)
    assert np.array_equal(classifier._inputs.table, np.arange(-128, 128, dtype=np.int8))


def test_the_interpreter_is_the_one_that_scores_until_it_is_closed(brightness: Path) -> None:
    classifier = Classifier(model.load(brightness))
    value = classifier.run(np.full((*classifier.size[::-1], 3), 230, np.uint8))
    output = classifier.interpreter.get_output_details()[0]["index"]
    stored = int(classifier.interpreter.get_tensor(output)[0, 0])
    assert value == (stored - classifier.output.zero_point) * classifier.output.scale
    classifier.close()
    with pytest.raises(CoralError, match="is not open"):
        _ = classifier.interpreter


def test_label_score_and_confidence_of_a_verdict_agree(tmp_path: Path, brightness: Path) -> None:
    classifier = Classifier(model.load(brightness))
    bright = classifier.classify(picture(tmp_path / "bright.png", 230))
    dark = classifier.classify(picture(tmp_path / "dark.png", 30))
    assert (bright.label, dark.label) == ("REAL", "FAKE")
    assert bright.confidence == bright.score > 0.9
    assert dark.confidence == 1 - dark.score > 0.9
    assert 0 < bright.elapsed_seconds < 10


def test_a_logit_becomes_a_probability_within_the_score_limit(tmp_path: Path) -> None:
    """The brightness model's own output, 0 to 255/256, read as a logit; nothing else can know which it is."""
    path = Path(shutil.copyfile(MODELS / "brightness_int8.tflite", tmp_path / "logit.tflite"))
    plain = Classifier(model.load(path))
    description = ModelDescription(
        "logit", 16, 12, "bicubic", model.load(path).sha256, plain.input, plain.output, output_is="logit"
    )
    path.with_suffix(".json").write_text(description.to_json())
    pixels = [np.full((12, 16, 3), grey, np.uint8) for grey in (0, 120, 140, 255)]
    classifier = Classifier(model.load(path))
    for one in pixels:
        assert classifier.score(one) == pytest.approx(sigmoid(plain.score(one)))
    path.with_suffix(".json").write_text(replace(description, score_limit=0.4).to_json())
    limited = Classifier(model.load(path))
    assert [limited.score(one) for one in pixels] == pytest.approx([min(classifier.score(one), 0.6) for one in pixels])


def test_the_bundled_int8_model_has_a_score_limit() -> None:
    description = model.load().description
    assert description is not None
    assert description.output_is == "logit"
    assert description.score_limit == pytest.approx(1 / (description.measured["images"] + 2))


def test_an_image_outside_of_the_domain_is_marked(tmp_path: Path) -> None:
    classifier = Classifier(model.load())
    assert classifier.classify(picture(tmp_path / "in.png", 90, (32, 32))).outside is None
    reason = classifier.classify(picture(tmp_path / "out.png", 90, (300, 200))).outside
    assert reason == "300 x 200 pixels; the model was measured on 32 x 32"


def test_bad_image_raises_or_returns_failure(tmp_path: Path, brightness: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"bad")
    classifier = Classifier(model.load(brightness))
    with pytest.raises(UndecodableImageError):
        classifier.classify(tmp_path / "bad.png")
    assert isinstance(classifier.answer(tmp_path / "bad.png"), Failure)


PHOTO_LIKE = MODELS / "photo_like_int8.tflite"  # P(REAL) of a view = sigmoid(12 (its mean - 0.5))


def views_of(*greys: int) -> preprocess.Pixels:
    return np.stack([np.full((24, 32, 3), grey, np.uint8) for grey in greys])


def logit_of(grey: float) -> float:
    return 12 * (grey / 255 - 0.5)


def fused(logits: list[float]) -> float:
    return sigmoid(1.5 * float(np.mean(logits)) + 0.1)


@pytest.mark.parametrize("runtime", BOTH)
def test_further_views_are_judged_if_the_first_are_not_sure(runtime: str) -> None:
    classifier = Classifier(model.load(PHOTO_LIKE), runtime=runtime)
    bright, grey = [200] * 5, [125] * 5
    sure = classifier.judge(views_of(*bright, *[60] * 8))
    assert sure.count == 5
    assert sure.logits == pytest.approx([logit_of(200)] * 5, abs=0.05)
    assert sure.score == pytest.approx(fused([logit_of(200)] * 5), abs=0.01)
    unsure = classifier.judge(views_of(*grey, *[100] * 8))
    assert unsure.count == 13
    assert unsure.score == pytest.approx(fused([logit_of(125)] * 5 + [logit_of(100)] * 8), abs=0.02)
    assert classifier.judge(views_of(*grey)).count == 5


@pytest.mark.parametrize("grey", [60, 90, 125, 127, 160, 200])
def test_further_views_are_asked_for_only_if_the_first_are_not_sure(grey: int) -> None:
    classifier = Classifier(model.load(PHOTO_LIKE))
    first, rest = views_of(*[grey] * 5), views_of(*range(100, 180, 10))
    asked = []

    def further() -> preprocess.Pixels:
        asked.append(True)
        return rest

    judgement = classifier.judge(first, further)
    assert judgement == classifier.judge(np.concatenate([first, rest]))
    assert len(asked) == (judgement.count == 13) == (grey in (125, 127))


def test_further_views_are_not_asked_for_without_further_sets(tmp_path: Path) -> None:
    path = Path(shutil.copyfile(PHOTO_LIKE, tmp_path / "first.tflite"))
    description = model.described(PHOTO_LIKE)
    assert description is not None
    assert description.views is not None
    views = replace(description.views, further=())
    path.with_suffix(".json").write_text(replace(description, views=views).to_json())

    def further() -> preprocess.Pixels:
        raise AssertionError

    for grey in (125, 200):
        assert Classifier(model.load(path)).verdict("x", views_of(*[grey] * 5), SIZE, 0.0, further=further)


def test_views_are_weighted_by_their_set(tmp_path: Path) -> None:
    path = Path(shutil.copyfile(PHOTO_LIKE, tmp_path / "weighted.tflite"))
    description = model.described(PHOTO_LIKE)
    assert description is not None
    assert description.views is not None
    first = (description.views.first[0], replace(description.views.first[1], weight=4.0))
    views = replace(description.views, first=first, further=())
    path.with_suffix(".json").write_text(replace(description, views=views).to_json())
    judgement = Classifier(model.load(path)).judge(views_of(100, 100, 100, 100, 150))
    assert judgement.score == pytest.approx(fused([logit_of(100), logit_of(150)]), abs=0.02)


def test_probabilities_are_fused_as_logits(tmp_path: Path, brightness: Path) -> None:
    path = Path(shutil.copyfile(brightness, tmp_path / "views.tflite"))
    plain = Classifier(model.load(path))
    views = model.Views((model.ViewSet(2),))
    description = ModelDescription(
        "views", 16, 12, "bicubic", model.load(path).sha256, plain.input, plain.output, views=views
    )
    path.with_suffix(".json").write_text(description.to_json())
    classifier = Classifier(model.load(path))
    one, other = (np.full((12, 16, 3), grey, np.uint8) for grey in (100, 140))
    logits = [float(np.log(p / (1 - p))) for p in map(plain.score, (one, other))]
    assert classifier.judge(np.stack([one, other])).logits == pytest.approx(logits)
    assert classifier.judge(np.stack([one, other])).score == pytest.approx(sigmoid(float(np.mean(logits))))
    assert np.isfinite(classifier.judge(np.zeros((2, 12, 16, 3), np.uint8)).logits).all()


@pytest.mark.parametrize(
    ("point", "grey", "label", "is_real"),
    [
        (None, 200, "REAL", True),
        (None, 130, "UNSURE", True),
        (None, 120, "UNSURE", False),
        (None, 60, "FAKE", False),
        ("10%", 120, "FAKE", False),
        (NO_UNSURE, 130, "REAL", True),
        (NO_UNSURE, 120, "FAKE", False),
    ],
)
def test_operating_point_decides_what_is_unsure(point: str | None, grey: int, label: str, is_real: bool) -> None:
    classifier = Classifier(model.load(PHOTO_LIKE), operating_point=point)
    pixels = views_of(*[grey] * 13)
    pixels[:, ::2] += 8  # stripes, around the same mean: without any texture it is UNSURE
    pixels[:, 1::2] -= 8
    verdict = classifier.verdict("x", pixels, (400, 300), 0.0)
    assert (verdict.label, verdict.is_real) == (label, is_real)
    assert verdict.confidence == max(verdict.score, 1 - verdict.score)
    assert (verdict.model, verdict.outside, verdict.explain) == ("photo_like_int8", None, None)
    assert verdict.as_json()["model"] == "photo_like_int8"
    assert "explain" not in verdict.as_json()


@pytest.mark.parametrize(("level", "label"), [(0, "UNSURE"), (4, "UNSURE"), (5, "REAL")])
def test_pictures_without_texture_are_unsure(level: int, label: str) -> None:
    pixels = views_of(*[200] * 13)
    pixels[-1, 3, 4] += level  # one pixel of one view differs
    verdict = Classifier(model.load(PHOTO_LIKE)).verdict("x", pixels, (400, 300), 0.0)
    assert (verdict.label, verdict.is_real) == (label, True)


@pytest.mark.parametrize(("level", "label"), [(4, "UNSURE"), (5, "REAL")])
def test_picture_whose_first_views_have_no_texture_is_judged_by_the_further_ones(level: int, label: str) -> None:
    """A score that is sure does not need them; whether there is texture does."""
    first, rest = views_of(*[200] * 5), views_of(*[200] * 8)
    rest[-1, 3, 4, 1] += level
    classifier = Classifier(model.load(PHOTO_LIKE))
    verdict = classifier.verdict("x", first, (400, 300), 0.0, explain=True, further=lambda: rest)
    assert (verdict.label, verdict.explain and len(verdict.explain)) == (label, 5)
    first[2, 0, 0] += 5

    def further() -> preprocess.Pixels:
        raise AssertionError

    assert classifier.verdict("x", first, (400, 300), 0.0, further=further).label == "REAL"


@pytest.mark.parametrize("place", [(0, 0), (0, 31), (23, 0), (12, 16), (5, 7)])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_texture_is_found_in_any_channel_and_place(place: tuple[int, int], channel: int) -> None:
    classifier = Classifier(model.load(PHOTO_LIKE))
    for change, label in ((-4, "UNSURE"), (4, "UNSURE"), (-5, "REAL"), (5, "REAL")):
        pixels = np.broadcast_to(np.array([240, 200, 160], np.uint8), (13, 24, 32, 3)).copy()
        pixels[0, *place, channel] = int(pixels[0, *place, channel]) + change
        assert classifier.verdict("x", pixels, (400, 300), 0.0).label == label, change


def test_an_unknown_operating_point_is_refused_unless_the_model_has_none(brightness: Path) -> None:
    with pytest.raises(ModelError, match="no operating point 2%; there are 1%, 3%, 10%"):
        Classifier(model.load(PHOTO_LIKE), operating_point="2%")
    verdict = Classifier(model.load(brightness), operating_point="2%").verdict("x", views_of(130)[0, :12, :16], SIZE, 0)
    assert (verdict.label, verdict.model) == ("REAL", "brightness_int8")


def test_explanation_lists_each_view_with_its_position(tmp_path: Path) -> None:
    """The left half is bright, the right one dark; and the whole is neither, so that all views are taken."""
    pixels = np.full((120, 160, 3), 50, np.uint8)
    pixels[:, :80] = 210
    Image.fromarray(pixels).save(tmp_path / "halves.png")
    classifier = Classifier(model.load(PHOTO_LIKE))
    verdict = classifier.classify(tmp_path / "halves.png", explain=True)
    assert verdict.explain is not None
    assert len(verdict.explain) == 13
    for view in verdict.explain:
        centre = view.place.left + view.place.width / 2
        if abs(centre - 0.5) > view.place.width / 2:
            assert (view.logit > 0) == (centre < 0.5), view
    told = verdict.as_json()["explain"]
    assert set(told[0]) == {"left", "top", "width", "height", "logit"}
    picture(tmp_path / "bright.png", 230, (160, 120))
    sure = classifier.classify(tmp_path / "bright.png", explain=True)
    assert sure.explain is not None
    assert len(sure.explain) == 5
    whole = Classifier(model.load()).classify(tmp_path / "bright.png", explain=True).explain
    assert whole is not None
    assert [(view.place.left, view.place.width) for view in whole] == [(0, 1)]


both_installed = pytest.mark.skipif(
    not all(map(find_spec, RUNTIMES.values())), reason="needs both runtimes side by side"
)


def pictures() -> list[preprocess.Pixels]:
    """The bundled images, and noise, which no training set holds."""
    bundled = [preprocess.pixels(path, (32, 32)) for path in sorted((CIFAKE / "test").rglob("*.jpg"))]
    return bundled + list(np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), np.uint8))


@both_installed
def test_int8_outputs_are_identical_on_both_runtimes() -> None:
    """With the kernels that both have, every output is the same to the bit."""

    def outputs(package: str) -> list[int]:
        runtime = import_module(f"{package}.interpreter")
        kernels = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        network = runtime.Interpreter(str(model.default_path()), experimental_op_resolver_type=kernels)
        network.allocate_tensors()
        takes, returns = network.get_input_details()[0]["index"], network.get_output_details()[0]["index"]
        values = []
        for pixels in pictures():
            network.set_tensor(takes, (pixels.astype(int) - 128).astype(np.int8)[None])
            network.invoke()
            values.append(int(network.get_tensor(returns)[0, 0]))
        return values

    one, other = map(outputs, RUNTIMES.values())
    assert one == other
    assert len(set(one)) > 5, "all the same would show nothing"


@both_installed
def test_int8_verdicts_of_both_runtimes_agree_as_installed() -> None:
    """As installed, ai-edge-litert runs int8 in XNNPACK, which rounds once where the older kernels round twice:
    a unit in one of a thousand activations, and a few of the 256 steps in some scores."""
    one, other = (Classifier(model.load(), runtime=name) for name in RUNTIMES)
    scores = np.array([(one.score(pixels), other.score(pixels)) for pixels in pictures()])
    logits = np.log(scores / (1 - scores))
    steps = np.abs(logits[:, 0] - logits[:, 1]) / one.output.scale
    assert steps.mean() < 2
    assert steps.max() <= 16
    clear = np.abs(logits[:, 0]) > 16 * one.output.scale
    assert clear.sum() > 50
    assert ((scores[clear, 0] > 0.5) == (scores[clear, 1] > 0.5)).all()


@pytest.mark.parametrize("runtime", BOTH)
def test_a_plain_script_gets_the_same_score_from_the_float16_file(runtime: str) -> None:
    """It reads the input size, feeds RGB / 255 as float32, and compares output[0][0] with 0.5."""
    path = folder("models") / "compact_float16.tflite"
    plain = interpreter(path.read_bytes(), runtime=runtime)
    takes, returns = plain.get_input_details()[0], plain.get_output_details()[0]
    _, height, width, _ = takes["shape"]
    ours = Classifier(model.load(path), runtime=runtime)
    for file in sorted((CIFAKE / "test").rglob("*.jpg")):
        fed = (preprocess.pixels(file, (width, height)) / 255.0).astype(np.float32)[None]
        plain.set_tensor(takes["index"], fed)
        plain.invoke()
        output = plain.get_tensor(returns["index"])
        assert ours.model.description is not None
        limit = ours.model.description.score_limit
        assert np.clip(output[0][0], limit, 1 - limit) == pytest.approx(ours.classify(file).score, abs=1e-6)
        assert ("REAL" if output[0][0] > 0.5 else "FAKE") == ours.classify(file).label


def test_the_default_model_is_right_on_most_bundled_images() -> None:
    classifier = Classifier(model.load())
    verdicts = [
        (label, classifier.classify(path).label)
        for label in ("REAL", "FAKE")
        for path in sorted((CIFAKE / "test" / label).iterdir())
    ]
    assert sum(is_ == called for is_, called in verdicts) >= 17, verdicts


def test_missing_runtime_is_named_in_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, "no-such-runtime", "no_such_runtime")
    with pytest.raises(RuntimeMissingError, match="pip install no-such-runtime"):
        installed("no-such-runtime")
