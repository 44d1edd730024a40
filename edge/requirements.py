"""Versions of other packages that this program needs. Being importable is not enough: the system's may be too old.

setup.cfg asks pip for the same versions. But an environment made with --system-site-packages also contains packages
that pip was not asked for: python3-picamera2 of Raspberry Pi OS, for example, brings its own PyAV.
"""

import re
import sys
from importlib import import_module
from typing import Any

from edge.errors import NotInstalledError, printable
from edge.records import dataclass


@dataclass(frozen=True)
class Package:
    """A package and the oldest version that works.

    Attributes:
        name: of the distribution, as pip spells it.
        title: as its authors spell it.
        least: the oldest version that works.
        upgrade: the command that installs a newer version; None: pip, see `fix`.
        missing: what needs it and how to install it, for a package that the base installation lacks.
    """

    name: str
    title: str
    least: str
    upgrade: str | None = None
    missing: str = ""

    @property
    def requirement(self) -> str:
        """As pip takes it: "av>=12.1"."""
        return f"{self.name}>={self.least}"

    @property
    def fix(self) -> str:
        """The command that installs it into the environment of this Python."""
        import shlex  # here: `classify` starts faster without

        return self.upgrade or f"{python()} -m pip install {shlex.quote(self.requirement)}"


SERVE = ("starlette", "uvicorn", "python_multipart", "jinja2")  # the modules of `edge-detect serve`
_SERVE = "`edge-detect serve` needs Starlette, uvicorn, python-multipart and Jinja2: pip install 'edge-detect[serve]'"

# By the module that is imported. The tests compare with setup.cfg.
PACKAGES = {
    "numpy": Package("numpy", "numpy", "1.23.2"),
    "PIL": Package("pillow", "Pillow", "9.4"),
    "click": Package("click", "click", "8.1"),
    # In 1.3.0 `read` blocks forever if there are no events.
    "inotify_simple": Package("inotify-simple", "inotify-simple", "1.3.1"),
    "ai_edge_litert": Package("ai-edge-litert", "ai-edge-litert", "2.1"),
    "tflite_runtime": Package("tflite-runtime", "tflite-runtime", "2.14.0"),
    # Older ones cannot switch off FFmpeg's messages, which contain passwords.
    "av": Package(
        "av",
        "PyAV",
        "12.1",
        missing="webcams, network cameras and video files need PyAV: pip install 'edge-detect[camera]'",
    ),
    # Older ones crash on some damaged files.
    "pillow_heif": Package(
        "pillow-heif", "pillow-heif", "1.8", missing="HEIC photos need pillow-heif: pip install 'edge-detect[heic]'"
    ),
    # The oldest tested versions (tests/edge/serve/test_oldest.py). Before them, python-multipart did not limit the
    # headers of a form's parts.
    "starlette": Package("starlette", "Starlette", "0.47", missing=_SERVE),
    "uvicorn": Package("uvicorn", "uvicorn", "0.30", missing=_SERVE),
    "python_multipart": Package("python-multipart", "python-multipart", "0.0.28", missing=_SERVE),
    "jinja2": Package("jinja2", "Jinja2", "3.1", missing=_SERVE),
    # Version 2 has other callbacks than 1; older ones than 2.1 were not tested.
    "paho.mqtt": Package(
        "paho-mqtt", "paho-mqtt", "2.1", missing="--mqtt needs paho-mqtt: pip install 'edge-detect[mqtt]'"
    ),
    # The oldest version that was tested.
    "c2pa": Package(
        "c2pa-python",
        "c2pa-python",
        "0.38",
        missing="signatures of Content Credentials need c2pa-python, which there is for 64-bit systems only:"
        " pip install 'edge-detect[provenance]'",
    ),
    # The oldest versions that were tested.
    "nats": Package("nats-py", "nats-py", "2.16", missing="a fleet needs nats-py: pip install 'edge-detect[fleet]'"),
    "nkeys": Package(
        "nkeys", "nkeys", "0.2.1", missing="--creds and --nkey need nkeys: pip install 'edge-detect[fleet-keys]'"
    ),
    # The oldest version that was tested.
    "huggingface_hub": Package(
        "huggingface_hub",
        "huggingface_hub",
        "2.4",
        missing="publishing a model needs huggingface_hub: pip install 'edge-detect[hub]'",
    ),
    # Before 0.3.17 a frame is waited for without a time limit.
    "picamera2": Package(
        "picamera2",
        "Picamera2",
        "0.3.17",
        upgrade="sudo apt update && sudo apt install python3-picamera2",
        missing="the Pi's camera needs picamera2: sudo apt install python3-picamera2, and an environment made with"
        " --system-site-packages",
    ),
}
PILLOW_FOR_AVIF = "11.3"
PILLOW_FOR_HEIC = "11.1"  # with pillow-heif: older ones call every photo damaged


def python() -> str:
    """The Python interpreter that runs us, quoted for a shell."""
    import shlex  # here: `classify` starts faster without

    return shlex.quote(sys.executable or "python3")


def installed_version(module: str) -> str:
    """The version of a package of PACKAGES: of the imported module, or else of its metadata; empty if unknown."""
    version = getattr(sys.modules.get(module), "__version__", None) if module != "click" else None  # click warns
    if isinstance(version, str):
        return version
    import importlib.metadata  # here: it takes longer than all of this module

    try:
        return importlib.metadata.version(PACKAGES[module].name) or ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def is_older(version: str, least: str) -> bool:
    """Whether a version comes before another by the numbers of its release (PEP 440); False if it has none."""
    found = _release(version)
    return bool(found) and found < _release(least)


def too_old(module: str, version: str | None = None) -> str:
    """Why an installed package is too old: "10.0.0 is installed, but 12.1 or later is needed"; empty if it is not.

    Args:
        module: a key of PACKAGES.
        version: the installed one; None looks it up.
    """
    version = installed_version(module) if version is None else version
    package = PACKAGES[module]
    if not is_older(version, package.least):
        return ""
    return f"{printable(version)} is installed, but {package.least} or later is needed"


def problem(module: str) -> str:
    """In one line why an imported package is too old, and the fix; empty if it is not."""
    package, reason = PACKAGES[module], too_old(module)
    return f"{package.title} {reason}: {package.fix}" if reason else ""


def load(module: str) -> Any:
    """Import a package of PACKAGES.

    Raises:
        NotInstalledError: it is not installed, does not load, or is too old; with the fix.
    """
    package = PACKAGES[module]
    try:
        loaded = import_module(module)
    except Exception as error:  # an import of foreign code may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name in (module, module.partition(".")[0]):
            raise NotInstalledError(package.missing or f"{package.title} is not installed: {package.fix}") from error
        reason = printable(" ".join(str(error).split())) or type(error).__name__
        does_not_load = f"{package.title} is installed but does not load: {reason}"
        raise NotInstalledError(problem(module) or does_not_load) from error
    if text := problem(module):
        raise NotInstalledError(text)
    return loaded


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a release without final zeros: (12, 1) for "12.1.0rc1"; empty if there are none."""
    match = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in match[1].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
