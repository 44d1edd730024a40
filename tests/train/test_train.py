"""Training: the split, the batches, the figures of merit, and a real run that is killed and resumed."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import CHECKOUT, CIFAKE, environment
from tests.support.modules import run_module, words_of
from train import dataset as datasets
from train.augment import flip_and_crop
from train.dataset import DatasetError
from train.metrics import measure, reliability, roc

FIT = ("--data", str(CIFAKE), "--epochs", "3", "--batch-size", "16", "--validation", "0.25", "--seed", "7")


def train(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_module("train", *arguments)


def kill_after_first_epoch(out: Path, *arguments: str | Path) -> None:
    """Start `train fit` with the folder `out`, and kill it as soon as its record is there."""
    process = subprocess.Popen(
        words_of("train", "fit", *arguments, "--out", out), cwd=CHECKOUT, env=environment(), stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 100
    while not (out / "run.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()


def test_validation_split_is_reproducible_and_shares_no_content_with_training(tmp_path: Path) -> None:
    whole, _ = datasets.load(CIFAKE, "train")
    assert len(whole) == 96
    assert len(set(whole.digests)) == 95, "the bundled data set has a pair of equal files"
    training, validation = datasets.split_validation(whole, 0.25, seed=3)
    assert len(training) + len(validation) == 96
    assert not set(training.digests) & set(validation.digests)
    assert [int((validation.labels == label).sum()) for label in (0, 1)] == pytest.approx([12, 12], abs=1)

    moved = Path(shutil.copytree(CIFAKE / "train", tmp_path / "train")).parent
    _, again = datasets.split_validation(datasets.load(moved, "train")[0], 0.25, seed=3)
    assert set(again.digests) == set(validation.digests)
    _, other = datasets.split_validation(whole, 0.25, seed=4)
    assert set(other.digests) != set(validation.digests)


def test_equal_files_stay_in_one_split_for_every_seed() -> None:
    whole, _ = datasets.load(CIFAKE, "train")
    for seed in range(40):
        training, validation = datasets.split_validation(whole, 0.5, seed)
        assert not set(training.digests) & set(validation.digests)


def test_part_has_the_same_share_of_each_class() -> None:
    whole, _ = datasets.load(CIFAKE, "train")
    half = datasets.part(whole, 0.5, seed=0)
    assert [int((half.labels == label).sum()) for label in (0, 1)] == [24, 24]
    assert set(half.paths) < set(whole.paths)
    assert datasets.part(whole, 0.5, seed=0).paths == half.paths
    assert datasets.part(whole, 0.5, seed=1).paths != half.paths
    assert len(datasets.part(whole, 1e-9, seed=0)) == 2
    assert datasets.part(whole, 1.0, seed=0).paths == whole.paths


def test_folder_without_the_layout_raises_dataset_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="train/REAL and train/FAKE"):
        datasets.load(tmp_path, "train")


def test_undecodable_images_are_left_out_and_reported(tmp_path: Path) -> None:
    for label in ("REAL", "FAKE"):
        shutil.copytree(CIFAKE / "test" / label, tmp_path / "train" / label)
    (tmp_path / "train" / "FAKE" / "0 bad.jpg").write_text("no image")
    (tmp_path / "train" / "REAL" / "broken.png").symlink_to("nowhere")
    dataset, unreadable = datasets.load(tmp_path, "train")
    assert sorted(Path(os.fspath(error.path)).name for error in unreadable) == ["broken.png"]
    pixels, kept, undecodable = datasets.decode(dataset, (32, 32), tmp_path)
    assert (len(dataset), len(kept), pixels.shape) == (21, 20, (20, 32, 32, 3))
    assert [Path(os.fspath(error.path)).name for error in undecodable] == ["0 bad.jpg"]
    reference, _, _ = datasets.decode(kept, (32, 32), tmp_path)
    assert np.array_equal(pixels, reference)


def test_augmentation_mirrors_and_shifts_and_reflects_the_edge() -> None:
    rows, columns = np.meshgrid(np.arange(8), np.arange(10), indexing="ij")
    image = np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)
    batch = np.repeat(image[None], 500, axis=0)
    moved = flip_and_crop(batch, 3, np.random.default_rng(0))
    assert moved.shape == batch.shape
    assert moved.dtype == np.uint8
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    possible = {
        np.ascontiguousarray(view[y : y + 8, x : x + 10]).tobytes()
        for y in range(7)
        for x in range(7)
        for view in (padded, np.pad(image[:, ::-1], ((3, 3), (3, 3), (0, 0)), mode="reflect"))
    }
    assert {one.tobytes() for one in moved} <= possible
    assert len({one.tobytes() for one in moved}) > 60


def test_metrics_equal_those_computed_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.4, 0.6, 0.2, 0.1])
    labels = np.array([1, 1, 1, 0, 0, 0], np.int8)
    measured = measure(scores, labels)
    assert (measured.real_as_real, measured.real_as_fake) == (2, 1)
    assert (measured.fake_as_real, measured.fake_as_fake) == (1, 2)
    assert measured.accuracy == pytest.approx(4 / 6)
    assert measured.auc == pytest.approx(8 / 9)  # of the nine pairs only (0.4, 0.6) is in the wrong order
    expected = -np.log([0.9, 0.8, 0.4, 0.4, 0.8, 0.9]).mean()
    assert measured.log_loss == pytest.approx(expected)
    # Confidences 0.9 0.8 0.6 0.6 0.8 0.9; right right wrong wrong right right: 0.1, 0.2 and 0.6 off, a third each.
    assert measured.expected_calibration_error == pytest.approx((0.1 + 0.2 + 0.6) / 3)


def test_balanced_accuracy_weighs_classes_equally_and_auc_counts_ties_half() -> None:
    measured = measure(np.array([0.9] * 9 + [0.9]), np.array([1] * 9 + [0], np.int8))
    assert measured.accuracy == pytest.approx(0.9)
    assert measured.balanced_accuracy == pytest.approx(0.5)
    assert measured.auc == pytest.approx(0.5)
    assert measure(np.array([0.9]), np.array([1], np.int8)).auc is None


def test_auc_is_the_area_under_the_roc_curve() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 500).astype(np.int8)
    scores = np.round(random.random(500) * 0.7 + labels * 0.3, 2)  # with many ties
    false_positive, true_positive = roc(scores, labels)
    area = float(np.sum(np.diff(false_positive) * (true_positive[1:] + true_positive[:-1]) / 2))
    assert area == pytest.approx(measure(scores, labels).auc)


def test_reliability_counts_every_image_once() -> None:
    confidence = np.linspace(0.5, 1.0, 101)
    parts = reliability(confidence, confidence > 0.7)
    assert sum(count for _, _, count in parts) == 101


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short training of the default recipe on the bundled images."""
    out = tmp_path_factory.mktemp("runs") / "compact"
    done = train("fit", *FIT, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "epoch 3/3" in done.stderr
    return out


def test_run_writes_model_settings_history_and_figures(run: Path) -> None:
    pictures = {f"validation_{name}.png" for name in ("confusion", "roc", "reliability", "mistakes")}
    assert {path.name for path in run.iterdir()} == pictures | {
        "model.keras",
        "run.json",
        "validation.json",
        "training.png",
    }
    record = json.loads((run / "run.json").read_text())
    assert [set(epoch) for epoch in record["history"]] == [set(record["history"][0])] * 3
    assert record["settings"]["seed"] == 7
    assert record["images"]["validation"] == len(json.loads((run / "validation.json").read_text()))
    best = max(epoch["validation_accuracy"] for epoch in record["history"])
    assert record["validation"]["accuracy"] == pytest.approx(best), "the model is not that of the best epoch"


@pytest.mark.timeout(300)
def test_killed_run_resumes_to_the_same_history(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    kill_after_first_epoch(out, *FIT)
    begun = len(json.loads((out / "run.json").read_text())["history"])
    assert 1 <= begun < 3, "it was killed too late to show anything"
    done = train("fit", *FIT, "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    histories = [json.loads((folder / "run.json").read_text())["history"] for folder in (run, out)]
    for key in ("training_loss", "validation_loss", "validation_accuracy"):
        assert [epoch[key] for epoch in histories[1]] == pytest.approx([epoch[key] for epoch in histories[0]], rel=1e-3)


MISTAKES = [
    (("--out", "RUN"), "holds a run already"),
    (("--out", "RUN", "--resume", "--learning-rate", "0.5"), "another learning_rate"),
    (("--out", "RUN", "--resume"), "finished"),
    (("--out", "NEW", "--resume"), "no run to resume"),
    (("--out", "NEW", "--data", "NEW"), "train/REAL and train/FAKE"),
    (("--out", "NEW", "--recipe", "soufflé"), "none of compact, small, resnet50"),
    (("--out", "NEW", "--recipe", "resnet50", "--weights", "missing.h5"), "--weights missing.h5"),
    (("--out", "NEW", "--weights", "imagenet"), "no pretrained weights"),
    (("--out", "NEW", "--set", "optimizer"), "not NAME=VALUE"),
    (("--out", "NEW", "--set", "optimizer=luck"), "none of adamw, muon"),
    (("--out", "NEW", "--set", "colour=red"), "none of optimizer, "),
    (("--out", "NEW", "--set", "weight_decay=much"), "not a value"),
    (("--out", str(CHECKOUT / "setup.cfg")), "is a file"),
]
# Calls the command once for each list of words, in one process: TensorFlow takes seconds to start.
CALL_EACH = """
import contextlib, io, json, sys, traceback
from train.cli import main
done = []
for words in json.load(sys.stdin):
    status, errors = 0, io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(words, prog_name="python -m train")
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
    done.append((status, errors.getvalue()))
print(json.dumps(done))
"""


@pytest.fixture(scope="module")
def refusals(run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """Exit status and stderr of `train fit` for each of MISTAKES."""
    folder = tmp_path_factory.mktemp("refused")
    calls = [
        ["fit", *FIT, *({"RUN": str(run), "NEW": str(folder / f"{number}")}.get(word, word) for word in arguments)]
        for number, (arguments, _) in enumerate(MISTAKES)
    ]
    done = subprocess.run(
        [sys.executable, "-c", CALL_EACH],
        input=json.dumps(calls),
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return [(status, errors) for status, errors in json.loads(done.stdout)]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_invalid_arguments_report_one_line_error(refusals: list[tuple[int, str]], number: int) -> None:
    status, errors = refusals[number]
    assert status == 2
    assert MISTAKES[number][1] in errors
    assert "Traceback" not in errors


@pytest.mark.timeout(300)
def test_run_of_former_version_resumes_and_run_on_other_images_does_not(run: Path, tmp_path: Path) -> None:
    begun, data = tmp_path / "begun", tmp_path / "data"
    shutil.copytree(CIFAKE / "train", data / "train")
    options = (*FIT, "--data", data, "--epochs", "3")
    kill_after_first_epoch(begun, *options)
    fit_here = ("fit", *options, "--out", begun)
    record = json.loads((begun / "run.json").read_text())
    held_out = set(json.loads((begun / "validation.json").read_text()))
    one = next(
        path for path in sorted((data / "train" / "REAL").iterdir()) if f"train/REAL/{path.name}" not in held_out
    )
    content = one.read_bytes()
    one.unlink()
    done = train(*fit_here, "--resume")
    assert done.returncode == 2
    assert "began with other images" in done.stderr
    one.write_bytes(content)
    (begun / "run.json").write_text(json.dumps(record | {"recipe": record["recipe"] | {"mixed": 0.1}}))
    assert "another version of the recipe" in train(*fit_here, "--resume").stderr
    del record["settings"]["fraction"]
    (begun / "run.json").write_text(json.dumps(record))
    done = train(*fit_here, "--resume")
    assert done.returncode == 0, done.stderr


def test_evaluate_with_run_measures_the_held_out_images(run: Path, tmp_path: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    done = train("evaluate", run / "model.keras", "--data", CIFAKE, "--run", run, "--json")
    assert json.loads(done.stdout)["as_published"]["accuracy"] == pytest.approx(record["validation"]["accuracy"])
    done = train("evaluate", run / "model.keras", "--data", CIFAKE, "--run", tmp_path)
    assert done.returncode == 2
    assert "no list of images" in done.stderr


def test_class_with_too_few_images_reports_an_error(tmp_path: Path) -> None:
    for label, count in (("REAL", 1), ("FAKE", 20)):
        (tmp_path / "train" / label).mkdir(parents=True)
        for path in sorted((CIFAKE / "train" / label).iterdir())[:count]:
            shutil.copy(path, tmp_path / "train" / label)
    done = train("fit", "--data", tmp_path, "--out", tmp_path / "out", "--epochs", "1")
    assert done.returncode == 2
    assert "REAL: too few images" in done.stderr


@pytest.mark.parametrize("kind", ["keras", "tflite"])
def test_evaluate_reports_figures_of_keras_and_tflite_files(run: Path, tmp_path: Path, kind: str) -> None:
    path = run / "model.keras" if kind == "keras" else CHECKOUT / "models" / "compact_float16.tflite"
    done = train("evaluate", path, "--data", CIFAKE, "--json", "--figures", tmp_path / "figures")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["as_published"]["images"] == 20
    assert record["leaked"] == 1
    assert record["without_leaked"]["images"] == 19
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"test_{name}.png" for name in ("confusion", "roc", "reliability", "mistakes")
    }
    table = train("evaluate", path, "--data", CIFAKE)
    assert f"{record['as_published']['accuracy']:.2%}" in table.stdout


def test_test_split_without_train_split_can_be_evaluated(tmp_path: Path) -> None:
    shutil.copytree(CIFAKE / "test", tmp_path / "test")
    done = train("evaluate", CHECKOUT / "models" / "compact_int8.tflite", "--data", tmp_path, "--json")
    record = json.loads(done.stdout)
    assert record["as_published"]["images"] == 20
    assert record["leaked"] is None
    assert record["without_leaked"] is None


def test_unusable_model_reports_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "bad.keras").write_text("no model")
    for name in ("bad.keras", "missing.keras", "missing.tflite"):
        done = train("evaluate", tmp_path / name, "--data", CIFAKE)
        assert done.returncode == 2
        assert name in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_resnet50_recipe_preprocesses_as_keras_does() -> None:
    keras = pytest.importorskip("keras")
    from train.recipes import RECIPES

    model = RECIPES["resnet50"].build("none")
    pixels = np.random.default_rng(0).random((2, 128, 128, 3)).astype(np.float32)
    first = keras.Model(model.inputs, model.get_layer("rgb_to_imagenet_bgr").output)
    expected = keras.applications.resnet50.preprocess_input(pixels * 255)
    assert np.allclose(first.predict(pixels, verbose=0), expected, atol=1e-2)
    assert model.output_shape == (None, 1)
    assert RECIPES["resnet50"].size == (128, 128)
