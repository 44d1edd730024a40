"""Write `tests/data/photo.heic`, a photo as an iPhone leaves it: python -m tests.data.make_heic

It needs the encoder of pillow-heif. An iPhone stores what its sensor sees, as a grid of tiles, and how to turn it
twice: for HEIC (`irot`), which counts, and in the EXIF data, which does not.
"""

from pathlib import Path

import pillow_heif
from PIL import ExifTags, Image

FOLDER = Path(__file__).parent
ORIGINAL = FOLDER / "cifake" / "test" / "REAL" / "0000 (10).jpg"
PHOTO = FOLDER / "photo.heic"
SIZE = (480, 640)  # upright
TILE = 256
ON_ITS_SIDE = 6  # EXIF: to be turned by a quarter, clockwise


def upright() -> Image.Image:
    """The picture as it is to be shown."""
    with Image.open(ORIGINAL) as original:
        return original.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC)


def main() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = ON_ITS_SIDE
    stored = pillow_heif.from_pillow(upright().transpose(Image.Transpose.ROTATE_90))
    stored.save(PHOTO, quality=40, tile_size=TILE, exif=exif.tobytes(), enc_params={"preset": "veryslow"})


if __name__ == "__main__":
    main()
