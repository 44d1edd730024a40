"""The real Picamera2 on libcamera's virtual camera: `make test-picamera`, as the super-user.

It runs in a Debian 13 that is made once, see tests/support/roots.py; Debian 12's libcamera has no virtual camera. The
virtual camera gives NV12 without padding, at no certain rate; a Pi gives what it is asked for.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.roots import EMULATION, Root, System, check_out, copy, need

pytestmark = [pytest.mark.picamera, pytest.mark.timeout(3600)]

PACKAGES = (
    "python3,python3-venv,ca-certificates,python3-libcamera,libcamera-ipa,python3-numpy,python3-pil,python3-prctl,"
    "libcap-dev,gcc,python3-dev"
)
PYTHON = "/opt/edge-detect/bin/python"
VARIABLES = {
    "PYTHONPATH": "/emulation",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=255:glibc.malloc.tcache_count=0",
    "LIBCAMERA_LOG_LEVELS": "*:FATAL",  # it complains of missing DMA buffers
}
# From the top left to the bottom right: red, green, blue, and one whose channels are all different.
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 150, 100)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    need("debootstrap", "unshare", "git")
    system = System("trixie-picamera", "trixie", PACKAGES)
    with copy(system, tmp_path_factory.mktemp("picamera")) as folder:
        pipeline = folder / "usr/share/libcamera/pipeline/virtual"
        pipeline.mkdir(parents=True)
        shutil.copyfile(EMULATION / "picamera/virtual.yaml", pipeline / "virtual.yaml")
        _film(folder / "srv/frames")
        check_out(folder / "checkout")
        root = Root(folder, system, {EMULATION / "picamera": "/emulation"})
        root.succeed("python3", "-m", "venv", "--system-site-packages", "/opt/edge-detect")
        root.succeed(PYTHON, "-m", "pip", "install", "--quiet", "picamera2", "/checkout")
        yield root


def _film(folder: Path) -> None:
    folder.mkdir()
    picture = Image.new("RGB", (1280, 720))
    for place, colour in enumerate(COLOURS):
        picture.paste(colour, (place % 2 * 640, place // 2 * 360, place % 2 * 640 + 640, place // 2 * 360 + 360))
    for number in range(3):
        picture.save(folder / f"{number}.jpg", quality=95, subsampling=0)


def said(root: Root, program: str, **variables: str) -> Any:
    """What a program prints as JSON."""
    start = (
        "import json, virtual_camera\n"
        "from edge.capture.picamera import PiCamera\n"
        "from edge.errors import CameraError\n"
        "def error_of(attempt):\n"
        "    try:\n"
        "        attempt()\n"
        "    except CameraError as error:\n"
        "        return str(error)\n"
    )
    return json.loads(root.succeed(PYTHON, "-c", start + program, **VARIABLES | variables))


@pytest.mark.parametrize("size", [(640, 480), (642, 362), (1280, 720)])
def test_frames_are_rgb_with_colours_in_place(root: Root, size: tuple[int, int]) -> None:
    shape, seen = said(
        root,
        f"camera = PiCamera(size={size})\n"
        "pixels = camera.frame().pixels\n"
        "height, width, _ = pixels.shape\n"
        "quarters = [pixels[y : y + height // 4, x : x + width // 4].reshape(-1, 3)\n"
        "            for y in (height // 8, height * 5 // 8) for x in (width // 8, width * 5 // 8)]\n"
        "print(json.dumps([pixels.shape, [[one.min(0).tolist(), one.max(0).tolist()] for one in quarters]]))\n"
        "camera.close()",
    )
    assert shape == [size[1], size[0], 3]
    for colour, extremes in zip(COLOURS, seen, strict=True):
        for found in extremes:
            assert found == pytest.approx(colour, abs=5)


def test_unsupported_size_is_replaced_by_supported_one(root: Root) -> None:
    shapes = said(
        root,
        "camera = PiCamera(size=(320, 200))\n"
        "print(json.dumps([camera.frame().pixels.shape for _ in range(3)]))\n"
        "camera.close()",
    )
    assert shapes[0] in ([480, 640, 3], [362, 642, 3], [720, 1280, 3])
    assert shapes == [shapes[0]] * 3


def test_camera_can_be_reopened_and_leaks_no_descriptors(root: Root) -> None:
    frames, still_open = said(
        root,
        "import gc, os\n"
        "frames, still_open = [], []\n"
        "for _ in range(5):\n"
        "    camera = PiCamera(size=(640, 480))\n"
        "    frames.append([camera.frame().pixels[120, 160].tolist(), camera.frame().pixels[120, 480].tolist()])\n"
        "    camera.close()\n"
        "    camera.close()\n"
        "    del camera\n"
        "    gc.collect()\n"
        "    still_open.append(len(os.listdir('/proc/self/fd')))\n"
        "print(json.dumps([frames, still_open]))",
    )
    for red, green in frames:
        assert red == pytest.approx(COLOURS[0], abs=5)
        assert green == pytest.approx(COLOURS[1], abs=5)
    assert still_open[1:] == [still_open[1]] * 4


def test_unopenable_camera_is_one_line_error(root: Root) -> None:
    missing, in_use = said(
        root,
        "missing = error_of(lambda: PiCamera(7))\n"
        "camera = PiCamera()\n"
        "camera.frame()\n"
        "in_use = error_of(PiCamera)\n"
        "camera.frame()\n"
        "camera.close()\n"
        "print(json.dumps([missing, in_use]))",
    )
    assert missing.startswith("picamera2:7: ")
    assert in_use.startswith("picamera2:0: ")
    assert "\n" not in missing + in_use


def test_frozen_camera_is_released_and_reopened(root: Root) -> None:
    errors = said(
        root,
        "errors = []\n"
        "for _ in range(2):\n"
        "    camera = PiCamera(timeout_seconds=0.5)\n"
        "    errors += [error_of(camera.frame), error_of(camera.frame)]\n"
        "    camera.close()\n"
        "print(json.dumps(errors))",
        GLIBC_TUNABLES="glibc.malloc.perturb=254:glibc.malloc.tcache_count=0",  # any status but success
    )
    assert errors == ["picamera2:0: no frame for 0.5 s; check its cable"] * 4


def test_camera_command_uses_the_camera(root: Root) -> None:
    program = "import virtual_camera; from edge.cli import main; main()"
    arguments = ["camera", "--source", "picamera2", "--max-frames", "3", "--record", "0.01", "--json"]
    done = root.run(PYTHON, "-c", program, *arguments, **VARIABLES)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers
    assert {answer["label"] for answer in answers} <= {"REAL", "FAKE", "UNSURE"}
    assert {answer["model"] for answer in answers} == {"photo_int8"}


def test_doctor_lists_the_camera(root: Root) -> None:
    program = "import virtual_camera; from edge.cli import main; main()"
    done = root.run(PYTHON, "-c", program, "doctor", "--json", **VARIABLES)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert found["Picamera2"]["state"] == found["Pi camera"]["state"] == "ok"
    assert found["Pi camera"]["found"] == "virtual"
