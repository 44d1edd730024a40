"""Stand-ins for libedgetpu, compiled by the tests: real delegates for the real runtime."""

import shutil
import subprocess
from pathlib import Path

from tests.conftest import DATA
from tests.support.packages import missing


def compiled(folder: Path, source: str | Path = DATA / "delegate.c", name: str = "libdelegate.so.1") -> Path:
    """A shared object of a C file, or of C text."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        missing("gcc libc6-dev")
    if isinstance(source, str):
        (folder / f"{name}.c").write_text(source)
        source = folder / f"{name}.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", folder / name, source, "-lm"], check=True)
    return folder / name
