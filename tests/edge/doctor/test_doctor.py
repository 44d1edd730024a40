"""What the doctor finds on boards that are imitated in a folder."""

import sqlite3
from pathlib import Path

import pytest

from edge.doctor import cameras, coral, services, storage, system
from edge.doctor.choices import Choices
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, worst
from edge.doctor.host import Host
from edge.errors import SettingsError
from tests.support.boards import Board, told

CHECKS_OF_SYSTEM = (system.board, system.system, system.temperature, system.power, system.governor, system.clock)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_empty_machine_breaks_no_check(tmp_path: Path) -> None:
    machine = Host(tmp_path, {"PATH": ""})
    found = [finding for check in (*CHECKS_OF_SYSTEM, system.watches) for finding in check(machine)]
    found += [*storage.memory(machine), *storage.disk(machine), *services.services(machine)]
    found += [*cameras.video(machine), *cameras.pi_camera(machine), *coral.coral(machine, Choices())]
    assert worst([finding for finding in found if finding.name not in ("inotify", "memory")]) == OK
    assert told(found)["board"].found.startswith("unnamed")
    assert told(found)["services"].state == ABSENT


def test_name_system_and_kernel_of_a_board_are_reported(board: Board) -> None:
    found = told([*system.board(board.machine()), *system.system(board.machine())])
    assert found["board"].found == "Raspberry Pi 4 Model B Rev 1.4"
    assert found["system"].found == "Debian GNU/Linux 12 (bookworm)"
    assert (found["kernel"].state, found["kernel"].found) == (OK, "6.6.31+rpt-rpi-v8, aarch64, 64-bit programs")


def test_control_characters_in_a_board_name_are_escaped(board: Board) -> None:
    board.file("/proc/device-tree/model", "Evil\x1b[31m\nok  all well")
    assert next(system.board(board.machine())).found == r"Evil\x1b[31m\nok  all well"


def test_pc_is_named_by_its_firmware(board: Board) -> None:
    board.file("/proc/device-tree/model", "")
    board.file("/sys/class/dmi/id/sys_vendor", "Acme\n")
    board.file("/sys/class/dmi/id/product_name", "Box 3\n")
    assert next(system.board(board.machine())).found == "Acme Box 3"


def test_32_bit_programs_on_a_64_bit_kernel_are_a_warning(board: Board) -> None:
    kernel = told(system.system(board.machine(bits=32)))["kernel"]
    assert kernel.state == WARNING
    assert "programs are 32-bit" in kernel.found
    assert told(system.system(board.machine(bits=32, machine="armv7l")))["kernel"].state == OK


@pytest.mark.parametrize(
    ("bits", "state", "words"),
    [
        ("0", OK, "never"),
        ("50005", PROBLEM, "under-voltage and throttled now"),
        ("50000", WARNING, "under-voltage and throttled since the start"),
        ("80008", WARNING, "near its heat limit now"),
        ("20002", WARNING, "frequency capped now"),
        ("e0000", WARNING, "frequency capped and throttled and near its heat limit since the start"),
    ],
)
@pytest.mark.parametrize("source", ["file", "program"])
def test_power_conditions_of_the_firmware_are_reported(
    board: Board, source: str, bits: str, state: str, words: str
) -> None:
    if source == "file":
        board.file("/sys/devices/platform/soc/soc:firmware/get_throttled", f"{bits}\n")
    else:
        board.program("vcgencmd", f'[ "$1" = get_throttled ] && echo throttled=0x{bits}')
    (found,) = system.power(board.machine())
    assert (found.state, found.name) == (state, "power")
    assert words in found.found
    assert (found.fix is None) == (state == OK)
    assert ("power supply" in (found.fix or "")) == ("under-voltage" in words)


def test_a_pi_whose_firmware_does_not_answer_is_a_warning(board: Board) -> None:
    board.program("vcgencmd", "echo VCHI initialization failed; exit 255")
    assert next(system.power(board.machine())).state == WARNING


def test_heat_and_slow_governor_are_warnings(board: Board) -> None:
    board.file("/sys/class/thermal/thermal_zone0/temp", "48312\n")
    governor = board.file("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "ondemand\n")
    assert [next(check(board.machine())).state for check in (system.temperature, system.governor)] == [OK, OK]
    board.file("/sys/class/thermal/thermal_zone1/temp", "83100\n")
    governor.write_text("powersave\n")
    hot, slow = (next(check(board.machine())) for check in (system.temperature, system.governor))
    assert (hot.state, hot.found[:2]) == (WARNING, "83")
    assert slow.state == WARNING
    assert "scaling_governor" in (slow.fix or "")
    board.file("/sys/devices/system/cpu/cpufreq/policy0/scaling_driver", "intel_pstate\n")
    assert next(system.governor(board.machine())).state == OK, "this driver's word for its usual way of working"


def test_a_wrong_clock_is_a_problem_an_unsynchronised_one_a_warning(board: Board) -> None:
    in_2025, in_1970 = 1_750_000_000.0, 3600.0
    assert next(system.clock(board.machine(now=in_2025))).state == OK, "nobody tells"
    board.program("timedatectl", "echo no")
    assert next(system.clock(board.machine(now=in_2025))).state == WARNING
    wrong = next(system.clock(board.machine(now=in_1970)))
    assert (wrong.state, wrong.fix) == (PROBLEM, "sudo timedatectl set-ntp true")
    board.program("timedatectl", '[ "$*" = "show -p NTPSynchronized --value" ] && echo yes')
    assert next(system.clock(board.machine(now=in_2025))).found.endswith(", synchronised")
    board.program("timedatectl", "echo no")
    board.file("/run/systemd/timesync/synchronized")
    assert next(system.clock(board.machine(now=in_2025))).state == OK


def test_a_command_that_hangs_is_ended(board: Board) -> None:
    board.program("timedatectl", "while :; do :; done")
    assert board.machine().run("timedatectl", seconds=0.2) is None


@pytest.mark.parametrize(("most", "state"), [(524_288, OK), (8191, WARNING)])
def test_low_inotify_limit_is_a_warning(board: Board, most: int, state: str) -> None:
    board.file("/proc/sys/fs/inotify/max_user_watches", f"{most}\n")
    (found,) = system.watches(board.machine())
    assert found.state == state
    assert str(most) in found.found


def test_the_lowest_memory_limit_of_the_control_groups_counts(board: Board) -> None:
    board.file("/proc/meminfo", "MemTotal:        3884344 kB\nMemAvailable:    3100000 kB\n")
    assert next(storage.memory(board.machine())).state == OK
    board.file("/proc/self/cgroup", "0::/system.slice/edge.service\n")
    board.file("/sys/fs/cgroup/system.slice/edge.service/memory.max", "max\n")
    assert next(storage.memory(board.machine())).state == OK
    board.file("/sys/fs/cgroup/system.slice/edge.service/memory.max", "500000000\n")
    board.file("/sys/fs/cgroup/system.slice/memory.max", "300000000\n")
    (found,) = storage.memory(board.machine())
    assert (found.state, "limited to 300 MB" in found.found) == (WARNING, True)


def test_a_read_only_system_disk_is_reported(board: Board) -> None:
    board.file("/proc/self/mounts", "proc /proc proc ro 0 0\n/dev/mmcblk0p2 / ext4 rw,noatime 0 0\n")
    assert next(storage.disk(board.machine())).state in (OK, WARNING)
    board.file("/proc/self/mounts", "/dev/mmcblk0p2 / ext4 ro,noatime 0 0\n")
    assert next(storage.disk(board.machine())).found == "read-only"


def test_a_file_as_state_folder_and_a_damaged_ledger_are_problems(board: Board, tmp_path: Path) -> None:
    state = tmp_path / "state"
    chosen = Choices(state=state / "deeper")
    assert "not created yet" in next(storage.state_folder(board.machine(), chosen)).found
    assert next(storage.ledger(chosen)).state == ABSENT
    assert not state.exists(), "it only looks"
    state.write_text("")
    assert "is not a folder" in next(storage.state_folder(board.machine(), chosen)).found
    state.unlink()
    (state / "deeper").mkdir(parents=True)
    ledger = state / "deeper" / "ledger.sqlite3"
    ledger.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    (found,) = storage.ledger(chosen)
    assert (found.state, "ledger.sqlite3" in found.found) == (PROBLEM, True)
    assert ledger.read_bytes()[16:] == b"\xff" * 4096, "and it only looks"


def test_ledger_of_later_version_is_a_problem(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as database:
        database.execute("PRAGMA user_version = 1000")
    database.close()
    assert "a later edge-detect" in next(storage.ledger(Choices(state=tmp_path))).found


UNIT = r"edge-detect-watch@srv-my\x20box.service"


@pytest.mark.parametrize(
    ("line", "state", "fix"),
    [
        (f"{UNIT} loaded active running Tell photographs", OK, None),
        (f"{UNIT} loaded failed failed Tell photographs", PROBLEM, f"journalctl -u '{UNIT}' -n 50"),
        (f"{UNIT} loaded activating auto-restart Tell", WARNING, f"journalctl -u '{UNIT}' -n 50"),
        (f"{UNIT} loaded inactive dead Tell photographs", WARNING, f"sudo systemctl start '{UNIT}'"),
        (f"{UNIT} bad-setting inactive dead Tell", PROBLEM, f"systemctl status '{UNIT}'"),
    ],
)
def test_the_state_of_a_service(board: Board, line: str, state: str, fix: str | None) -> None:
    board.program("systemctl", f"[ \"$1\" = list-units ] && printf '%s\\n' '{line}'")
    (found,) = services.services(board.machine())
    assert (found.state, found.fix) == (state, fix)


def test_missing_service_or_systemd_is_absent(board: Board) -> None:
    board.program("systemctl", "exit 0")
    assert next(services.services(board.machine())).found == "none installed"
    board.program("systemctl", "echo 'System has not been booted with systemd' >&2; exit 1")
    (found,) = services.services(board.machine())
    assert (found.state, "not been booted" in found.found) == (ABSENT, True)


def test_settings_errors_are_a_problem() -> None:
    def wrong() -> str:
        raise SettingsError("/etc/edge-detect.toml: invalid TOML")

    (found,) = services.settings(Choices(settings=wrong))
    assert (found.state, found.found) == (PROBLEM, "/etc/edge-detect.toml: invalid TOML")
    assert next(services.settings(Choices(settings=lambda: "read"))).state == OK
