"""Writers that leave a file unfinished for a while, each kind as some program does it."""

import hashlib
import io
import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from tests.conftest import age, picture

IN_PLACE, MOVED_IN, REPLACED = "in place", "moved in", "replaced"
CONTINUED = "continued after its error"
OLD_SECONDS = 1000.0  # age of a file that nobody waits for, though a program has it open


class Record:
    """The contents that were written.

    Attributes:
        finished: the kind of writer of each finished content, by its SHA-256.
        halves: the same for the unfinished contents that a file had in between.
        gone: files that had gone when their writer came back to them, by its kind.
    """

    def __init__(self) -> None:
        self.finished: dict[str, str] = {}
        self.halves: dict[str, str] = {}
        self.gone: Counter[str] = Counter()


class Writers:
    """Threads that write files into a watched folder until they are stopped."""

    _seeds = itertools.count(1)

    def __init__(self, folder: Path, inbox: Path, chance: random.Random) -> None:
        """
        Args:
            folder: for files outside of the watched folder, on the same file system.
        """
        self._inbox, self.record = inbox, Record()
        self._scratch, self._stop = folder / "outside", threading.Event()
        self._scratch.mkdir()
        self._chances = (random.Random(chance.random()) for _ in itertools.count())
        self._threads: list[threading.Thread] = []

    def start(self, each: int) -> None:
        """
        Args:
            each: number of threads of each kind.
        """
        for kind, write in KINDS.items():
            for _ in range(each):
                self._threads.append(threading.Thread(target=self._work, args=(kind, write, next(self._chances))))
                self._threads[-1].start()

    def stop(self) -> None:
        """Let the threads finish their files."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, kind: str, write: "Write", chance: random.Random) -> None:
        while not self._stop.is_set():
            seed = next(self._seeds)
            suffix = ".tif" if kind == PAGES else chance.choice((".png", ".jpg"))
            path = self._inbox / f"{kind.replace(' ', '-')}-{seed}{suffix}"
            states = contents(self._scratch, seed, suffix, chance)
            *halves, finished = states if kind == PAGES else pieces(states[-1], chance)
            for half in halves:
                self.record.halves[digest(half)] = kind
            try:
                for half in write(path, self._scratch, [*halves, finished], chance):
                    self.record.halves[digest(half)] = kind
            except FileNotFoundError:
                self.record.gone[kind] += 1
                continue
            self.record.finished[digest(finished)] = kind


def digest(content: bytes) -> str:
    """The SHA-256 of a content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def contents(folder: Path, seed: int, suffix: str, chance: random.Random) -> list[bytes]:
    """A picture that nobody else has; of a TIFF, the file with one page, with two pages and with three."""
    path = picture(folder / f"{seed}{suffix}", chance.choice((40, 210)), (300, 260), 1_000_000 + seed)
    found = [path.read_bytes()]
    if suffix == ".tif":
        with Image.open(io.BytesIO(found[0])) as page:
            for further in (1, 2):
                page.save(path, save_all=True, append_images=[page] * further)
                found.append(path.read_bytes())
    path.unlink()
    return found


def pieces(content: bytes, chance: random.Random) -> list[bytes]:
    """What a file holds after each of three steps of writing it from its start."""
    ends = sorted(int(len(content) * chance.uniform(0.2, 0.8)) for _ in range(2))
    return [content[:end] for end in ends] + [content]


# Each writer gets the path, a folder outside, and what the file is to hold step by step; it yields the further contents
# that the file had in between. It raises FileNotFoundError if the file was taken from it.
Write = Callable[[Path, Path, list[bytes], random.Random], Iterator[bytes]]


def resumed(path: Path, _: Path, steps: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """An upload that is interrupted and resumed: each piece is appended by an opening of its own."""
    path.write_bytes(steps[0])
    for before, after in itertools.pairwise(steps):
        time.sleep(chance.uniform(0.1, 4))
        with path.open("r+b") as file:  # unlike "ab", it does not create a file
            file.seek(len(before))
            file.write(after[len(before) :])
    yield from ()


def paged(path: Path, _: Path, steps: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """A scanner that appends page after page to a TIFF; each state of the file is a complete TIFF."""
    path.write_bytes(steps[0])
    for step in steps[1:]:
        time.sleep(chance.uniform(0.1, 1.2))
        with path.open("r+b") as file:
            file.write(step)
    yield from ()


def placeholder(path: Path, _: Path, steps: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """A browser: an empty file with the final name, which the finished download replaces."""
    path.touch()
    yield b""
    part = path.with_suffix(path.suffix + ".part")
    for step in steps:
        time.sleep(chance.uniform(0.1, 2))
        part.write_bytes(step)
    part.rename(path)


def uploaded(path: Path, _: Path, steps: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """A slow upload: one open file, written in bursts."""
    with path.open("wb", buffering=0) as file:
        for before, after in itertools.pairwise([b"", *steps]):
            file.write(after[len(before) :])
            time.sleep(chance.uniform(0.1, 4))
    yield from ()


def preallocated(path: Path, _: Path, steps: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """A file that has its final size from the start, and is filled by several openings."""
    size = len(steps[-1])
    path.write_bytes(bytes(size))
    yield bytes(size)
    for step in steps:
        time.sleep(chance.uniform(0.1, 4))
        with path.open("r+b") as file:
            file.write(step)
        if len(step) < size:
            yield step.ljust(size, b"\0")


def linked(path: Path, _: Path, steps: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """A temporary file that gets its final name by a hard link."""
    part = path.with_name(f".{path.name}.tmp")
    for step in steps:
        part.write_bytes(step)
        time.sleep(chance.uniform(0.05, 0.5))
    os.link(part, path)
    if chance.random() < 0.5:
        path.read_bytes()  # by a thumbnailer
    part.unlink()
    yield from ()


def renamed(path: Path, outside: Path, steps: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """A file that is written outside of the watched folder and moved in."""
    part = outside / path.name
    for step in steps:
        part.write_bytes(step)
        time.sleep(chance.uniform(0.05, 0.5))
    part.rename(path)
    yield from ()


def continued(path: Path, _: Path, steps: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """An upload that pauses for so long that the half file gets its error and is sorted, and that then goes on."""
    half, *_, finished = steps
    with path.open("wb", buffering=0) as file:
        file.write(half)
        age(path, OLD_SECONDS)
        deadline = time.monotonic() + chance.uniform(3, 30)
        while path.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        file.write(finished[len(half) :])
    yield from ()


PAGES = "page by page"
KINDS: dict[str, Write] = {
    "several openings": resumed,
    PAGES: paged,
    "placeholder": placeholder,
    "slow upload": uploaded,
    "preallocated": preallocated,
    "hard link": linked,
    "renamed": renamed,
    CONTINUED: continued,
}
