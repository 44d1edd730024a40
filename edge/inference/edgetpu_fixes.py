"""What helps where a Coral does not work: a driver for this kernel, a library for this LiteRT runtime.

Google's own packages have not been updated since 2022. Its driver (gasket-dkms 1.0-18) does not compile from Linux 6.4
on, its source from 6.12 on. Its library (libedgetpu 16.0) crashes runtimes from 2.12 on. Sources: the issues of
google/gasket-driver (12, 36, 50, 52) and google-coral/edgetpu (808, 812), and the releases of the two forks below.
"""

import re

DRIVERS = "https://github.com/feranick/gasket-driver/releases"
LIBRARIES = "https://github.com/feranick/libedgetpu/releases"
GUIDE = "docs/coral.md"

_LAST_KERNEL = (6, 3)  # that Google's driver compiles for
# Releases of LIBRARIES by runtime, each the one that was reported to work with it.
_RELEASES = {"tflite-runtime": "v16.0TF2.13.1-2", "ai-edge-litert": "16.0TF2.19.1-1"}
# The loader's errors, and what helps.
_OF_LOADER = (
    (r"libusb-1\.0\.so", "sudo apt install libusb-1.0-0"),
    (r"GLIBC|GLIBCXX|CXXABI", "this build is for a later system: install the package for this one (bookworm, trixie)"),
    (r"ELF", "this file is damaged, or for another processor: install the package for this one (arm64, armhf, amd64)"),
)
# The delegate's errors when the network is run, and what helps.
_UNPLUG = "end other programs that use it; if there is none, unplug it and plug it in again"
_COMPILE = "compile the model again with edgetpu_compiler --min_runtime_version 13, or install a newer libedgetpu"


def driver(release: str) -> str:
    """How to install the driver of a Coral on PCIe.

    Args:
        release: of the kernel, as in uname(2).
    """
    match = re.match(r"(\d+)\.(\d+)", release)
    if match and (int(match[1]), int(match[2])) <= _LAST_KERNEL:
        source = "add Google's package source (https://coral.ai/docs/m2/get-started), then:"
        return f"{source} sudo apt install gasket-dkms && sudo modprobe apex"
    return (
        f"download gasket-dkms 1.0-18.4 or later from {DRIVERS} (Google's own does not compile for this kernel), then:"
        " sudo apt install linux-headers-$(uname -r) ./gasket-dkms_*.deb && sudo modprobe apex"
    )


def library(runtime: str | None) -> str:
    """How to install a libedgetpu that fits a LiteRT runtime.

    Args:
        runtime: a key of `edge.inference.runtime.RUNTIMES`; None if none is installed.
    """
    release = _RELEASES.get(runtime or "")
    which = f"release {release} of {LIBRARIES}" if release else f"the release of {LIBRARIES} that fits, see {GUIDE}"
    return f"download libedgetpu1-std from {which}, then: sudo apt install ./libedgetpu1-std_*.deb"


def loading(reason: str, runtime: str | None) -> str:
    """What helps if libedgetpu is installed but cannot be loaded.

    Args:
        reason: the loader's error.
        runtime: see `library`.
    """
    return next((fix for pattern, fix in _OF_LOADER if re.search(pattern, reason)), library(runtime))


def opening() -> str:
    """What helps if the library cannot open the device."""
    return _UNPLUG


def no_answer(*, is_card: bool) -> str:
    """What helps if the device does not answer."""
    return "switch the computer off and on again" if is_card else "unplug it and plug it in again, without a hub"


def running(reason: str, runtime: str | None) -> str:
    """What helps if the device was opened, but the network does not run on it; empty if that is unknown.

    Args:
        reason: the error of the runtime or the library.
        runtime: see `library`.
    """
    if "requires runtime version" in reason:
        return _COMPILE
    # The library took no operation, so the runtime met the one that stands for all others in a compiled file.
    return library(runtime) if reason.startswith("Encountered unresolved custom op") else ""
