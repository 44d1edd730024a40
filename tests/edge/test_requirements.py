"""Packages that are installed, but too old: in the table, in setup.cfg, in each command and in the doctor."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from edge.doctor import runtime as doctor_runtime
from edge.doctor.finding import OK, PROBLEM
from edge.doctor.host import Host
from edge.inference.runtime import RUNTIMES
from edge.requirements import PACKAGES, is_older, load, too_old
from tests.conftest import CHECKOUT, CIFAKE, DATA, Examine, command, environment

# PyAV 10, as python3-av of Debian 12, which comes with python3-picamera2.
OLD_PYAV = """
class logging:
    @staticmethod
    def set_level(level):
        if level is None:
            raise TypeError("an integer is required")
"""
SAMPLE = CIFAKE / "test" / "REAL"


def written() -> list[tuple[str, Requirement]]:
    """(extra, requirement) of each line of setup.cfg; the extra is empty for the base installation."""
    parser = configparser.ConfigParser()
    parser.read(CHECKOUT / "setup.cfg", "utf-8")
    texts = {"": parser["options"]["install_requires"], **parser["options.extras_require"]}
    return [(extra, Requirement(line)) for extra, text in texts.items() for line in text.splitlines() if line.strip()]


def test_setup_cfg_and_table_agree() -> None:
    least = {package.name: package.least for package in PACKAGES.values()}
    seen = set()
    for extra, requirement in written():
        bounds = [one.version for one in requirement.specifier if one.operator in (">=", "==")]
        if requirement.name in least and bounds:
            seen.add(requirement.name)
            (bound,) = bounds
            if extra in ("dev", "train", "convert"):  # tools may need more
                assert Version(bound) >= Version(least[requirement.name]), requirement
            else:
                assert Version(bound) == Version(least[requirement.name]), requirement
    assert seen == set(least) - {"picamera2"}, "that one comes by apt"


def test_every_optional_package_is_in_the_table() -> None:
    titles = {package.name for package in PACKAGES.values()}
    for extra, requirement in written():
        if extra in ("", "camera", "heic", "hub", "provenance", "fleet", "fleet-keys", *RUNTIMES):
            assert requirement.name in titles


@pytest.mark.parametrize(
    ("version", "least", "expected"),
    [
        ("10.0.0", "12.1", True),
        ("12.0.0", "12.1", True),
        ("12.1", "12.1.0", False),
        ("12.1.0", "12.1", False),
        ("12.10", "12.9", False),
        ("9.4.0", "11.1", True),
        ("0.3.9", "0.3.17", True),
        ("0.3.34+rpt1", "0.3.17", False),
        ("2.14.0.post1", "2.14.0", False),
        ("unknown version", "1", False),
        ("", "1", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, least: str, expected: bool) -> None:
    assert is_older(version, least) is expected


def test_installed_packages_are_recent_enough() -> None:
    for module in ("numpy", "PIL", "click", "inotify_simple", *(RUNTIMES.values())):
        assert too_old(module) == ""
    assert load("inotify_simple").INotify


def stub(folder: Path, module: str, version: str, text: str = "", *, metadata: bool = False) -> dict[str, str]:
    """Environment variables that put a package of an old version before the installed one.

    Args:
        metadata: say the version there, and not in the module.
    """
    stubs = folder / "stubs"
    (stubs / module).mkdir(parents=True, exist_ok=True)
    (stubs / module / "__init__.py").write_text(text + ("" if metadata else f"\n__version__ = {version!r}\n"))
    if metadata:
        name = PACKAGES[module].name
        papers = stubs / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
        papers.parent.mkdir()
        papers.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return environment(HOME=str(folder / "home"), PYTHONPATH=f"{stubs}{os.pathsep}{CHECKOUT}")


@pytest.mark.parametrize("metadata", [False, True])
@pytest.mark.parametrize(
    ("module", "version", "text", "words", "status"),
    [
        ("av", "10.0.0", OLD_PYAV, ("camera", "--source", "clip.mp4"), 2),
        ("picamera2", "0.3.9", "class Picamera2: pass\n", ("camera", "--source", "picamera2"), 2),
        ("pillow_heif", "0.22.0", "class HeifImageFile: pass\nclass options: pass\n", ("classify", "photo.heic"), 1),
        ("inotify_simple", "1.3.0", "class INotify: pass\nclass flags: pass\n", ("watch", "."), 2),
    ],
)
def test_too_old_package_is_a_one_line_error_with_the_fix(
    tmp_path: Path, module: str, version: str, text: str, words: tuple[str, ...], status: int, metadata: bool
) -> None:
    for name, content in (("photo.heic", (DATA / "photo.heic").read_bytes()), ("clip.mp4", b"\0" * 100)):
        (tmp_path / name).write_bytes(content)
    variables = stub(tmp_path, module, version, text, metadata=metadata)
    done = subprocess.run(
        command(*words, *(() if words[0] == "classify" else ("--state", tmp_path / "state"))),
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    (line,) = done.stderr.splitlines()
    package = PACKAGES[module]
    assert f"{package.title} {version} is installed, but {package.least} or later is needed: {package.fix}" in line
    assert done.returncode == status


def test_old_package_that_does_not_load_is_called_too_old(tmp_path: Path) -> None:
    broken = "import collections\ncollections.Iterable\n"  # removed from Python 3.10
    variables = stub(tmp_path, "av", "6.0.0", broken, metadata=True)
    program = "from edge.requirements import load\nload('av')"
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1].endswith(
        f"PyAV 6.0.0 is installed, but 12.1 or later is needed: {PACKAGES['av'].fix}"
    )


@pytest.mark.parametrize("name", list(RUNTIMES))
def test_too_old_runtime_is_a_one_line_error(tmp_path: Path, name: str) -> None:
    module = RUNTIMES[name]
    variables = stub(tmp_path, module, "1.0.1")
    (tmp_path / "stubs" / module / "interpreter.py").write_text("class Interpreter: pass\n")
    done = subprocess.run(
        command("classify", SAMPLE, "--runtime", name), env=variables, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{name} 1.0.1 is installed, but {PACKAGES[module].least} or later is needed" in line
    assert f"-m pip install '{name}>=" in line


@pytest.mark.parametrize(
    ("module", "check"),
    [
        ("av", "PyAV"),
        ("picamera2", "Picamera2"),
        ("pillow_heif", "HEIC"),
        ("inotify_simple", "inotify-simple"),
        ("tflite_runtime", "tflite-runtime"),
        ("ai_edge_litert", "ai-edge-litert"),
    ],
)
def test_doctor_calls_too_old_packages_a_problem(examine: Examine, tmp_path: Path, module: str, check: str) -> None:
    text = OLD_PYAV if module == "av" else ""
    variables = stub(tmp_path, module, "0.1", text, metadata=True)
    choice = ("--runtime", check) if check in RUNTIMES else ()
    status, report = examine(*choice, variables={"PYTHONPATH": variables["PYTHONPATH"]})
    assert (status, report[check]["state"]) == (1, "problem")
    assert report[check]["found"] == f"0.1 is installed, but {PACKAGES[module].least} or later is needed"
    assert report[check]["mend"] == PACKAGES[module].fix


@pytest.mark.parametrize("module", ["numpy", "PIL", "click"])
def test_doctor_calls_too_old_base_packages_a_problem(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    checks = {"numpy": doctor_runtime.numpy, "PIL": doctor_runtime.pillow, "click": doctor_runtime.commands}
    monkeypatch.setattr(doctor_runtime, "version", lambda distribution: "0.1")
    monkeypatch.setattr(Host, "ask", lambda *_, **__: "0.1" if module == "numpy" else {"JPEG": True})
    finding = next(iter(checks[module](Host())))
    assert (finding.state, finding.found) == (
        PROBLEM,
        f"0.1 is installed, but {PACKAGES[module].least} or later is needed",
    )
    assert finding.fix == PACKAGES[module].fix
    assert finding.fix.startswith(f"{sys.executable} -m pip install")


def test_doctor_uses_what_it_calls_ok(examine: Examine, tmp_path: Path) -> None:
    """A package that imports and has a good version, but does not work."""
    variables = stub(tmp_path, "av", "99.0", "class logging:\n    set_level = print\n")
    _, report = examine(variables={"PYTHONPATH": variables["PYTHONPATH"]})
    assert report["PyAV"]["state"] == "problem"
    assert "does not work: " in report["PyAV"]["found"]
    assert report["inotify-simple"]["state"] == OK

    silent = (
        "class flags:\n    def __getattr__(self, name): return 1\n"
        "flags = flags()\n"
        "class INotify:\n    def add_watch(self, *_): return 1\n    def read(self, **_): return []\n"
        "    def close(self): pass\n"
    )
    variables = stub(tmp_path, "inotify_simple", "99.0", silent)
    _, report = examine(variables={"PYTHONPATH": variables["PYTHONPATH"]})
    assert report["inotify-simple"]["state"] == "problem"
    assert "does not report a new file" in report["inotify-simple"]["found"]
