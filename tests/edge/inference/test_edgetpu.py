"""Finding Corals, on machines that are imitated in a folder."""

import grp
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.errors import CoralError
from edge.inference import edgetpu, edgetpu_fixes
from edge.inference.edgetpu import Device, device_option, devices, require_device
from edge.inference.failover import load_compiled
from edge.inference.runtime import RUNTIMES
from tests.conftest import CHECKOUT, MODELS, environment
from tests.support.delegates import compiled


def stick(root: Path, ids: tuple[str, str], number: int = 4, mode: int | None = 0o660) -> Path:
    """A Coral on USB as sysfs shows it, with its node unless `mode` is None."""
    folder = root / f"sys/bus/usb/devices/1-{number}"
    folder.mkdir(parents=True)
    for name, text in zip(("idVendor", "idProduct", "busnum", "devnum"), (*ids, "1", str(number)), strict=True):
        (folder / name).write_text(f"{text}\n")
    node = root / f"dev/bus/usb/001/{number:03}"
    if mode is not None:
        node.parent.mkdir(parents=True, exist_ok=True)
        node.touch()
        node.chmod(mode)
    return node


def card(root: Path, *, driver: bool = True) -> Path:
    folder = root / "sys/bus/pci/devices/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text("0x1ac1\n")
    (folder / "device").write_text("0x089a\n")
    (root / "dev").mkdir(exist_ok=True)
    if driver:
        (root / "dev/apex_0").touch()
    return root / "dev/apex_0"


@pytest.mark.parametrize("ids", [("1a6e", "089a"), ("18d1", "9302")])
def test_stick_is_found_before_and_after_first_use(tmp_path: Path, ids: tuple[str, str]) -> None:
    node = stick(tmp_path, ids)
    (tmp_path / "sys/bus/usb/devices/usb1").mkdir()  # a hub without such files
    stick(tmp_path, ("046d", "0825"), 5)  # a webcam
    (found,) = devices(tmp_path)
    assert (found.kind, found.node, found.is_ours) == ("usb", node, True)


def test_card_is_found_with_and_without_driver(tmp_path: Path) -> None:
    assert devices(tmp_path) == []
    node = card(tmp_path / "a")
    assert [device.node for device in devices(tmp_path / "a")] == [node]
    card(tmp_path / "b", driver=False)
    (found,) = devices(tmp_path / "b")
    assert (found.kind, found.node) == ("pci", None)
    with pytest.raises(CoralError, match=r"no driver .*gasket"):
        require_device("", [found])


def test_the_group_with_access_is_named(tmp_path: Path) -> None:
    node = stick(tmp_path, coral_ids())
    node.chmod(0o600)
    assert devices(tmp_path)[0].group is None
    group = grp.getgrgid(os.getgid()).gr_name
    node.chmod(0o660)
    assert devices(tmp_path)[0].group == (group if os.getgid() else None), "the super-user's is not one to join"
    with pytest.raises(CoralError, match="usermod -aG plugdev USER"):
        require_device("", [Device("usb", node, "plugdev", is_ours=False)])
    with pytest.raises(CoralError, match="udev rule"):
        require_device("", [Device("usb", node, None, is_ours=False)])


def coral_ids() -> tuple[str, str]:
    return min(edgetpu.USB_IDS)


USB, PCI = Device("usb", Path("/dev/u"), None, is_ours=True), Device("pci", Path("/dev/apex_0"), None, is_ours=True)


@pytest.mark.parametrize(
    ("option", "found", "reason"),
    [
        ("", [], "no Coral is connected"),
        ("usb", [PCI], "no Coral on USB is connected, only one on PCIe"),
        ("pci", [USB], "no Coral on PCIe is connected, only one on USB"),
        (":1", [USB], "no Coral number 1 here, only one, number 0"),
        ("usb:2", [PCI, USB, USB], "no Coral on USB number 2 here, only 2, number 0 to 1"),
        ("", [Device("usb", None, None, is_ours=False)], "no node in /dev/bus/usb"),
    ],
)
def test_a_missing_device_is_named_in_the_error(option: str, found: list[Device], reason: str) -> None:
    with pytest.raises(CoralError, match=reason):
        require_device(option, found, edgetpu.PAGE_BYTES)


def test_large_pages_affect_cards_only() -> None:
    assert require_device("", [USB], 16384) is USB
    assert require_device("pci", [USB, PCI], 4096) is PCI
    with pytest.raises(CoralError, match=r"16384: add kernel=kernel8\.img"):
        require_device("", [PCI], 16384)
    assert edgetpu.page_bytes() in (4096, 16384, 65536)


@pytest.mark.parametrize(
    ("text", "option"),
    [("", ""), ("usb", "usb"), ("pci", "pci"), ("1", ":1"), (":1", ":1"), ("usb:01", "usb:1"), ("usb1", None)],
)
def test_device_option_has_the_library_spelling(text: str, option: str | None) -> None:
    assert device_option(text) == option


def test_library_is_found_with_version(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    assert edgetpu.library(str(path)) == edgetpu.Library(str(path), "RuntimeVersion(test)")
    assert edgetpu.library("libc.so.6").version is None


def test_a_library_that_cannot_be_loaded_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    crashing = compiled(
        tmp_path,
        "#include <signal.h>\n__attribute__((constructor)) static void f(void) { raise(SIGSEGV); }\n",
        "crash.so",
    )
    for name, reason in (  # the text of the reason, and of the fix
        (
            "libedgetpu-that-is-not.so.1",
            "is not installed: download libedgetpu1-std from the release of https://github",
        ),
        (str(tmp_path / "none.so"), "cannot be loaded: cannot open shared object file"),
        (str(tmp_path / "text.so"), "cannot be loaded: "),
        (str(crashing), r"crashes while loading \(SIGSEGV\): download libedgetpu1-std"),
    ):
        with pytest.raises(CoralError, match=reason) as raised:
            edgetpu.library(name)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("release", "words", "not_words"),
    [
        ("6.1.0-30-amd64", "sudo apt install gasket-dkms", "feranick"),
        ("6.3.9", "sudo apt install gasket-dkms", "feranick"),
        (
            "6.4.0",
            "1.0-18.4 or later from https://github.com/feranick/gasket-driver/releases",
            "Google's package source",
        ),
        ("6.12.25+rpt-rpi-v8", "https://github.com/feranick/gasket-driver/releases", "Google's package source"),
        ("7.0-rc1", "https://github.com/feranick/gasket-driver/releases", "Google's package source"),
    ],
)
def test_driver_fits_the_kernel(release: str, words: str, not_words: str) -> None:
    fix = edgetpu_fixes.driver(release)
    assert words in fix
    assert not_words not in fix
    assert fix.endswith("sudo modprobe apex")


@pytest.mark.parametrize(
    ("runtime", "release"), [("tflite-runtime", "v16.0TF2.13.1-2"), ("ai-edge-litert", "16.0TF2.19.1-1")]
)
def test_library_fits_the_runtime(runtime: str, release: str) -> None:
    assert f"release {release} of https://github.com/feranick/libedgetpu/releases" in edgetpu_fixes.library(runtime)
    assert set(RUNTIMES) == set(edgetpu_fixes._RELEASES), "one for each runtime"
    with pytest.raises(CoralError, match=release):
        edgetpu.library("libedgetpu-that-is-not.so.1", runtime)


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("libusb-1.0.so.0: cannot open shared object file: No such file or directory", "apt install libusb-1.0-0"),
        (
            "/lib/x/libc.so.6: version `GLIBC_2.38' not found (required by /usr/lib/x/libedgetpu.so.1)",
            "bookworm, trixie",
        ),
        ("wrong ELF class: ELFCLASS64", "arm64, armhf, amd64"),
        ("file too short", "libedgetpu1-std"),
    ],
)
def test_a_library_that_does_not_load_gets_the_fix_for_its_error(reason: str, fix: str) -> None:
    assert fix in edgetpu_fixes.loading(reason, "ai-edge-litert")


def has_pycoral(folder: Path) -> str:
    program = (
        "import sys; from edge.inference.edgetpu import has_pycoral; print(has_pycoral(), 'pycoral' in sys.modules)"
    )
    paths = f"{folder}{os.pathsep}{CHECKOUT}"
    done = subprocess.run([sys.executable, "-c", program], env=environment(PYTHONPATH=paths), capture_output=True)
    return done.stdout.decode().strip()


def test_only_google_s_pycoral_is_recognised_without_an_import(tmp_path: Path) -> None:
    (tmp_path / "pycoral").mkdir()
    (tmp_path / "pycoral/__init__.py").write_text("raise SystemExit('maps of coral reefs')")
    assert has_pycoral(tmp_path) == "False False"
    (tmp_path / "pycoral/utils").mkdir()
    (tmp_path / "pycoral/utils/edgetpu.py").write_text("")
    assert has_pycoral(tmp_path) == "True False"


def test_compiled_model_is_found_beside_its_origin(tmp_path: Path) -> None:
    plain = tmp_path / "v1.2_int8.tflite"
    beside = tmp_path / "v1.2_int8_edgetpu.tflite"
    assert edgetpu.compiled_path(plain) == edgetpu.compiled_path(beside) == beside
    assert edgetpu.plain_path(beside) == edgetpu.plain_path(plain) == plain
    with pytest.raises(CoralError, match=r"v1.2_int8_edgetpu.tflite: there is no such file: run `edgetpu_compiler"):
        load_compiled(plain)


def test_compiled_model_without_description_uses_that_of_its_origin(tmp_path: Path) -> None:
    from tests.edge.inference.test_model import described

    plain = described(tmp_path, threshold=0.7)
    beside = tmp_path / "copy_edgetpu.tflite"
    beside.write_bytes((MODELS / "brightness_int8_edgetpu.tflite").read_bytes())
    loaded = load_compiled(plain)
    assert (loaded.path, loaded.threshold) == (beside, 0.7)
    assert loaded.description is not None
    assert loaded.description.sha256 == loaded.sha256
