"""`<name>_results.png`: the picture, what the network saw of it, and the verdict."""

import os
import stat
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from edge import image
from edge.errors import ImageError, SinkError, printable
from edge.image import FIGURE_SUFFIX, Pixels
from edge.verdict import Verdict, percentage

if TYPE_CHECKING:
    from PIL import ImageFont

SOFTWARE = "edge-detect"  # the PNG keyword Software marks a figure as ours
_OURS = b"tEXtSoftware\0" + SOFTWARE.encode("ascii")

PANEL = 360
MARGIN = 24
HEADER = 34
FOOTER = 108
INK, MUTED, PAPER = "#1f2933", "#66727f", "#ffffff"
COLOURS = {True: "#1b7f4d", False: "#c2410c"}  # REAL, FAKE; both readable on white


def is_figure(path: str) -> bool:
    """Whether a file is a figure that we wrote: then it is no input of ours."""
    return path.endswith(FIGURE_SUFFIX) and _OURS in _beginning(path)


def write(verdict: Verdict, seen: Pixels) -> str:
    """Draw the figure beside its image, whole or not at all, and return its path.

    A file of the user's is never overwritten: only a figure of ours, of the
    same image, is replaced. Where `a.jpg` and `a.png` share a name, the second
    gets `a.png_results.png`.

    Args:
        seen: what the network saw, uint8, shape (height, width, 3).

    Raises:
        ImageError: the image has become unreadable since it was classified.
        SinkError: the figure cannot be written, or both names belong to other files.
    """
    drawn = _drawn(verdict, image.upright(verdict.path, PANEL), seen)
    name = os.path.basename(verdict.path)
    free = [path for path in _candidates(verdict.path) if not os.path.lexists(path) or _source_of(path) == _text(name)]
    if not free:
        raise SinkError(f"{printable(_candidates(verdict.path)[0])}: not written, another file has that name")
    from PIL import PngImagePlugin  # here, like what draws below: `is_figure` is asked of every file, and needs neither

    about = PngImagePlugin.PngInfo()
    about.add_text("Software", SOFTWARE)
    about.add_text("Source", _text(name))
    about.add_text("Description", f"{verdict.label} {verdict.confidence:.4f}")
    try:
        partial = os.path.join(os.path.dirname(free[0]), f".{os.getpid()}.part")
        try:
            with open(partial, "xb") as file:
                drawn.save(file, "PNG", pnginfo=about)
            os.replace(partial, free[0])
        except FileExistsError:
            raise  # it is not ours
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as error:
        raise SinkError(f"{printable(free[0])}: {(error.strerror or str(error)).lower()}") from error
    return free[0]


def _beginning(path: str) -> bytes:
    """Of a regular file; what comes before the pixels is enough to know a figure by, whatever else may lie there."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(4096) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return b""


def _candidates(path: str) -> tuple[str, str]:
    return os.path.splitext(path)[0] + FIGURE_SUFFIX, path + FIGURE_SUFFIX


def _source_of(path: str) -> str | None:
    """The file name that a figure of ours was drawn from; None for any other file."""
    try:
        with Image.open(BytesIO(image.read(path)), formats=("PNG",)) as figure:
            about = figure.info  # of the chunks before the pixels, which are not decoded
    except (ImageError, *image.DECODER_ERRORS):
        return None
    return str(about.get("Source", "")) if about.get("Software") == SOFTWARE else None


def _text(name: str) -> str:
    """A file name as PNG text can hold it: Latin-1, the rest escaped."""
    return printable(name).encode("latin-1", "backslashreplace").decode("latin-1")


def _drawn(verdict: Verdict, original: Image.Image, seen: Pixels) -> Image.Image:
    from PIL import ImageDraw

    network = Image.fromarray(seen)
    scale = PANEL / max(network.size)
    network = network.resize((round(network.width * scale), round(network.height * scale)), Image.Resampling.NEAREST)
    if max(original.size) < PANEL:
        scale = PANEL / max(original.size)
        original = original.resize((round(original.width * scale), round(original.height * scale)), image.RESAMPLING)

    width = 3 * MARGIN + 2 * PANEL
    sheet = Image.new("RGB", (width, HEADER + PANEL + FOOTER), PAPER)
    draw = ImageDraw.Draw(sheet)
    small, large = font(15), font(30)
    height, columns = seen.shape[:2]
    panels = (
        (original, printable(os.path.basename(verdict.path))),
        (network, f"what the network saw: {columns} x {height} pixels"),
    )
    for left, (panel, title) in zip((MARGIN, 2 * MARGIN + PANEL), panels, strict=True):
        draw.text((left, HEADER - 24), _shortened(title, small, PANEL), MUTED, small)
        sheet.paste(panel, (left + (PANEL - panel.width) // 2, HEADER + (PANEL - panel.height) // 2))

    top = HEADER + PANEL + 18
    colour = COLOURS[verdict.is_real]
    draw.text((MARGIN, top), drawable(verdict.label), colour, large)
    certainty = f"{percentage(verdict.confidence)} confident"
    draw.text((width - MARGIN - small.getlength(certainty), top + 12), certainty, INK, small)
    bar = (MARGIN, top + 46, width - MARGIN, top + 60)
    draw.rectangle(bar, "#e4e7eb")
    draw.rectangle((bar[0], bar[1], bar[0] + (bar[2] - bar[0]) * verdict.confidence, bar[3]), colour)
    if verdict.outside:
        draw.text((MARGIN, top + 68), _shortened(f"outside: {verdict.outside}", small, bar[2] - bar[0]), INK, small)
    return sheet


def font(size: int) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    """The letters that come with Pillow, so many pixels high where it can."""
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1, as in Debian 12: one size only
        return ImageFont.load_default()


def drawable(text: str) -> str:
    """What the built-in letters of old Pillows can draw: Latin-1."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _shortened(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: float) -> str:
    text = drawable(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
