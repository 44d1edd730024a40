"""Image folders, and opening a camera by its name."""

import errno
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from edge.capture import devices
from edge.capture.image_folder import ImageFolder
from edge.capture.libav import LibavCamera
from edge.capture.open_camera import open_camera
from edge.errors import CameraError
from edge.imaging import preprocess
from tests.conftest import CHECKOUT, CIFAKE, environment
from tests.support.videos import jpeg, shows_quadrants, video


def test_image_folder_gives_images_sorted_by_name(tmp_path: Path, logged: list[str]) -> None:
    originals = sorted((CIFAKE / "test" / "REAL").iterdir())[:3]
    for original in originals:
        shutil.copyfile(original, tmp_path / original.name)
    (tmp_path / "0 bad.png").write_text("no image")
    (tmp_path / "note.txt").write_text("no image")
    (tmp_path / "sub").mkdir()
    (tmp_path / "1 wide.jpg").write_bytes(jpeg(5000, 500))
    folder = ImageFolder(tmp_path, frames_per_second=2)
    frames = list(iter(folder.frame, None))
    assert [frame.seconds for frame in frames] == [0.5, 1.0, 1.5, 2.0]  # the skipped image counts
    shown = {frame.pixels.shape for frame in frames}
    assert shown == {(32, 32, 3), (410, 4096, 3)}
    small = [frame.pixels for frame in frames if frame.pixels.shape == (32, 32, 3)]
    assert all(np.array_equal(a, preprocess.pixels(b, (32, 32))) for a, b in zip(small, originals, strict=True))
    assert logged == [
        f"{tmp_path}/0 bad.png: not an image in a known format ({', '.join(preprocess.FORMATS)}); skipping it"
    ]
    assert folder.frame() is None
    assert not folder.is_live
    folder.close()


def test_still_image_gives_one_frame(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(64, 48))
    folder = ImageFolder(tmp_path / "a.jpg")
    frame = folder.frame()
    assert frame is not None
    assert shows_quadrants(frame.pixels)
    assert folder.frame() is None
    (tmp_path / "b.jpg").write_text("no image")
    with pytest.raises(CameraError, match=r"b.jpg: not an image"):
        ImageFolder(tmp_path / "b.jpg").frame()


def test_source_name_opens_matching_camera(tmp_path: Path) -> None:
    (tmp_path / "a.JPG").write_bytes(jpeg(64, 48))
    for source, kind in (
        (tmp_path, ImageFolder),
        (tmp_path / "a.JPG", ImageFolder),
        (video(tmp_path / "a.mp4"), LibavCamera),
    ):
        camera = open_camera(str(source))
        assert isinstance(camera, kind)
        assert camera.frame() is not None
        camera.close()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/dev/video63", "^/dev/video63: no such device; seen: "),
        ("/dev/null", "^/dev/null: not a camera$"),
        ("missing.mp4", "^missing.mp4: no such file or camera; a camera is picamera2, "),
        ("user:PWD@cam/x", r"^\.\.\.@cam/x: no such file"),
        ("rtsp://127.0.0.1:1/", "connection refused$"),
        ("pipe://1", "^pipe://1: not an address"),
        ("edge/capture/__init__.py", "^edge/capture/__init__.py: (no video|unsupported content)"),
    ],
)
def test_invalid_source_name_raises_one_line_camera_error(
    source: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CHECKOUT)
    with pytest.raises(CameraError, match=message) as caught:
        open_camera(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "number", "message"),
    [
        ("/dev/null", errno.EINVAL, "none of its pixel formats is supported"),
        ("/dev/null", errno.EBUSY, "another program uses it"),
        ("/dev/null", errno.EACCES, "permission denied; the user must be in the group video"),
        ("/dev/null", errno.EIO, "input/output error"),
        ("http://u:GeHeim@cam/x", errno.EINVAL, "invalid address, or unsupported content"),
        ("http://u:GeHeim@cam/x", errno.EIO, "cannot be reached, or sends no video"),
        ("http://u:GeHeim@cam/x", errno.EACCES, "permission denied"),
        ("a.mp4", errno.EINVAL, "unsupported content"),
        ("a.mp4", errno.EIO, "input/output error"),
    ],
)
def test_error_of_opening_is_worded_by_kind_of_source(
    source: str, number: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str, *_: object, **__: object) -> None:
        raise av.error.classes.get(number, av.error.OSError)(number, os.strerror(number), url)

    (tmp_path / "a.mp4").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(CameraError) as caught:
        LibavCamera(source)
    assert str(caught.value) == f"{source.replace('u:GeHeim@', '')}: {message}"


def test_missing_camera_error_names_devices_and_packages() -> None:
    program = (
        "import sys; sys.modules['picamera2'] = None\n"
        "from edge.capture import devices, open_camera\n"
        "print(devices.found_cameras())\n"
        "open_camera.open_camera(sys.argv[1] if sys.argv[1:] else open_camera.first_source())"
    )
    for arguments, error in (
        (["picamera2"], "NotInstalledError: the Pi's camera"),
        ([], "CameraError: no camera found"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=CHECKOUT, env=environment(), capture_output=True, text=True
        )
        if done.stdout != "[]\n":
            pytest.skip(f"this machine has a camera: {done.stdout}")
        assert f"edge.errors.{error}" in done.stderr
        assert "sudo apt install python3-picamera2" in done.stderr


def test_only_capture_device_nodes_are_listed(tmp_path: Path) -> None:
    (tmp_path / "video0").write_bytes(b"a file")
    (tmp_path / "video10").mkdir()
    (tmp_path / "videos").mkdir()
    found = devices.v4l2_devices(str(tmp_path), str(tmp_path))
    assert [(one.source, one.problem) for one in found] == [(f"{tmp_path}/video10", "is a directory")]
    assert devices.v4l2_devices(str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("driver", "capabilities", "of_the_node", "is_camera"),
    [  # as v4l2-ctl --all shows them
        ("uvcvideo", 0x84A00001, 0x04200001, True),
        ("uvcvideo", 0x84A00001, 0x04A00000, False),  # the node with its metadata
        ("bm2835 mmal", 0x85200005, 0x05200005, True),  # the camera of the older system
        ("vivid", 0x8DF30001, 0x05200001, True),
        ("old", 0x04000001, 0, True),
        ("unicam", 0xA5A00001, 0x25200001, False),
        ("bcm2835-codec", 0x84208000, 0x04208000, False),
        ("bcm2835-isp", 0x84A00003, 0x04200001, False),
        ("rp1-cfe", 0xA5A00001, 0x25200001, False),
        ("pispbe", 0x84B03000, 0x04201000, False),
    ],
)
def test_capture_devices_are_recognised_by_capabilities(
    driver: str, capabilities: int, of_the_node: int, is_camera: bool
) -> None:
    assert devices.can_capture(driver, capabilities, of_the_node) is is_camera
    assert struct.calcsize("16s32s32sIII12x") == 104
