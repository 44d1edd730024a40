"""Pictures of events, in a folder of limited size."""

import math
import os
import re
import secrets
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from PIL import Image

from edge.errors import SinkError, printable, reason_of
from edge.files import free_bytes, inode, whole_file
from edge.imaging.annotate import colour_of, drawable, font
from edge.imaging.preprocess import Pixels
from edge.verdict import Verdict, in_words, probability

JPEG_QUALITY = 90
TIDY_SECONDS = 60.0  # interval at which old snapshots are deleted
LIST_SECONDS = 3600.0  # interval at which the folder is listed again, to find what other programs changed in it
EARLIEST_TIME = datetime(2024, 1, 1, tzinfo=UTC).timestamp()  # before it, a clock is not set: it begins in 1970
# Time (UTC, to the millisecond), part of the event, label: no file of a user has such a name by chance.
_SNAPSHOT_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z_(began|peak)_[\w-]+_[0-9a-f]{4}\.jpg")
_PARTIAL_NAME = re.compile(r"\.\d{8}T\d{6}\.\d{3}Z_(began|peak)_[\w-]+_[0-9a-f]{4}\.jpg\.part")


@dataclass(frozen=True)
class SnapshotLimits:
    """Limits above which the oldest snapshots are deleted.

    Attributes:
        bytes: size of all snapshots together.
        seconds: age of a snapshot.
        free_bytes: least free space on the disk.
    """

    bytes: int = 1_000_000_000
    seconds: float = 30 * 86_400
    free_bytes: int = 500_000_000


@dataclass(frozen=True)
class _Kept:
    """A snapshot in the folder.

    Attributes:
        bytes: its size.
        since: when it was written, by time.monotonic(), which does not change when the clock is set; None if it is
            unknown, because the clock was not set then, or is not set now.
    """

    name: str
    bytes: int
    since: float | None


class Snapshots:
    """A folder of snapshots; other files in it are left alone.

    The folder may be missing or replaced at any time: it may be on a disk that is mounted later.
    """

    def __init__(self, folder: Path, limits: SnapshotLimits, *, is_plain: bool = False) -> None:
        """
        Args:
            folder: where the snapshots are; created when needed.
            limits: when old snapshots are deleted.
            is_plain: write the frames without the verdict below them.
        """
        self._folder, self._limits, self._is_plain = folder, limits, is_plain
        self._tidied_at = self._listed_at = -math.inf
        self._inode: tuple[int, int] | None = None  # of the folder that was listed
        self._kept: deque[_Kept] = deque()  # the oldest first

    def prepare(self) -> None:
        """Create the folder if it is missing, and list it if its contents are unknown or were listed long ago.

        Raises:
            SinkError: the folder cannot be created or written to.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            folder, now = inode(self._folder), time.monotonic()
            if not os.access(self._folder, os.W_OK | os.X_OK):
                raise self._error("no permission to write to this folder")
            if folder != self._inode or now - self._listed_at >= LIST_SECONDS:
                self._kept = self._listed(is_another=folder != self._inode)
                self._inode, self._listed_at = folder, now
        except OSError as error:
            raise self._error(reason_of(error)) from error

    def write(self, pixels: Pixels, verdict: Verdict, part: str, taken_at: float) -> str:
        """Write a frame as a JPEG file, completely or not at all, and return its path.

        Args:
            pixels: RGB, uint8, shape (height, width, 3).
            verdict: drawn below the frame, unless snapshots are plain; its label is part of the file's name.
            part: part of the event that the frame shows: "began" or "peak".
            taken_at: when the frame was taken, seconds since the epoch.

        Raises:
            SinkError: the frame cannot be encoded or written, or the disk would have less free space than its limit.
        """
        data = BytesIO()
        try:
            picture = Image.fromarray(pixels)
            if not self._is_plain:
                picture = annotated(picture, verdict, taken_at)
            picture.save(data, "JPEG", quality=JPEG_QUALITY)
        except (OSError, ValueError) as error:  # for example, wider than a JPEG may be
            raise self._error(reason_of(error)) from error
        self.tidy(len(data.getbuffer()))
        moment = datetime.fromtimestamp(taken_at, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        label = re.sub(r"[^\w-]", "-", verdict.label, flags=re.ASCII) or "-"
        path = self._folder / f"{moment}Z_{part}_{label}_{secrets.token_hex(2)}.jpg"
        try:
            with whole_file(path) as file:
                file.write(data.getbuffer())
        except OSError as error:
            raise self._error(reason_of(error)) from error
        self._kept.append(_Kept(path.name, len(data.getbuffer()), time.monotonic()))
        return str(path)

    def tidy_if_due(self) -> bool:
        """Call `tidy` unless it has succeeded within TIDY_SECONDS; returns whether it has succeeded now.

        Raises:
            SinkError: see `tidy`.
        """
        if time.monotonic() - self._tidied_at < TIDY_SECONDS:
            return False
        self.tidy()
        self._tidied_at = time.monotonic()
        return True

    def tidy(self, more_bytes: int = 0) -> None:
        """Delete the oldest snapshots until the limits are kept.

        Args:
            more_bytes: size of the snapshot that is about to be written.

        Raises:
            SinkError: the folder cannot be created, read or changed, or the disk has too little free space without any
                snapshot.
        """
        self.prepare()
        oldest, floor = time.monotonic() - self._limits.seconds, self._limits.free_bytes + more_bytes
        try:
            for kept in [kept for kept in self._kept if kept.since is not None and kept.since < oldest]:
                self._remove(kept)
            total = sum(kept.bytes for kept in self._kept) + more_bytes
            while self._kept and (total > self._limits.bytes or free_bytes(self._folder) < floor):
                total -= self._kept[0].bytes
                self._remove(self._kept[0])
            if free_bytes(self._folder) < floor:
                raise self._error(f"the disk has less than {self._limits.free_bytes // 1_000_000} MB left (--free-mb)")
        except OSError as error:
            raise self._error(reason_of(error)) from error

    def _remove(self, kept: _Kept) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._folder / kept.name)
        self._kept.remove(kept)

    def _listed(self, *, is_another: bool) -> deque[_Kept]:
        """The snapshots in the folder, the oldest first.

        Args:
            is_another: whether another folder was listed before, or none. Then partial files, which a killed run has
                left, are deleted.
        """
        known = {} if is_another else {kept.name: kept.since for kept in self._kept}
        now, ahead = time.time(), time.monotonic() - time.time()
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if is_another and _PARTIAL_NAME.fullmatch(entry.name):
                        os.unlink(entry.path)
                    elif _SNAPSHOT_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        mtime, since = status.st_mtime, known.get(entry.name)
                        if since is None and min(now, mtime) >= EARLIEST_TIME:
                            since = min(now, mtime) + ahead
                        order = (since is not None, mtime if since is None else since, entry.name)
                        found.append((order, _Kept(entry.name, status.st_size, since)))
        return deque(kept for _, kept in sorted(found, key=lambda one: one[0]))

    def _error(self, reason: str) -> SinkError:
        return SinkError(f"{printable(self._folder)}: cannot write snapshots: {reason}")


def annotated(picture: Image.Image, verdict: Verdict, taken_at: float) -> Image.Image:
    """The picture with a band below it that shows the verdict and the local time.

    Args:
        taken_at: seconds since the epoch.
    """
    from PIL import ImageDraw  # here: it loads font libraries, which runs without snapshots do not need

    band = max(24, picture.height // 16)
    sheet = Image.new("RGB", (picture.width, picture.height + band), "#111827")
    sheet.paste(picture)
    draw, letters = ImageDraw.Draw(sheet), font(band // 2)
    colour = colour_of(verdict)
    draw.rectangle((0, picture.height, round(picture.width * verdict.confidence), picture.height + 3), colour)
    moment = datetime.fromtimestamp(taken_at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    said = [in_words(one) for one in verdict.provenance if not one.is_weak][:1]
    text = drawable("  ".join([f"{printable(verdict.label)} {probability(verdict)}", moment, *said]))
    draw.text((band // 4, picture.height + band // 4), text, "#ffffff", letters)
    return sheet
