"""Pictures of events, in a folder that never grows beyond what it may take."""

import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw

from edge.errors import SinkError, printable
from edge.figure import COLOURS, font
from edge.image import Pixels
from edge.verdict import Verdict, percentage

QUALITY = 90
TIDY_SECONDS = 60.0
# Time (UTC, to the millisecond), the part of the event, its label: what no file of the user's is called by chance.
_OURS = re.compile(r"\d{8}T\d{6}\.\d{3}Z_(began|peak)_[\w-]+_[0-9a-f]{4}\.jpg")
_UNFINISHED = re.compile(r"\.\d{8}T\d{6}\.\d{3}Z_(began|peak)_[\w-]+_[0-9a-f]{4}\.jpg\.part")


@dataclass(frozen=True)
class Limits:
    """How much is kept; the oldest go first.

    Attributes:
        bytes: of all snapshots together.
        seconds: the age of the oldest.
        free_bytes: that the disk is to have left.
    """

    bytes: int = 1_000_000_000
    seconds: float = 30 * 86_400
    free_bytes: int = 500_000_000


class Snapshots:
    """A folder of snapshots; other files in it are left alone."""

    def __init__(self, folder: Path, limits: Limits, *, is_plain: bool = False) -> None:
        """
        Args:
            is_plain: write the frames as they are, without the verdict below.

        Raises:
            SinkError: the folder cannot be made or written to.
        """
        self._folder, self._limits, self._is_plain = folder, limits, is_plain
        self._tidied_at = -TIDY_SECONDS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in os.listdir(folder):
                if _UNFINISHED.fullmatch(name):  # of a run that was killed
                    os.unlink(folder / name)
        except OSError as error:
            raise self._error(error) from error

    def write(self, pixels: Pixels, verdict: Verdict, part: str) -> str:
        """Keep a frame, whole or not at all, and return its path.

        Args:
            pixels: RGB, uint8, shape (height, width, 3).
            part: "began" or "peak".

        Raises:
            SinkError: it cannot be written, or only by taking the last free space of the disk.
        """
        picture = Image.fromarray(pixels)
        if not self._is_plain:
            picture = annotated(picture, verdict)
        data = BytesIO()
        picture.save(data, "JPEG", quality=QUALITY)
        self.tidy(len(data.getbuffer()))
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        label = re.sub(r"[^\w-]", "-", verdict.label, flags=re.ASCII)
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
        return str(path)

    def tidy_now_and_then(self) -> None:
        """`tidy`, if it was not done within the last minute.

        Raises:
            SinkError: see `tidy`.
        """
        if time.monotonic() - self._tidied_at >= TIDY_SECONDS:
            self._tidied_at = time.monotonic()
            self.tidy()

    def tidy(self, more_bytes: int = 0) -> None:
        """Remove the oldest snapshots until what is left keeps the limits.

        Args:
            more_bytes: that are about to be written.

        Raises:
            SinkError: the folder cannot be read or changed, or has other contents that leave too little space.
        """
        try:
            ours = self._listed()
            total, oldest = sum(size for _, size, _ in ours) + more_bytes, time.time() - self._limits.seconds
            floor = self._limits.free_bytes + more_bytes
            for mtime, size, path in ours:
                if mtime >= oldest and total <= self._limits.bytes and self._free_bytes() >= floor:
                    return
                with suppress(FileNotFoundError):
                    path.unlink()
                total -= size
            if self._free_bytes() < floor:
                raise SinkError(
                    f"{printable(self._folder)}: no snapshots, the disk has less than"
                    f" {self._limits.free_bytes // 1_000_000} MB left"
                )
        except OSError as error:
            raise self._error(error) from error

    def _listed(self) -> list[tuple[float, int, Path]]:
        """Our snapshots as (time, bytes, path), the oldest first."""
        found = []
        for entry in os.scandir(self._folder):
            if _OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime, status.st_size, Path(entry.path)))
        return sorted(found)

    def _free_bytes(self) -> int:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize

    def _error(self, error: OSError) -> SinkError:
        return SinkError(f"{printable(self._folder)}: cannot keep snapshots: {(error.strerror or str(error)).lower()}")


def annotated(picture: Image.Image, verdict: Verdict) -> Image.Image:
    """The picture with the verdict and the time in a band below."""
    band = max(24, picture.height // 16)
    sheet = Image.new("RGB", (picture.width, picture.height + band), "#111827")
    sheet.paste(picture)
    draw, letters = ImageDraw.Draw(sheet), font(band // 2)
    colour = COLOURS[verdict.is_real]
    draw.rectangle((0, picture.height, round(picture.width * verdict.confidence), picture.height + 3), colour)
    moment = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    draw.text(
        (band // 4, picture.height + band // 4),
        f"{verdict.label} {percentage(verdict.confidence)}  {moment}",
        "#ffffff",
        letters,
    )
    return sheet
