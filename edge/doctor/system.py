"""The board and what runs on it: system, heat, power, clock, limits of the kernel's."""

import time
from collections.abc import Iterator

from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.host import Host
from edge.errors import printable

HOT_CELSIUS = 80.0  # a Raspberry Pi slows down from here on, and more at 85
LEAST_WATCHES = 8192
FIRST_YEAR = 2024  # nobody ran this before: a board without a battery began to count somewhere else
# Bits of `vcgencmd get_throttled`: now, and sixteen bits further up: since the start.
UNDER_VOLTAGE, THROTTLED = 0, 2
_BITS = {UNDER_VOLTAGE: "under-voltage", 1: "frequency capped", THROTTLED: "throttled", 3: "near its heat limit"}
_THROTTLED_FILE = "/sys/devices/platform/soc/soc:firmware/get_throttled"
_POWER = "use the board's own power supply and a short, thick cable; nothing else that draws from its USB"
_COOLING = "give the board a heat sink or a fan, and air"


def is_raspberry_pi(machine: Host) -> bool:
    """Whether the firmware says so."""
    return (machine.text("/proc/device-tree/model") or "").startswith("Raspberry Pi")


def board(machine: Host) -> Iterator[Finding]:
    """Its name, as the firmware has it."""
    maker, product = (machine.text(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
    named = machine.text("/proc/device-tree/model") or " ".join(filter(None, (maker, product)))
    found = printable(named) if named else f"unnamed, {machine.machine}"
    yield Finding("board", OK, found)


def system(machine: Host) -> Iterator[Finding]:
    """The distribution, the kernel, and whether both have the same width."""
    lines = (machine.text("/etc/os-release") or "").splitlines()
    name = next((line.partition("=")[2].strip("\"'") for line in lines if line.startswith("PRETTY_NAME=")), "")
    yield Finding("system", OK, printable(name) or "no /etc/os-release")
    found = f"{printable(machine.release)}, {printable(machine.machine)}"
    if machine.bits == 32 and machine.machine in ("aarch64", "x86_64"):
        yield Finding(
            "kernel",
            WARNING,
            f"{found}, but the programs are 32-bit: of the runtimes only tflite-runtime has such a wheel, and"
            " only for Python 3.11",
            "install the 64-bit Raspberry Pi OS",
        )
    else:
        yield Finding("kernel", OK, f"{found}, {machine.bits}-bit programs")


def temperature(machine: Host) -> Iterator[Finding]:
    """Of the hottest zone."""
    zones = [machine.number(f"{zone}/temp") for zone in machine.names("/sys/class/thermal", "thermal_zone*")]
    celsius = max((value / 1000 for value in zones if value is not None), default=None)
    if celsius is None:
        yield Finding("temperature", ABSENT, "no sensor")
    elif celsius >= HOT_CELSIUS:
        yield Finding("temperature", WARNING, f"{celsius:.0f} degrees Celsius: it slows down", _COOLING)
    else:
        yield Finding("temperature", OK, f"{celsius:.0f} degrees Celsius")


def power(machine: Host) -> Iterator[Finding]:
    """What the firmware of a Raspberry Pi says of its supply and of its speed."""
    bits = _throttled(machine)
    if bits is None:
        if is_raspberry_pi(machine):
            yield Finding("power", WARNING, "the firmware does not tell", "vcgencmd get_throttled")
        return
    now = [name for bit, name in _BITS.items() if bits >> bit & 1]
    before = [name for bit, name in _BITS.items() if bits >> (bit + 16) & 1 and name not in now]
    told = [f"{' and '.join(now)} now"] if now else []
    told += [f"{' and '.join(before)} since the start"] if before else []
    mend = _POWER if "under-voltage" in (*now, *before) else _COOLING
    if bits >> UNDER_VOLTAGE & 1:
        yield Finding("power", PROBLEM, "; ".join(told), mend)
    elif told:
        yield Finding("power", WARNING, "; ".join(told), mend)
    else:
        yield Finding("power", OK, "never too low, never throttled since the start")


def governor(machine: Host) -> Iterator[Finding]:
    """The kernel's choice of the processor's frequency."""
    folder = "/sys/devices/system/cpu/cpufreq"
    found = {machine.text(f"{policy}/scaling_governor") for policy in machine.names(folder, "policy*")} - {None}
    if not found:
        return
    names = printable(", ".join(sorted(filter(None, found))))
    # A driver that sets the frequency in hardware means something else by the word.
    drivers = {machine.text(f"{policy}/scaling_driver") for policy in machine.names(folder, "policy*")}
    if "powersave" in found and not drivers & {"intel_pstate", "amd-pstate-epp"}:
        mend = f"echo ondemand | sudo tee {folder}/policy*/scaling_governor"
        yield Finding("governor", WARNING, f"{names}: the processor stays at its lowest frequency", mend)
    else:
        yield Finding("governor", OK, names)


def clock(machine: Host) -> Iterator[Finding]:
    """Whether the answers' times can be right."""
    now = time.gmtime(machine.time)
    told = time.strftime("%Y-%m-%d %H:%M UTC", now)
    is_synchronised = _is_synchronised(machine)
    mend = "sudo timedatectl set-ntp true"
    if now.tm_year < FIRST_YEAR:
        yield Finding("clock", PROBLEM, f"{told}, which cannot be", mend)
    elif is_synchronised is False:
        yield Finding("clock", WARNING, f"{told}, not synchronised", mend)
    else:
        yield Finding("clock", OK, told + (", synchronised" if is_synchronised else ""))


def watches(machine: Host) -> Iterator[Finding]:
    """How many folders an account may watch (inotify(7))."""
    most, instances = (machine.number(f"/proc/sys/fs/inotify/max_user_{what}") for what in ("watches", "instances"))
    if most is None:
        yield Finding("inotify", WARNING, "the kernel does not tell its limits; without inotify only --poll works")
    elif most < LEAST_WATCHES:
        setting = "fs.inotify.max_user_watches=524288"
        mend = f"echo {setting} | sudo tee /etc/sysctl.d/60-inotify.conf && sudo sysctl --system"
        yield Finding("inotify", WARNING, f"no more than {most} folders can be watched", mend)
    elif instances == 0:
        yield Finding("inotify", PROBLEM, "no watcher is allowed", "sudo sysctl fs.inotify.max_user_instances=128")
    else:
        yield Finding("inotify", OK, f"{most} folders can be watched")


def _throttled(machine: Host) -> int | None:
    told = machine.text(_THROTTLED_FILE)
    if told is None and (ran := machine.run("vcgencmd", "get_throttled")) is not None and not ran.status:
        told = ran.output.strip().removeprefix("throttled=")
    try:
        return int(told or "", 16)
    except ValueError:
        return None


def _is_synchronised(machine: Host) -> bool | None:
    if machine.path("/run/systemd/timesync/synchronized").exists():
        return True
    ran = machine.run("timedatectl", "show", "-p", "NTPSynchronized", "--value")
    return {"yes": True, "no": False}.get(ran.output.strip()) if ran is not None and not ran.status else None
