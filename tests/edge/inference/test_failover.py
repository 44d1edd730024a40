"""Delegates in the real runtimes: one that works, and each way to fail."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.errors import CoralError, ModelError
from edge.inference import edgetpu_fixes, failover, model
from edge.inference.classifier import Classifier
from edge.inference.edgetpu import Device, require_device
from edge.inference.edgetpu import library as find_library
from edge.inference.failover import Accelerator
from edge.inference.router import router
from edge.inference.runtime import RUNTIMES, interpreter, is_installed, load_delegate
from tests.conftest import CHECKOUT, MODELS, Run, environment, picture
from tests.support.delegates import compiled

COMPILED = MODELS / "brightness_int8_edgetpu.tflite"
PLAIN = MODELS / "brightness_int8.tflite"


@pytest.fixture(params=[name for name in RUNTIMES if is_installed(name)])
def runtime(request: pytest.FixtureRequest) -> str:
    """Each installed runtime."""
    if request.param == "tflite-runtime" and "tensorflow" in sys.modules:
        pytest.fail(
            "TensorFlow is loaded, beside which tflite-runtime fails: use --dist loadgroup as the Makefile does"
        )
    return str(request.param)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(compiled(tmp_path_factory.mktemp("library")))


def grey(level: int) -> np.ndarray:
    return np.full((12, 16, 3), level, np.uint8)


def on_coral(library: str, runtime: str) -> Classifier:
    return failover.classifier(PLAIN, 1, runtime, "any", library)


def test_delegate_output_becomes_the_usual_verdict(library: str, runtime: str) -> None:
    classifier, processor = on_coral(library, runtime), Classifier(model.load(PLAIN), runtime=runtime)
    assert classifier.model.path == COMPILED
    for level in range(0, 256, 5):
        assert classifier.score(grey(level)) == pytest.approx(processor.score(grey(level)), abs=0.02)


def test_delegate_that_takes_no_operation_changes_nothing(
    library: str, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_DELEGATE", "idle")
    content = model.load().content
    plain = interpreter(content, runtime=runtime)
    delegated = interpreter(content, runtime=runtime, delegate=load_delegate(library, {"device": "usb"}, runtime))
    shape = plain.get_input_details()[0]["shape"]
    for pixels in np.random.default_rng(0).integers(-128, 128, (20, *shape), np.int8):
        scores = []
        for one in (plain, delegated):
            one.set_tensor(one.get_input_details()[0]["index"], pixels)
            one.invoke()
            scores.append(one.get_tensor(one.get_output_details()[0]["index"]).tolist())
        assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("behaviour", "reason", "fix"),
    [
        ("crash", r"crashes the runtime \(SIGSEGV\)", "use a library that was built for {runtime}"),
        ("refuse", "cannot open the Edge TPU: there is no such device", "end other programs that use it; if there"),
        ("fail", "does not run on the Coral: this delegate takes no graphs", ""),
        ("idle", "does not run on the Coral: Encountered unresolved custom op: edgetpu-custom-op", "{release}"),
    ],
)
def test_broken_delegate_is_one_line_error_and_auto_uses_cpu(
    library: str,
    runtime: str,
    behaviour: str,
    reason: str,
    fix: str,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[str],
) -> None:
    monkeypatch.setenv("TEST_DELEGATE", behaviour)
    with pytest.raises(CoralError, match=reason) as raised:
        on_coral(library, runtime)
    assert "\n" not in str(raised.value)
    assert raised.value.fix.startswith(
        fix.format(runtime=runtime, release=f"download libedgetpu1-std from release {edgetpu_fixes._RELEASES[runtime]}")
    )
    assert bool(raised.value.fix) is bool(fix)
    assert "plug it in" not in raised.value.fix or behaviour == "refuse"
    instead = router(PLAIN, runtime=runtime, tpu="auto", library=library).classifier()
    assert instead.model.path == PLAIN
    assert instead.score(grey(250)) > 0.9
    assert logged == [f"{raised.value}; the processor does the work instead"]


def test_crash_of_googles_library_names_a_build_for_the_runtime(
    library: str, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_DELEGATE", "crash")
    monkeypatch.setattr(failover, "LIBRARY", library)
    monkeypatch.setattr(failover, "require_device", lambda option: Device("usb", Path("/dev/u"), None, is_ours=True))
    with pytest.raises(CoralError, match=r"crashes the runtime \(SIGSEGV\), as it does if") as raised:
        Accelerator(library=library).require(model.load(COMPILED), runtime)
    assert raised.value.fix == edgetpu_fixes.library(runtime)


def test_hanging_card_needs_a_restart(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DELEGATE", "hang")
    monkeypatch.setattr(failover, "LIBRARY", library)
    monkeypatch.setattr(failover, "require_device", lambda option: Device("pci", Path("/dev/a"), None, is_ours=True))
    with pytest.raises(CoralError, match="does not answer within 5 s: switch the computer off and on again"):
        Accelerator(library=library, trial_seconds=5.0).require(model.load(COMPILED))


def test_hanging_delegate_is_given_up(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DELEGATE", "hang")
    with pytest.raises(CoralError, match="does not answer within 5 s: unplug it and plug it in again"):
        Accelerator(library=library, trial_seconds=5.0).require(model.load(COMPILED))


def test_invalid_delegate_library_is_one_line_error(tmp_path: Path, edge_detect: Run) -> None:
    (tmp_path / "text.so").write_text("no library")
    other = compiled(tmp_path, "int nothing;\n", "other.so")
    image = picture(tmp_path / "image.png")
    for name, reason in ((tmp_path / "text.so", "cannot be loaded"), (other, "cannot be loaded as a delegate")):
        done = edge_detect("classify", "--tpu", image, "--model", PLAIN, "--tpu-library", name)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert reason in done.stderr


def test_lost_delegate_is_an_error_until_it_returns(
    library: str, runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_DELEGATE_GONE", str(tmp_path / "gone"))
    classifier = on_coral(library, runtime)
    before = classifier.score(grey(140))
    (tmp_path / "gone").touch()
    with pytest.raises(CoralError, match=r"the Coral failed: .*device disconnected"):
        classifier.score(grey(140))
    with pytest.raises(CoralError, match="there is no such device"):
        classifier.reopen()
    with pytest.raises(CoralError, match="is not open"):
        classifier.score(grey(140))
    (tmp_path / "gone").unlink()
    classifier.reopen()
    assert classifier.score(grey(140)) == before


def test_auto_continues_on_cpu_and_reports_once(
    library: str, runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setenv("TEST_DELEGATE_GONE", str(tmp_path / "gone"))
    models = router(PLAIN, runtime=runtime, tpu="auto", library=library)
    assert models.classifier().model.path == COMPILED
    (tmp_path / "gone").touch()
    scores = [models.verdict("grey", grey(level), (16, 12), 0.0).score for level in (10, 250)]
    assert [score > 0.5 for score in scores] == [False, True]
    assert models.classifier().model.path == PLAIN
    (line,) = logged
    assert line.endswith("the processor does the work instead")


def test_uncompiled_model_is_refused_on_coral(library: str, tmp_path: Path) -> None:
    for name in ("model.tflite", "model_edgetpu.tflite"):
        (tmp_path / name).write_bytes(PLAIN.read_bytes())
    with pytest.raises(CoralError, match=r"model_edgetpu.tflite: not compiled for the Edge TPU"):
        failover.classifier(tmp_path / "model.tflite", 1, None, "any", library)


def test_compiled_model_needs_a_coral(runtime: str) -> None:
    with pytest.raises(ModelError, match=r"_edgetpu\.tflite: compiled for the Edge TPU, .* --tpu"):
        Classifier(model.load(COMPILED), runtime=runtime)


def test_installed_pycoral_provides_the_delegate(library: str, tmp_path: Path) -> None:
    if not is_installed("tflite-runtime"):
        pytest.skip("pycoral is for tflite-runtime alone")
    (tmp_path / "pycoral/utils").mkdir(parents=True)
    (tmp_path / "pycoral/utils/edgetpu.py").write_text(
        "from tflite_runtime.interpreter import load_delegate\n"
        "def load_edgetpu_delegate(options):\n"
        f"    print('asked', options); return load_delegate({library!r}, options)\n"
    )
    program = (
        "from edge.inference.failover import Accelerator\n"
        "print(type(Accelerator('usb').delegate('tflite-runtime')).__module__)\n"
    )
    paths = f"{tmp_path}:{CHECKOUT}"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(PYTHONPATH=paths), capture_output=True, text=True
    )
    assert done.stdout.split() == ["asked", "{'device':", "'usb'}", "tflite_runtime.interpreter"], done.stderr


def test_delegate_just_released_by_trial_is_retried(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_DELEGATE_LOADS", str(tmp_path / "loads"))
    assert Accelerator(library=library).taken(model.load(COMPILED)) is not None
    assert len((tmp_path / "loads").read_bytes()) == 3, "the trial's, one that was refused, and ours"


@pytest.mark.tpu
def test_real_coral_returns_cpu_verdicts(runtime: str) -> None:
    """Needs the default model compiled for the Edge TPU."""
    try:
        require_device()
        find_library()
        failover.load_compiled(model.default_path())
    except CoralError as error:
        pytest.skip(f"no Coral to test with: {error}")
    on_coral = failover.classifier(None, 1, runtime, "any", None)
    on_processor = Classifier(model.load(), runtime=runtime)
    random = np.random.default_rng(0)
    for _ in range(50):
        pixels = random.integers(0, 256, (on_processor.size[1], on_processor.size[0], 3), np.uint8)
        assert on_coral.score(pixels) == pytest.approx(on_processor.score(pixels), abs=0.05)
