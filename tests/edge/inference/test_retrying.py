"""The models of a run: which one has answered, and what happens without their Coral."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from edge.errors import CoralError, ModelError
from edge.imaging.inputs import choose, take
from edge.imaging.preprocess import Pixels
from edge.inference.classifier import Classifier
from edge.inference.model import load
from edge.inference.retrying import RetryingClassifier
from edge.inference.router import Router
from edge.verdict import Verdict
from tests.conftest import CIFAKE, MODELS, picture
from tests.support.photos import ROUTED, two_models

THUMBNAIL = next((CIFAKE / "test" / "REAL").iterdir())


def asked(network: RetryingClassifier, path: Path) -> Verdict | None:
    chosen, (pixels, own_size, _) = take(path, None, network.choose)
    return network.verdict(str(path), pixels, own_size, 0.0, chosen.model)


def test_verdict_has_the_digest_of_its_model(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png", 140, (300, 260))
    network = RetryingClassifier(two_models(), once=True)
    compact, photo_like = (load(path) for path in ROUTED)
    assert network.model_sha256 == compact.sha256, "nothing was asked yet"
    for path, model in ((photo, photo_like), (THUMBNAIL, compact), (photo, photo_like)):
        verdict = asked(network, path)
        assert verdict is not None
        assert verdict.model == model.name
        assert network.model_sha256 == model.sha256


def test_inputs_alone_take_the_same_pixels_as_the_classifier(tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.png", 140, (300, 260))
    network = RetryingClassifier(two_models(), once=True)
    for path in (photo, THUMBNAIL):
        ours, theirs = take(path, None, network.choose), take(path, None, partial(choose, inputs=network.inputs))
        assert ours[0] == theirs[0]
        assert (ours[1].pixels == theirs[1].pixels).all()
    assert network.labels == ("FAKE", "REAL")


def test_damaged_model_is_an_error_when_needed(tmp_path: Path) -> None:
    copies = [Path(shutil.copyfile(path, tmp_path / path.name)) for path in ROUTED]
    for path in ROUTED:
        shutil.copyfile(path.with_suffix(".json"), tmp_path / f"{path.stem}.json")
    copies[1].write_bytes(b"none")
    network = RetryingClassifier(two_models(*copies), once=False)
    assert asked(network, THUMBNAIL) is not None
    with pytest.raises(ModelError, match=r"photo_like_int8\.tflite: not a LiteRT model"):
        asked(network, picture(tmp_path / "photo.png", 140, (300, 260)))


class OnCoral(Classifier):
    """A real classifier whose Coral may be unplugged."""

    is_away = False

    def run(self, pixels: Pixels) -> float:
        if OnCoral.is_away:
            raise CoralError("pulled out")
        return super().run(pixels)

    def reopen(self) -> None:
        if OnCoral.is_away:
            raise CoralError("pulled out")
        super().reopen()


def test_coral_that_returns_answers_with_the_requested_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    photo = picture(tmp_path / "photo.png", 140, (300, 260))
    network = RetryingClassifier(Router.of(*(OnCoral(load(path)) for path in ROUTED)), once=False)
    assert asked(network, THUMBNAIL) is not None
    monkeypatch.setattr(OnCoral, "is_away", True)
    assert asked(network, photo) is None
    assert network.backoff.reason == "pulled out"
    assert asked(network, photo) is None, "it is not asked again at once"
    monkeypatch.setattr(OnCoral, "is_away", False)
    network.backoff._due = 0.0
    verdict = asked(network, photo)
    assert verdict is not None
    assert verdict.model == "photo_like_int8"
    assert logged == ["pulled out; trying again", "recovered: pulled out"]


def test_lost_coral_is_an_error_with_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = RetryingClassifier(Router.of(OnCoral(load(MODELS / "brightness_int8.tflite"))), once=True)
    monkeypatch.setattr(OnCoral, "is_away", True)
    with pytest.raises(CoralError):
        asked(network, THUMBNAIL)
