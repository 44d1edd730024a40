"""The package as other programs use it: `from edge import Classifier`."""

import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image, ImageOps

import edge
from edge import Classifier, EdgeDetectError, Verdict
from edge.api import _device
from edge.cli.options import Tpu
from edge.errors import CoralError, ImageError, ModelError, UndecodableImageError, UnreadableFileError, printable
from edge.inference.router import router
from tests.conftest import CHECKOUT, CIFAKE, DATA, MODELS, Run, environment, picture
from tests.support.delegates import compiled

PHOTOS = DATA / "photos"
THUMBNAILS = CIFAKE / "test"
PHOTO_LIKE = MODELS / "photo_like_int8.tflite"  # to which living-room.webp is UNSURE
PHOTO = PHOTOS / "REAL" / "astronaut.png"
THUMBNAIL = min((THUMBNAILS / "REAL").iterdir())


@pytest.fixture(scope="module")
def bundled() -> Classifier:
    return Classifier.load()


def fields(verdict: Verdict | str) -> dict[str, Any]:
    """Fields of a verdict or of a JSON line, without the elapsed time."""
    told = json.loads(verdict if isinstance(verdict, str) else json.dumps(verdict.as_json()))
    assert told.pop("elapsed_ms") > 0
    return told


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
    return image


@pytest.mark.parametrize("model", [None, PHOTO_LIKE], ids=["bundled", "one"])
def test_every_input_type_gets_the_verdict_of_the_command(edge_detect: Run, model: Path | None) -> None:
    options = ("--model", model) if model else ()
    done = edge_detect("classify", "--json", "--recursive", *options, PHOTOS, THUMBNAILS)
    assert done.returncode == 0, done.stderr
    expected = [fields(line) for line in done.stdout.splitlines()]
    assert len(expected) == 32
    assert {"REAL", "FAKE"} <= {one["label"] for one in expected}
    if model:
        assert "UNSURE" in {one["label"] for one in expected}
    with Classifier.load(model) as classifier:
        for one in expected:
            path = Path(one["path"])
            assert fields(classifier.classify(path)) == one
            assert fields(classifier.classify(str(path))) == one
            assert fields(classifier.classify(path.read_bytes())) == one | {"path": "<bytes>"}
            with Image.open(path) as lazy:
                size, of_image = lazy.size, classifier.classify(lazy)
                assert lazy.size == size, "the caller's image stays as it is"
                of_array = classifier.classify(np.asarray(lazy.convert("RGB")))
            assert fields(of_array) == fields(of_image) | {"path": "<array>"}
            if model and path.suffix == ".jpg" and min(size) > 300:  # which this model may reduce while decoding
                assert of_image.score == pytest.approx(one["score"], abs=0.05)
            else:
                assert fields(of_image) == one | {"path": "<image>", "provenance": []}


@pytest.mark.parametrize("path", [PHOTO, THUMBNAIL], ids=["photo", "thumbnail"])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
def test_pillow_image_is_turned_upright_like_its_file(bundled: Classifier, path: Path, format_: str) -> None:
    image = opened(path).convert("RGB")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(image, format_, exif=exif)
        with Image.open(io.BytesIO(data)) as tagged:
            of_image = bundled.classify(tagged)
            upright = bundled.classify(np.asarray(ImageOps.exif_transpose(tagged)))
        assert of_image.score == pytest.approx(bundled.classify(data).score, abs=0.02)
        assert upright.score == of_image.score


@pytest.mark.parametrize("path", [PHOTO, THUMBNAIL], ids=["photo", "thumbnail"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_pillow_image_of_any_mode_is_read_like_its_file(bundled: Classifier, path: Path, mode: str) -> None:
    image = opened(path).convert("RGB")
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    if mode in ("I;16", "F"):
        grey = np.asarray(image.convert("L"))
        image = Image.fromarray(grey.astype(np.uint16) * 257 if mode == "I;16" else np.float32(grey) / 255)
    else:
        image = image.convert(mode)
    data = encoded(image, "TIFF")
    expected = bundled.classify(data)
    assert bundled.classify(image).score == pytest.approx(expected.score, abs=0.02)
    with Image.open(io.BytesIO(data)) as lazy:
        assert bundled.classify(lazy).score == pytest.approx(expected.score, abs=0.02)


def test_jpeg_reduced_while_decoding_differs_slightly(bundled: Classifier) -> None:
    data = encoded(opened(PHOTOS / "REAL" / "honey-bee.jpg").resize((4000, 3000)), "JPEG", quality=90)
    with Image.open(io.BytesIO(data)) as image:
        assert bundled.classify(image).score == pytest.approx(bundled.classify(data).score, abs=0.1)


def test_array_that_is_a_view_gets_the_same_verdict(bundled: Classifier) -> None:
    rgb = np.asarray(opened(PHOTO).convert("RGB"))
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    assert bundled.classify(bgr[:, :, ::-1]).score == bundled.classify(rgb).score


class Named:
    def __fspath__(self) -> bytes:
        return os.fsencode(PHOTO)


@pytest.mark.parametrize(
    ("image", "kind", "text"),
    [
        ("/nowhere/x.jpg", UnreadableFileError, "/nowhere/x.jpg: no such file or directory"),
        (DATA, UnreadableFileError, f"{DATA}: is a folder, not a file"),
        ("a\0b", UnreadableFileError, r"a\x00b: embedded null byte"),
        ("a\nb", UnreadableFileError, r"a\nb: no such file or directory"),
        ("\ud800", UnreadableFileError, r"\ud800: "),
        ("", UnreadableFileError, ": no such file or directory"),
        (b"", UndecodableImageError, "<bytes>: the file is empty"),
        (b"no image", UndecodableImageError, "<bytes>: not an image in a known format (JPEG"),
        (PHOTO.read_bytes()[:5000], UndecodableImageError, "<bytes>: "),
        (Image.new("RGB", (0, 5)), UndecodableImageError, "<image>: the picture has no pixels"),
        (np.zeros((0, 5, 3), np.uint8), UndecodableImageError, "<array>: the picture has no pixels"),
        (np.zeros((5, 5), np.uint8), UndecodableImageError, "<array>: has the shape (5, 5); RGB has"),
        (np.zeros((5, 5, 4), np.uint8), UndecodableImageError, "<array>: has the shape (5, 5, 4); RGB has"),
        (np.zeros((5, 5, 3)), TypeError, "an array of uint8 is wanted, not of float64"),
        (None, TypeError, "a path, bytes, a Pillow image or a uint8 array is wanted, not NoneType"),
        (3, TypeError, "not int"),
        (bytearray(b"x"), TypeError, "not bytearray"),
        ([[[0, 0, 0]]], TypeError, "not list"),
        (Named(), TypeError, "not Named"),
    ],
)
def test_bad_image_raises_one_line_error(bundled: Classifier, image: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises((EdgeDetectError, TypeError)) as caught:
        bundled.classify(image)
    assert type(caught.value) is kind
    assert text in str(caught.value)
    assert str(caught.value).isprintable()


def test_damaged_and_closed_images_raise_image_error(bundled: Classifier) -> None:
    for path in (PHOTO, PHOTOS / "REAL" / "honey-bee.jpg", THUMBNAIL):
        data = path.read_bytes()
        with (
            Image.open(io.BytesIO(data[: len(data) * 2 // 3])) as truncated,
            pytest.raises(ImageError, match="<image>"),
        ):
            bundled.classify(truncated)
    lazy = Image.open(PHOTO)
    lazy.close()
    with pytest.raises(ImageError, match="<image>: "):
        bundled.classify(lazy)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (33, 31), (199, 201)])
def test_image_of_any_size_gets_a_verdict(bundled: Classifier, size: tuple[int, int]) -> None:
    image = Image.effect_noise(size, 50)
    verdict = bundled.classify(image)
    assert verdict.outside is not None
    assert bundled.classify(encoded(image, "PNG")).score == verdict.score


def test_threads_can_share_a_classifier(bundled: Classifier) -> None:
    paths = sorted(path for path in (*PHOTOS.rglob("*.*"), *THUMBNAILS.rglob("*.jpg")) if path.suffix != ".md")
    expected = [fields(bundled.classify(path)) for path in paths]
    with Classifier.load() as fresh, ThreadPoolExecutor(8) as threads:
        assert list(map(fields, threads.map(fresh.classify, paths * 3))) == expected * 3


def test_closed_classifier_raises_in_every_thread() -> None:
    with Classifier.load() as classifier:
        assert classifier.classify(THUMBNAIL).label == "REAL"
    classifier.close()
    for use in (lambda: classifier.classify(THUMBNAIL), classifier.__enter__):
        with pytest.raises(ValueError, match="the classifier is closed"):
            use()
    other, seen, enough = Classifier.load(), [], threading.Event()

    def work() -> None:
        try:
            while True:
                seen.append(other.classify(THUMBNAIL).label)
                enough.set()
        except ValueError as error:
            seen.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert enough.wait(30)
    other.close()
    thread.join(30)
    assert set(seen) == {"REAL", "the classifier is closed"}


@pytest.mark.parametrize("model", ["/nowhere/x.tflite", DATA, "a\0b", "", MODELS / "ten_classes.tflite", PHOTO])
def test_unusable_model_raises_on_load(model: str | Path) -> None:
    with pytest.raises(ModelError) as caught:
        Classifier.load(model)
    assert str(caught.value).isprintable()


def test_wrong_argument_types_raise_type_error() -> None:
    for model in (3, b"x.tflite", ["x"]):
        with pytest.raises(TypeError):
            Classifier.load(model)  # type: ignore[arg-type]
    for tpu in (1.5, b"usb", ["usb"]):
        with pytest.raises(TypeError, match="tpu is a text, a number, True, False or None"):
            Classifier.load(tpu=tpu)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        *(
            "any",
            "true",
            "YES",
            "on",
            "false",
            "No",
            "off",
            "",
            "usb",
            "PCI",
            "auto",
            "usb:1",
            "pci:0",
            "0",
            "12",
            "-1",
        ),
        *(True, False, 0, 1, -1, 1000, "usb1", "gpu", "any:1", " usb", "us\nb"),
    ],
)
def test_tpu_accepts_the_values_of_the_command(value: str | int) -> None:
    try:
        expected = Tpu().convert(value, None, None)
    except click.BadParameter:
        with pytest.raises(CoralError, match="is none of usb, pci, auto, a number from 0 on") as caught:
            Classifier.load(tpu=value)
        assert str(caught.value).isprintable()
    else:
        assert _device(value) == expected


def test_without_coral_auto_warns_and_other_values_raise(caplog: pytest.LogCaptureFixture, brightness: Path) -> None:
    with pytest.raises(CoralError):
        Classifier.load(brightness, tpu="usb:9")
    with caplog.at_level(logging.WARNING, "edge"), Classifier.load(tpu="auto") as classifier:
        assert fields(classifier.classify(THUMBNAIL))["label"] == "REAL"
    assert {record.name.partition(".")[0] for record in caplog.records} == {"edge"}
    assert "the processor does the work instead" in caplog.text


def test_coral_is_opened_again_after_a_failure(
    tmp_path: Path, brightness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, loads = tmp_path / "gone", tmp_path / "loads"
    monkeypatch.setenv("TEST_DELEGATE_GONE", str(gone))
    monkeypatch.setenv("TEST_DELEGATE_LOADS", str(loads))
    image = picture(tmp_path / "bright.png", 230)
    with Classifier(router(brightness, tpu="any", library=str(compiled(tmp_path)))) as classifier:
        assert classifier.classify(image).model == "brightness_int8_edgetpu"
        gone.touch()
        for _ in range(2):
            with pytest.raises(CoralError):
                classifier.classify(image)
        gone.unlink()
        before = loads.stat().st_size
        assert classifier.classify(image).label == "REAL"
        assert loads.stat().st_size > before


def test_public_names_are_exported_by_package() -> None:
    assert edge.__all__ == ["Classifier", "EdgeDetectError", "Verdict", "__version__"]
    assert set(edge.__all__) <= set(dir(edge))
    assert edge.Classifier is Classifier
    with pytest.raises(AttributeError, match="module 'edge' has no attribute 'Clasifier'"):
        _ = edge.Clasifier  # type: ignore[attr-defined]
    assert (Path(edge.__file__).parent / "py.typed").exists()


def test_import_loads_nothing_heavy() -> None:
    program = """
import sys, edge
looked_at = {"numpy", "PIL", "logging", "click", "edge.api", "edge.verdict", "edge.errors"}
print(sorted(looked_at & set(sys.modules)))
edge.EdgeDetectError, edge.Verdict
print(sorted(looked_at & set(sys.modules)))
from edge import *
print("numpy" in sys.modules, "click" in sys.modules, Classifier.__module__, __version__)
"""
    assert output(sys.executable, "-c", program).splitlines() == [
        "[]",
        "['edge.errors', 'edge.verdict']",
        f"True False edge.api {edge.__version__}",
    ]


def test_type_checker_sees_public_types(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from edge import Classifier\n"
        "with Classifier.load() as classifier:\n"
        "    label: str = classifier.classify('x').label\n"
        "    classifier.classify(3)\n"
        "    reveal_type(classifier.classify(b''))\n"
        "from edge import Clasifier\n"
    )
    pytest.importorskip("mypy")
    words = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports=silent", str(program)]
    done = subprocess.run(words, cwd=CHECKOUT, env=environment(), capture_output=True, text=True, timeout=120)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [error.split(":")[1] for error in errors] == ["4", "6"], done.stdout
    assert re.search(r'Revealed type is ".*\bedge\.verdict\.Verdict\]?"', done.stdout)


def output(*words: str | Path, status: int = 0, errors: str = "") -> str:
    done = subprocess.run(
        list(map(str, words)), cwd=CHECKOUT, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (status, errors)
    return done.stdout


Example = Callable[..., str]


@pytest.fixture
def example() -> Example:
    return lambda name, *words, **expected: output(sys.executable, CHECKOUT / "examples" / name, *words, **expected)


def test_example_classify_folder(example: Example, bundled: Classifier, tmp_path: Path) -> None:
    for path in (PHOTO, THUMBNAIL):
        shutil.copy(path, tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "z.jpg").write_bytes(b"")
    lines = example("classify_folder.py", tmp_path).splitlines()
    assert json.loads(lines.pop()) == {"path": str(tmp_path / "z.jpg"), "error": "the file is empty"}
    images = sorted(path for path in tmp_path.iterdir() if path.is_file() and path.name != "z.jpg")
    assert [fields(line) for line in lines] == [fields(bundled.classify(path)) for path in images]


def test_example_flag_fakes(example: Example, bundled: Classifier) -> None:
    fakes, reals = (sorted((THUMBNAILS / label).iterdir()) for label in ("FAKE", "REAL"))
    verdicts = map(bundled.classify, fakes)
    sure = [f"{one.confidence:.1%}  {one.path}\n" for one in verdicts if one.label == "FAKE" and one.confidence >= 0.9]
    assert len(sure) > 1
    missing = "/nowhere/x.jpg: no such file or directory\n"
    assert example("flag_fakes.py", *fakes, "/nowhere/x.jpg", status=1, errors=missing) == "".join(sure)
    assert example("flag_fakes.py", *reals[:2]) == ""


def test_example_watch_camera_frame(example: Example, bundled: Classifier, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as video:
        stream = video.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 256, "bgr0"
        for source, count in ((PHOTO, 20), (PHOTOS / "FAKE" / "living-room.webp", 11)):
            pixels = np.asarray(opened(source).convert("RGB").resize((320, 256)))
            for _ in range(count):
                video.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")))
        video.mux(stream.encode())
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    expected, label = [], ""
    for number in (0, 10, 20, 30):
        verdict = bundled.classify(frames[number])
        if verdict.label != label:
            label = verdict.label
            expected.append(f"frame {number}: {label} {verdict.confidence:.1%}")
    assert example("watch_camera_frame.py", path).splitlines() == expected
    assert printable(expected[0]) == expected[0]


def test_examples_are_short() -> None:
    examples = sorted((CHECKOUT / "examples").glob("*.py"))
    assert [path.name for path in examples] == ["classify_folder.py", "flag_fakes.py", "watch_camera_frame.py"]
    assert all(len(path.read_text().splitlines()) < 30 for path in examples)
