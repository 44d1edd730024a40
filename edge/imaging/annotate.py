"""The figure `<name>_results.png`: the picture, the network's input or a map of its views, and the verdict."""

import os
import stat
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge.errors import ImageError, SinkError, printable, reason_of
from edge.files import whole_file
from edge.imaging import preprocess, reasons
from edge.imaging.preprocess import FIGURE_SUFFIX, Pixels
from edge.verdict import LABELS, UNSURE, Place, Verdict, percentage

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

SOFTWARE = "edge-detect"  # the PNG keyword Software with this value marks a figure of ours
_OUR_CHUNK = b"tEXtSoftware\0" + SOFTWARE.encode("ascii")

PANEL = 360
MARGIN = 24
HEADER = 34
FOOTER = 108
LEGEND = 34
INK, MUTED, PAPER = "#1f2933", "#66727f", "#ffffff"
COLOURS = {True: "#1b7f4d", False: "#c2410c"}  # of REAL and FAKE; both readable on white
UNSURE_COLOUR = "#7b3f8c"
LONGEST = 900  # side of a photo, in pixels
NARROWEST = 480  # least width of a sheet, for the text
# Of parts with evidence for REAL and FAKE: blue and vermilion, distinct also with colour vision deficiency.
EVIDENCE_COLOURS = {True: (0, 114, 178), False: (213, 94, 0)}
STRONGEST = 0.6  # greatest opacity of a colour over the photo


def is_figure(path: str) -> bool:
    """Whether a file is a figure that we drew, which is never classified."""
    return path.endswith(FIGURE_SUFFIX) and _OUR_CHUNK in _beginning(path)


def colour_of(verdict: Verdict) -> str:
    """The colour of a verdict's label, readable on white."""
    return UNSURE_COLOUR if verdict.label == UNSURE else COLOURS[verdict.is_real]


def write(verdict: Verdict, seen: Pixels | None) -> str:
    """Draw the figure beside its image and return its path; it is written completely or not at all.

    Only a figure of the same image is replaced, never another file. Where
    `a.jpg` and `a.png` share a name, the second one gets `a.png_results.png`.

    Args:
        verdict: with `explain`, if `seen` is None.
        seen: the network's input, uint8, shape (height, width, 3), if that was the whole picture. None if there were
            several views: a map of their logits is drawn.

    Raises:
        ImageError: the image has become unreadable since it was classified.
        SinkError: the figure cannot be written, or other files have both names.
    """
    if seen is None:
        drawn = _mapped(verdict, preprocess.upright(verdict.path, LONGEST))
    else:
        drawn = _drawn(verdict, preprocess.upright(verdict.path, PANEL), seen)
    name = os.path.basename(verdict.path)
    free = [path for path in _candidates(verdict.path) if not os.path.lexists(path) or _source_of(path) == _text(name)]
    if not free:
        raise SinkError(f"{printable(_candidates(verdict.path)[0])}: not written: another file has that name")
    from PIL import PngImagePlugin  # here, like ImageDraw below: `is_figure` runs for every file and needs neither

    about = PngImagePlugin.PngInfo()
    about.add_text("Software", SOFTWARE)
    about.add_text("Source", _text(name))
    about.add_text("Description", f"{verdict.label} {verdict.confidence:.4f}")
    try:
        # Not named after the figure, whose name may be as long as a name can be.
        with whole_file(Path(free[0]), partial=f".{os.getpid()}.part") as file:
            drawn.save(file, "PNG", pnginfo=about)
    except OSError as error:
        raise SinkError(f"{printable(free[0])}: {reason_of(error)}") from error
    return free[0]


def _beginning(path: str) -> bytes:
    """The first 4096 bytes of a regular file, where a figure has its PNG texts; empty for anything else."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(4096) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return b""


def _candidates(path: str) -> tuple[str, str]:
    return os.path.splitext(path)[0] + FIGURE_SUFFIX, path + FIGURE_SUFFIX


def _source_of(path: str) -> str | None:
    """The name of the image that a figure of ours shows; None for any other file."""
    try:
        with Image.open(BytesIO(preprocess.read(path)), formats=("PNG",)) as figure:
            about = figure.info  # from the chunks before the pixels; nothing is decoded
    except (ImageError, *reasons.DECODER_ERRORS):
        return None
    return str(about.get("Source", "")) if about.get("Software") == SOFTWARE else None


def _text(name: str) -> str:
    """A file name as PNG text: Latin-1, other characters escaped."""
    return printable(name).encode("latin-1", "backslashreplace").decode("latin-1")


def _drawn(verdict: Verdict, original: Image.Image, seen: Pixels) -> Image.Image:
    from PIL import ImageDraw

    network = Image.fromarray(seen)
    scale = PANEL / max(network.size)
    network = network.resize((round(network.width * scale), round(network.height * scale)), Image.Resampling.NEAREST)
    original = _enlarged(original)
    width = 3 * MARGIN + 2 * PANEL
    sheet = Image.new("RGB", (width, HEADER + PANEL + FOOTER), PAPER)
    draw = ImageDraw.Draw(sheet)
    small = font(15)
    height, columns = seen.shape[:2]
    panels = (
        (original, printable(os.path.basename(verdict.path))),
        (network, f"the network's input: {columns} x {height} pixels"),
    )
    for left, (panel, title) in zip((MARGIN, 2 * MARGIN + PANEL), panels, strict=True):
        draw.text((left, HEADER - 24), _shortened(title, small, PANEL), MUTED, small)
        sheet.paste(panel, (left + (PANEL - panel.width) // 2, HEADER + (PANEL - panel.height) // 2))

    _draw_verdict(draw, verdict, colour_of(verdict), HEADER + PANEL + 18, width)
    return sheet


def _enlarged(picture: Image.Image) -> Image.Image:
    scale = PANEL / max(picture.size)
    if scale <= 1:
        return picture
    return picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), preprocess.RESAMPLING
    )


def _draw_verdict(
    draw: "ImageDraw.ImageDraw", verdict: Verdict, colour: str | tuple[int, int, int], top: int, width: int
) -> None:
    """Draw the verdict below the pictures.

    Args:
        top: where it begins, pixels.
        width: of the sheet, pixels.
    """
    small, large = font(15), font(30)
    draw.text((MARGIN, top), drawable(verdict.label), colour, large)
    certainty = f"{percentage(verdict.confidence)} confident"
    if verdict.label == UNSURE:
        certainty = f"{percentage(1 - verdict.score)} FAKE, {percentage(verdict.score)} REAL"
    draw.text((width - MARGIN - small.getlength(certainty), top + 12), certainty, INK, small)
    bar = (MARGIN, top + 46, width - MARGIN, top + 60)
    draw.rectangle(bar, "#e4e7eb")
    draw.rectangle((bar[0], bar[1], bar[0] + (bar[2] - bar[0]) * verdict.confidence, bar[3]), colour)
    if verdict.outside:
        draw.text((MARGIN, top + 68), _shortened(f"outside: {verdict.outside}", small, bar[2] - bar[0]), INK, small)


def _mapped(verdict: Verdict, original: Image.Image) -> Image.Image:
    """The figure of a photo with the logits of its views laid over it."""
    from PIL import ImageDraw

    picture = _enlarged(original)
    width, small = max(picture.width, NARROWEST) + 2 * MARGIN, font(15)
    sheet = Image.new("RGB", (width, HEADER + picture.height + LEGEND + FOOTER), PAPER)
    draw = ImageDraw.Draw(sheet)
    title = _shortened(printable(os.path.basename(verdict.path)), small, width - 2 * MARGIN)
    draw.text((MARGIN, HEADER - 24), title, MUTED, small)
    left = (width - picture.width) // 2
    sheet.paste(Image.fromarray(_tinted(np.asarray(picture), verdict)), (left, HEADER))
    for view in verdict.explain or ():
        box = _box(view.place, picture.size)
        draw.rectangle(
            (left + box[0], HEADER + box[1], left + box[2] - 1, HEADER + box[3] - 1),
            outline=EVIDENCE_COLOURS[view.logit > 0] if view.logit else MUTED,
        )
    _draw_legend(draw, HEADER + picture.height + 14, width)
    colour = colour_of(verdict) if verdict.label == UNSURE else EVIDENCE_COLOURS[verdict.is_real]
    _draw_verdict(draw, verdict, colour, HEADER + picture.height + LEGEND + 18, width)
    return sheet


def _tinted(picture: Pixels, verdict: Verdict) -> Pixels:
    """The picture in grey, coloured by the mean logit of the views that cover each pixel; the rest stays as it is."""
    height, width = picture.shape[:2]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for view in verdict.explain or ():
        left, top, right, bottom = _box(view.place, (width, height))
        total[top:bottom, left:right] += view.logit
        count[top:bottom, left:right] += 1
    evidence = np.tanh(total / np.maximum(count, 1) / 2)[..., None]  # P(REAL) - P(FAKE) of these views
    grey = np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))
    return _over(np.where(count[..., None] > 0, grey, picture), evidence)


def _over(picture: npt.NDArray[Any], evidence: npt.NDArray[Any]) -> Pixels:
    """A picture with the colours of the evidence laid over it.

    Args:
        picture: shape (height, width, 3).
        evidence: from -1 (FAKE) to 1 (REAL), shape (height, width, 1).
    """
    opacity = STRONGEST * np.abs(evidence)
    tint = np.where(evidence > 0, *(np.array(EVIDENCE_COLOURS[is_real]) for is_real in (True, False)))
    mixed: Pixels = np.rint(picture * (1 - opacity) + tint * opacity).astype(np.uint8)
    return mixed


def _box(place: Place, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a view in a picture of this (width, height), in pixels; at least 1 x 1."""
    width, height = size
    left, top = (min(round(start * length), length - 1) for start, length in ((place.left, width), (place.top, height)))
    right, bottom = round((place.left + place.width) * width), round((place.top + place.height) * height)
    return left, top, min(max(right, left + 1), width), min(max(bottom, top + 1), height)


def _draw_legend(draw: "ImageDraw.ImageDraw", top: int, width: int) -> None:
    small, rest = font(15), "no colour: not looked at"
    for left, is_real in ((MARGIN, False), (MARGIN + 150, True)):
        draw.rectangle((left, top + 2, left + 14, top + 16), EVIDENCE_COLOURS[is_real])
        draw.text((left + 20, top), f"looks {LABELS[is_real]}", INK, small)
    draw.text((width - MARGIN - small.getlength(rest), top), rest, MUTED, small)


def font(size: int) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    """Pillow's built-in font of a height in pixels; Pillow before 10.1 has a single size."""
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1, as in Debian 12
        return ImageFont.load_default()


def drawable(text: str) -> str:
    """Text that every Pillow's built-in font can draw: Latin-1, other characters as question marks."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _shortened(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: float) -> str:
    text = drawable(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
