"""Which model an image goes to, and when it is read."""

import os
import pickle
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from edge.errors import CoralError, ModelError, UndecodableImageError
from edge.imaging.inputs import Input, choose, take, take_of_frame
from edge.imaging.preprocess import Pixels
from edge.inference import model
from edge.inference.classifier import Classifier
from edge.inference.model import Domain, ModelDescription, bundled_paths, load
from edge.inference.router import Router, router
from edge.verdict import Failure
from tests.conftest import CIFAKE, MODELS, environment, picture

PHOTO_LIKE = MODELS / "photo_like_int8.tflite"
THUMBNAIL = next((CIFAKE / "test" / "REAL").iterdir())


def made(path: Path, description: ModelDescription | None) -> Classifier:
    return Classifier(load(path, description))


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """The compact model and a tiny one for photos, in a folder of their own."""
    folder = tmp_path / "models"
    folder.mkdir()
    copies = []
    for path in (model.default_path(), PHOTO_LIKE):
        shutil.copyfile(path.with_suffix(".json"), folder / f"{path.stem}.json")
        copies.append(Path(shutil.copyfile(path, folder / path.name)))
    return copies


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ((32, 32), "compact_int8"),
        ((400, 300), "photo_like_int8"),
        ((40, 36), "compact_int8"),
        ((90, 80), "photo_like_int8"),
        ((30000, 300), "photo_like_int8"),
        ((1, 1), "compact_int8"),
    ],
)
def test_image_goes_to_model_with_matching_or_nearest_domain(
    models: list[Path], tmp_path: Path, size: tuple[int, int], name: str
) -> None:
    Image.new("RGB", size, (128, 130, 60)).save(tmp_path / "x.png")
    verdict = Router(models, made).classify(tmp_path / "x.png")
    assert verdict.model == name
    is_inside = size in ((32, 32), (400, 300))
    assert (verdict.outside is None) == is_inside


def test_routed_verdict_equals_that_of_the_model(models: list[Path], tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png", 140, (300, 260))
    both = Router(models, made)
    for path, one in ((THUMBNAIL, models[0]), (photo, models[1])):
        assert both.classify(path).score == Classifier(load(one)).classify(path).score
        assert both.classify("x", path.read_bytes()).score == both.classify(path, explain=True).score
    assert len(both.classify(photo, explain=True).explain or ()) >= 5


def test_upright_size_chooses_the_model(models: list[Path], tmp_path: Path) -> None:
    models[1].with_suffix(".json").write_text(
        models[1].with_suffix(".json").read_text().replace("20000", "250", 1)  # widths 100 to 250
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200), "grey").save(tmp_path / "x.jpg", exif=exif)
    assert Router(models, made).classify(tmp_path / "x.jpg").outside is None


def test_model_is_loaded_for_first_image_that_needs_it(models: list[Path], tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png", 140, (300, 260))
    content = models[1].read_bytes()
    models[1].write_bytes(b"none")
    both = Router(models, made)
    assert both.classify(THUMBNAIL).model == "compact_int8"
    with pytest.raises(ModelError, match=r"photo_like_int8\.tflite: not a LiteRT model"):
        both.classify(photo)
    models[1].write_bytes(content)
    assert both.classify(photo).model == "photo_like_int8"


def test_thumbnail_does_not_need_description_of_photo_model(models: list[Path]) -> None:
    models[1].with_suffix(".json").write_text("{")
    both = Router(models, made)
    assert both.classify(THUMBNAIL).model == "compact_int8"
    with pytest.raises(ModelError, match=r"photo_like_int8\.json"):
        _ = both.inputs


def test_single_model_gets_every_image(tmp_path: Path, brightness: Path) -> None:
    forced = router(brightness)
    assert forced.classify(picture(tmp_path / "x.png", 230, (300, 200))).label == "REAL"
    assert forced.inputs == (Input(0, (16, 12)),)
    assert forced.classify(THUMBNAIL).model == "brightness_int8"
    assert forced.labels == ("FAKE", "REAL")


def test_bad_image_raises_or_returns_failure(models: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"bad")
    both = Router(models, made)
    with pytest.raises(UndecodableImageError):
        both.classify(tmp_path / "bad.png")
    assert isinstance(both.answer(tmp_path / "bad.png"), Failure)


def test_inputs_can_be_pickled(models: list[Path], tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png", 140, (300, 260))
    both = Router(models, made)
    inputs = pickle.loads(pickle.dumps(both.inputs))
    for path, index in ((THUMBNAIL, 0), (photo, 1)):
        chosen, (pixels, own_size, _) = take(path, None, partial(choose, inputs=inputs))
        assert chosen.model == index
        verdict = both.verdict("x", pixels, own_size, 0.0, model=index)
        assert verdict.score == both.classify(path).score


def test_a_frame_goes_to_the_same_model_as_a_file(models: list[Path], tmp_path: Path) -> None:
    both = Router(models, made)
    for path in (THUMBNAIL, picture(tmp_path / "photo.png", 140, (300, 260))):
        with Image.open(path) as opened:
            frame = np.asarray(opened.convert("RGB"))
        chosen, (pixels, own_size, _) = take_of_frame(frame, both.choose)
        assert both.verdict("x", pixels, own_size, 0.0, model=chosen.model).score == both.classify(path).score


def test_a_missing_domain_holds_every_image() -> None:
    narrow = Input(0, (32, 32), domain=Domain((32, 32), (32, 32)))
    assert choose((500, 500), [narrow, Input(1, (128, 128))]).model == 1
    assert choose((500, 500), [narrow]).model == 0


def test_router_elsewhere_answers_alike(tmp_path: Path) -> None:
    first = router(operating_point="10%")
    first.trusts_provenance = True
    make = first.elsewhere()
    assert make is not None
    other = pickle.loads(pickle.dumps(make))()
    for path in (THUMBNAIL, picture(tmp_path / "photo.png", 140, (300, 260))):
        one, again = first.classify(path), other.classify(path)
        assert (one.score, one.label, one.model) == (again.score, again.label, again.model)
    assert other.trusts_provenance


def test_router_of_existing_classifiers_has_no_other(models: list[Path]) -> None:
    assert Router.of(made(models[0], None)).elsewhere() is None


def test_router_that_fell_back_to_the_processor_is_made_elsewhere_of_the_plain_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(MODELS / "brightness_int8.tflite", tmp_path / "brightness_int8.tflite")
    compiled = tmp_path / "brightness_int8_edgetpu.tflite"
    compiled.write_bytes(b"never read")

    def gone(*_: object) -> Classifier:
        raise CoralError("none is connected")

    monkeypatch.setattr("edge.inference.failover.classifier", gone)
    first = router(compiled, threads=2, tpu="auto")
    assert first.elsewhere() is None, "it is not known yet what computes"
    assert first.classifier(0).model.path == tmp_path / "brightness_int8.tflite"
    make = first.elsewhere()
    assert make is not None
    other = pickle.loads(pickle.dumps(make))()
    assert other.classifier(0).model.path == tmp_path / "brightness_int8.tflite"
    assert (other.classifier(0).threads, first.threads) == (2, 2)


def test_an_operating_point_applies_only_to_models_that_have_some(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png", 120, (300, 260))
    labels = {point: router(PHOTO_LIKE, operating_point=point).classify(photo).label for point in (None, "10%", "")}
    assert labels == {None: "UNSURE", "10%": "FAKE", "": "FAKE"}
    with pytest.raises(ModelError, match="no operating point 2%; there are 1%, 3%, 10%"):
        router(PHOTO_LIKE, operating_point="2%")


class Coral(Classifier):
    """A stand-in that computes on the CPU and, like a Coral, has one user at a time."""

    users: ClassVar[list["Coral"]] = []
    is_away = False
    uses_delegate = True

    def __init__(self, path: Path) -> None:
        super().__init__(load(path))
        self._take()

    def _take(self) -> None:
        if self.users or Coral.is_away:
            raise CoralError("it is not there")
        self.users.append(self)

    def run(self, pixels: Pixels) -> float:
        if Coral.is_away:
            raise CoralError("it has gone")
        assert self in self.users
        return super().run(pixels)

    def close(self) -> None:
        super().close()
        if self in self.users:
            self.users.remove(self)

    def reopen(self) -> None:
        super().reopen()
        self._take()


def test_models_take_turns_on_the_coral(models: list[Path], tmp_path: Path) -> None:
    Coral.users.clear()
    photo = picture(tmp_path / "photo.png", 140, (300, 260))
    both = Router(models, lambda path, _: Coral(path))
    expected = [Router(models, made).classify(path).score for path in (THUMBNAIL, photo)]
    for _ in range(2):
        assert [both.classify(path).score for path in (THUMBNAIL, photo)] == expected
        assert both.elsewhere() is None
    Coral.is_away = True
    with pytest.raises(CoralError, match="gone"):
        both.classify(photo)
    with pytest.raises(CoralError, match="not there"):
        both.reopen()
    Coral.is_away = False
    both.reopen()
    assert both.classify(photo).score == expected[1]
    both.close()
    assert Coral.users == []


def test_a_router_can_be_made_of_classifiers(models: list[Path], tmp_path: Path) -> None:
    both = Router.of(*(Classifier(load(path)) for path in models))
    assert both.classify(THUMBNAIL).model == "compact_int8"
    assert both.classify(picture(tmp_path / "photo.png", 140, (300, 260))).model == "photo_like_int8"
    assert both.labels == ("FAKE", "REAL")


def test_thumbnails_alone_never_read_the_photo_model(tmp_path: Path) -> None:
    """Seen from outside: the files that a process of its own opens."""
    program = (
        "import sys\nopened = []\n"
        "sys.addaudithook(lambda event, told: event == 'open' and opened.append(str(told[0])))\n"
        "from edge.inference.router import router\n"
        "print(router().classify(sys.argv[1]).model)\n"
        "print([name for name in opened if 'photo_int8' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, os.fspath(THUMBNAIL)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "compact_int8\n[]\n", done.stderr
    assert bundled_paths()[0].name == "compact_int8.tflite"
