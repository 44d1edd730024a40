"""Commands with a time limit, and Python programs in isolation."""

import os
import sys
import time
from pathlib import Path

import pytest

from edge.process.command import TimedOut, process_group, run
from edge.process.isolated import Crashed, run_isolated


def is_running(pid: int) -> bool:
    """Whether a process exists and has not ended; a zombie (Z) has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


def test_status_output_and_errors_are_returned() -> None:
    done = run(["sh", "-c", "cat; echo one >&2; printf 'last \\377' >&2; exit 3"], content=b"given")
    assert (done.status, done.output, done.errors, done.last_line) == (3, "given", "one\nlast \\xff", r"last \xff")
    assert run(["sh", "-c", "kill -TERM $$"]).status == -15
    assert run(["sh", "-c", "echo only; cat"]).last_line == "only", "without content, standard input is empty"


def test_environment_is_replaced() -> None:
    assert run(["/bin/sh", "-c", 'echo "$A"'], environment={"A": "1"}).output == "1\n"


def test_missing_program_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        run(["/nonexistent/program"])


def test_command_over_time_limit_is_killed_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(TimedOut):
        run(["sh", "-c", f"sleep 100 & echo $! > {pid_file}; wait"], seconds=0.5)
    assert time.monotonic() - began < 10, "the child holds the output open, and must not delay the end"
    assert ends(int(pid_file.read_text()))


def test_exception_in_block_kills_the_group() -> None:
    with pytest.raises(KeyboardInterrupt), process_group(["sleep", "100"]) as process:
        raise KeyboardInterrupt
    assert process.returncode == -9


def test_children_of_an_ended_command_go_on() -> None:
    """A hook may start a program that goes on."""
    with process_group(["sh", "-c", "sleep 100 >/dev/null & echo $!"], stdout=-1) as process:
        output, _ = process.communicate()
    child = int(output)
    assert is_running(child)
    os.kill(child, 9)


def test_isolated_program_has_same_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ours.py").write_text("value = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    done = run_isolated("import sys, ours; print(ours.value, *sys.argv[1:]); sys.exit(5)", "a", "b c")
    assert (done.status, done.output) == (5, "42 a b c\n")


def test_isolated_crash_or_timeout_raises_named_error() -> None:
    with pytest.raises(Crashed, match="SIGSEGV"):
        run_isolated("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(Crashed, match=r"signal 4\d"):
        run_isolated("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 8)")
    with pytest.raises(TimedOut):
        run_isolated("while True: pass", seconds=0.5)


def test_isolated_program_with_own_environment_finds_our_modules() -> None:
    done = run_isolated("import os, edge.errors; print(os.environ['A'])", environment={"A": "1"})
    assert done.output == "1\n", (done.errors, sys.path)
