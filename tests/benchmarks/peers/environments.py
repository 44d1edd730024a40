"""An environment for each peer, kept from run to run: what a user would have to install."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).absolute().parent.parent.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-detect-tests" / "peers"


@dataclass(frozen=True)
class Environment:
    """
    Attributes:
        megabytes: that the packages take.
        packages: with their versions.
    """

    python: Path
    megabytes: float
    packages: str


def environment(name: str, requirements: Sequence[str]) -> Environment:
    """Made if it is not there, or was left half-done."""
    folder = CACHE / name
    python, stamp = folder / "bin" / "python", folder / "requirements"
    if not stamp.exists() or stamp.read_text() != "\n".join(requirements) or any(map(os.path.isdir, requirements)):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        subprocess.run([*pip, *requirements], check=True, env=without_paths())
        stamp.write_text("\n".join(requirements))
    (packages,) = folder.glob("lib/python*/site-packages")
    sizes = [path.lstat().st_size for path in packages.rglob("*") if path.is_file()]
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "list", "--format=freeze"],
        check=True,
        env=without_paths(),
        capture_output=True,
        text=True,
    ).stdout.split()
    return Environment(python, sum(sizes) / 1e6, ", ".join(one.replace("==", " ") for one in listed))


def without_paths() -> dict[str, str]:
    """Our environment variables, for a Python that shall find its own packages alone."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
