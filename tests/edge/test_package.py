"""What an installation consists of."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, CIFAKE, environment

INPUTS = ("edge", "models", "systemd", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy of the checkout and unpacked: what pip would put into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in INPUTS:
        origin = CHECKOUT / name
        copy = shutil.copytree if origin.is_dir() else shutil.copy
        copy(origin, source / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet", "-w", folder],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("edge_detect-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def test_wheel_contains_only_package_models_and_units(unpacked: Path) -> None:
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert {"edge/models/compact_int8.tflite", "edge/models/compact_int8.json"} <= names
    assert "edge/systemd/edge-detect-watch@.service" in names
    assert "edge/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"edge", "edge_detect"}
    assert not [name for name in names if name.endswith((".keras", ".png"))]


def test_installed_command_finds_model_and_units_from_any_folder(unpacked: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "edge", *arguments],
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(unpacked), HOME=str(tmp_path)),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    located = "import edge.inference.model as m, edge.resources as r; print(m.default_path(), r.folder('systemd'))"
    where = subprocess.run(
        [sys.executable, "-c", located],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(unpacked)),
        capture_output=True,
        text=True,
    ).stdout.split()
    assert [os.path.commonpath([path, unpacked]) for path in where] == [str(unpacked)] * 2
    assert len(run("classify", str(CIFAKE / "test" / "REAL")).splitlines()) == 10
    assert "ExecStart=" in run("service", "show")


def test_base_installation_has_few_dependencies(unpacked: Path) -> None:
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    required = {
        line.removeprefix("Requires-Dist: ").split(";")[0].split("<")[0].split(">")[0].split("=")[0].strip()
        for line in metadata.read_text().splitlines()
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    }
    assert required == {"click", "numpy", "pillow", "inotify-simple", "tflite-runtime", "ai-edge-litert"}


@pytest.mark.parametrize(
    ("python", "machine", "runtime", "numpy_below_2"),
    [
        ("3.11", "aarch64", "tflite-runtime", True),
        ("3.11", "armv7l", "tflite-runtime", True),
        ("3.11", "x86_64", "ai-edge-litert", False),
        ("3.13", "aarch64", "ai-edge-litert", False),
        ("3.13", "x86_64", "ai-edge-litert", False),
        ("3.12", "arm64", "ai-edge-litert", False),
    ],
)
def test_each_platform_gets_its_runtime(
    unpacked: Path, python: str, machine: str, runtime: str, numpy_below_2: bool
) -> None:
    from packaging.requirements import Requirement

    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    here = {"python_version": python, "platform_machine": machine, "extra": ""}
    wanted = {}
    for line in metadata.read_text().splitlines():
        if line.startswith("Requires-Dist: "):
            requirement = Requirement(line.removeprefix("Requires-Dist: "))
            if requirement.marker is None or requirement.marker.evaluate(here):
                assert requirement.name not in wanted, "asked for twice"
                wanted[requirement.name] = requirement
    assert {"tflite-runtime", "ai-edge-litert"} & set(wanted) == {runtime}
    assert ("2.0.0" in wanted["numpy"].specifier) is not numpy_below_2
