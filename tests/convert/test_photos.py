"""Conversion of a model that judges crops of photos: its calibration images, and its accuracy in 8 bits."""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from edge.imaging.views import taken
from edge.inference import model
from edge.inference.classifier import Classifier
from edge.inference.model import Views, ViewSet
from tests.support.modules import run_module

if TYPE_CHECKING:
    import keras

SIZE = (32, 32)
VIEWS = {
    "reduce_above": 160,
    "first": [{"short_side": None, "crops": 2}],
    "further": [{"short_side": 64, "crops": 1, "weight": 0.5}],
    "further_between": [0.2, 0.8],
}
PARSED = Views((ViewSet(2),), (ViewSet(1, 64, 0.5),), (0.2, 0.8), 160)
SOURCES, PICTURES = 4, 6  # of each class, and of each source


def scene(width: int, height: int, seed: int, grain: int) -> Image.Image:
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(30, 226, (9, 9, 3), np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), int)
    return Image.fromarray((smooth + random.integers(-grain, grain + 1, smooth.shape)).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs with much grain, generated pictures with little, and a broken file."""
    folder = tmp_path_factory.mktemp("photos")
    for number, label in enumerate(("FAKE", "REAL")):
        for source in range(SOURCES):
            (folder / label / f"s{source}").mkdir(parents=True)
            for index in range(PICTURES):
                seed = 100 * number + PICTURES * source + index
                grain = 3 + 9 * number + index
                scene(150 + 40 * index, 150 + 20 * source, seed, grain).save(
                    folder / label / f"s{source}" / f"{index}.png"
                )
    (folder / "REAL" / "s2" / "broken.jpg").write_text("no image")
    return folder


def names(collection: Path, source: str) -> list[str]:
    return sorted(path.relative_to(collection).as_posix() for path in collection.glob(f"*/{source}/*.png"))


def views_of(collection: Path, listed: list[str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    pixels = [taken(collection / name, None, PARSED, SIZE).pixels for name in listed]
    return np.concatenate(pixels), np.array([name.startswith("REAL") for name in listed for _ in range(3)])


def network(pixels: np.ndarray[Any, Any], is_real: np.ndarray[Any, Any]) -> "keras.Model":
    """A network of the photo recipe's layers: random except for the last one, with very different channel ranges."""
    from convert.backend import keras

    layers = keras.layers
    keras.utils.set_random_seed(4)
    kernel = np.array([[-16, -16, -16], [-16, 127, -16], [-16, -16, -15]], np.float32) * (64 / 3 / 127)
    rgb = keras.Input((32, 32, 3), name="rgb")
    residual = layers.DepthwiseConv2D(3, padding="same", activation="relu6", trainable=False, name="residual")
    stem = layers.Conv2D(8, 3, 2, padding="same", name="stem")(rgb)
    stem_residual = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem_residual")(residual(rgb))
    x = layers.BatchNormalization(name="stem_normalised")(layers.Add()([stem, stem_residual]))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(layers.ReLU(6.0)(x))
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="depthwise_normalised")(x))
    narrow = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False, name="project")(x))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False, name="expand")(narrow)))
    x = layers.Add()([narrow, layers.Conv2D(8, 1, name="back")(x)])
    features = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    last = layers.Dense(1, activation="sigmoid", name="p_real")
    made = keras.Model(rgb, last(features), name="tiny")
    residual.set_weights([np.repeat(kernel[:, :, None, None], 3, axis=2), np.full(3, 3.0, np.float32)])
    spread = np.geomspace(0.02, 1.5, 8)
    for name in ("stem_normalised", "depthwise_normalised"):
        normalisation = made.get_layer(name)
        gamma, beta, mean, variance = normalisation.get_weights()
        normalisation.set_weights([gamma * spread, beta + spread, mean + 0.1, variance * 0.3])
    looking = keras.Model(rgb, features)
    found = np.asarray(looking.predict_on_batch(pixels.astype(np.float32) / 255), np.float64)
    found = np.column_stack([found, np.ones(len(found))])
    wanted = np.concatenate([np.where(is_real, 3.0, -3.0), np.zeros(9)])
    fitted = np.linalg.lstsq(np.concatenate([found, 0.2 * np.eye(9)]), wanted, rcond=None)[0]
    last.set_weights([fitted[:8, None], fitted[8:]])
    return made


@pytest.fixture(scope="module")
def run(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that training writes."""
    folder = tmp_path_factory.mktemp("run")
    network(*views_of(collection, names(collection, "s2") + names(collection, "s3"))).save(folder / "model.keras")
    (folder / "views.json").write_text(json.dumps(VIEWS))
    (folder / "validation.json").write_text(json.dumps(names(collection, "s0")))
    (folder / "test.json").write_text(json.dumps(names(collection, "s1")))
    return folder


def convert(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_module("convert", *arguments)


@pytest.fixture(scope="module")
def converted(run: Path, collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted")
    done = convert(run / "model.keras", "--data", collection, "--out", out, "--calibration", "20")
    assert done.returncode == 0, done.stderr
    assert [row.split()[0] for row in done.stdout.splitlines()[1:4]] == ["model.keras", "tiny_float16", "tiny_int8"]
    return out


def test_descriptions_have_views_figures_and_the_kind_of_output(converted: Path) -> None:
    described = {name: model.load(converted / f"tiny_{name}.tflite").description for name in ("float16", "int8")}
    for description in described.values():
        assert description is not None
        assert description.views == PARSED
        assert description.score_limit == pytest.approx(1 / (2 * PICTURES + 2))
        assert description.domain == model.Domain((200, 350), (200, 350))
        assert description.operating_points == ()
        measured = description.measured
        assert measured["images"] == 2 * PICTURES
        assert measured["view_accuracy_keras"] > 0.7
        assert abs(measured["view_accuracy"] - measured["view_accuracy_keras"]) <= 0.05
        assert measured["view_agreement"] >= 0.95
    assert [one.output_is for one in described.values() if one] == ["probability", "logit"]
    counts = [one.measured["multiply_adds"] for one in described.values() if one]
    parts = (3 * 9 * 32 * 32, 6 * 9 * 8 * 16 * 16, 9 * 8 * 16 * 16, (8 * 8 + 2 * 8 * 16) * 16 * 16, 8)
    assert counts == [
        sum(parts),
        sum(parts) + 3 * 32 * 32,
    ]  # in 8 bits, the picture is scaled to the residual's range first


def test_calibration_is_balanced_and_uses_only_trained_sources(converted: Path) -> None:
    sample = json.loads((converted / "tiny_int8.json").read_text())["calibration"]
    assert len(sample["names"]) == 20
    for label in ("REAL", "FAKE"):
        for source in ("s2", "s3"):
            assert sum(name.startswith(f"{label}/{source}/") for name in sample["names"]) == 5
    assert not any("broken" in name for name in sample["names"])


def test_int8_file_is_small_and_qualifies_for_the_edge_tpu(converted: Path) -> None:
    done = convert("check", converted / "tiny_int8.tflite", "--edgetpu")
    assert done.returncode == 0, done.stdout
    assert "MUL " not in done.stdout  # the normalisation is part of the convolutions


def test_classifier_judges_a_picture_by_its_views(converted: Path, collection: Path) -> None:
    classifier = Classifier(model.load(converted / "tiny_int8.tflite"))
    verdicts = {name: classifier.classify(collection / name) for name in names(collection, "s0")}
    right = [verdict.label == name[:4] for name, verdict in verdicts.items()]
    assert np.mean(right) > 0.7


def test_domain_option_is_used_and_invalid_ranges_are_refused(run: Path, collection: Path, tmp_path: Path) -> None:
    for domain in ("200", "300-200", "0-5", "a-b"):
        done = convert(run / "model.keras", "--data", collection, "--out", tmp_path, "--domain", domain)
        assert done.returncode == 2
        assert f"'{domain}' is not a range of pixels such as 200-12000." in done.stderr
    from convert.converter import convert as convert_to

    out = tmp_path / "out"
    out.mkdir()
    convert_to(run / "model.keras", collection, out, 8, 0, model.Domain((200, 12000), (200, 12000)))
    description = model.described(out / "tiny_int8.tflite")
    assert description is not None
    assert description.domain == model.Domain((200, 12000), (200, 12000))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("views.json", "{"),
        ("views.json", "{}"),
        ("views.json", '{"first": [{"crops": 0}]}'),
        ("validation.json", None),
        ("validation.json", '["train/REAL/x.jpg"]'),
        ("validation.json", '["REAL/../x.jpg"]'),
        ("validation.json", '["REAL/s0/gone.png"]'),
        ("test.json", "3"),
    ],
)
def test_damaged_list_raises_sample_error(
    run: Path, collection: Path, tmp_path: Path, name: str, content: str | None
) -> None:
    from convert.converter import _samples
    from convert.errors import SampleError
    from convert.photos import views_beside

    for file in run.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SampleError, match=r"gone\.png" if "gone" in str(content) else name):
        _samples(tmp_path / "model.keras", collection, SIZE, views_beside(tmp_path / "model.keras"), 4, 0)


@pytest.fixture(scope="module")
def linear(run: Path) -> "keras.Model":
    from convert import litert

    found = litert.logits(litert.load_keras(run / "model.keras"))
    assert found is not None
    return found


def by(network: "keras.Model", pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(network.predict_on_batch(pixels.astype(np.float32) / 255), np.float64).reshape(-1)


def test_equalised_network_gives_the_same_answers_with_fewer_layers(linear: "keras.Model", collection: Path) -> None:
    from convert.equalise import equalised, is_plain, simplified

    pixels, _ = views_of(collection, names(collection, "s2"))
    before, expected = [weight.copy() for weight in linear.get_weights()], by(linear, pixels)
    simple = simplified(linear)
    kinds = [type(layer).__name__ for layer in simple.layers]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Add") == 1
    assert by(simple, pixels) == pytest.approx(expected, abs=1e-4)
    balanced = equalised(linear, pixels)
    assert by(balanced, pixels) == pytest.approx(expected, abs=1e-3)
    stem = balanced.get_layer("stem").get_weights()[0]
    assert (
        np.abs(stem).max((0, 1, 2)).min() > 2 * np.abs(simple.get_layer("stem").get_weights()[0]).max((0, 1, 2)).min()
    )
    assert is_plain(linear)
    assert all(np.array_equal(*pair) for pair in zip(before, linear.get_weights(), strict=True))


def test_network_inside_a_network_is_not_plain(linear: "keras.Model") -> None:
    from convert.backend import keras
    from convert.equalise import is_plain

    inputs = keras.Input((32, 32, 3))
    assert not is_plain(keras.Model(inputs, linear(inputs)))
    assert not is_plain(keras.Model(inputs, keras.ops.abs(keras.layers.Conv2D(1, 3)(inputs))))


def test_round_weights_loses_less_than_rounding_to_nearest(linear: "keras.Model", collection: Path) -> None:
    from convert.equalise import simplified
    from convert.rounding import round_weights

    trained, _ = views_of(collection, names(collection, "s2"))
    pixels, _ = views_of(collection, names(collection, "s0"))
    nearest, rounded = simplified(linear), simplified(linear)
    for layer in nearest.layers:
        if "Conv2D" in type(layer).__name__:
            kernel, *bias = layer.get_weights()
            scales = np.abs(kernel).max((0, 1, 3) if "Depthwise" in type(layer).__name__ else (0, 1, 2)) / 127
            scales = scales[:, None] if "Depthwise" in type(layer).__name__ else scales
            layer.set_weights([np.rint(kernel / scales) * scales, *bias])
    round_weights(rounded, trained)
    errors = [(by(one, pixels) - by(linear, pixels)).std() for one in (nearest, rounded)]
    assert 0 < errors[1] < 0.7 * errors[0]
    residual = rounded.get_layer("residual").get_weights()[0]
    assert residual == pytest.approx(linear.get_layer("residual").get_weights()[0], rel=1e-6)


def test_rounding_minimises_the_output_error_on_given_inputs() -> None:
    from convert.rounding import rounded_for

    random = np.random.default_rng(0)
    weights = random.standard_normal((9, 50))
    scales = np.abs(weights).max(0) / 127
    plain = np.rint(weights / scales) * scales
    alone = rounded_for(weights, np.eye(9))
    assert alone == pytest.approx(plain, abs=1e-9)
    inputs = 5 + random.standard_normal((1000, 9)) * 0.3  # nearly constant
    found = rounded_for(weights, inputs.T @ inputs / 1000)
    assert np.rint(found / scales) == pytest.approx(found / scales, abs=1e-6)
    assert np.abs(found).max(0) == pytest.approx(np.abs(weights).max(0))
    lost, lost_plainly = (np.abs(inputs @ (one - weights)).mean() for one in (found, plain))
    assert lost < 0.5 * lost_plainly


def test_file_without_the_exact_fixed_kernel_is_refused(converted: Path, linear: "keras.Model") -> None:
    from convert.backend import flatbuffer_utils
    from convert.errors import ConversionError
    from convert.verify import require_fixed_kernels

    content = (converted / "tiny_int8.tflite").read_bytes()
    require_fixed_kernels(content, linear)
    file = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    (place,) = [
        tensor.buffer
        for tensor in file.subgraphs[0].tensors
        if list(tensor.shape) == [1, 3, 3, 3] and sorted(set(file.buffers[tensor.buffer].data.view(np.int8)))[-1] == 127
    ]
    kernel = file.buffers[place].data.view(np.int8)
    assert kernel.reshape(9, 3).sum(0).tolist() == [0, 0, 0]
    kernel[0] += 1
    with pytest.raises(ConversionError, match="fixed kernel"):
        require_fixed_kernels(bytes(flatbuffer_utils.convert_object_to_bytearray(file)), linear)
