"""The camera command and its service on a Video4Linux device in a virtual machine: `make test-vm`, as the super-user.

The device is of Linux's own test driver, vivid: it gives known pictures, and can be unplugged, freeze and fail.
"""

import json
import platform
from collections.abc import Iterator
from typing import Any

import pytest

from edge.service.units import CAMERA_UNIT
from tests.conftest import MODELS
from tests.support.roots import need
from tests.support.virtual_machine import PROGRAM, VirtualMachine
from tests.system.test_systemd import EXPOSURE_OF_CAMERA

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3600)]

MODEL = "/opt/brightness_int8.tflite"
# Two webcams, and none of the driver's other devices.
LOAD = "modprobe vivid n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0,0"
DRIVER = "/sys/bus/platform/drivers/vivid"
BARS, BLACK, WHITE = 1, 5, 6  # test patterns
COLOURS = [
    [255, 255, 255],
    [255, 255, 0],
    [0, 255, 255],
    [0, 255, 0],
    [255, 0, 255],
    [255, 0, 0],
    [0, 0, 255],
    [0, 0, 0],
]
# What is asked for, and the height and width that this webcam answers with.
SIZES = {(640, 360): [360, 640], (641, 361): [360, 640], (640, 350): [360, 640], (333, 181): [180, 320]}

SEEN = """
import json
from edge.capture.open_camera import open_camera
seen = []
for size in {sizes}:
    camera = open_camera("/dev/video0", size)
    frame = camera.frame()
    camera.close()
    pixels = frame.pixels  # converted only now, as another thread may
    height, width, _ = pixels.shape
    rows = [pixels[row, width // 16 :: width // 8].tolist() for row in (0, height // 2, height - 1)]
    seen.append([[height, width], rows])
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMachine]:
    need("qemu-system-x86_64", "debootstrap", "mke2fs", "unshare")
    if platform.machine() != "x86_64":
        pytest.skip("the virtual machine is made on x86-64 only")
    started = VirtualMachine(tmp_path_factory.mktemp("vm"))
    for path in MODELS.glob("brightness_int8.*"):
        (started.shared / path.name).write_bytes(path.read_bytes())
    started.run("sh", "-c", "cp /shared/brightness_int8.* /opt")
    started.run(*LOAD.split())
    started.until(lambda: started.sh("test -c /dev/video1")[0] == 0, "no camera")
    yield started
    started.close()


def shows(machine: VirtualMachine, device: int, pattern: int) -> None:
    machine.run("v4l2-ctl", "-d", f"/dev/video{device}", "-c", f"test_pattern={pattern},osd_text_mode=2")


def camera(machine: VirtualMachine, *options: str, user: str = "root") -> tuple[int, str]:
    """Exit status and output of an `edge-detect camera` that ends by itself."""
    words = [PROGRAM, "camera", "--model", MODEL, "--state", f"/tmp/{user}", *options]
    return machine.sh(f"cd /tmp && export HOME=/tmp && exec setpriv --reuid {user} --clear-groups -- {' '.join(words)}")


def answers(said: str) -> list[Any]:
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def test_webcams_are_found_by_name_and_classified(machine: VirtualMachine) -> None:
    _, said = machine.sh(f"{PROGRAM} doctor --json")
    found = [(one["state"], one["found"]) for one in json.loads(said)["checks"] if one["name"] == "webcam"]
    assert found == [("ok", "/dev/video0, vivid"), ("ok", "/dev/video1, vivid")]
    shows(machine, 0, WHITE)
    shows(machine, 1, BLACK)
    for options, count, label in (((), 2, "REAL"), (("--source", "/dev/video1"), 5, "FAKE")):
        status, said = camera(machine, *options, "--max-frames", str(count), "--record", "0", "--json")
        assert status == 0, said
        assert [one["label"] for one in answers(said)] == [label] * count
        assert min(one["confidence"] for one in answers(said)) > 0.9


def test_colours_are_in_place_for_every_requested_size(machine: VirtualMachine) -> None:
    shows(machine, 0, BARS)
    (machine.shared / "seen.py").write_text(SEEN.format(sizes=list(SIZES)))
    seen = json.loads(machine.run("/opt/edge-detect/bin/python", "/shared/seen.py"))
    assert [shape for shape, _ in seen] == list(SIZES.values())
    for shape, rows in seen:
        for row in rows:
            assert len(row) == len(COLOURS)
            for colour, expected in zip(row, COLOURS, strict=True):
                assert max(abs(a - b) for a, b in zip(colour, expected, strict=True)) < 12, (shape, row)


def test_unusable_camera_reports_reason_in_one_line(machine: VirtualMachine) -> None:
    holder = "v4l2-ctl -d /dev/video0 --stream-mmap >/dev/null 2>&1"
    machine.sh(f"{holder} & echo $! >/tmp/holder")
    machine.until(lambda: "another program uses it" in camera(machine, "--max-frames", "1")[1], "it is not in use")
    status, said = camera(machine, "--source", "/dev/video0", "--max-frames", "1")
    machine.sh("kill $(cat /tmp/holder)")
    assert (status, said) == (2, "edge-detect: /dev/video0: another program uses it\n")

    status, said = camera(machine, "--source", "/dev/video0", user="nobody")
    assert status == 2
    assert said == "edge-detect: /dev/video0: permission denied; the user must be in the group video\n"
    status, said = camera(machine, user="nobody")
    assert (status, said.count("\n")) == (2, 1)
    assert "/dev/video1 (vivid-001-vid-cap: permission denied; the user must be in the group video)" in said

    status, said = camera(machine, "--source", "/dev/video7")
    assert status == 2
    assert said == "edge-detect: /dev/video7: no such device; seen: /dev/video0 (vivid), /dev/video1 (vivid)\n"
    assert camera(machine, "--source", "/dev/media0") == (2, "edge-detect: /dev/media0: not a camera\n")


def test_failed_or_unplugged_camera_is_reopened(machine: VirtualMachine) -> None:
    shows(machine, 0, BLACK)
    options = "--source /dev/video0 --interval 0.5 --enter 0.6 --smooth 0 --least 0 --cool-down 0"
    machine.sh(f"{PROGRAM} camera --model {MODEL} --state /tmp/lost {options} >/tmp/said 2>&1 & echo $! >/tmp/pid")

    def said() -> list[str]:
        return machine.run("cat", "/tmp/said").splitlines()

    machine.until(lambda: "event began" in "".join(said()), "no event")
    for _ in range(5):
        machine.run("v4l2-ctl", "-d", "/dev/video0", "-c", "inject_v4l2_buf_flag_error=1")
    for control, reason in (("inject_fatal_streaming_error", "input/output error"), ("disconnect", "no such device")):
        machine.run("v4l2-ctl", "-d", "/dev/video0", "-c", f"{control}=1")
        told = [f"edge-detect: /dev/video0: {reason}; trying again", f"edge-detect: recovered: /dev/video0: {reason}"]
        machine.until(lambda told=told: said()[-2:] == told, f"{control} was not got over")
    assert len(said()) == 5, "a damaged frame is not a lost camera"

    machine.sh(f"echo vivid.0 >{DRIVER}/unbind")
    machine.until(lambda: "event ended" in said()[-1], "the event goes on without a camera")
    assert any("no such device; seen: " in line for line in said())
    machine.sh(f"echo vivid.0 >{DRIVER}/bind")
    machine.until(lambda: said()[-1].startswith("edge-detect: recovered: "), "it was not found again")
    assert "event began" in said()[-2]
    assert len(said()) <= 10, "said once for each reason"
    machine.sh("kill -INT $(cat /tmp/pid)")
    machine.until(lambda: " FAKE in " in said()[-1], "it does not end")


def test_service_lifecycle_from_installation_to_removal(machine: VirtualMachine) -> None:
    before = machine.run("find", "/etc/systemd/system")
    unload = "rmmod videobuf2_memops videobuf2_common videodev mc"
    machine.run("sh", "-c", f"modprobe -r vivid; {unload}; while grep video4linux /proc/devices; do {unload}; done")
    options = ["--source", "/dev/video0", "--snapshots", "/srv/seen", "--model", MODEL]
    machine.run(PROGRAM, "service", "install", "camera", *options)

    def journal() -> str:
        return machine.run("journalctl", "-u", CAMERA_UNIT, "-o", "cat")

    def status() -> str:
        return machine.show(CAMERA_UNIT, "StatusText")

    # It waits for a webcam; the very first one, whose driver comes with it, is let in.
    machine.until(lambda: "trying again" in journal(), "it does not wait")
    machine.run(*LOAD.split())
    machine.until(lambda: "FAKE" in status() or "REAL" in status(), f"no frames: {journal()}")
    shows(machine, 0, WHITE)
    machine.until(lambda: "REAL" in status(), "a white picture is not REAL")
    shows(machine, 0, BLACK)
    machine.until(lambda: "event began /srv/seen/" in journal(), f"no event: {journal()}")
    (event, *_) = answers(machine.run(PROGRAM, "results", "--json"))
    assert (event["path"], event["label"], event["event"]["state"]) == ("/dev/video0", "FAKE", "began")
    owner = machine.run("stat", "-c", "%U %a", event["event"]["snapshot"])
    assert owner == "edge-detect 640\n"
    assert machine.show(CAMERA_UNIT, "ActiveState") == "active"

    _only_cameras_can_be_opened(machine)
    exposure = machine.run("systemd-analyze", "security", CAMERA_UNIT).strip().splitlines()[-1]
    assert float(exposure.split(":")[1].split()[0]) <= EXPOSURE_OF_CAMERA, exposure

    # A camera freezes silently: the service restarts.
    main = machine.show(CAMERA_UNIT, "MainPID")
    machine.run("v4l2-ctl", "-d", "/dev/video0", "-c", "percentage_of_dropped_buffers=100")
    machine.until(lambda: machine.show(CAMERA_UNIT, "NRestarts") == "1", "the watchdog did not bite")
    machine.run("v4l2-ctl", "-d", "/dev/video0", "-c", "percentage_of_dropped_buffers=0")
    assert "/dev/video0: no answer for 30 s" in journal()
    assert "with signal SIGABRT" in journal()
    machine.until(lambda: "FAKE" in status() and machine.show(CAMERA_UNIT, "MainPID") != main, "it is not back")

    machine.run(PROGRAM, "service", "uninstall")
    assert machine.run("find", "/etc/systemd/system") == before
    assert machine.sh("test -e /etc/edge-detect || getent passwd edge-detect || pgrep -f edge-detect")[0] == 1
    assert machine.run("ls", "/srv/seen").count("_FAKE_") >= 1
    assert machine.run("ls", "/var/lib/edge-detect/camera")


def _only_cameras_can_be_opened(machine: VirtualMachine) -> None:
    """By anyone in the service's control group, be it the super-user."""
    opened = "for one in video0 media0 null vda ttyS0 kmsg; do (exec 3</dev/$one) 2>/dev/null && echo $one; done"
    group = f"/sys/fs/cgroup{machine.show(CAMERA_UNIT, 'ControlGroup')}/cgroup.procs"
    assert machine.sh(opened)[1].split() == ["video0", "media0", "null", "vda", "ttyS0", "kmsg"]
    assert machine.sh(f"echo $$ >{group}; {opened}")[1].split() == ["video0", "media0", "null"]
