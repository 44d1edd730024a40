"""HEIC photos in real runs of `edge-detect`: with pillow-heif, without it, and where it does not load."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, CIFAKE, DATA, Run, age, environment

PHOTO = DATA / "photo.heic"
WITHOUT = "import sys; sys.modules['pillow_heif'] = None"  # as if it were not installed when the process starts
INSTALL = "HEIC photos need pillow-heif: pip install 'edge-detect[heic]'"

is_installed = pytest.mark.skipif(not find_spec("pillow_heif"), reason="needs pillow-heif")


def stub(tmp_path: Path, text: str, module: str = "pillow_heif") -> dict[str, str]:
    """Environment variables that put a module with this text before the installed one."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    (folder / f"{module}.py").write_text(text)
    return environment(HOME=str(tmp_path / "home"), PYTHONPATH=f"{folder}{os.pathsep}{CHECKOUT}")


@pytest.fixture
def photo(inbox: Path) -> Path:
    return age(Path(shutil.copyfile(PHOTO, inbox / "IMG_0001.HEIC")))


@is_installed
def test_heic_photo_gets_a_verdict(edge_detect: Run, photo: Path, brightness: Path) -> None:
    for verb in (["classify"], ["watch", "--once"]):
        done = edge_detect(*verb, photo.parent, "--json", "--model", brightness)
        assert (done.returncode, done.stderr) == (0, "")
        (answer,) = map(json.loads, done.stdout.splitlines())
        assert (answer["path"], answer["label"]) == (str(photo), "REAL")


def test_without_pillow_heif_a_photo_is_an_error_and_others_are_classified(
    edge_detect: Run, tmp_path: Path, photo: Path, brightness: Path
) -> None:
    shutil.copyfile(next((CIFAKE / "test" / "REAL").iterdir()), photo.with_name("other.jpg"))
    done = edge_detect("classify", photo.parent, "--model", brightness, env=stub(tmp_path, WITHOUT, "sitecustomize"))
    assert done.returncode == 1
    assert done.stderr.split(maxsplit=1)[1] == f"{photo}: {INSTALL}\n"
    (line,) = done.stdout.splitlines()
    assert "other.jpg" in line


@is_installed
def test_a_watched_photo_gets_its_verdict_once_pillow_heif_is_installed(
    edge_detect: Run, tmp_path: Path, photo: Path, brightness: Path
) -> None:
    once = ("watch", photo.parent, "--once", "--json", "--model", brightness)
    done = edge_detect(*once, env=stub(tmp_path, WITHOUT, "sitecustomize"))
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout) == {"path": str(photo), "error": INSTALL}
    done = edge_detect(*once)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["label"] == "REAL"
    assert edge_detect(*once).stdout == "", "it is answered now"


def test_without_pillow_heif_only_the_first_bytes_are_read(photo: Path) -> None:
    """There may be thousands, on a share, and each is met again at each listing."""
    with photo.open("ab") as file:
        file.truncate(50_000_000)
    program = (
        "import os, sys\n"
        "sys.modules['pillow_heif'] = None\n"  # as if it were not installed
        "from edge.files import FileId\n"
        "from edge.imaging.inputs import Input\n"
        "from edge.watch import decode\n"
        "def read(): return int(open('/proc/self/io').readline().split()[1])\n"
        "path, before = sys.argv[1], read()\n"
        "task = decode.Task(path, FileId.of(os.stat(path)), 0)\n"
        "content = decode.read(os.path.dirname(path), task)\n"
        "print(decode.decoded(task, content, [Input(0, (32, 32))]).reason)\n"
        "assert read() - before < 1_000_000, read() - before\n"
    )
    words = [sys.executable, "-c", program, photo]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"{INSTALL}\n", "")


@is_installed
def test_a_pillow_that_is_too_old_for_heic_is_an_error(photo: Path) -> None:
    """Of the system's, say, which a watcher had loaded before the package came, and a newer Pillow with it."""
    program = "import PIL.Image; PIL.__version__ = '9.4.0'; from edge.__main__ import run; run()"
    words = [sys.executable, "-c", program, "classify", photo, "--json"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["error"].startswith("HEIC photos need Pillow 11.1, but 9.4.0 is loaded")


@is_installed
def test_a_pillow_heif_that_does_not_load_is_an_error(
    edge_detect: Run, tmp_path: Path, photo: Path, brightness: Path
) -> None:
    variables = stub(tmp_path, "raise ImportError('libheif.so.1: cannot open')", "_pillow_heif")
    done = edge_detect("watch", photo.parent, "--once", "--json", "--model", brightness, env=variables)
    assert (done.returncode, done.stderr) == (1, "")
    reason = "pillow-heif is installed but does not load: libheif.so.1: cannot open"
    assert json.loads(done.stdout) == {"path": str(photo), "error": reason}


def test_pillow_heif_is_not_imported_for_other_files(edge_detect: Run, tmp_path: Path, brightness: Path) -> None:
    images = CIFAKE / "test" / "REAL"
    variables = stub(tmp_path, "import os; os.abort()")
    done = edge_detect("classify", images, "--json", "--model", brightness, env=variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(list(images.iterdir()))
