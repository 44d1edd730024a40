"""`edge-detect doctor` where something is broken: libraries that crash, hang or do not fit, models cut short."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.doctor.machine import Machine, ProbeError
from tests.conftest import CHECKOUT, Examine, command, environment

DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
CAMERAS = "class Picamera2:\n @staticmethod\n def global_camera_info(): return {}"


def stub(folder: Path, package: str, text: str, module: str = "__init__") -> dict[str, str]:
    """Variables that let a package of ours stand before the installed one."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").touch()
    (folder / package / f"{module}.py").write_text(text)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{CHECKOUT}"}


def test_a_runtime_that_crashes(examine: Examine, tmp_path: Path) -> None:
    variables = stub(tmp_path / "stubs", "tflite_runtime", DIES, "interpreter")
    status, report = examine("--runtime", "tflite-runtime", variables=variables)
    assert status == 1
    assert report["tflite-runtime"]["state"] == "problem"
    assert "crashes (SIGSEGV)" in report["tflite-runtime"]["found"]
    assert "crashes (SIGSEGV)" in report["inference"]["found"]
    assert report["Coral"]["state"] != "problem", "what comes after it is looked at too"

    _, report = examine(variables=variables | {"EDGE_DETECT_RUNTIME": "ai-edge-litert"})
    assert report["tflite-runtime"]["state"] == "warning", "it is not the one that is taken"
    assert report["inference"]["state"] == "ok"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DIES, "crashes (SIGSEGV)"),
        ("raise ImportError('a page') from ImportError('libopenblas.so.0: cannot open')", "libopenblas.so.0"),
        ("raise SystemError('odd')", "SystemError: odd"),
    ],
)
def test_a_numpy_that_does_not_load(examine: Examine, tmp_path: Path, text: str, words: str) -> None:
    status, report = examine(variables=stub(tmp_path / "stubs", "numpy", text))
    assert status == 1
    assert words in report["numpy"]["found"]
    assert ("apt install libopenblas0" in report["numpy"]["mend"]) == ("openblas" in words)
    assert report["models"]["state"] == "problem"
    assert report["Pillow"]["state"] == "ok"


def test_a_numpy_that_is_too_new_for_its_runtime(examine: Examine, tmp_path: Path) -> None:
    newer = (
        "import sys\nsys.path.remove({stubs!r})\ndel sys.modules['numpy']\nimport numpy\nnumpy.__version__ = '2.1.0'\n"
    )
    stubs = tmp_path / "stubs"
    variables = stub(stubs, "numpy", newer.format(stubs=str(stubs)))
    status, report = examine("--runtime", "tflite-runtime", variables=variables)
    assert (status, report["tflite-runtime"]["state"]) == (1, "problem")
    assert "needs numpy 1" in report["tflite-runtime"]["found"]
    assert report["tflite-runtime"]["mend"].endswith("-m pip install 'numpy<2'")


@pytest.mark.parametrize(
    ("text", "words"), [(DIES, "does not load: crashes (SIGSEGV)"), ("", "does not fit Pillow 9.4.0")]
)
def test_what_heic_photos_need(examine: Examine, tmp_path: Path, text: str, words: str) -> None:
    variables = stub(tmp_path / "stubs", "pillow_heif", text)
    papers = tmp_path / "stubs/pillow-9.4.0.dist-info/METADATA"
    papers.parent.mkdir()
    papers.write_text("Metadata-Version: 2.1\nName: pillow\nVersion: 9.4.0\n")
    _, report = examine(variables=variables)
    assert report["HEIC"]["state"] == "warning"
    assert words in report["HEIC"]["found"]


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        (
            CAMERAS.format("print('noise') or [{'Model': 'imx708'}]"),
            "ok",
            "imx708",
        ),
        (CAMERAS.format("[]"), "absent", "none found"),
        ("raise ModuleNotFoundError(\"No module named 'libcamera'\")", "problem", "libcamera"),
        ("raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')", "problem", "numpy"),
        (DIES, "problem", "SIGSEGV"),
    ],
)
def test_what_picamera2_tells(examine: Examine, tmp_path: Path, text: str, state: str, words: str) -> None:
    _, report = examine(variables=stub(tmp_path / "stubs", "picamera2", text))
    line = report["Picamera2" if state == "problem" else "Pi camera"]
    assert (line["state"], words in line["found"]) == (state, True)
    if "numpy" in words:
        assert "pip uninstall numpy" in line["mend"]


def test_a_library_that_never_comes_back(tmp_path: Path) -> None:
    variables = stub(tmp_path, "picamera2", "while True: pass")
    (tmp_path / "edge").symlink_to(CHECKOUT / "edge")
    program = (
        "from edge.doctor.machine import Machine\n"
        "try: Machine().ask('picamera2', seconds=3)\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(**variables), capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "does not end within 3 s\n"


def test_a_question_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ProbeError):
        Machine().ask("weather")


def test_another_project_s_pycoral(examine: Examine, tmp_path: Path) -> None:
    variables = stub(tmp_path / "stubs", "pycoral", DIES)
    assert examine(variables=variables)[1]["pycoral"]["state"] == "warning"
    (tmp_path / "stubs/pycoral/utils").mkdir()
    (tmp_path / "stubs/pycoral/utils/edgetpu.py").touch()
    assert examine(variables=variables)[1]["pycoral"]["state"] == "ok"


def test_bundled_models_that_are_cut_short_or_missing(examine: Examine, tmp_path: Path) -> None:
    for name in ("edge", "models"):
        shutil.copytree(CHECKOUT / name, tmp_path / "copy" / name)
    model = tmp_path / "copy/models/compact_int8.tflite"
    model.write_bytes(model.read_bytes()[:-1000])
    (tmp_path / "copy/models/compact_float16.tflite").unlink()
    env = environment(HOME=str(tmp_path), PYTHONPATH=str(tmp_path / "copy"))
    done = subprocess.run(
        command("doctor", "--json"), env=env, cwd=tmp_path / "copy", capture_output=True, text=True, timeout=60
    )
    first, second = (check for check in json.loads(done.stdout)["checks"] if check["name"] == "model")
    assert (done.returncode, first["state"], second["state"]) == (1, "problem", "warning")
    assert "SHA-256 differs" in first["found"]
    assert "compact_float16" in second["found"]


def test_a_model_of_the_user_s(examine: Examine, tmp_path: Path, brightness: Path) -> None:
    _, report = examine("--model", brightness)
    assert "a REAL sample is called " in report["inference"]["found"]
    (tmp_path / "text.tflite").write_text("I am a text\n")
    status, report = examine("--model", tmp_path / "text.tflite")
    assert (status, report["model"]["state"]) == (1, "problem")
    assert "not a LiteRT model" in report["model"]["found"]
