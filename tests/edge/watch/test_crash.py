"""Kills at random moments, full and read-only disks, missing folders: nothing is lost or duplicated."""

import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import command, environment, picture

PATIENCE = 60.0


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def start(inbox: Path, model: Path, *options: str | Path) -> subprocess.Popen[str]:
    arguments = command("watch", inbox, "--model", model, "--state", inbox.parent / "state", "--workers", "1", *options)
    variables = environment(HOME=str(inbox.parent))
    return subprocess.Popen(
        arguments, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=inbox.parent
    )


def finish(inbox: Path, model: Path, *options: str | Path) -> str:
    process = start(inbox, model, "--once", *options)
    try:
        _, output = process.communicate(timeout=2 * PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


def answered(inbox: Path) -> Counter[str]:
    """How often each content has a verdict."""
    database = sqlite3.connect(inbox.parent / "state" / "ledger.sqlite3")
    rows = database.execute("SELECT hex(sha256) FROM answers WHERE label IS NOT NULL").fetchall()
    database.close()
    return Counter(row[0].lower() for row in rows)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    folder = memory / f"edge-detect-{os.getpid()}-{tmp_path.name}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(600)
def test_kills_while_copying_to_another_disk_lose_and_duplicate_nothing(
    tmp_path: Path, brightness: Path, elsewhere: Path, kills: int
) -> None:
    killed_at_random(tmp_path, brightness, elsewhere, kills)


@pytest.mark.timeout(600)
def test_kills_lose_and_duplicate_nothing(tmp_path: Path, brightness: Path, kills: int) -> None:
    killed_at_random(tmp_path, brightness, tmp_path / "sorted", kills)


def killed_at_random(tmp_path: Path, brightness: Path, sorted_into: Path, kills: int) -> None:
    """Files pour in while the process is killed again and again; then every file has one verdict, one line in the
    log, one run of the command at least, and lies in one place with its bytes unchanged."""
    inbox, log = tmp_path / "inbox", tmp_path / "log.jsonl"
    inbox.mkdir()
    chance = random.Random(0)
    command_s = tmp_path / "of the command"
    options = ("--sort-into", sorted_into, "--log", log)
    options += ("--on-fake", shlex.join(["sh", "-c", f"cat >>{shlex.quote(str(command_s))}"]))
    contents: dict[str, str] = {}
    process = start(inbox, brightness, *options)
    try:
        for _ in range(kills):
            deadline = time.monotonic() + chance.uniform(0.0, 1.5)
            while time.monotonic() < deadline:
                number = len(contents)
                fresh = picture(tmp_path / "fresh.png", grey=40 + 170 * (number % 2), size=(8, 8), seed=number)
                contents[digest(fresh)] = f"{number}.png"
                if number % 3:
                    fresh.rename(inbox / f"{number}.png")
                else:
                    shutil.copyfile(fresh, inbox / f"{number}.png")
                time.sleep(0.05)
            process.kill()
            _, output = process.communicate()
            assert "Traceback" not in output, output
            process = start(inbox, brightness, *options)
    finally:
        process.kill()
        process.communicate()
    time.sleep(1.1)  # until the last files have settled
    finish(inbox, brightness, *options)

    assert answered(inbox) == Counter(dict.fromkeys(contents, 1))
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert Counter(Path(line["path"]).name for line in logged) == Counter(dict.fromkeys(contents.values(), 1))
    ran = [json.loads(line) for line in command_s.read_text().splitlines()]
    fakes = {line["id"] for line in logged if line["label"] == "FAKE"}
    assert {one["id"] for one in ran} == fakes, "the command was not run for each"
    found = [path for path in sorted_into.rglob("*") if path.is_file()]
    assert Counter(map(digest, found)) == Counter(dict.fromkeys(contents, 1))
    for path in found:
        assert path.parent.name == ("REAL" if int(path.stem) % 2 else "FAKE")
    assert os.listdir(inbox) == []


def private_mount(script: str, folder: Path) -> str:
    """Run a shell script where it may mount: in name spaces of its own, which end with it.

    Returns the content of the file `err` in the folder.
    """
    if not shutil.which("unshare"):
        pytest.skip("needs unshare (util-linux)")
    done = subprocess.run(
        ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else []), "sh", "-eu", "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=150,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts of one's own here: {done.stderr.strip().splitlines()[-1]}")
    output = (folder / "err").read_text()
    assert done.returncode == 0, done.stderr + output
    return output


WAIT = "n=0; until {condition}; do sleep 0.1; n=$((n + 1)); [ $n -lt 300 ] || {{ echo timed out; exit 9; }}; done"


@pytest.mark.timeout(180)
def test_full_disk_is_retried(tmp_path: Path, brightness: Path) -> None:
    inbox, state = tmp_path / "inbox", tmp_path / "state"
    for folder in (inbox, state):
        folder.mkdir()
    (tmp_path / "later").mkdir()
    for number in range(200):
        picture((inbox if not number else tmp_path / "later") / f"{number}.png", size=(8, 8), seed=number)
    watch = shlex.join(command("watch", inbox, "--model", brightness, "--state", state, "--workers", "1"))
    script = f"""
        mount -t tmpfs -o size=600k tmpfs {state}
        {watch} >{tmp_path}/out 2>{tmp_path}/err &
        {WAIT.format(condition=f"grep -q 0.png {tmp_path}/out")}
        dd if=/dev/zero of={state}/filler bs=1k count=2000 2>/dev/null || true
        mv {tmp_path}/later/* {inbox}
        {WAIT.format(condition=f"grep -q 'trying again' {tmp_path}/err")}
        rm {state}/filler
        {WAIT.format(condition=f"[ $(wc -l <{tmp_path}/out) -ge 200 ]")}
        kill -TERM $!
        wait $!
    """
    output = private_mount(script, tmp_path)
    lines = (tmp_path / "out").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 200
    assert output.count("; trying again") <= 3
    assert "recovered: " in output


@pytest.mark.timeout(180)
def test_full_disk_of_sorted_files_is_retried(tmp_path: Path, brightness: Path) -> None:
    inbox, sorted_into = tmp_path / "inbox", tmp_path / "sorted"
    for folder in (inbox, sorted_into):
        folder.mkdir()
    contents = Counter(digest(picture(inbox / f"{number}.bmp", size=(60, 60), seed=number)) for number in range(60))
    watch = shlex.join(
        command("watch", inbox, "--model", brightness, "--state", tmp_path / "state", "--sort-into", sorted_into)
    )
    script = f"""
        mount -t tmpfs -o size=300k tmpfs {sorted_into}
        {watch} >{tmp_path}/out 2>{tmp_path}/err &
        {WAIT.format(condition=f"grep -q 'no space left on device' {tmp_path}/err")}
        mount -o remount,size=10m {sorted_into}
        {WAIT.format(condition=f"[ $(find {sorted_into} -name '*.bmp' | wc -l) -ge 60 ]")}
        kill -TERM $!
        wait $!
        cp -r {sorted_into} {tmp_path}/kept
    """
    output = private_mount(script, tmp_path)
    found = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert Counter(map(digest, found)) == contents
    assert os.listdir(inbox) == []
    assert output.count("no space left on device; ") <= 3


@pytest.mark.timeout(180)
def test_disk_that_comes_back_read_only_is_retried(tmp_path: Path, brightness: Path) -> None:
    """As after a power cut; while files are open for writing, nobody can make a disk read-only."""
    inbox, state = tmp_path / "inbox", tmp_path / "state"
    for folder in (inbox, state):
        folder.mkdir()
    picture(inbox / "first.png")
    watch = shlex.join(command("watch", inbox, "--model", brightness, "--state", state, "--workers", "1"))
    script = f"""
        export NOTIFY_SOCKET={tmp_path}/nobody  # as a service
        mount -t tmpfs tmpfs {state}
        {watch} >>{tmp_path}/out 2>>{tmp_path}/err &
        {WAIT.format(condition=f"grep -q first {tmp_path}/out")}
        kill -KILL $!
        wait $! || true
        mount -o remount,ro {state}
        {watch} >>{tmp_path}/out 2>>{tmp_path}/err &
        {WAIT.format(condition=f"grep -q 'trying again' {tmp_path}/err")}
        cp {inbox}/first.png {inbox}/second.png; printf x >>{inbox}/second.png
        mount -o remount,rw {state}
        {WAIT.format(condition=f"grep -q second {tmp_path}/out")}
        kill -TERM $!
        wait $!
    """
    output = private_mount(script, tmp_path)
    lines = (tmp_path / "out").read_text().splitlines()
    assert sorted(Path(line.split()[-1]).name for line in lines) == ["first.png", "second.png"]
    assert output.count("trying again") == 1


def test_service_waits_for_state_folder_at_start(tmp_path: Path, brightness: Path, listener: socket.socket) -> None:
    inbox, state = tmp_path / "inbox", tmp_path / "state"
    inbox.mkdir()
    state.write_text("in the way")
    picture(inbox / "first.png")
    process = subprocess.Popen(
        command("watch", inbox, "--model", brightness, "--state", state, "--log", tmp_path / "log"),
        env=environment(HOME=str(tmp_path), NOTIFY_SOCKET=str(tmp_path / "notify")),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert listener.recv(4096) == b"READY=1"
        assert process.poll() is None
        state.unlink()
        wait_for(lambda: (tmp_path / "log").exists() and "first.png" in (tmp_path / "log").read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        _, output = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert output.count("; trying again") == 1
    assert "recovered: " in output


def test_folder_that_disappears_and_comes_back_is_watched_again(tmp_path: Path, brightness: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    picture(inbox / "first.png", seed=1)
    process = start(inbox, brightness, "--log", tmp_path / "log")
    try:
        wait_for(lambda: (tmp_path / "log").exists())
        inbox.rename(tmp_path / "away")
        time.sleep(1.0)
        assert process.poll() is None
        (tmp_path / "away").rename(inbox)
        picture(inbox / "second.png", seed=2)
        wait_for(lambda: "second.png" in (tmp_path / "log").read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        _, output = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    lines = output.splitlines()
    assert sum("moved, deleted or unmounted; trying again" in line for line in lines) == 1
    assert sum(line.startswith("edge-detect: recovered: ") for line in lines) == 1
    assert "Traceback" not in output


def test_damaged_ledger_is_renamed_and_reported(tmp_path: Path, brightness: Path) -> None:
    inbox, ledger = tmp_path / "inbox", tmp_path / "state" / "ledger.sqlite3"
    inbox.mkdir()
    for number in range(300):
        picture(inbox / f"{number}.png", size=(8, 8), seed=number)
    time.sleep(1.1)
    finish(inbox, brightness)
    content = bytearray(ledger.read_bytes())
    for place in range(4096 * 3, len(content) - 4096, 4096):
        content[place : place + 64] = b"\xff" * 64
    ledger.write_bytes(content)
    output = finish(inbox, brightness)
    (aside,) = ledger.parent.glob("ledger.sqlite3.damaged-*")
    assert aside.read_bytes() == bytes(content)
    assert aside.name in output
    assert len(answered(inbox)) == 300


def wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)
