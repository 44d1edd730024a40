"""Python, the libraries, the LiteRT runtime, and the models that it runs."""

import importlib.metadata
import os
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from edge.doctor.choices import Chosen
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.host import Host, ProbeError
from edge.errors import printable

# As in edge.inference.runtime, which cannot be imported where numpy is missing or broken.
RUNTIMES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
_NEEDED = {"JPEG", "PNG"}
_LEAST_PILLOW_FOR_HEIC = (11, 1)  # as in edge.imaging.heic, which cannot be imported where Pillow is missing


def python(machine: Host) -> Iterator[Finding]:
    """Its version, and which one it is."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = f"{version}, {printable(sys.executable or 'nobody knows where')}"
    if sys.version_info < (3, 11):  # noqa: UP036  # of an installation that was forced
        yield Finding("Python", PROBLEM, f"{found}: 3.11 is the least", "sudo apt install python3.11")
    else:
        yield Finding("Python", OK, found)


def numpy(machine: Host) -> Iterator[Finding]:
    """Whether it loads."""
    if not is_there("numpy"):
        yield Finding("numpy", PROBLEM, "not installed", installing(machine, "numpy>=1.23.2"))
        return
    try:
        yield Finding("numpy", OK, printable(machine.ask("module", "numpy")))
    except ProbeError as error:
        needs_system_library = "openblas" in str(error)
        mend = "sudo apt install libopenblas0" if needs_system_library else reinstalling(machine, "numpy")
        yield Finding("numpy", PROBLEM, f"{version('numpy')} does not load: {error}", mend)


def pillow(machine: Host) -> Iterator[Finding]:
    """The formats that can be read."""
    if not is_there("PIL"):
        yield Finding("Pillow", PROBLEM, "not installed", installing(machine, "pillow>=9.4"))
        return
    try:
        formats: dict[str, bool] = machine.ask("formats")
    except ProbeError as error:
        mend = reinstalling(machine, "pillow")
        yield Finding("Pillow", PROBLEM, f"{version('pillow')} does not load: {error}", mend)
        return
    read = ", ".join(name for name, is_read in formats.items() if is_read)
    unread = {name for name, is_read in formats.items() if not is_read}
    found = f"{version('pillow')}, reads {read or 'nothing'}"
    if unread:
        state = PROBLEM if unread & _NEEDED else WARNING
        mend = reinstalling(machine, "pillow")
        yield Finding("Pillow", state, f"{found}, not {', '.join(sorted(unread))}", mend)
    else:
        yield Finding("Pillow", OK, found)


def heic(machine: Host) -> Iterator[Finding]:
    """Whether the photos of iPhones can be read."""
    if not is_there("pillow_heif"):
        yield Finding("HEIC", ABSENT, "pillow-heif is not installed; photos of iPhones would need it")
        return
    found = f"pillow-heif {version('pillow-heif')}"
    try:
        machine.ask("module", "pillow_heif")
    except ProbeError as error:
        yield Finding("HEIC", WARNING, f"{found} does not load: {error}", reinstalling(machine, "pillow-heif"))
        return
    try:
        is_read = tuple(map(int, version("pillow").split(".")[:2])) >= _LEAST_PILLOW_FOR_HEIC
    except ValueError:  # nobody knows
        is_read = True
    if is_read:
        yield Finding("HEIC", OK, found)
    else:  # as pip itself never leaves it
        mend = installing(machine, "pillow>=11.1")
        yield Finding("HEIC", WARNING, f"{found} does not fit Pillow {version('pillow')}", mend)


def commands(machine: Host) -> Iterator[Finding]:
    """What the commands are made with, and what `watch` needs beside the kernel."""
    yield Finding("click", OK, version("click"))
    if is_there("inotify_simple"):
        yield Finding("inotify-simple", OK, version("inotify-simple"))
    else:
        mend = installing(machine, "inotify-simple>=1.3")
        yield Finding("inotify-simple", PROBLEM, "not installed: only `watch --poll` and `--once` work", mend)


def runtimes(machine: Host, chosen: Chosen) -> Iterator[Finding]:
    """The runtime that is taken, and the other one if it is there as well."""
    installed = [name for name, package in RUNTIMES.items() if is_there(package)]
    if chosen.runtime is not None and chosen.runtime not in installed:
        yield Finding(chosen.runtime, PROBLEM, "not installed, but chosen", installing(machine, chosen.runtime))
    elif not installed:
        yield Finding("runtime", PROBLEM, "no LiteRT runtime is installed", _runtime_to_install(machine))
    taken = chosen.runtime or next(iter(installed), None)
    for name in sorted(installed, key=lambda name: name != taken):
        role = "taken" if name == taken else "not taken"
        try:
            machine.ask("runtime", name)
        except ProbeError as error:
            is_numpy_too_new = "needs numpy 1" in str(error)
            mend = installing(machine, "numpy<2") if is_numpy_too_new else reinstalling(machine, name)
            found = f"{version(name)}, {role}, does not load: {error}"
            yield Finding(name, PROBLEM if name == taken else WARNING, found, mend)
        else:
            yield Finding(name, OK, f"{version(name)}, {role}, loads")


def models(machine: Host, chosen: Chosen) -> Iterator[Finding]:
    """Which models there are, and whether their files are whole; whether those that are taken run, and how fast."""
    path = os.path.abspath(chosen.model) if chosen.model else ""
    try:
        told: list[dict[str, Any]] = machine.ask("models", path)
    except ProbeError as error:
        yield Finding("models", PROBLEM, f"could not be looked at: {error}", _PRECEDING)
        return
    for one in told:
        is_ours = one["path"] != path
        if one["is_absent"]:
            found = f"{printable(os.path.basename(one['path']))} did not come with this edge-detect"
            yield Finding("model", ABSENT, f"{found}: its pictures are answered by another model")
        elif not one["error"]:
            yield Finding("model", OK, printable(one["found"]))
        elif is_ours:
            mend = f"in a fresh checkout: {machine.python} -m pip install --force-reinstall --no-deps ."
            state = PROBLEM if one["is_taken"] else WARNING
            yield Finding("model", state, printable(one["error"]), mend)
        else:
            mend = "copy it again, its .json with it; or leave out --model"
            yield Finding("model", PROBLEM, printable(one["error"]), mend)
    for one in told:
        if one["is_taken"] and not one["error"]:
            yield _inference(machine, chosen, one["path"], is_ours=one["path"] != path)


def is_there(package: str) -> bool:
    """Whether a package can be found; nothing of it is run."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # half removed
        return False


def version(distribution: str) -> str:
    """Of an installed distribution, by its own papers."""
    try:
        return printable(importlib.metadata.version(distribution) or "unknown version")
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


def installing(machine: Host, *requirements: str) -> str:
    """The command that installs into the environment that runs us."""
    return f"{machine.python} -m pip install {' '.join(map(shlex.quote, requirements))}"


def reinstalling(machine: Host, distribution: str) -> str:
    """The command that installs a distribution anew, of the same version."""
    requirement = f"{distribution}=={version(distribution)}" if "unknown" not in version(distribution) else distribution
    return f"{machine.python} -m pip install --force-reinstall --no-deps {shlex.quote(requirement)}"


def judged(name: str, model: str, told: dict[str, Any], *, is_ours: bool) -> Finding:
    """What the answers of `edge.doctor.probe.inference` are worth; of another's model nobody knows what is right."""
    model, labels = printable(os.path.basename(model)), told["labels"]
    took = f"{told['milliseconds']:.2g} ms for the network"
    if told["views"] > 1:
        took += f" for each of {told['views']} views"
    answers = ", ".join(f"a {sample} sample is called {printable(label)}" for sample, label in labels.items())
    if not labels:
        return Finding(name, OK, f"{model}: runs on a generated picture, {took}")
    if not is_ours:
        return Finding(name, OK, f"{model}: {answers}, {took}")
    if any(sample != label for sample, label in labels.items()):
        mend = "try the other runtime: --runtime tflite-runtime, or --runtime ai-edge-litert"
        return Finding(name, PROBLEM, f"{model}: wrong answers: {answers}", mend)
    return Finding(name, OK, f"{model}: right answers, {took}")


_PRECEDING = "mend the libraries above first"


def _inference(machine: Host, chosen: Chosen, path: str, *, is_ours: bool) -> Finding:
    try:
        told = machine.ask("inference", path, chosen.runtime or "")
    except ProbeError as error:
        return Finding("inference", PROBLEM, f"{printable(os.path.basename(path))}: fails: {error}", _PRECEDING)
    return judged("inference", path, told, is_ours=is_ours)


def _runtime_to_install(machine: Host) -> str:
    """That which has a wheel here; the same table as in setup.cfg."""
    is_arm = machine.machine in ("aarch64", "armv7l", "armv8l")
    if is_arm and sys.version_info < (3, 12):
        return installing(machine, "tflite-runtime==2.14.0", "numpy<2")
    if machine.bits == 32:
        return "install a 64-bit system: for 32 bits and this Python there is no LiteRT runtime"
    return installing(machine, "ai-edge-litert>=2.1")
