"""Our systemd services, and the settings."""

import shlex
from collections.abc import Iterator

from edge.doctor.choices import Choices
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.host import Host, shortened
from edge.errors import SettingsError, printable

UNITS = ("edge-detect-watch@*.service", "edge-detect-camera.service", "edge-detect-serve.service")


def settings(choices: Choices) -> Iterator[Finding]:
    """The settings file and the variables of the environment."""
    try:
        yield Finding("settings", OK, printable(choices.settings()))
    except SettingsError as error:
        yield Finding("settings", PROBLEM, str(error), "correct that name or value, or remove it")


def services(machine: Host) -> Iterator[Finding]:
    """The state of each of our units that systemd knows."""
    listing = ("list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager")
    done = machine.run("systemctl", *listing, *UNITS)
    if done is None:
        yield Finding("services", ABSENT, "no systemd here, or it does not answer")
        return
    if done.status:
        yield Finding("services", ABSENT, f"systemd does not run here: {shortened(done.last_line)}")
        return
    units = [fields for line in done.output.splitlines() if len(fields := line.split()) >= 4]
    if not units:
        yield Finding("services", ABSENT, "none installed")
    for name, load, active, sub, *_ in units:
        yield _state_of(name, load, active, sub)


def _state_of(name: str, load: str, active: str, sub: str) -> Finding:
    shown, quoted = printable(name), shlex.quote(printable(name))
    log = f"journalctl -u {quoted} -n 50"
    if load not in ("loaded", "not-found"):
        found = f"{shown}: systemd cannot load its unit ({load})"
        return Finding("service", PROBLEM, found, f"systemctl status {quoted}")
    if active == "failed":
        return Finding("service", PROBLEM, f"{shown} has failed", log)
    if active == "activating":
        restarts = " again and again" if sub == "auto-restart" else ""
        return Finding("service", WARNING, f"{shown} is starting{restarts}", log)
    if active != "active":
        return Finding("service", WARNING, f"{shown} is not running", f"sudo systemctl start {quoted}")
    return Finding("service", OK, f"{shown} is running")
