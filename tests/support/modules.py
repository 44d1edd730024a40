"""`python -m train` and `python -m convert`, as processes."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import CHECKOUT, environment


def words_of(module: str, *arguments: str | Path) -> list[str]:
    """The command line of `python -m MODULE`."""
    return [sys.executable, "-m", module, *map(os.fspath, arguments)]


def run_module(module: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m MODULE` in the checkout, with further environment variables."""
    return subprocess.run(
        words_of(module, *arguments),
        cwd=CHECKOUT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=110,
    )
