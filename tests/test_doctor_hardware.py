"""What the doctor says of cameras and Corals, on boards that are imitated in a folder."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.doctor import cameras, coral
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING
from edge.doctor.machine import video_capabilities
from tests.boards import PLUGDEV, Board, told

CAPTURES, ENCODES = 0x04200001, 0x04204000  # V4L2 capture and streaming; memory to memory and streaming


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


@pytest.fixture
def pi_5(tmp_path: Path) -> Board:
    """With a Coral on PCIe, as its system comes."""
    made = Board(tmp_path, "Raspberry Pi 5 Model B Rev 1.0")
    made.file("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x1ac1\n")
    made.file("/sys/bus/pci/devices/0000:01:00.0/device", "0x089a\n")
    return made


def test_no_coral_is_no_problem(board: Board) -> None:
    assert {finding.state for finding in coral.coral(board.machine(page_size=16_384))} == {ABSENT}


def test_a_card_on_large_pages_without_a_driver_and_a_library(pi_5: Board) -> None:
    found = told(coral.coral(pi_5.machine(page_size=16_384)))
    assert {name: found[name].state for name in ("Coral", "memory pages", "libedgetpu")} == {
        "Coral": PROBLEM,
        "memory pages": PROBLEM,
        "libedgetpu": PROBLEM,
    }
    assert "gasket-dkms" in (found["Coral"].mend or "")
    assert "kernel=kernel8.img" in (found["memory pages"].mend or "")
    assert "libedgetpu1-std" in (found["libedgetpu"].mend or "")


def test_a_card_that_works(pi_5: Board) -> None:
    pi_5.file("/dev/apex_0", mode=0o660, group=PLUGDEV)
    found = told(coral.coral(pi_5.machine(groups=frozenset((PLUGDEV,)))))
    assert (found["Coral"].state, found["Coral"].found) == (OK, "PCIe, /dev/apex_0")
    assert "memory pages" not in found


def test_a_stick_that_one_may_not_use(board: Board) -> None:
    board.usb_coral()
    found = told(coral.coral(board.machine()))["Coral"]
    assert (found.state, found.found) == (PROBLEM, "USB, /dev/bus/usb/002/003: permission denied")
    assert (found.mend or "").startswith("sudo usermod -aG plugdev pi")
    assert told(coral.coral(board.machine(groups=frozenset((PLUGDEV,)))))["Coral"].state == OK


def test_a_group_that_counts_only_after_the_next_login(board: Board) -> None:
    board.usb_coral()
    board.file("/etc/group", f"plugdev:x:{PLUGDEV}:anna,pi\n")
    assert "log out and in again" in (told(coral.coral(board.machine()))["Coral"].mend or "")


def test_a_stick_without_its_udev_rule(board: Board) -> None:
    board.usb_coral(mode=0o644)
    assert "udevadm" in (told(coral.coral(board.machine()))["Coral"].mend or "")


def test_a_stick_in_a_slow_socket_is_a_warning(board: Board) -> None:
    board.usb_coral(megabits=480)
    found = told(coral.coral(board.machine(groups=frozenset((PLUGDEV,)))))["Coral"]
    assert (found.state, "USB 2" in found.found) == (WARNING, True)


def test_a_stick_that_is_no_more_there(board: Board) -> None:
    board.usb_coral()
    (board.root / "dev/bus/usb/002/003").unlink()
    assert told(coral.coral(board.machine()))["Coral"].state == PROBLEM


def test_a_library_that_is_none(board: Board) -> None:
    library = str(board.file("/usr/lib/libedgetpu.so.1", "I am a text\n"))
    found = told(coral.coral(board.machine(edgetpu=library)))["libedgetpu"]
    assert (found.state, "cannot be loaded" in found.found) == (WARNING, True)
    board.usb_coral()
    assert told(coral.coral(board.machine(edgetpu=library)))["libedgetpu"].state == PROBLEM


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to make a library with")
@pytest.mark.parametrize(
    ("body", "state", "words"),
    [
        ('const char *edgetpu_version(void) { return "RuntimeVersion(14)"; }', OK, "RuntimeVersion(14)"),
        ("__attribute__((constructor)) void begin(void) { *(volatile int *)0 = 1; }", PROBLEM, "SIGSEGV"),
    ],
)
def test_a_library_that_works_and_one_that_crashes(board: Board, body: str, state: str, words: str) -> None:
    source, library = board.file("/library.c", body), board.root / "libedgetpu.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    board.usb_coral()
    found = told(coral.coral(board.machine(edgetpu=str(library))))["libedgetpu"]
    assert (found.state, words in found.found) == (state, True)


def test_webcams_are_told_from_the_board_s_own_nodes(board: Board) -> None:
    names = {0: "HD Webcam", 1: "HD Webcam", 10: "bcm2835-codec-decode", 14: "bcm2835-isp-output0", 19: "Encoder"}
    for number, name in names.items():
        board.file(f"/dev/video{number}", mode=0o660, group=PLUGDEV)
        board.file(f"/sys/class/video4linux/video{number}/name", f"{name}\n")
    can = {"video0": CAPTURES, "video1": None, "video10": CAPTURES, "video14": CAPTURES, "video19": ENCODES}
    machine = board.machine(groups=frozenset((PLUGDEV,)), video_capabilities=lambda path: can[os.path.basename(path)])
    assert [node.path for node in cameras.video_nodes(machine)] == ["/dev/video0"]
    found = told(cameras.video(machine))["webcam"]
    assert (found.state, found.found) == (OK, "/dev/video0, HD Webcam")

    denied = told(cameras.video(board.machine()))["webcam"]
    assert denied.state == PROBLEM
    assert (denied.mend or "").startswith("sudo usermod -aG plugdev pi")


def test_a_file_is_no_camera_and_a_missing_one_an_error(board: Board) -> None:
    assert video_capabilities(board.file("/dev/video0")) is None
    with pytest.raises(FileNotFoundError):
        video_capabilities(board.root / "dev/video9")


def test_no_webcam_is_no_problem(board: Board) -> None:
    assert told(cameras.video(board.machine()))["webcam"].state == ABSENT
