"""Corruptions, calibration, weight averaging, the second output and frozen features."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.imaging import preprocess
from tests.conftest import CIFAKE
from tests.support.modules import run_module
from train import corruptions
from train import dataset as datasets
from train.augment import cutmix
from train.corruptions import CORRUPTIONS
from train.metrics import measure
from train.robustness import robustness

# Keras is imported inside the tests: tflite-runtime, which other tests need, fails in a process with TensorFlow.


def picture() -> Image.Image:
    return preprocess.upright(next(iter(sorted((CIFAKE / "test" / "REAL").iterdir()))), 32)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "clean"])
def test_corruption_is_deterministic_and_changes_pixels_moderately(name: str) -> None:
    original = np.asarray(picture(), int)
    changed, again = (np.asarray(CORRUPTIONS[name](picture()), int) for _ in range(2))
    assert changed.shape == original.shape
    assert np.array_equal(changed, again)
    if name not in ("double size and back, box", "fourfold size and back, box"):  # which is the image itself
        assert not np.array_equal(changed, original)
    assert np.abs(changed - original).mean() < 60


def test_random_corruptions_have_the_given_share_and_follow_the_seed() -> None:
    pixels = np.stack([np.asarray(picture())] * 400)
    corrupted = corruptions.at_random(pixels, 0.25, np.random.default_rng(1))
    assert np.array_equal(corrupted, corruptions.at_random(pixels, 0.25, np.random.default_rng(1)))
    share = (corrupted != pixels).any(axis=(1, 2, 3)).mean()
    assert 0.15 < share <= 0.32
    assert np.array_equal(corruptions.at_random(pixels, 0.0, np.random.default_rng(1)), pixels)
    assert np.array_equal(pixels, np.stack([np.asarray(picture())] * 400)), "the given images were changed"


def test_robustness_corrupts_images_at_their_original_size(tmp_path: Path) -> None:
    for label, grey in (("FAKE", 60), ("REAL", 200)):
        (tmp_path / "test" / label).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(-20, 20, (48, 64, 3)) + grey
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "test" / label / f"{number}.png")
    dataset, _ = datasets.load(tmp_path, "test")
    seen: list[tuple[int, ...]] = []

    def brightness(pixels: preprocess.Pixels) -> Any:
        seen.append(pixels.shape)
        return pixels.mean(axis=(1, 2, 3)) / 255

    measured = robustness(brightness, (16, 12), dataset, 0.5)
    assert set(seen) == {(6, 12, 16, 3)}
    assert list(measured) == list(CORRUPTIONS)
    assert all(metrics.accuracy == 1 for metrics in measured.values())
    assert robustness(lambda pixels: 1 - brightness(pixels), (16, 12), dataset, 0.5)["clean"].accuracy == 0


def test_temperature_is_recovered_and_is_1_where_the_labels_determine_none() -> None:
    from train.calibration import temperature

    random = np.random.default_rng(0)
    logits = random.normal(0, 3, 20_000)
    labels = (random.random(20_000) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    for factor in (0.4, 1.0, 2.5):
        scores = 1 / (1 + np.exp(-factor * logits))
        found = temperature(scores, labels)
        assert found == pytest.approx(factor, rel=0.05)
        cooled = 1 / (1 + np.exp(-factor * logits / found))
        assert measure(cooled, labels).expected_calibration_error < 0.01
    assert temperature(np.array([0.9, 0.1]), np.array([1, 0], np.int8)) == 1, "never wrong: no temperature is the best"
    assert temperature(1 / (1 + np.exp(logits)), labels) == 1, "worse than chance: no temperature is the best"


def test_average_approaches_the_weights_and_forgets_the_first_ones() -> None:
    keras = pytest.importorskip("keras")
    from train.ema import EMA

    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    average = EMA(0.9, network, [np.array([[5.0]]), np.array([5.0])])
    network.set_weights([np.array([[1.0]]), np.array([2.0])])
    average.set_model(network)
    average.on_train_batch_end(0)
    assert average.weights[0] == 5, "the average is updated every few steps"
    average.on_epoch_end(0)
    assert average.weights[0] < 5, "an epoch ends with an update"
    for batch in range(1, 200):
        average.on_train_batch_end(batch)
    assert [float(weight.squeeze()) for weight in average.weights] == pytest.approx([1.0, 2.0], abs=1e-3)


def test_fused_normalisation_trains_like_the_plain_layer() -> None:
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the fused kernel is TensorFlow's")
    from train.normalization import FusedBatchNormalization, fused

    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(inputs)
    plain = keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.9)(x))
    quick = fused(plain)
    assert any(isinstance(layer, FusedBatchNormalization) for layer in quick.layers)
    images = np.random.default_rng(0).random((16, 8, 8, 3)).astype(np.float32)
    for model in (plain, quick):
        model.compile(keras.optimizers.SGD(0.1), "mse")
        for _ in range(5):
            model.train_on_batch(images, np.zeros((16, 6, 6, 4), np.float32))
    for one, other in zip(plain.get_weights(), quick.get_weights(), strict=True):
        assert one == pytest.approx(other, abs=0.01)  # the variance over n - 1 instead of n is the difference
    assert plain.predict(images, verbose=0) == pytest.approx(quick.predict(images, verbose=0), abs=0.05)


def test_muon_moves_a_kernel_along_an_orthogonal_matrix() -> None:
    keras = pytest.importorskip("keras")
    from train.optimizers import OPTIMIZERS

    network = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(8, 3, use_bias=False)])
    before = network.get_weights()[0]
    optimizer = OPTIMIZERS["muon"](0.01, 0.0)
    gradient = np.random.default_rng(0).normal(size=before.shape).astype(np.float32)
    optimizer.apply([keras.ops.convert_to_tensor(gradient)], network.trainable_variables)
    moved = (network.get_weights()[0] - before).reshape(-1, 8)
    strengths = np.linalg.svd(moved, compute_uv=False)
    assert strengths.max() / strengths.min() < 2, "the update of plain momentum spreads far more"
    assert np.sum(moved * gradient.reshape(-1, 8)) < 0


def test_subjects_come_from_cifake_file_names_only(tmp_path: Path) -> None:
    def named(*names: str) -> datasets.Dataset:
        paths = tuple(tmp_path / name for name in names)
        return datasets.Dataset(paths, np.zeros(len(paths), np.int8), (b"",) * len(paths))

    of_each = [f"0001 ({number}).jpg" for number in range(2, 11)]
    found = datasets.subjects(named("0000.jpg", *of_each, "holiday.jpg", "0003 (11).jpg"))
    assert found is not None
    assert np.array_equal(found[:10], np.eye(10))
    assert not found[10:].any()
    assert datasets.subjects(named("0000.jpg", "0001.jpg", "a (2).jpg")) is None


def test_cutmix_mixes_targets_by_the_pasted_area() -> None:
    random = np.random.default_rng(0)
    pixels = np.repeat(np.arange(200, dtype=np.uint8), 8 * 10 * 3).reshape(200, 8, 10, 3)
    targets = np.eye(200, dtype=np.float32)
    mixed, mixture = cutmix(pixels, targets, 0.6, random)
    untouched = 0
    for number in range(200):
        values, counts = np.unique(mixed[number], return_counts=True)
        assert set(np.flatnonzero(mixture[number])) == set(values.tolist())
        assert mixture[number][values] == pytest.approx(counts / counts.sum())
        others = np.argwhere(mixed[number, :, :, 0] != number)
        if len(others):
            (top, left), (bottom, right) = others.min(axis=0), others.max(axis=0)
            assert len(others) == (bottom - top + 1) * (right - left + 1), "not a rectangle"
        untouched += len(values) == 1
    assert 0.3 < untouched / 200 < 0.55
    assert 0.05 < 1 - mixture.diagonal().mean() < 0.35
    assert (pixels == np.arange(200)[:, None, None, None]).all(), "the images given were changed"
    same, unmixed = cutmix(pixels, targets, 0.0, random)
    assert np.array_equal(same, pixels)
    assert np.array_equal(unmixed, targets)


def test_accuracy_of_a_mixed_image_uses_the_label_of_its_larger_part() -> None:
    pytest.importorskip("keras")
    from train.fit import accuracy

    targets = np.array([[1.0], [0.8], [0.3], [0.0]], np.float32)
    assert float(accuracy(targets, np.array([[0.9], [0.4], [0.1], [0.2]], np.float32))) == 0.75


@pytest.mark.timeout(300)
def test_saved_network_has_one_output_with_and_without_subjects(tmp_path: Path) -> None:
    """Files with other names have no subjects; the saved network never has the second output."""
    keras = pytest.importorskip("keras")
    for label in ("REAL", "FAKE"):
        (tmp_path / "data" / "train" / label).mkdir(parents=True)
        for number, path in enumerate(sorted((CIFAKE / "train" / label).iterdir())[:12]):
            (tmp_path / "data" / "train" / label / f"mine-{number}.jpg").write_bytes(path.read_bytes())
    kept = []
    for data, out in ((CIFAKE, tmp_path / "theirs"), (tmp_path / "data", tmp_path / "mine")):
        options = ("--epochs", "1", "--batch-size", "8", "--corrupted", "0.5", "--data", data, "--out", out)
        done = run_module("train", "fit", *options)
        assert done.returncode == 0, done.stderr
        kept.append(keras.models.load_model(out / "model.keras", compile=False))
        record = json.loads((out / "run.json").read_text())
        assert record["temperature"] > 0
        assert record["settings"]["corrupted"] == 0.5
    assert [weight.shape for weight in kept[0].weights] == [weight.shape for weight in kept[1].weights]
    assert [type(layer).__name__ for layer in kept[0].layers] == [type(layer).__name__ for layer in kept[1].layers]
    assert len(kept[0].outputs) == 1


def test_training_changes_the_last_layers_and_keeps_the_frozen_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resnet50 recipe with weights from a file."""
    keras = pytest.importorskip("keras")
    from train import fit
    from train.checkpoint import Settings
    from train.recipes import RECIPES

    keras.utils.set_random_seed(1)
    backbone = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(128, 128, 3))
    weights = tmp_path / "resnet50_notop.weights.h5"
    backbone.save_weights(weights)
    settings = Settings("resnet50", str(weights), epochs=2, batch_size=8, learning_rate=1e-3)
    fit.fit(CIFAKE, tmp_path / "run", settings)
    model = keras.models.load_model(tmp_path / "run" / "model.keras", compile=False)
    begun = RECIPES["resnet50"].build(str(weights))
    for name, moved in (("resnet50_lower", False), ("resnet50_upper", True)):
        pairs = zip(model.get_layer(name).get_weights(), begun.get_layer(name).get_weights(), strict=True)
        assert any(not np.array_equal(one, other) for one, other in pairs) == moved
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    pixels = np.stack(
        [
            preprocess.pixels(CIFAKE / name, (128, 128))
            for name in json.loads((tmp_path / "run" / "validation.json").read_text())
        ]
    )
    from train.inference import predict

    labels = np.array(
        ["REAL" in name for name in json.loads((tmp_path / "run" / "validation.json").read_text())], np.int8
    )
    assert measure(predict(model, pixels), labels).accuracy == pytest.approx(record["validation"]["accuracy"])


def test_evaluate_reports_figures_of_every_corruption() -> None:
    arguments = ("evaluate", "models/compact_int8.tflite", "--data", CIFAKE, "--corruptions")
    done = [run_module("train", *arguments, *more) for more in ((), ("--json",))]
    assert [one.returncode for one in done] == [0, 0], done[0].stderr
    record = json.loads(done[1].stdout)["corrupted"]
    assert set(record) == set(CORRUPTIONS)
    assert record["clean"]["accuracy"] == json.loads(done[1].stdout)["as_published"]["accuracy"]
    for name, metrics in record.items():
        assert any(
            line.startswith(name) and f"{metrics['accuracy']:.2%}" in line for line in done[0].stdout.splitlines()
        )
