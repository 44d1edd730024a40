"""Counting instructions under emulation, for tests/benchmarks/boards.py: `make test-arm`, as the super-user."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.counting import Counter, missing
from tests.support.roots import System, copy, emulate

pytestmark = [pytest.mark.arm, pytest.mark.timeout(900)]

SYSTEM = System("bookworm-arm64", "bookworm", "python3,python3-venv,ca-certificates", "arm64")
PYTHON = "/usr/bin/python3"
LOOP = "for _ in range({}): pass"
# The loop runs in a child that exits at once, as a process that is killed does not run its own end either.
IN_A_CHILD = "import os\nif os.fork() == 0:\n  {}\n  os._exit(0)\nos.wait()"
IN_ANOTHER_PROGRAM = "import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', {!r}])"
IN_A_THREAD = "import threading\nt = threading.Thread(target=lambda: [None {}])\nt.start()\nt.join()"


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    if reason := missing():
        pytest.skip(reason)
    emulate("arm64")
    with copy(SYSTEM, tmp_path_factory.mktemp("counting")) as root:
        counter = Counter(root, tmp_path_factory.mktemp("folder"))
        counter.prepare()
        yield counter


def instructions(counter: Counter, program: str) -> int:
    return counter.run([PYTHON, "-S", "-c", program])[0]


@pytest.mark.parametrize(
    "program",
    [
        LOOP,
        IN_A_CHILD.format(LOOP),
        IN_A_THREAD.format(LOOP.removesuffix(": pass")),
        IN_ANOTHER_PROGRAM.replace("{!r}", repr(LOOP)),
    ],
    ids=["itself", "child", "thread", "other program"],
)
def test_every_process_and_thread_is_counted(counter: Counter, program: str) -> None:
    none, some, twice = (instructions(counter, program.format(count)) for count in (0, 100_000, 200_000))
    assert some - none > 100_000
    assert (twice - none) / (some - none) == pytest.approx(2, abs=0.2)


def test_counts_are_the_same_again(counter: Counter) -> None:
    one, other = (instructions(counter, LOOP.format(1000)) for _ in range(2))
    assert one == pytest.approx(other, rel=0.001)


def test_output_is_returned_and_a_failure_is_raised(counter: Counter) -> None:
    assert counter.run([PYTHON, "-c", "import platform; print(platform.machine())"])[1] == "aarch64\n"
    with pytest.raises(RuntimeError, match="broken"):
        counter.run([PYTHON, "-c", "import sys; print('broken', file=sys.stderr); sys.exit(3)"])


def test_other_emulated_programs_are_not_affected(counter: Counter) -> None:
    """The emulator with the plugin is registered in a name space of its own."""
    before = sorted(path.name for path in Path("/proc/sys/fs/binfmt_misc").iterdir())
    instructions(counter, "pass")
    assert sorted(path.name for path in Path("/proc/sys/fs/binfmt_misc").iterdir()) == before
