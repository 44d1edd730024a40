"""Parts of HEIC photos: the same pixels as in the whole, and no file is accepted that the whole would refuse."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from edge.errors import ImageError, UndecodableImageError
from edge.imaging import heic, heif_grid, preprocess
from edge.imaging.completeness import Items, boxes
from edge.imaging.views import Views, ViewSet, taken, taken_lazily
from tests.edge.imaging.test_views import scene

pillow_heif = pytest.importorskip("pillow_heif")

TILE = 128
SIZE = (64, 48)
VIEWS = Views((ViewSet(2, 100),), (ViewSet(4),), reduce_above=128)
MUTATIONS = 120


def photo(size: tuple[int, int], mode: str = "RGB", tile_size: int = TILE) -> bytes:
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    fast = {"preset": "ultrafast"}
    scene(*size).convert(mode).save(file, "HEIF", quality=60, tile_size=tile_size, enc_params=fast)
    return file.getvalue()


def changed(data: bytes, *properties: tuple[bytes, bytes]) -> bytes:
    """The photo with further properties of its grid, such as a rotation."""
    meta = heif_grid._read(data)
    primary = meta.items.primary
    for one in properties:
        meta.properties.append(one)
        meta.of_item[primary].append(0x8000 | len(meta.properties))
    rows, columns, size = heif_grid._grid(data, meta)
    new = heif_grid._meta_box(meta, meta.items.parts[primary], (rows, columns), size)
    return data[: meta.at] + b"free" + data[meta.at + 4 :] + new


def whole(data: bytes) -> Image.Image:
    image = heic.opened("x", data)
    image.load()
    return image


@pytest.mark.parametrize("angle", range(4))
@pytest.mark.parametrize("size", [(640, 512), (642, 518), (390, 776), (641, 517)])
def test_part_of_a_turned_photo_has_the_pixels_of_the_whole(angle: int, size: tuple[int, int]) -> None:
    upright = photo(size)
    data = changed(upright, (b"irot", bytes([angle])))
    expected = np.asarray(whole(data))
    if angle and size[0] % 2:
        assert heif_grid.part(data, (0, 0, 10, 10)) is None, "its chroma is turned about another point"
        return
    assert np.array_equal(expected, np.rot90(np.asarray(whole(upright)), angle))
    height, width, _ = expected.shape
    for box in (
        (0, 0, 1, 1),
        (width - 1, height - 1, width, height),
        (width // 3, height // 3, width // 2, height // 2),
        (0, height - 100, width, height),
        (width - 200, 130, width - 100, 140),
    ):
        found = heic.loaded_part(heic.opened("x", data), data, box)
        assert found is not None
        image, left, top = found
        right, bottom = left + image.width, top + image.height
        assert left <= box[0] < box[2] <= right <= width
        assert top <= box[1] < box[3] <= bottom <= height
        assert np.array_equal(np.asarray(image), expected[top:bottom, left:right])
        assert image.width * image.height < width * height


@pytest.mark.parametrize("angle", [0, 1, 2])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("chroma", [420, 422, 444])
def test_part_of_every_kind_of_photo_has_the_pixels_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, chroma: int, bits: int, angle: int
) -> None:
    samples, file = np.asarray(scene(642, 518)), io.BytesIO()
    mode = "RGB" if bits == 8 else "RGB;16"
    content = samples if bits == 8 else samples.astype(np.uint16) * 257
    monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", False)
    made = pillow_heif.from_bytes(mode, (642, 518), content.tobytes())
    made.save(file, quality=60, chroma=chroma, tile_size=TILE, enc_params={"preset": "ultrafast"})
    data = changed(file.getvalue(), (b"irot", bytes([angle])))
    opened = heic.opened("x", data)
    assert opened.info["bit_depth"] == bits
    expected = np.asarray(whole(data))
    height, width, _ = expected.shape
    for box in ((128, 256, 384, 258), (254, 129, 300, 250), (width - 140, height - 140, width, height)):
        found = heic.loaded_part(opened, data, box)
        assert found is not None
        image, left, top = found
        part = np.asarray(image)[box[1] - top : box[3] - top, box[0] - left : box[2] - left]
        assert np.array_equal(part, expected[box[1] : box[3], box[0] : box[2]])


def test_photo_turned_twice_is_turned_by_both() -> None:
    data = changed(photo((640, 512)), (b"irot", b"\1"), (b"irot", b"\2"))
    expected, found = np.asarray(whole(data)), heic.loaded_part(heic.opened("x", data), data, (0, 0, 10, 10))
    assert found is not None
    image, left, top = found
    part = expected[top : top + image.height, left : left + image.width]
    assert np.array_equal(np.asarray(image), part)


def test_mirrored_or_cropped_photo_is_decoded_as_a_whole() -> None:
    data = photo((640, 512))
    assert heif_grid.part(changed(data), (0, 0, 10, 10)) is not None
    for kind, content in ((b"imir", b"\0"), (b"clap", struct.pack(">8i", 600, 1, 500, 1, 0, 1, 0, 1))):
        other = changed(data, (kind, content))
        assert heif_grid.part(other, (0, 0, 10, 10)) is None
        lazy = taken_lazily("x", other, lambda _: (VIEWS, SIZE))
        assert np.array_equal(lazy.first(), taken("x", other, VIEWS, SIZE).pixels[:2])


def test_photos_without_tiles_or_with_transparency_are_decoded_as_a_whole() -> None:
    plain = photo((640, 512), tile_size=0)
    assert heic.loaded_part(heic.opened("x", plain), plain, (0, 0, 10, 10)) is None
    transparent = photo((640, 512), mode="RGBA")
    assert heic.loaded_part(heic.opened("x", transparent), transparent, (0, 0, 10, 10)) is None


def test_most_of_a_photo_is_decoded_as_a_whole() -> None:
    data = photo((640, 512))
    assert heif_grid.part(data, (0, 0, 640, 512)) is None
    for outside in ((-1, 0, 10, 10), (0, 0, 641, 10), (10, 10, 10, 20), (0, 600, 10, 700)):
        assert heif_grid.part(data, outside) is None


def tiles(data: bytes) -> list[tuple[int, int]]:
    """Start and end of the data of all tiles."""
    items = Items()
    for kind, start, end in boxes(data, 0, len(data)):
        if kind == b"meta":
            items.read(data, start + 4, end)
    return [items.extents[one][0] for one in items.parts[items.primary]]


def answer(data: bytes, *, lazily: bool) -> str:
    """The reason why the views of a file are refused; empty if they are not."""
    try:
        if lazily:
            taken_lazily("x", data, lambda _: (VIEWS, SIZE)).first()
        else:
            taken("x", data, VIEWS, SIZE)
    except ImageError as error:
        return error.reason
    return ""


def test_each_tile_of_a_file_that_is_cut_short_or_ends_in_zeros_is_missed() -> None:
    data = photo((640, 512))
    places = tiles(data)
    assert len(places) == 20
    for start, end in places:
        zeros = data[: end - 64] + bytes(64) + data[end:]
        cut = data[: start + (end - start) // 2]
        for damaged in (zeros, cut):
            assert answer(damaged, lazily=True) == answer(damaged, lazily=False) != ""


def test_damaged_files_are_refused_as_when_the_whole_is_decoded() -> None:
    data, random = photo((640, 512)), np.random.default_rng(0)
    ((start, end),) = [(start, end) for kind, start, end in boxes(data, 0, len(data)) if kind == b"meta"]
    refused = 0
    for number in range(MUTATIONS):
        at = int(random.integers(start, end) if number % 2 else random.integers(len(data)))
        length = 1 if number % 3 else 20
        damaged = data[:at] + random.bytes(length) + data[at + length :]
        expected = answer(damaged, lazily=False)
        refused += bool(expected)
        assert answer(damaged, lazily=True) == expected, (number, at)
    assert refused > MUTATIONS / 20, "the mutations were too mild to show anything"


def test_lying_headers_are_left_to_the_decoder() -> None:
    data = photo((640, 512))
    assert heif_grid.part(data, (0, 0, 10, 10)) is not None
    at = data.index(b"ispe")
    for lie in (
        data.replace(struct.pack(">II", 640, 512), struct.pack(">II", 1, 1)),
        data.replace(struct.pack(">II", TILE, TILE), struct.pack(">II", 0, 0)),
        data.replace(struct.pack(">II", TILE, TILE), struct.pack(">II", 0xFFFFFFFF, 0xFFFFFFFF)),
        data.replace(b"hvc1", b"hvc2"),
        data.replace(b"dimg", b"dimx"),
        data.replace(b"grid", b"iovl"),
        data[:at] + b"xxxx" + data[at + 4 :],
        data[:100],
        data[:8] + data,
        b"",
    ):
        assert heif_grid.part(lie, (0, 0, 10, 10)) is None


def test_a_part_that_the_decoder_refuses_is_tried_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    data = photo((640, 512))
    monkeypatch.setattr(heif_grid, "_meta_box", lambda *_: b"")
    assert answer(data, lazily=True) == ""
    lazy = taken_lazily("x", data, lambda _: (VIEWS, SIZE))
    assert np.array_equal(lazy.first(), taken("x", data, VIEWS, SIZE).pixels[:2])
    with pytest.raises(UndecodableImageError):
        preprocess.decode("x", data[:-5000], lambda _: 1, lambda _: (0, 0, 10, 10))
