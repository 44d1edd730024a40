"""Clients of other projects, each in an environment of its own that is made once and kept.

Kept below $TEST_CACHE or ~/.cache/edge-detect-tests, as other systems are (tests.support.roots).
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.roots import CACHE

FOLDER = CACHE / "clients"
SECONDS = 300


def python_with(name: str, *requirements: str) -> Path:
    """A Python interpreter with these packages; skips the test if they cannot be installed.

    Args:
        name: of the environment. Another list of packages needs another name.
    """

    def make(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", "--without-pip", folder])
        python = folder / "bin" / "python"
        _run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *requirements])

    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return _kept(f"{name}-python{version}", make) / "bin" / "python"


def packages_with(name: str, *requirements: str) -> Path:
    """A folder for PYTHONPATH with these packages; skips the test if they cannot be installed."""

    def make(folder: Path) -> None:
        _run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-warn-conflicts",
                "--target",
                folder,
                *requirements,
            ]
        )

    return _kept(f"{name}-python{sys.version_info[0]}.{sys.version_info[1]}", make)


def node_with(name: str, *packages: str) -> Path:
    """A folder with these packages in node_modules; skips the test if they cannot be installed."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}: apt install nodejs npm")

    def make(folder: Path) -> None:
        folder.mkdir()
        _run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", folder, *packages])

    return _kept(name, make)


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    kept = FOLDER / name
    if not kept.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with _alone(FOLDER / f".{name}.lock"):
            if not kept.exists():
                partial = FOLDER / f".{name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                make(partial)
                partial.rename(kept)
    return kept


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _run(words: list[str | Path]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        pytest.skip(f"could not be installed within {SECONDS} s: {' '.join(map(str, words))}")
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        pytest.skip(f"could not be installed: {' '.join(map(str, words))}: {lines[-1]}")
