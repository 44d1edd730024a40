"""A long run of watchers under kills: python -m tests.soak --minutes 10

Files pour into two folders without a pause, thumbnails and photos, written in
place and moved in; other writers leave theirs unfinished for a while. One
watcher sorts its files, the other leaves them in place, where some are
rewritten. Both are killed at random moments. At the end each finished content
must have one verdict, an unfinished one none, each answer one line in the log,
and each sorted file one place; memory and rates are printed.
"""

import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import click
import psutil

from tests.conftest import command, environment, picture
from tests.soak.writers import CONTINUED, IN_PLACE, KINDS, MOVED_IN, REPLACED, Writers, digest

PHOTOS = 0.1  # their share; the others are thumbnails


@click.command()
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(0.1))
@click.option("--kill-every", default=5.0, show_default=True, help="Seconds on average between two kills.")
@click.option("--rate", default=60.0, show_default=True, help="Files a second and folder that are written at once.")
@click.option("--writers", default=2, show_default=True, help="Slow writers of each kind for each folder.")
@click.option("--seed", default=0, show_default=True)
def main(minutes: float, kill_every: float, rate: float, writers: int, seed: int) -> None:
    """Kill two watchers again and again, and count verdicts."""
    with tempfile.TemporaryDirectory(prefix="edge-detect-soak-") as name:
        soaks = []
        for number, is_sorting in enumerate((False, True)):
            folder = Path(name) / ("sorting" if is_sorting else "in place")
            soaks.append(Soak(folder, is_sorting, random.Random(2 * seed + number)))
        threads = [threading.Thread(target=soak.run, args=(minutes * 60, kill_every, rate, writers)) for soak in soaks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reports = [soak.report() for soak in soaks]
        sys.exit(1 if any(reports) else 0)


class Soak:
    """One watched folder, with its watcher and writers."""

    def __init__(self, folder: Path, is_sorting: bool, chance: random.Random) -> None:
        self._inbox, self._state, self._log = folder / "inbox", folder / "state", folder / "log.jsonl"
        self._inbox.mkdir(parents=True)
        self._folder, self._chance = folder, chance
        self._sorted = folder / "sorted" if is_sorting else None
        self._writers = Writers(folder, self._inbox, chance)
        self._names: dict[str, str] = {}  # the digest of what each file holds that may be rewritten
        self._kills, self._most, self._written, self._seconds, self._began = 0, 0, 0, 0.0, 0.0

    @property
    def _arguments(self) -> list[str]:
        sorting = ["--sort-into", self._sorted] if self._sorted else []
        return command("watch", self._inbox, "--state", self._state, "--log", self._log, *sorting)

    def _start(self) -> subprocess.Popen[bytes]:
        variables = environment(HOME=str(self._folder))
        return subprocess.Popen(
            self._arguments, env=variables, stdout=subprocess.DEVNULL, stderr=(self._folder / "stderr").open("ab")
        )

    def run(self, seconds: float, kill_every: float, rate: float, writers: int) -> None:
        """Write and kill for this time; then let a last run answer what is left."""
        self._began, self._seconds = time.monotonic(), seconds
        self._writers.start(writers)
        process, next_kill = self._start(), self._began + self._chance.expovariate(1 / kill_every)
        while time.monotonic() - self._began < seconds:
            self._write()
            time.sleep(self._chance.expovariate(rate))
            if self._written % 200 == 0:
                self._most = max(self._most, _resident(process.pid))
            if time.monotonic() > next_kill or process.poll() is not None:
                process.send_signal(signal.SIGKILL)
                if process.wait() != -signal.SIGKILL:
                    raise AssertionError(f"the watcher ended: {(self._folder / 'stderr').read_text()[-2000:]}")
                self._kills += 1
                process, next_kill = self._start(), time.monotonic() + self._chance.expovariate(1 / kill_every)
        self._writers.stop()
        process.terminate()
        process.wait()
        time.sleep(1.1)
        done = subprocess.run(
            [*self._arguments, "--once"], env=environment(HOME=str(self._folder)), capture_output=True, text=True
        )
        assert done.returncode in (0, 1), done.stderr

    def _write(self) -> None:
        """Write a file at once: in place, or moved in. Where nothing is sorted, one in five replaces another."""
        number, self._written = self._written, self._written + 1
        size = (300, 260) if self._chance.random() < PHOTOS else (32, 32)
        fresh = picture(self._folder / "fresh.png", grey=self._chance.choice((40, 210)), size=size, seed=number)
        sha256, finished = digest(fresh.read_bytes()), self._writers.record.finished
        is_rewritten = self._names and self._chance.random() < 0.2
        name = self._chance.choice(list(self._names)) if is_rewritten else f"{number}.png"
        if self._chance.random() < 0.5:
            finished[sha256] = IN_PLACE
            shutil.copyfile(fresh, self._inbox / name)
        else:
            finished[sha256] = MOVED_IN
            fresh.rename(self._inbox / name)
        if is_rewritten:
            finished[self._names[name]] = REPLACED  # it may have been replaced before it was read
        if not self._sorted:
            self._names[name] = sha256

    def report(self) -> bool:
        """Print what became of the contents, by the kind of writer; returns whether anything is wrong."""
        with closing(sqlite3.connect(self._state / "ledger.sqlite3")) as database:
            rows = [
                (sha256.lower(), label) for sha256, label in database.execute("SELECT hex(sha256), label FROM answers")
            ]
        answers, verdicts = Counter(sha256 for sha256, _ in rows), {sha256 for sha256, label in rows if label}
        record, logged = self._writers.record, [json.loads(line)["id"] for line in self._log.read_text().splitlines()]
        click.echo(
            f"{'sorting' if self._sorted else 'in place'}: {len(record.finished)} contents, {self._kills} kills,"
        )
        click.echo(f"  {len(answers) / self._seconds:.0f} answers a second, at most {self._most / 1e6:.0f} MB resident")
        places = Counter(digest(path.read_bytes()) for path in self._files())
        is_wrong = False
        for kind in (IN_PLACE, MOVED_IN, REPLACED, *KINDS):
            mine = [sha256 for sha256, writer in record.finished.items() if writer == kind]
            halves = [sha256 for sha256, writer in record.halves.items() if writer == kind]
            wrong = {
                "without a verdict": 0 if kind == REPLACED else len([one for one in mine if one not in verdicts]),
                "answered twice": len([one for one in mine if answers[one] > 1]),
                "of halves with a verdict": len([one for one in halves if one in verdicts]),
                "of halves with an error": 0 if kind == CONTINUED else len([one for one in halves if answers[one]]),
                "taken from their writer": record.gone[kind],
                "not in one place": 0 if kind == REPLACED else len([one for one in mine if places[one] != 1]),
            }
            is_wrong |= any(wrong.values())
            errors = f", {sum(1 for one in halves if answers[one])} errors of halves" if kind == CONTINUED else ""
            click.echo(f"  {kind}: {len(mine)}{errors}; {_counts(wrong)}")
        written = record.finished.keys() | record.halves.keys()
        wrong = {
            "answers to contents that nobody wrote": len(set(answers) - written),
            "answers not in the log": len(rows) - len(set(logged)),
            "answers twice in the log": len(logged) - len(set(logged)),
        }
        click.echo(f"  {_counts(wrong)}")
        return is_wrong or any(wrong.values())

    def _files(self) -> list[Path]:
        folders = [self._inbox, *([self._sorted] if self._sorted else [])]
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def _counts(wrong: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in wrong.items() if count) or "none wrong"


def _resident(pid: int) -> int:
    """Bytes resident in the process and its children; shared memory counts once."""
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        return sum(process.memory_full_info().pss for process in processes)
    except psutil.Error:
        return 0


if __name__ == "__main__":
    main()
