"""Write pictures of unusual shape or format: python -m tests.data.make_odd FOLDER

Tests call the functions, each of which writes one file into a folder and returns its path; `write_all` calls them all.
None of the files is in the repository: some are large, and they come out the same each time.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageDraw

PHOTO = Path(__file__).parent / "photos" / "REAL" / "pavilion-lake.jpg"
QUARTER_TURN = 6  # EXIF orientation: turn by 90 degrees clockwise to see it upright


def scene(size: tuple[int, int]) -> Image.Image:
    """A photograph, stretched to `size`."""
    with Image.open(PHOTO) as photo:
        return photo.convert("RGB").resize(size, Image.Resampling.BILINEAR)


def moving(size: tuple[int, int], frames: int) -> list[Image.Image]:
    """Frames of a camera that pans over a photograph."""
    width, height = size
    wide = scene((width + 40 * frames, height))
    return [wide.crop((40 * i, 0, 40 * i + width, height)) for i in range(frames)]


def panorama(folder: Path) -> Path:
    """20000 x 300."""
    path = folder / "panorama.jpg"
    scene((20000, 300)).save(path, quality=85)
    return path


def strip(folder: Path) -> Path:
    """201 x 5000: long, and its width is odd."""
    path = folder / "strip.jpg"
    scene((201, 5000)).save(path, quality=85)
    return path


def one_colour(folder: Path) -> Path:
    """640 x 480, all pixels equal."""
    path = folder / "one-colour.png"
    Image.new("RGB", (640, 480), (96, 120, 144)).save(path)
    return path


def grey_16_bit(folder: Path) -> Path:
    """A PNG of 640 x 480 with 16 bits a pixel, of which the lower eight count too."""
    path = folder / "grey-16-bit.png"
    ramp = np.linspace(0, 65535, 640 * 480).reshape(480, 640).astype(np.uint16)
    Image.fromarray(ramp).save(path)
    return path


def cmyk(folder: Path) -> Path:
    """A JPEG of 640 x 427 in the colours of a printer."""
    path = folder / "cmyk.jpg"
    scene((640, 427)).convert("CMYK").save(path, quality=90)
    return path


def grey(folder: Path) -> Path:
    """A JPEG of 640 x 427 with one channel."""
    path = folder / "grey.jpg"
    scene((640, 427)).convert("L").save(path, quality=90)
    return path


def screenshot(folder: Path) -> Path:
    """1280 x 800: windows, lines of text and buttons, in a few flat colours."""
    path = folder / "screenshot.png"
    picture = Image.new("RGB", (1280, 800), (236, 239, 244))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 1279, 31), fill=(46, 52, 64))
    draw.text((12, 10), "File   Edit   View   Help", fill=(236, 239, 244))
    for left, top, right, bottom in ((40, 64, 780, 760), (820, 64, 1240, 400), (820, 432, 1240, 760)):
        draw.rectangle((left, top, right, bottom), fill="white", outline=(129, 161, 193), width=2)
        draw.rectangle((left, top, right, top + 24), fill=(129, 161, 193))
        draw.text((left + 8, top + 7), "Untitled", fill="white")
        for line, y in enumerate(range(top + 36, bottom - 48, 18)):
            draw.text((left + 12, y), f"{line + 1:3}  The quick brown fox jumps over the lazy dog."[:60], fill="black")
        draw.rounded_rectangle((right - 92, bottom - 36, right - 12, bottom - 10), radius=6, fill=(94, 129, 172))
        draw.text((right - 60, bottom - 29), "OK", fill="white")
    picture.save(path)
    return path


def animated_gif(folder: Path) -> Path:
    """Eight frames of 320 x 240."""
    path = folder / "animated.gif"
    first, *others = moving((320, 240), 8)
    first.save(path, save_all=True, append_images=others, duration=80, loop=0)
    return path


def animated_webp(folder: Path) -> Path:
    """Eight frames of 320 x 240."""
    path = folder / "animated.webp"
    first, *others = moving((320, 240), 8)
    first.save(path, save_all=True, append_images=others, duration=80, loop=0, quality=80)
    return path


def huge(folder: Path) -> Path:
    """A JPEG of 12000 x 9000: 108 megapixels, over which Pillow warns."""
    path = folder / "huge.jpg"
    scene((12000, 9000)).save(path, quality=75)
    return path


def transparent(folder: Path) -> Path:
    """A PNG of 640 x 427 with a photograph in it of which nothing is to be seen."""
    path = folder / "transparent.png"
    picture = scene((640, 427))
    picture.putalpha(0)
    picture.save(path)
    return path


def on_its_side(folder: Path) -> Path:
    """A progressive JPEG stored as 800 x 600, to be shown as 600 x 800."""
    path = folder / "on-its-side.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = QUARTER_TURN
    upright = scene((600, 800))
    upright.transpose(Image.Transpose.ROTATE_90).save(path, quality=85, progressive=True, exif=exif)
    return path


WRITERS: tuple[Callable[[Path], Path], ...] = (
    panorama,
    strip,
    one_colour,
    grey_16_bit,
    cmyk,
    grey,
    screenshot,
    animated_gif,
    animated_webp,
    huge,
    transparent,
    on_its_side,
)


def write_all(folder: Path) -> list[Path]:
    """Write every picture into `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write(folder) for write in WRITERS]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write pictures of unusual shape or format.")
    parser.add_argument("folder", type=Path, help="Folder to write to; made where it is missing.")
    for path in write_all(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
