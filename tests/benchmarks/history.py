"""What a page of answers costs in a ledger of a million: python -m tests.benchmarks.history

Processor time of filtered pages, of counts, and of the metrics; the time that the migration takes; and what the indices
cost a watcher, as processor time and bytes for each recorded answer. Times are of this machine; another one differs.
"""

import logging
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import click

from edge.files import FileId
from edge.store import schema
from edge.store.history import Filter, Position, counts_since, ledger_name, page, sources
from edge.store.ledger import Entry, Ledger
from edge.store.schema import FILE, MIGRATIONS
from edge.verdict import Verdict

BEFORE = 7  # schema version without the indices
SECONDS = 30.0  # from one answer to the next
START = 1.7e9
FOLDERS = [*(f"/srv/photos/{name}" for name in ("inbox", "scans", "phone", "web")), "porch", "/srv/rare"]
SAID = '[{{"kind":"c2pa","says":"{}","program":"x","detail":null,"verified":true}}]'


def rows(count: int) -> Iterator[tuple[object, ...]]:
    """Rows of a plausible ledger: four folders, a camera, and a folder with one answer in 10,000."""
    chance = random.Random(1)
    for number in range(1, count + 1):
        folder = FOLDERS[5 if number % 10_000 == 0 else chance.choices(range(5), (60, 20, 10, 5, 5))[0]]
        is_camera = folder == "porch"
        label = chance.choices(("REAL", "FAKE", "UNSURE", None), (70, 20, 8, 2))[0]
        score = {"REAL": 0.9, "FAKE": 0.1, "UNSURE": 0.5}.get(label or "")
        said = chance.choices((None, "captured", "generated", "edited"), (50, 40, 9, 1))[0]
        yield (
            number,
            (folder if is_camera else f"{folder}/2026/IMG_{number:08}.jpg").encode(),
            chance.randbytes(32),
            label,
            score,
            None if label else "damaged image data",
            "m" * 64,
            START + number * SECONDS,
            score and max(score, 1 - score),
            5 + 50 * chance.random(),
            folder.encode(),
            "photo_int8",
            ("began", "ended")[number % 2] if is_camera else None,
            START if is_camera else None,
            None if is_camera or said is None else SAID.format(said),
        )


def make(folder: Path, count: int) -> None:
    """A ledger of the version before the indices."""
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as database:
        for statement in (statement for migration in MIGRATIONS[:BEFORE] for statement in migration):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {BEFORE}")
        database.execute("BEGIN")
        database.executemany(
            "INSERT INTO answers (id, path, sha256, label, score, error, model_sha256, answered_at, confidence,"
            " elapsed_ms, folder, model, state, began_at, provenance) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            rows(count),
        )
        database.execute("COMMIT")


def cpu_ms(call: Callable[[], object], rounds: int = 5) -> float:
    """Median processor time of a call, milliseconds."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return 1000 * sorted(times)[rounds // 2]


def filters(count: int) -> dict[str, Filter]:
    middle = START + count * SECONDS / 2
    return {
        "all": Filter(),
        "FAKE": Filter(label="FAKE"),
        "errors": Filter(label="ERROR"),
        "a folder": Filter(source="/srv/photos/scans"),
        "the rare folder": Filter(source="/srv/rare"),
        "the rare folder, FAKE": Filter("FAKE", "/srv/rare"),
        "a camera, UNSURE": Filter("UNSURE", "porch"),
        "an old week": Filter(since=START + 86_400, until=START + 8 * 86_400),
        "before the middle, FAKE": Filter("FAKE", until=middle),
        "generated": Filter(provenance="generated"),
        "captured, rare folder": Filter(None, "/srv/rare", provenance="captured"),
        "captured, in a camera": Filter(None, "porch", provenance="captured"),
        "edited, FAKE, a folder, old": Filter("FAKE", "/srv/photos/web", until=middle, provenance="edited"),
    }


def recorded(folder: Path, count: int, *, has_indices: bool) -> tuple[float, int]:
    """Processor milliseconds and bytes written for each answer that a watcher records in groups of 32."""
    with Ledger(folder, check="") as ledger:
        if not has_indices:
            database = sqlite3.connect(folder / FILE)
            for (name,) in database.execute(f"SELECT name FROM sqlite_master WHERE name IN ({NEW})").fetchall():
                database.execute(f"DROP INDEX {name}")
            database.close()
        chance = random.Random(2)
        groups = [
            [
                Entry(
                    path := f"/srv/photos/inbox/new/{number:08}-{index}.jpg",
                    FileId(1, number * 32 + index, 1000, 10**18),
                    10**18,
                    chance.randbytes(32),
                    Verdict(path, chance.choice(("REAL", "FAKE")), True, 0.9, 0.9, None, 0.01, "photo_int8"),
                    "m" * 64,
                )
                for index in range(32)
            ]
            for number in range(count // 32)
        ]
        began, written = time.process_time(), _written()
        for group in groups:
            ledger.record(group, "/srv/photos/inbox")
        passed = time.process_time() - began
        return 1000 * passed / count, (_written() - written) // count


NEW = "'answers_by_label', 'answers_by_source', 'answers_generated', 'answers_edited', 'answers_captured'"


def _written() -> int:
    """Bytes that this process has passed to write(2) so far."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["wchar"])


def _more(ledger: Path) -> None:
    """Measurements of modules that use the ledger."""
    from edge.serve.totals import Totals

    totals = Totals()
    print(f"| totals, the first time | {cpu_ms(lambda: totals.update(ledger), 1):.1f} |")
    print(f"| totals, without anything new | {cpu_ms(lambda: totals.update(ledger)):.2f} |")


@click.command()
@click.option("--answers", "count", default=1_000_000, help="Number of answers.")
@click.option("--keep", type=click.Path(path_type=Path), help="Make the ledger in this folder, or use it again.")
def main(count: int, keep: Path | None) -> None:
    """Measure pages of a large ledger."""
    logging.basicConfig(format="%(message)s")
    with tempfile.TemporaryDirectory(dir=keep and keep.parent) as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        ledger = folder / FILE
        if not ledger.exists():
            make(folder, count)
            size, began, worked = ledger.stat().st_size, time.monotonic(), time.process_time()
            schema.open_database(folder, check="").close()
            print(
                f"migration: {time.monotonic() - began:.1f} s, {time.process_time() - worked:.1f} s of processor time;"
                f" {size / count:.0f} bytes an answer before, {ledger.stat().st_size / count:.0f} after"
            )
        print("\n| page of 24 | processor ms |\n|---|---|")
        deep = Position(START + count * SECONDS / 3, ledger_name(ledger), MAX)
        for name, wanted in filters(count).items():
            first, later = cpu_ms(lambda wanted=wanted: page(ledger, wanted)), 0.0
            later = cpu_ms(lambda wanted=wanted: page(ledger, wanted, before=deep))
            print(f"| {name} | {first:.1f}, from the last third {later:.1f} |")
        print(
            f"| counts of the last day | {cpu_ms(lambda: counts_since(ledger, START + count * SECONDS - 86400)):.1f} |"
        )
        print(f"| counts of all | {cpu_ms(lambda: counts_since(ledger, 0)):.1f} |")
        print(f"| sources | {cpu_ms(lambda: sources(ledger)):.1f} |")
        _more(ledger)
        print("\nA watcher, for each answer in groups of 32:")
        for has_indices in (True, False):
            copy = Path(scratch) / f"copy{has_indices}"
            copy.mkdir()
            with closing(sqlite3.connect(ledger)) as database:
                database.execute("VACUUM INTO ?", (os.fspath(copy / FILE),))
            milliseconds, written = recorded(copy, 6400, has_indices=has_indices)
            print(f"{'with' if has_indices else 'without'} the indices: {milliseconds:.3f} ms, {written} bytes")


MAX = 2**62

if __name__ == "__main__":
    main()
