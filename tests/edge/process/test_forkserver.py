"""The fork server under a long $TMPDIR, in which a socket's address would have too many bytes; and killed clients."""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Run, age, environment, picture

LONGEST = 75  # bytes of a temporary folder that leave room for multiprocessing's part of the address
DECODE = """
import sys
from multiprocessing import util
from edge.benchmark.decoding import Decoding
from edge.imaging.inputs import Input
if __name__ == "__main__":
    with Decoding(sys.argv[1:], Input(0, (16, 12)), 2) as decoding:
        print(decoding.round(0.01).images, util.get_temp_dir())
"""

# Asks for a process, sends only the given bytes of the request, and waits until the process has ended.
CLIENT = """
import os, sys
from multiprocessing import forkserver
from edge.process.forkserver import start_server
if __name__ == "__main__":
    start_server("edge.imaging.inputs")
    status, data = forkserver.connect_to_new_process([])
    os.write(data, bytes.fromhex(sys.argv[1]))
    os.close(data)
    while os.read(status, 4096):
        pass
    print("ended")
"""


# Prints how many children there are: with the tracker that another part of the program has started, if any.
CHILDREN = """
import sys
from multiprocessing import resource_tracker
from pathlib import Path
from edge.process.forkserver import start_server
if __name__ == "__main__":
    if sys.argv[1:]:
        resource_tracker.ensure_running()
    start_server("edge.imaging.inputs")
    print(sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children")))
"""


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short name, unlike tmp_path."""
    folder = Path(tempfile.mkdtemp(prefix="e-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def folder_of_length(base: Path, length: int) -> Path:
    """A new folder in base whose path has this many bytes."""
    folder = base / ("x" * (length - len(os.fsencode(base)) - 1))
    folder.mkdir()
    return folder


def test_watch_once_with_long_tmpdir_answers(edge_detect: Run, inbox: Path, brightness: Path, tmp_path: Path) -> None:
    age(picture(inbox / "a.png"))
    long = tmp_path / ("x" * 120)
    long.mkdir()
    variables = environment(HOME=str(tmp_path / "home"), TMPDIR=str(long))
    done = edge_detect("watch", inbox, "--once", "--model", brightness, env=variables)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr
    assert done.stdout.endswith("a.png\n")
    assert "Traceback" not in done.stderr
    assert list(long.iterdir()) == []


@pytest.mark.parametrize(("length", "is_used"), [(LONGEST, True), (LONGEST + 1, False), (200, False)])
def test_decoding_uses_tmpdir_unless_it_is_too_long_for_a_socket(
    short_folder: Path, tmp_path: Path, length: int, is_used: bool
) -> None:
    temporary = folder_of_length(short_folder, length)
    script = tmp_path / "decode.py"
    script.write_text(DECODE)
    done = subprocess.run(
        [sys.executable, script, picture(tmp_path / "a.png")],
        env=environment(TMPDIR=str(temporary)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    images, folder = done.stdout.split()
    assert int(images) >= 2
    assert (Path(folder).parent == temporary) == is_used
    assert not Path(folder).exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("sent", [b"", b"\x80\x04\x95\x10"])
def test_client_killed_while_it_starts_a_process_leaves_no_traceback(tmp_path: Path, sent: bytes) -> None:
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    words = [sys.executable, script, sent.hex()]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


@pytest.mark.parametrize(("with_tracker", "children"), [([], 1), (["tracker"], 2)])
def test_resource_tracker_is_not_started_but_a_running_one_is_kept(
    tmp_path: Path, with_tracker: list[str], children: int
) -> None:
    script = tmp_path / "children.py"
    script.write_text(CHILDREN)
    words = [sys.executable, script, *with_tracker]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{children}\n", "")


def test_other_errors_of_a_new_process_are_printed(tmp_path: Path) -> None:
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    words = [sys.executable, script, pickle.dumps(None).hex()]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    assert "TypeError" in done.stderr
