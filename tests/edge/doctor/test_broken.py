"""`edge-detect doctor` where something is broken: libraries that crash, hang or do not fit, models cut short."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.doctor.host import Host, ProbeError
from tests.conftest import CHECKOUT, MODELS, Examine, command, environment
from tests.edge.process.test_command import ends

DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
CAMERAS = "class Picamera2:\n @staticmethod\n def global_camera_info(): return {}"


def stub(folder: Path, package: str, text: str, module: str = "__init__") -> dict[str, str]:
    """Environment variables that put a package with this text before the installed one."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").touch()
    (folder / package / f"{module}.py").write_text(text)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{CHECKOUT}"}


def test_a_runtime_that_crashes_is_a_problem(examine: Examine, tmp_path: Path) -> None:
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
def test_a_numpy_that_does_not_load_is_a_problem(examine: Examine, tmp_path: Path, text: str, words: str) -> None:
    status, report = examine(variables=stub(tmp_path / "stubs", "numpy", text))
    assert status == 1
    assert words in report["numpy"]["found"]
    assert ("apt install libopenblas0" in report["numpy"]["mend"]) == ("openblas" in words)
    assert report["models"]["state"] == "problem"
    assert report["Pillow"]["state"] == "ok"


def test_numpy_2_with_tflite_runtime_is_a_problem(examine: Examine, tmp_path: Path) -> None:
    newer = (
        "import sys\nsys.path.remove({stubs!r})\ndel sys.modules['numpy']\nimport numpy\nnumpy.__version__ = '2.1.0'\n"
    )
    stubs = tmp_path / "stubs"
    variables = stub(stubs, "numpy", newer.format(stubs=str(stubs)))
    papers = stubs / "numpy-2.1.0.dist-info" / "METADATA"
    papers.parent.mkdir()
    papers.write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.1.0\n")
    status, report = examine("--runtime", "tflite-runtime", variables=variables)
    assert (status, report["tflite-runtime"]["state"]) == (1, "problem")
    assert "needs numpy 1" in report["tflite-runtime"]["found"]
    assert report["tflite-runtime"]["mend"].endswith("-m pip install 'numpy<2'")


@pytest.mark.parametrize(
    ("text", "words"), [(DIES, "does not load: crashes (SIGSEGV)"), ("", "does not fit Pillow 9.4.0")]
)
def test_a_pillow_heif_that_does_not_work_is_a_warning(examine: Examine, tmp_path: Path, text: str, words: str) -> None:
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
def test_cameras_and_errors_of_picamera2_are_reported(
    examine: Examine, tmp_path: Path, text: str, state: str, words: str
) -> None:
    _, report = examine(variables=stub(tmp_path / "stubs", "picamera2", text))
    line = report["Picamera2" if state == "problem" else "Pi camera"]
    assert (line["state"], words in line["found"]) == (state, True)
    if "numpy" in words:
        assert "pip uninstall numpy" in line["mend"]


def test_a_probe_that_hangs_is_ended(tmp_path: Path) -> None:
    variables = stub(tmp_path, "picamera2", "while True: pass")
    (tmp_path / "edge").symlink_to(CHECKOUT / "edge")
    program = (
        "from edge.doctor.host import Host\n"
        "try: Host().ask('picamera2', seconds=3)\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(**variables), capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "does not end within 3 s\n"


def test_a_probe_that_spins_ends_with_the_killed_doctor(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    text = f"import os; open({str(pid_file)!r}, 'w').write(f'{{os.getpid()}} ')\nwhile True: pass"
    variables = stub(tmp_path, "picamera2", text)
    (tmp_path / "edge").symlink_to(CHECKOUT / "edge")
    program = "from edge.doctor.host import Host; Host().ask('picamera2', seconds=600)"
    doctor = subprocess.Popen([sys.executable, "-c", program], env=environment(**variables))
    while not pid_file.exists() or not pid_file.read_text().endswith(" "):
        assert doctor.poll() is None
        time.sleep(0.02)
    probe = int(pid_file.read_text())
    doctor.kill()
    doctor.wait()
    assert ends(probe)


def test_an_unknown_probe_is_an_error() -> None:
    with pytest.raises(ProbeError):
        Host().ask("weather")


def test_only_google_s_pycoral_is_ok(examine: Examine, tmp_path: Path) -> None:
    variables = stub(tmp_path / "stubs", "pycoral", DIES)
    assert examine(variables=variables)[1]["pycoral"]["state"] == "warning"
    (tmp_path / "stubs/pycoral/utils").mkdir()
    (tmp_path / "stubs/pycoral/utils/edgetpu.py").touch()
    assert examine(variables=variables)[1]["pycoral"]["state"] == "ok"


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A copy of the package with both models."""
    copy = tmp_path / "copy"
    for name in ("edge", "models"):
        shutil.copytree(CHECKOUT / name, copy / name)
    for suffix in (".tflite", ".json"):
        (copy / "models" / f"photo_float16{suffix}").unlink(missing_ok=True)
        shutil.copyfile(MODELS / f"photo_like_int8{suffix}", copy / "models" / f"photo_int8{suffix}")
    return copy


def checked(installation: Path, name: str) -> tuple[int, list[tuple[str, str]]]:
    """Exit status of doctor, and (state, found) of each check with this name."""
    env = environment(HOME=str(installation), PYTHONPATH=str(installation))
    done = subprocess.run(
        command("doctor", "--json"), env=env, cwd=installation, capture_output=True, text=True, timeout=60
    )
    report = [check for check in json.loads(done.stdout)["checks"] if check["name"] == name]
    return done.returncode, [(check["state"], check["found"]) for check in report]


def test_bundled_models_are_listed_and_run(installation: Path) -> None:
    _, found = checked(installation, "model")
    assert [(state, words.split(",")[0]) for state, words in found] == [
        ("ok", "compact_int8.tflite"),
        ("ok", "compact_float16.tflite"),
        ("ok", "photo_int8.tflite"),
    ]
    assert found[2][1].endswith(
        "came with edge-detect, 1544 bytes, checksum right, for pictures of 100-20000 x 100-20000 pixels"
    )
    _, ((_, compact), (state, photo)) = checked(installation, "inference")
    assert compact.startswith("compact_int8.tflite: right answers, ")
    assert photo.startswith("photo_int8.tflite: runs on a generated picture, ")
    assert (state, photo.endswith(" views")) == ("ok", True)


def test_truncated_or_missing_bundled_models_are_problems(installation: Path) -> None:
    model = installation / "models/compact_int8.tflite"
    model.write_bytes(model.read_bytes()[:-1000])
    (installation / "models/compact_float16.tflite").unlink()
    (installation / "models/photo_int8.tflite").unlink()
    status, (first, second, third) = checked(installation, "model")
    assert (status, first[0], second[0], third[0]) == (1, "problem", "warning", "problem")
    assert "SHA-256 differs" in first[1]
    assert "compact_float16" in second[1]
    assert "photo_int8" in third[1]


@pytest.mark.parametrize(
    ("text", "words"), [("{", "cannot read the model's description"), (None, "photo_int8.json is missing")]
)
def test_a_bundled_model_with_a_bad_description_is_a_problem(installation: Path, text: str | None, words: str) -> None:
    description = installation / "models/photo_int8.json"
    description.unlink() if text is None else description.write_text(text)
    status, found = checked(installation, "model")
    assert (status, found[2][0]) == (1, "problem")
    assert words in found[2][1]


def test_a_model_that_is_not_bundled_is_absent(installation: Path) -> None:
    for path in (installation / "models").glob("photo_int8.*"):
        path.unlink()
    _, found = checked(installation, "model")
    assert found[2][0] == "absent"
    assert found[2][1].startswith("photo_int8.tflite is not bundled with this edge-detect")


def test_a_chosen_model_is_checked(examine: Examine, tmp_path: Path, brightness: Path) -> None:
    _, report = examine("--model", brightness)
    assert "brightness_int8.tflite: a REAL sample is called " in report["inference"]["found"]
    (tmp_path / "text.tflite").write_text("I am a text\n")
    status, report = examine("--model", tmp_path / "text.tflite")
    assert (status, report["model"]["state"]) == (1, "problem")
    assert "not a LiteRT model" in report["model"]["found"]
