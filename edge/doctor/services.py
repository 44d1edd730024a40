"""The services that systemd runs for us, and the settings."""

import shlex
from collections.abc import Iterator

from edge.doctor.choices import Chosen
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.host import Host
from edge.errors import SettingsError, printable

UNITS = ("edge-detect-watch@*.service", "edge-detect-camera.service")


def settings(chosen: Chosen) -> Iterator[Finding]:
    """The settings file and the variables of the environment."""
    try:
        yield Finding("settings", OK, printable(chosen.settings()))
    except SettingsError as error:
        yield Finding("settings", PROBLEM, str(error), "correct that name or value, or take it out")


def services(machine: Host) -> Iterator[Finding]:
    """Each unit of ours that systemd knows."""
    listing = ("list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager")
    ran = machine.run("systemctl", *listing, *UNITS)
    if ran is None:
        yield Finding("services", ABSENT, "no systemd here, or it does not answer")
        return
    if ran.status:
        yield Finding("services", ABSENT, f"systemd does not run here: {ran.last_words}")
        return
    units = [fields for line in ran.output.splitlines() if len(fields := line.split()) >= 4]
    if not units:
        yield Finding("services", ABSENT, "none installed")
    for name, load, active, sub, *_ in units:
        yield _state_of(name, load, active, sub)


def _state_of(name: str, load: str, active: str, sub: str) -> Finding:
    shown, quoted = printable(name), shlex.quote(printable(name))
    log = f"journalctl -u {quoted} -n 50"
    if load not in ("loaded", "not-found"):
        return Finding("service", PROBLEM, f"{shown}: its unit is wrong ({load})", f"systemctl status {quoted}")
    if active == "failed":
        return Finding("service", PROBLEM, f"{shown} has failed", log)
    if active == "activating":
        restarts = " and is begun again and again" if sub == "auto-restart" else ""
        return Finding("service", WARNING, f"{shown} is being started{restarts}", log)
    if active != "active":
        return Finding("service", WARNING, f"{shown} does not run", f"sudo systemctl start {quoted}")
    return Finding("service", OK, f"{shown} runs")
