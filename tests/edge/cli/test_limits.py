"""Commands at low limits of open files and memory (ulimit): one line instead of a traceback."""

import errno
import resource
import subprocess
from pathlib import Path

import pytest

from edge.process.limits import reached
from tests.conftest import CIFAKE, command, environment

IMAGES = CIFAKE / "test" / "REAL"


def limited(tmp_path: Path, kind: int, value: int, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        env=environment(HOME=str(tmp_path)),
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(kind, (value, value)),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("files", [8, 12, 16, 20, 24])
def test_few_open_files_are_enough_or_a_one_line_error(tmp_path: Path, files: int) -> None:
    for words in (("classify", IMAGES), ("watch", IMAGES, "--once", "--state", tmp_path / f"state{files}")):
        done = limited(tmp_path, resource.RLIMIT_NOFILE, files, *words)
        assert "Traceback" not in done.stderr
        if done.returncode:
            assert done.returncode == 2
            (line,) = done.stderr.splitlines()
            assert line.startswith("edge-detect")
        else:
            assert len(done.stdout.splitlines()) == 10


@pytest.mark.parametrize("megabytes", [100, 130])
@pytest.mark.parametrize("verb", ["classify", "watch"])
def test_too_little_memory_is_a_one_line_error_and_does_not_hang(tmp_path: Path, verb: str, megabytes: int) -> None:
    done = limited(
        tmp_path, resource.RLIMIT_AS, megabytes << 20, verb, IMAGES, *(("--once",) if verb == "watch" else ())
    )
    assert "Traceback" not in done.stderr
    if done.returncode:  # else it is enough on this machine
        assert done.returncode == 2
        assert done.stderr.endswith(f"too little memory: the limit is {megabytes << 20} (ulimit -v, in bytes)\n")


def test_limits_are_recognised_by_errors_and_their_causes() -> None:
    files = OSError(errno.EMFILE, "Too many open files")
    assert reached(files).startswith("too many open files: the limit is ")
    wrapped = RuntimeError("no")
    wrapped.__cause__ = files
    assert reached(wrapped) == reached(files)
    assert reached(RuntimeError("can't start new thread")).startswith("too many processes or threads")
    assert reached(BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")).startswith("too many processes")
    assert reached(MemoryError()).startswith("too little memory")
    text = "libX.so: failed to map segment from shared object"
    assert reached(ImportError(text)) == reached(OSError(text)) == reached(MemoryError())
    assert reached(OSError(errno.ENOENT, "No such file")) == reached(RuntimeError("no")) == ""
