"""The board and its system: kernel, temperature, power, clock, limits of inotify."""

import time
from collections.abc import Iterator

from edge.board import UNDER_VOLTAGE
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.host import Host
from edge.errors import printable

HOT_CELSIUS = 80.0  # a Raspberry Pi slows down from here on, and more at 85
LEAST_WATCHES = 8192
FIRST_YEAR = 2024  # an earlier date is wrong: the board has no battery and has not asked for the time yet
_POWER = "use the board's own power supply with a short, thick cable, and unplug other USB devices"
_COOLING = "give the board a heat sink or a fan, and free air"


def board(machine: Host) -> Iterator[Finding]:
    """The board's name, from its firmware."""
    maker, product = (machine.text(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
    named = machine.model or " ".join(filter(None, (maker, product)))
    found = printable(named) if named else f"unnamed, {machine.machine}"
    yield Finding("board", OK, found)


def system(machine: Host) -> Iterator[Finding]:
    """The distribution and the kernel; a warning for 32-bit programs on a 64-bit kernel."""
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
    """The temperature of the hottest thermal zone."""
    celsius = machine.celsius
    if celsius is None:
        yield Finding("temperature", ABSENT, "no sensor")
    elif celsius >= HOT_CELSIUS:
        yield Finding("temperature", WARNING, f"{celsius:.0f} degrees Celsius: the board slows down", _COOLING)
    else:
        yield Finding("temperature", OK, f"{celsius:.0f} degrees Celsius")


def power(machine: Host) -> Iterator[Finding]:
    """What a Raspberry Pi's firmware reports of its power supply and speed."""
    throttling = machine.throttling()
    if throttling is None:
        if machine.is_raspberry_pi:
            yield Finding("power", WARNING, "the firmware does not report it", "vcgencmd get_throttled")
        return
    now, earlier = throttling.now, throttling.earlier
    words = [f"{' and '.join(now)} now"] if now else []
    words += [f"{' and '.join(earlier)} since the start"] if earlier else []
    fix = _POWER if UNDER_VOLTAGE in (*now, *earlier) else _COOLING
    if words:
        yield Finding("power", PROBLEM if UNDER_VOLTAGE in now else WARNING, "; ".join(words), fix)
    else:
        yield Finding("power", OK, "never too low and never throttled since the start")


def governor(machine: Host) -> Iterator[Finding]:
    """The frequency governor of the processor."""
    folder = "/sys/devices/system/cpu/cpufreq"
    found = {machine.text(f"{policy}/scaling_governor") for policy in machine.names(folder, "policy*")} - {None}
    if not found:
        return
    names = printable(", ".join(sorted(filter(None, found))))
    # With a driver that sets the frequency in hardware, powersave is the normal mode.
    drivers = {machine.text(f"{policy}/scaling_driver") for policy in machine.names(folder, "policy*")}
    if "powersave" in found and not drivers & {"intel_pstate", "amd-pstate-epp"}:
        fix = f"echo ondemand | sudo tee {folder}/policy*/scaling_governor"
        yield Finding("governor", WARNING, f"{names}: the processor stays at its lowest frequency", fix)
    else:
        yield Finding("governor", OK, names)


def clock(machine: Host) -> Iterator[Finding]:
    """Whether the clock is plausible and synchronised."""
    now = time.gmtime(machine.time)
    shown = time.strftime("%Y-%m-%d %H:%M UTC", now)
    is_synchronised = _is_synchronised(machine)
    fix = "sudo timedatectl set-ntp true"
    if now.tm_year < FIRST_YEAR:
        yield Finding("clock", PROBLEM, f"{shown}, which is wrong", fix)
    elif is_synchronised is False:
        yield Finding("clock", WARNING, f"{shown}, not synchronised", fix)
    else:
        yield Finding("clock", OK, shown + (", synchronised" if is_synchronised else ""))


def watches(machine: Host) -> Iterator[Finding]:
    """How many folders an account may watch (inotify(7))."""
    most, instances = (machine.number(f"/proc/sys/fs/inotify/max_user_{what}") for what in ("watches", "instances"))
    if most is None:
        yield Finding("inotify", WARNING, "the kernel does not report its limits; without inotify only --poll works")
    elif most < LEAST_WATCHES:
        setting = "fs.inotify.max_user_watches=524288"
        fix = f"echo {setting} | sudo tee /etc/sysctl.d/60-inotify.conf && sudo sysctl --system"
        yield Finding("inotify", WARNING, f"only {most} folders can be watched", fix)
    elif instances == 0:
        yield Finding(
            "inotify", PROBLEM, "the kernel allows no watcher", "sudo sysctl fs.inotify.max_user_instances=128"
        )
    else:
        yield Finding("inotify", OK, f"{most} folders can be watched")


def _is_synchronised(machine: Host) -> bool | None:
    if machine.path("/run/systemd/timesync/synchronized").exists():
        return True
    done = machine.run("timedatectl", "show", "-p", "NTPSynchronized", "--value")
    return {"yes": True, "no": False}.get(done.output.strip()) if done is not None and not done.status else None
