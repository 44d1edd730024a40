"""Python, libraries, the LiteRT runtimes, and the models that they run."""

import importlib.metadata
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from edge import requirements
from edge.doctor.choices import Choices
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.host import Host, ProbeError
from edge.errors import printable

# As in edge.inference.runtime, which cannot be imported without a working numpy.
RUNTIMES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
_NEEDED = {"JPEG", "PNG"}
INOTIFY_SECONDS = 20.0


def python(machine: Host) -> Iterator[Finding]:
    """Version and path of the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = f"{version}, {printable(sys.executable or 'path unknown')}"
    if sys.version_info < (3, 11):  # noqa: UP036  # pip can be forced to install us there
        yield Finding("Python", PROBLEM, f"{found}: 3.11 or later is needed", "sudo apt install python3.11")
    else:
        yield Finding("Python", OK, found)


def numpy(machine: Host) -> Iterator[Finding]:
    """Whether numpy is installed, loads, and is recent enough."""
    if not is_there("numpy"):
        yield Finding("numpy", PROBLEM, "not installed", requirements.PACKAGES["numpy"].fix)
        return
    try:
        found = machine.ask("module", "numpy")
        yield too_old("numpy", "numpy", found) or Finding("numpy", OK, printable(found))
    except ProbeError as error:
        needs_system_library = "openblas" in str(error)
        fix = "sudo apt install libopenblas0" if needs_system_library else reinstalling(machine, "numpy")
        yield Finding("numpy", PROBLEM, f"{version('numpy')} does not load: {error}", fix)


def pillow(machine: Host) -> Iterator[Finding]:
    """Whether Pillow loads, and the image formats that it reads."""
    if not is_there("PIL"):
        yield Finding("Pillow", PROBLEM, "not installed", requirements.PACKAGES["PIL"].fix)
        return
    try:
        formats: dict[str, bool] = machine.ask("formats")
    except ProbeError as error:
        fix = reinstalling(machine, "pillow")
        yield Finding("Pillow", PROBLEM, f"{version('pillow')} does not load: {error}", fix)
        return
    read = ", ".join(name for name, is_read in formats.items() if is_read)
    if old := too_old("Pillow", "PIL", version("pillow")):
        yield old
        return
    unread = {name for name, is_read in formats.items() if not is_read}
    found = f"{version('pillow')}, reads {read or 'nothing'}"
    if unread:
        state = PROBLEM if unread & _NEEDED else WARNING
        fix = reinstalling(machine, "pillow")
        yield Finding("Pillow", state, f"{found}, not {', '.join(sorted(unread))}", fix)
    else:
        yield Finding("Pillow", OK, found)


def heic(machine: Host) -> Iterator[Finding]:
    """Whether HEIC photos of iPhones can be read."""
    if not is_there("pillow_heif"):
        yield Finding("HEIC", ABSENT, "pillow-heif is not installed; photos of iPhones would need it")
        return
    found = f"pillow-heif {version('pillow-heif')}"
    try:
        loaded = machine.ask("module", "pillow_heif") or version("pillow-heif")
    except ProbeError as error:
        yield Finding("HEIC", WARNING, f"{found} does not load: {error}", reinstalling(machine, "pillow-heif"))
        return
    if old := too_old("HEIC", "pillow_heif", loaded):
        yield old
    elif requirements.is_older(version("pillow"), requirements.PILLOW_FOR_HEIC):
        fix = installing(machine, f"pillow>={requirements.PILLOW_FOR_HEIC}")  # pip itself never leaves this behind
        yield Finding("HEIC", WARNING, f"{found} does not fit Pillow {version('pillow')}", fix)
    else:
        yield Finding("HEIC", OK, found)


def provenance(machine: Host) -> Iterator[Finding]:
    """Whether the signatures of Content Credentials can be checked."""
    if not is_there("c2pa"):
        yield Finding("provenance", ABSENT, "c2pa-python is not installed; signatures in pictures are not checked")
        return
    found = f"c2pa-python {version('c2pa-python')}"
    try:
        machine.ask("module", "c2pa")
    except ProbeError as error:
        yield Finding("provenance", WARNING, f"{found} does not load: {error}", reinstalling(machine, "c2pa-python"))
        return
    yield too_old("provenance", "c2pa", version("c2pa-python")) or Finding("provenance", OK, found)


def avif(machine: Host) -> Iterator[Finding]:
    """Whether AVIF pictures can be read."""
    if not is_there("PIL"):
        return
    found = f"Pillow {version('pillow')}"
    try:
        machine.ask("module", "PIL._avif")
    except ProbeError as error:
        if "No module named" in str(error):
            least = requirements.PILLOW_FOR_AVIF
            yield Finding("AVIF", ABSENT, f"{found} does not read it; {least} or later does, if built with libavif")
        else:
            fix = reinstalling(machine, "pillow")
            yield Finding("AVIF", WARNING, f"{found}: its decoder does not load: {error}", fix)
    else:
        yield Finding("AVIF", OK, found)


def serve(machine: Host) -> Iterator[Finding]:
    """Whether `edge-detect serve` has the packages that it needs."""
    packages = {module: requirements.PACKAGES[module] for module in requirements.SERVE}
    missing = [package for module, package in packages.items() if not is_there(module)]
    if len(missing) == len(packages):
        yield Finding("serve", ABSENT, "Starlette is not installed; `edge-detect serve` would need it")
        return
    if missing:
        fix = installing(machine, *(package.requirement for package in missing))
        found = f"not installed: {', '.join(package.title for package in missing)}: `edge-detect serve` does not start"
        yield Finding("serve", WARNING, found, fix)
        return
    found = ", ".join(f"{package.title} {version(package.name)}" for package in packages.values())
    for module, package in packages.items():
        if reason := requirements.too_old(module, version(package.name)):
            yield Finding("serve", WARNING, f"{package.title} {reason}", package.fix)
            return
        try:
            machine.ask("module", module)
        except ProbeError as error:
            fix = reinstalling(machine, package.name)
            yield Finding("serve", WARNING, f"{package.title} does not load: {error}", fix)
            return
    yield Finding("serve", OK, found)


def commands(machine: Host) -> Iterator[Finding]:
    """click, which parses the command line, and inotify-simple, by which `watch` sees changes."""
    yield too_old("click", "click", version("click")) or Finding("click", OK, version("click"))
    name, package = "inotify-simple", requirements.PACKAGES["inotify_simple"]
    if not is_there("inotify_simple"):
        yield Finding(name, PROBLEM, "not installed: only `watch --poll` and `--once` work", package.fix)
    elif old := too_old(name, "inotify_simple", version(name)):
        yield old
    else:
        try:
            machine.ask("inotify", seconds=INOTIFY_SECONDS)
        except ProbeError as error:
            found = f"{version(name)} does not work: {error}"
            yield Finding(name, PROBLEM, found, f"{package.fix}; until then: watch --poll 30")
        else:
            yield Finding(name, OK, version(name))


def runtimes(machine: Host, choices: Choices) -> Iterator[Finding]:
    """The LiteRT runtime in use, and the other one if it is installed as well."""
    installed = [name for name, package in RUNTIMES.items() if is_there(package)]
    if choices.runtime is not None and choices.runtime not in installed:
        yield Finding(choices.runtime, PROBLEM, "chosen, but not installed", installing(machine, choices.runtime))
    elif not installed:
        yield Finding("runtime", PROBLEM, "no LiteRT runtime is installed", _runtime_to_install(machine))
    taken = choices.runtime or next(iter(installed), None)
    for name in sorted(installed, key=lambda name: name != taken):
        role = "in use" if name == taken else "not in use"
        if old := too_old(name, RUNTIMES[name], version(name)):
            yield old if name == taken else replace(old, state=WARNING)
            continue
        try:
            machine.ask("runtime", name)
        except ProbeError as error:
            is_numpy_too_new = "needs numpy 1" in str(error)
            fix = installing(machine, "numpy<2") if is_numpy_too_new else reinstalling(machine, name)
            found = f"{version(name)}, {role}, does not load: {error}"
            yield Finding(name, PROBLEM if name == taken else WARNING, found, fix)
        else:
            yield Finding(name, OK, f"{version(name)}, {role}, loads")


def models(machine: Host, choices: Choices) -> Iterator[Finding]:
    """The models and whether their files are intact; of those in use, whether they run, and how fast."""
    path = os.path.abspath(choices.model) if choices.model else ""
    try:
        found_models: list[dict[str, Any]] = machine.ask("models", path)
    except ProbeError as error:
        yield Finding("models", PROBLEM, f"the check failed: {error}", _FIX_LIBRARIES)
        return
    for one in found_models:
        is_ours = one["path"] != path
        if one["is_absent"]:
            found = f"{printable(os.path.basename(one['path']))} is not bundled with this edge-detect"
            yield Finding("model", ABSENT, f"{found}: another model classifies its images")
        elif not one["error"]:
            yield Finding("model", OK, printable(one["found"]))
        elif one["is_installed"]:
            state = PROBLEM if one["is_taken"] else WARNING
            yield Finding(
                "model", state, printable(one["error"]), "edge-detect model list; then: edge-detect model use"
            )
        elif is_ours:
            fix = f"in a fresh checkout: {machine.python} -m pip install --force-reinstall --no-deps ."
            state = PROBLEM if one["is_taken"] else WARNING
            yield Finding("model", state, printable(one["error"]), fix)
        else:
            fix = "copy it again, with its .json; or leave out --model"
            yield Finding("model", PROBLEM, printable(one["error"]), fix)
    for one in found_models:
        if one["is_taken"] and not one["error"]:
            is_ours = one["path"] != path and not one["is_installed"]
            yield _inference(machine, choices, one["path"], is_ours=is_ours)


def too_old(name: str, module: str, version: str) -> Finding | None:
    """A finding with this name if a version of a package of `edge.requirements` is too old."""
    reason = requirements.too_old(module, version)
    return Finding(name, PROBLEM, reason, requirements.PACKAGES[module].fix) if reason else None


def is_there(package: str) -> bool:
    """Whether a package is installed; it is not imported."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # half removed
        return False


def version(distribution: str) -> str:
    """The version of an installed distribution, from its metadata."""
    try:
        return printable(importlib.metadata.version(distribution) or "unknown version")
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


def installing(machine: Host, *requirements: str) -> str:
    """The pip command that installs into the environment of this Python."""
    return f"{machine.python} -m pip install {' '.join(map(shlex.quote, requirements))}"


def reinstalling(machine: Host, distribution: str) -> str:
    """The pip command that reinstalls a distribution in its present version."""
    requirement = f"{distribution}=={version(distribution)}" if "unknown" not in version(distribution) else distribution
    return f"{machine.python} -m pip install --force-reinstall --no-deps {shlex.quote(requirement)}"


def judged(name: str, model: str, reply: dict[str, Any], *, is_ours: bool) -> Finding:
    """A finding from the answers of `edge.doctor.probe.inference`; only of our models the right labels are known."""
    model, labels = printable(os.path.basename(model)), reply["labels"]
    took = f"{reply['milliseconds']:.2g} ms for the network"
    if reply["views"] > 1:
        took += f" for each of {reply['views']} views"
    answers = ", ".join(f"a {sample} sample is called {printable(label)}" for sample, label in labels.items())
    if not labels:
        return Finding(name, OK, f"{model}: runs on a generated picture, {took}")
    if not is_ours:
        return Finding(name, OK, f"{model}: {answers}, {took}")
    if any(sample != label for sample, label in labels.items()):
        fix = "try the other runtime: --runtime tflite-runtime, or --runtime ai-edge-litert"
        return Finding(name, PROBLEM, f"{model}: wrong answers: {answers}", fix)
    return Finding(name, OK, f"{model}: right answers, {took}")


_FIX_LIBRARIES = "fix the libraries above first"


def _inference(machine: Host, choices: Choices, path: str, *, is_ours: bool) -> Finding:
    try:
        reply = machine.ask("inference", path, choices.runtime or "")
    except ProbeError as error:
        return Finding("inference", PROBLEM, f"{printable(os.path.basename(path))}: fails: {error}", _FIX_LIBRARIES)
    return judged("inference", path, reply, is_ours=is_ours)


def _runtime_to_install(machine: Host) -> str:
    """The fix that installs a runtime with a wheel for this machine, by the table of setup.cfg."""
    is_arm = machine.machine in ("aarch64", "armv7l", "armv8l")
    if is_arm and sys.version_info < (3, 12):
        return installing(machine, "tflite-runtime==2.14.0", "numpy<2")
    if machine.bits == 32:
        return "install a 64-bit system: for 32 bits and this Python there is no LiteRT runtime"
    return requirements.PACKAGES["ai_edge_litert"].fix
