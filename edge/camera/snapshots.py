"""Pictures of events, in a folder that never grows beyond what it may take."""

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

from edge.errors import SinkError, printable
from edge.imaging.annotate import colour_of, drawable, font
from edge.imaging.preprocess import Pixels
from edge.verdict import Verdict, probability

QUALITY = 90
TIDY_SECONDS = 60.0
LISTED_SECONDS = 3600.0  # after these we look again what others have removed or put there
CLOCK_WAS_SET = datetime(2024, 1, 1, tzinfo=UTC).timestamp()  # a board without a battery begins in 1970
# Time (UTC, to the millisecond), the part of the event, its label: what no file of the user's is called by chance.
_OURS = re.compile(r"\d{8}T\d{6}\.\d{3}Z_(began|peak)_[\w-]+_[0-9a-f]{4}\.jpg")
_UNFINISHED = re.compile(r"\.\d{8}T\d{6}\.\d{3}Z_(began|peak)_[\w-]+_[0-9a-f]{4}\.jpg\.part")


@dataclass(frozen=True)
class SnapshotLimits:
    """How much is kept; the oldest go first.

    Attributes:
        bytes: of all snapshots together.
        seconds: the age of the oldest.
        free_bytes: that the disk is to have left.
    """

    bytes: int = 1_000_000_000
    seconds: float = 30 * 86_400
    free_bytes: int = 500_000_000


@dataclass(frozen=True)
class _Kept:
    """A snapshot in the folder.

    Attributes:
        since: when it was written, by time.monotonic(), which no setting of the clock moves; None if the clock was not
            set then, or is not now.
    """

    name: str
    bytes: int
    since: float | None


class Snapshots:
    """A folder of snapshots; other files in it are left alone.

    The folder may be missing, or be exchanged, at any time: it may be on a disk that is mounted later.
    """

    def __init__(self, folder: Path, limits: SnapshotLimits, *, is_plain: bool = False) -> None:
        """
        Args:
            is_plain: write the frames as they are, without the verdict below.
        """
        self._folder, self._limits, self._is_plain = folder, limits, is_plain
        self._tidied_at = self._listed_at = -math.inf
        self._identity: tuple[int, int] | None = None  # of the folder that was listed
        self._kept: deque[_Kept] = deque()  # the oldest first

    def prepare(self) -> None:
        """Make the folder if it is missing, and look what is in it if we do not know.

        Raises:
            SinkError: the folder cannot be made or written to.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            status, now = os.stat(self._folder), time.monotonic()
            identity = (status.st_dev, status.st_ino)
            if not os.access(self._folder, os.W_OK | os.X_OK):
                raise SinkError(f"{printable(self._folder)}: cannot keep snapshots: it cannot be written to")
            if identity != self._identity or now - self._listed_at >= LISTED_SECONDS:
                self._kept = self._listed(is_another=identity != self._identity)
                self._identity, self._listed_at = identity, now
        except OSError as error:
            raise self._error(error) from error

    def write(self, pixels: Pixels, verdict: Verdict, part: str, taken_at: float) -> str:
        """Keep a frame, whole or not at all, and return its path.

        Args:
            pixels: RGB, uint8, shape (height, width, 3).
            part: "began" or "peak".
            taken_at: when the frame was, seconds since the epoch.

        Raises:
            SinkError: it cannot be drawn or written, or only by taking the last free space of the disk.
        """
        data = BytesIO()
        try:
            picture = Image.fromarray(pixels)
            if not self._is_plain:
                picture = annotated(picture, verdict, taken_at)
            picture.save(data, "JPEG", quality=QUALITY)
        except (OSError, ValueError) as error:  # wider than a JPEG may be, say
            raise self._error(error) from error
        self.tidy(len(data.getbuffer()))
        moment = datetime.fromtimestamp(taken_at, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        label = re.sub(r"[^\w-]", "-", verdict.label, flags=re.ASCII) or "-"
        path = self._folder / f"{moment}Z_{part}_{label}_{secrets.token_hex(2)}.jpg"
        unfinished = path.with_name(f".{path.name}.part")
        try:
            with open(unfinished, "xb") as file:
                file.write(data.getbuffer())
                file.flush()
                os.fdatasync(file.fileno())
            os.rename(unfinished, path)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink()
            raise self._error(error) from error
        self._kept.append(_Kept(path.name, len(data.getbuffer()), time.monotonic()))
        return str(path)

    def tidy_now_and_then(self) -> bool:
        """`tidy`, if that has not succeeded within the last minute; returns whether it has now.

        Raises:
            SinkError: see `tidy`.
        """
        if time.monotonic() - self._tidied_at < TIDY_SECONDS:
            return False
        self.tidy()
        self._tidied_at = time.monotonic()
        return True

    def tidy(self, more_bytes: int = 0) -> None:
        """Remove the oldest snapshots until what is left keeps the limits.

        Args:
            more_bytes: that are about to be written.

        Raises:
            SinkError: the folder cannot be made, read or changed, or has other contents that leave too little space.
        """
        self.prepare()
        oldest, floor = time.monotonic() - self._limits.seconds, self._limits.free_bytes + more_bytes
        try:
            for kept in [kept for kept in self._kept if kept.since is not None and kept.since < oldest]:
                self._remove(kept)
            total = sum(kept.bytes for kept in self._kept) + more_bytes
            while self._kept and (total > self._limits.bytes or self._free_bytes() < floor):
                total -= self._kept[0].bytes
                self._remove(self._kept[0])
            if self._free_bytes() < floor:
                raise SinkError(
                    f"{printable(self._folder)}: no snapshots, the disk has less than"
                    f" {self._limits.free_bytes // 1_000_000} MB left"
                )
        except OSError as error:
            raise self._error(error) from error

    def _remove(self, kept: _Kept) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._folder / kept.name)
        self._kept.remove(kept)

    def _listed(self, *, is_another: bool) -> deque[_Kept]:
        """What is in the folder, the oldest first.

        Args:
            is_another: than was listed before. What a killed run has left there is removed then.
        """
        known = {} if is_another else {kept.name: kept.since for kept in self._kept}
        now, ahead = time.time(), time.monotonic() - time.time()
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if is_another and _UNFINISHED.fullmatch(entry.name):
                        os.unlink(entry.path)
                    elif _OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        mtime, since = status.st_mtime, known.get(entry.name)
                        if since is None and min(now, mtime) >= CLOCK_WAS_SET:
                            since = min(now, mtime) + ahead
                        order = (since is not None, mtime if since is None else since, entry.name)
                        found.append((order, _Kept(entry.name, status.st_size, since)))
        return deque(kept for _, kept in sorted(found, key=lambda one: one[0]))

    def _free_bytes(self) -> int:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize

    def _error(self, error: OSError | ValueError) -> SinkError:
        reason = getattr(error, "strerror", None) or str(error)
        return SinkError(f"{printable(self._folder)}: cannot keep snapshots: {reason.lower()}")


def annotated(picture: Image.Image, verdict: Verdict, taken_at: float) -> Image.Image:
    """The picture with the verdict and the time, in seconds since the epoch, in a band below."""
    from PIL import ImageDraw  # with it come libraries for fonts, and not all keep pictures

    band = max(24, picture.height // 16)
    sheet = Image.new("RGB", (picture.width, picture.height + band), "#111827")
    sheet.paste(picture)
    draw, letters = ImageDraw.Draw(sheet), font(band // 2)
    colour = colour_of(verdict)
    draw.rectangle((0, picture.height, round(picture.width * verdict.confidence), picture.height + 3), colour)
    moment = datetime.fromtimestamp(taken_at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    text = drawable(f"{printable(verdict.label)} {probability(verdict)}  {moment}")
    draw.text((band // 4, picture.height + band // 4), text, "#ffffff", letters)
    return sheet
