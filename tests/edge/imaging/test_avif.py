"""AVIF: what is read of it, and what a Pillow that does not read it reports."""

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, features

from edge.doctor import runtime
from edge.doctor.finding import ABSENT, OK, WARNING
from edge.doctor.host import Host, ProbeError
from edge.errors import UndecodableImageError
from edge.imaging import avif, heic, preprocess
from tests.conftest import Run, environment

SIZE = (32, 24)
NEEDED = "AVIF needs Pillow 11.3 or later, built with libavif: pip install -U pillow"
WITHOUT = "import sys; sys.modules['PIL._avif'] = None"  # as with a Pillow that was built without libavif

is_read = pytest.mark.skipif(not features.check("avif"), reason="this Pillow does not read AVIF")


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def encoded(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, "AVIF", **({"quality": 95, "speed": 8} | options))
    return file.getvalue()


def head(main: bytes, *others: bytes) -> bytes:
    """The first box of a file with these brands."""
    return struct.pack(">I4s4sI", 16 + 4 * len(others), b"ftyp", main, 0) + b"".join(others)


@is_read
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(orientation: int) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that a camera so held applied
    stored = gradient().transpose(Image.Transpose(undo[orientation])) if orientation > 1 else gradient()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    other = b"<x><tiff:Orientation>%d </tiff:Orientation></x>" % (9 - orientation)  # it does not count
    data = encoded(stored, exif=exif, xmp=other)
    assert (b"irot" in data or b"imir" in data) == (orientation > 1)
    got, size = preprocess.pixels_and_size("x.avif", (32, 24), data)
    assert size == (64, 48)
    expected = np.asarray(gradient().resize((32, 24), Image.Resampling.BICUBIC), int)
    assert np.abs(got - expected).mean() < 3


@is_read
@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (200, 100, 50), (200, 100, 50)),
        ("L", 100, (100, 100, 100)),
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
    ],
)
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_every_kind_of_sample_becomes_rgb(
    mode: str, colour: object, expected: tuple[int, ...], subsampling: str
) -> None:
    data = encoded(Image.new(mode, (40, 40), colour), subsampling=subsampling)
    assert np.abs(preprocess.pixels("x.avif", SIZE, data) - np.array(expected)).max() <= 3


@is_read
def test_the_first_frame_of_an_animation_is_read() -> None:
    frames = [Image.new("RGB", (40, 40), (grey,) * 3) for grey in (200, 20, 20)]
    data = encoded(frames[0], save_all=True, append_images=frames[1:])
    assert np.abs(preprocess.pixels("x.avif", SIZE, data).astype(int) - 200).max() <= 3


@is_read
def test_damaged_files_raise_only_our_errors() -> None:
    random, whole, reasons = np.random.default_rng(0), encoded(gradient()), []
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(0, len(damaged), 4):
            damaged[place] = random.integers(0, 256)
        try:
            assert preprocess.pixels("x.avif", SIZE, bytes(damaged)).shape == (24, 32, 3)
        except UndecodableImageError as error:
            reasons.append(error.reason)
    assert len(reasons) > 10
    assert not [reason for reason in reasons if not reason or "\n" in reason]


@is_read
def test_too_large_a_picture_is_refused_before_decoding() -> None:
    whole = encoded(gradient())
    for width, height in ((16_000, 16_000), (9_000, 9_000)):
        parts = whole.split(b"ispe\0\0\0\0")
        assert len(parts) == 2
        data = parts[0] + b"ispe\0\0\0\0" + struct.pack(">II", width, height) + parts[1][8:]
        with pytest.raises(UndecodableImageError, match="limit of"):
            preprocess.pixels("x.avif", SIZE, data)


@is_read
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_decoding_takes_no_more_memory_than_expected(tmp_path: Path, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 4), np.uint8)
    large = Image.fromarray(np.tile(noise, (6, 6, 1))).convert(mode)
    (tmp_path / "x.avif").write_bytes(encoded(large, subsampling="4:4:4", quality=60, speed=10))
    (tmp_path / "tiny.avif").write_bytes(encoded(gradient()))
    program = (
        "import sys; from edge.imaging import preprocess\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "preprocess.pixels(sys.argv[2], (32, 32)); data = preprocess.read(sys.argv[1])\n"
        "before = peak(); preprocess.pixels(sys.argv[1], (32, 32), data); print((peak() - before) * 1024)"
    )
    words = [sys.executable, "-c", program, tmp_path / "x.avif", tmp_path / "tiny.avif"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    image = Image.new(mode, (1, 1))
    assert int(done.stdout) <= large.width * large.height * avif.bytes_per_pixel(image)


@pytest.mark.parametrize(
    ("data", "is_one"),
    [
        (head(b"avif", b"mif1", b"miaf"), True),
        (head(b"mif1", b"avif"), True),
        (head(b"avis", b"msf1"), True),
        (head(b"heic", b"mif1"), False),
        (head(b"mif1", b"heic"), False),
        (head(b"mif1"), False),
        (head(b"isom", b"mp42"), False),
        (b"\0\0\0\x10free", False),
        (b"", False),
    ],
)
def test_brands_decide_what_is_avif(data: bytes, is_one: bool) -> None:
    assert avif.is_avif(data) == is_one
    assert not (is_one and heic.is_heic(data))


def test_without_a_decoder_a_picture_is_an_error_that_names_it(
    edge_detect: Run, tmp_path: Path, inbox: Path, brightness: Path
) -> None:
    (inbox / "x.AVIF").write_bytes(head(b"avif", b"mif1") + bytes(2000))
    (tmp_path / "stubs").mkdir()
    (tmp_path / "stubs/sitecustomize.py").write_text(
        f"{WITHOUT}\nfrom importlib import util\nfound = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'PIL._avif' else found(name, *more)\n"
    )
    variables = environment(HOME=str(tmp_path), PYTHONPATH=f"{tmp_path / 'stubs'}:{environment()['PYTHONPATH']}")
    for verb in (["classify"], ["watch", "--once"]):
        done = edge_detect(*verb, inbox, "--json", "--model", brightness, env=variables)
        assert (done.returncode, done.stderr) == (1, "")
        assert json.loads(done.stdout) == {"path": str(inbox / "x.AVIF"), "error": NEEDED}


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (None, OK, "Pillow "),
        ("No module named 'PIL._avif'", ABSENT, "11.3 or later does"),
        ("libavif.so.16: cannot open shared object file", WARNING, "libavif.so.16"),
    ],
)
def test_doctor_reports_whether_avif_is_read(
    monkeypatch: pytest.MonkeyPatch, error: str | None, state: str, words: str
) -> None:
    def ask(_: Host, *words: str) -> str:
        assert words == ("module", "PIL._avif")
        if error is not None:
            raise ProbeError(error)
        return ""

    monkeypatch.setattr(Host, "ask", ask)
    (finding,) = runtime.avif(Host())
    assert (finding.name, finding.state) == ("AVIF", state)
    assert words in finding.found
