"""A long run of the watcher under kills: python -m tests.soak --minutes 10

Files pour in without a pause, thumbnails and photos, in three ways: written in
place, moved in, and rewritten. The process is killed at random moments. At the
end each file's content must have one verdict, no content two, and each verdict
one line in the log; memory and rates are printed.
"""

import hashlib
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import psutil

from tests.conftest import command, environment, picture

PHOTOS = 0.1  # their share; the others are thumbnails


@click.command()
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(0.1))
@click.option("--kill-every", default=5.0, show_default=True, help="Seconds on average between two kills.")
@click.option("--seed", default=0, show_default=True)
def main(minutes: float, kill_every: float, seed: int) -> None:
    """Kill a watcher again and again, and count verdicts."""
    with tempfile.TemporaryDirectory(prefix="edge-detect-soak-") as folder:
        sys.exit(_soak(Path(folder), minutes * 60, kill_every, random.Random(seed)))


def _soak(folder: Path, seconds: float, kill_every: float, chance: random.Random) -> int:
    inbox, state, log = folder / "inbox", folder / "state", folder / "log.jsonl"
    inbox.mkdir()
    arguments = command("watch", inbox, "--state", state, "--log", log)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            arguments, env=environment(HOME=str(folder)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    current: dict[str, str] = {}  # the digest of what each file holds
    ever: set[str] = set()  # and of what any held: some of it may have gone before it was read
    kills, most, began = 0, 0, time.monotonic()
    process, next_kill = start(), began + chance.expovariate(1 / kill_every)
    while time.monotonic() - began < seconds:
        number = len(ever)
        size = (300, 260) if chance.random() < PHOTOS else (32, 32)
        fresh = picture(folder / "fresh.png", grey=chance.choice((40, 210)), size=size, seed=number)
        digest = hashlib.sha256(fresh.read_bytes()).hexdigest()
        is_rewritten = current and chance.random() < 0.2
        name = chance.choice(list(current)) if is_rewritten else f"{number}.png"
        shutil.copyfile(fresh, inbox / name) if chance.random() < 0.5 else fresh.rename(inbox / name)
        current[name] = digest
        ever.add(digest)
        time.sleep(0.002)
        if number % 500 == 0:
            most = max(most, _resident(process.pid))
        if time.monotonic() > next_kill:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            process, next_kill = start(), time.monotonic() + chance.expovariate(1 / kill_every)
    most = max(most, _resident(process.pid))
    process.terminate()
    process.wait()
    time.sleep(1.1)
    subprocess.run([*arguments, "--once"], env=environment(HOME=str(folder)), check=True, capture_output=True)

    database = sqlite3.connect(state / "ledger.sqlite3")
    answered = [row[0].lower() for row in database.execute("SELECT hex(sha256) FROM answers")]
    database.close()
    logged = [json.loads(line)["id"] for line in log.read_text().splitlines()]
    wrong = {
        "without a verdict": len(set(current.values()) - set(answered)),
        "that nobody wrote": len(set(answered) - ever),
        "with two verdicts": len(answered) - len(set(answered)),
        "not in the log": len(answered) - len(set(logged)),
        "twice in the log": len(logged) - len(set(logged)),
    }
    click.echo(f"{len(ever)} contents of {len(current)} files in {seconds / 60:.1f} minutes, {kills} kills")
    click.echo(f"at most {most / 1e6:.0f} MB resident")
    click.echo(", ".join(f"{count} {what}" for what, count in wrong.items()))
    return 1 if any(wrong.values()) else 0


def _resident(pid: int) -> int:
    """Bytes resident in the process and its children; shared memory counts once."""
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        return sum(process.memory_full_info().pss for process in processes)
    except psutil.Error:
        return 0


if __name__ == "__main__":
    main()
