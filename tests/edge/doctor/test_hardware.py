"""What the doctor says of cameras and Corals, on boards that are imitated in a folder."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge.capture.devices import Found
from edge.doctor import cameras, coral
from edge.doctor.choices import Choices
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.host import Host
from tests.conftest import MODELS
from tests.support.boards import PLUGDEV, Board, told
from tests.support.delegates import compiled


def of_coral(machine: Host, model: Path | None = None) -> dict[str, Finding]:
    return told(coral.coral(machine, Choices(model)))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


@pytest.fixture
def pi_5(tmp_path: Path) -> Board:
    """A Pi 5 with a Coral on PCIe and an unchanged system."""
    made = Board(tmp_path, "Raspberry Pi 5 Model B Rev 1.0")
    made.file("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x1ac1\n")
    made.file("/sys/bus/pci/devices/0000:01:00.0/device", "0x089a\n")
    return made


def test_no_coral_is_no_problem(board: Board) -> None:
    assert {finding.state for finding in coral.coral(board.machine(page_size=16_384), Choices())} == {ABSENT}


def test_a_card_without_driver_library_and_small_pages_is_a_problem(pi_5: Board) -> None:
    found = of_coral(pi_5.machine(page_size=16_384))
    assert {name: found[name].state for name in ("Coral", "memory pages", "libedgetpu")} == {
        "Coral": PROBLEM,
        "memory pages": PROBLEM,
        "libedgetpu": PROBLEM,
    }
    assert "https://github.com/feranick/gasket-driver" in (found["Coral"].fix or ""), "Google's does not compile"
    assert "kernel=kernel8.img" in (found["memory pages"].fix or "")
    assert "libedgetpu1-std" in (found["libedgetpu"].fix or "")


def test_a_card_at_an_old_kernel_gets_googles_driver(pi_5: Board) -> None:
    fix = of_coral(pi_5.machine(release="6.1.0-30-arm64"))["Coral"].fix or ""
    assert "sudo apt install gasket-dkms" in fix
    assert "feranick" not in fix


@pytest.mark.parametrize(
    ("shown", "state"),
    [("installed 16.0", WARNING), ("installed 16.0tf2.19.1-1.bookworm", OK), ("config-files 16.0", OK)],
)
def test_googles_package_of_the_library_is_a_warning(board: Board, shown: str, state: str) -> None:
    board.program("dpkg-query", f"case $3 in *-std) echo '{shown}';; *) exit 1;; esac")
    found = of_coral(board.machine(edgetpu=str(compiled(board.root))))["libedgetpu"]
    assert found.state == state
    assert ("Google's package 16.0, which crashes" in found.found) is (state == WARNING)
    assert ("https://github.com/feranick/libedgetpu" in (found.fix or "")) is (state == WARNING)


def test_a_usable_card_is_ok(pi_5: Board) -> None:
    pi_5.file("/dev/apex_0", mode=0o660, group=PLUGDEV)
    found = of_coral(pi_5.machine(groups=frozenset((PLUGDEV,))))
    assert (found["Coral"].state, found["Coral"].found) == (OK, "PCIe, /dev/apex_0")
    assert "memory pages" not in found


def test_a_stick_without_permission_is_a_problem(board: Board) -> None:
    board.usb_coral()
    found = of_coral(board.machine())["Coral"]
    assert (found.state, found.found) == (PROBLEM, "USB, /dev/bus/usb/002/003: permission denied")
    assert (found.fix or "").startswith("sudo usermod -aG plugdev pi")
    assert of_coral(board.machine(groups=frozenset((PLUGDEV,))))["Coral"].state == OK


def test_a_new_group_membership_needs_a_login(board: Board) -> None:
    board.usb_coral()
    board.file("/etc/group", f"plugdev:x:{PLUGDEV}:anna,pi\n")
    assert "log out and in again" in (of_coral(board.machine())["Coral"].fix or "")


def test_a_stick_without_its_udev_rule_gets_the_fix(board: Board) -> None:
    board.usb_coral(mode=0o644)
    assert "udevadm" in (of_coral(board.machine())["Coral"].fix or "")


def test_stick_on_usb_2_is_a_warning(board: Board) -> None:
    board.usb_coral(megabits=480)
    found = of_coral(board.machine(groups=frozenset((PLUGDEV,))))["Coral"]
    assert (found.state, "USB 2" in found.found) == (WARNING, True)


def test_a_stick_without_a_node_is_a_problem(board: Board) -> None:
    board.usb_coral()
    (board.root / "dev/bus/usb/002/003").unlink()
    assert of_coral(board.machine())["Coral"].state == PROBLEM


def test_a_library_that_does_not_load_is_a_problem_only_with_a_coral(board: Board) -> None:
    library = str(board.file("/usr/lib/libedgetpu.so.1", "I am a text\n"))
    found = of_coral(board.machine(edgetpu=library))["libedgetpu"]
    assert (found.state, "cannot be loaded" in found.found) == (WARNING, True)
    board.usb_coral()
    assert of_coral(board.machine(edgetpu=library))["libedgetpu"].state == PROBLEM


@pytest.mark.parametrize(
    ("body", "state", "words"),
    [
        ('const char *edgetpu_version(void) { return "RuntimeVersion(14)"; }', OK, "RuntimeVersion(14)"),
        ("__attribute__((constructor)) void begin(void) { *(volatile int *)0 = 1; }", PROBLEM, "SIGSEGV"),
    ],
)
def test_a_library_is_ok_and_a_crashing_one_a_problem(board: Board, body: str, state: str, words: str) -> None:
    board.usb_coral()
    found = of_coral(board.machine(edgetpu=str(compiled(board.root, body))))["libedgetpu"]
    assert (found.state, words in found.found) == (state, True)


def test_coral_inference_is_ok_and_a_crash_a_problem(board: Board) -> None:
    board.usb_coral()
    usable = board.machine(edgetpu=str(compiled(board.root)), groups=frozenset((PLUGDEV,)))
    model = MODELS / "brightness_int8.tflite"
    found = of_coral(usable, model)
    assert found["compiled model"].found == "brightness_int8_edgetpu.tflite"
    assert (found["Coral inference"].state, "ms for the network" in found["Coral inference"].found) == (OK, True)

    crashing = replace(usable, environment={**usable.environment, "TEST_DELEGATE": "crash"})
    crashed = of_coral(crashing, model)["Coral inference"]
    assert (crashed.state, "crashes the runtime (SIGSEGV)" in crashed.found) == (PROBLEM, True)
    assert (crashed.fix or "").startswith("use a library that was built for ")
    for behaviour, fix in (
        ("refuse", "end other programs"),
        ("idle", "download libedgetpu1-std"),
        ("fail", "see docs/"),
    ):
        failing = replace(usable, environment={**usable.environment, "TEST_DELEGATE": behaviour})
        assert (of_coral(failing, model)["Coral inference"].fix or "").startswith(fix)
    denied = of_coral(replace(usable, groups=frozenset()), model)
    assert "Coral inference" not in denied, "what may not be used is not tried"


def test_without_a_compiled_model_no_coral_inference_is_tried(board: Board) -> None:
    board.usb_coral()
    machine = board.machine(edgetpu=str(compiled(board.root)), groups=frozenset((PLUGDEV,)))
    found = of_coral(machine, Path(shutil.copy(MODELS / "brightness_int8.tflite", board.root)))
    assert found["compiled model"].state == WARNING
    assert "brightness_int8_edgetpu.tflite" in found["compiled model"].found
    assert "Coral inference" not in found


def test_usable_busy_and_forbidden_webcams_are_told_apart(board: Board) -> None:
    names = {0: "HD Webcam", 2: "Grabber", 10: "bcm2835-codec-decode"}
    for number in names:
        board.file(f"/dev/video{number}", mode=0o660, group=PLUGDEV)

    def listed(problems: dict[int, str]) -> Callable[[str, str], list[Found]]:
        return lambda folder, _: [Found(f"{folder}/video{n}", names[n], why) for n, why in problems.items()]

    member = frozenset((PLUGDEV,))
    one = board.machine(groups=member, webcams=listed({0: ""}))
    assert next((line.state, line.found) for line in cameras.video(one)) == (OK, "/dev/video0, HD Webcam")
    taken = told(cameras.video(board.machine(groups=member, webcams=listed({2: "device or resource busy"}))))["webcam"]
    assert (taken.state, taken.fix) == (WARNING, "see which program uses it: sudo fuser -v /dev/video2")
    denied = cameras.video(board.machine(webcams=listed({0: "permission denied", 10: "permission denied"})))
    lines = [line for line in denied if line.name == "webcam"]
    assert [line.state for line in lines] == [PROBLEM], "the decoder is none"
    assert (lines[0].fix or "").startswith("sudo usermod -aG plugdev pi")


def test_missing_webcam_is_no_problem(board: Board) -> None:
    assert told(cameras.video(board.machine()))["webcam"].state == ABSENT
