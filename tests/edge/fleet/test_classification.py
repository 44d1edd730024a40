"""The board's own queue: answers, faults of the board, and its private folder."""

import os
from pathlib import Path
from typing import Any

import pytest

from edge.errors import ModelError
from edge.fleet.classification import PREFIX, BoardFaultError, Classification, private_folder
from edge.inference.classifier import Classifier
from edge.inference.model import load
from edge.inference.router import Router
from edge.verdict import Failure, Verdict
from tests.conftest import MODELS, picture
from tests.support.nats import wait_until

MODEL = MODELS / "brightness_int8.tflite"


def routed(kind: type[Router] = Router) -> Router:
    return kind([MODEL], lambda path, description: Classifier(load(path, description)))


def test_images_are_answered_and_their_files_removed(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png").read_bytes()
    with private_folder() as folder, Classification(routed(), folder, 1) as classification:
        answers = [classification.submit(data, name) for data, name in ((image, "a"), (b"text", "b"), (image, "c"))]
        found = [answer.result(60) for answer in answers]
        assert [type(answer) for answer in found] == [Verdict, Failure, Verdict]
        assert [answer.path for answer in found] == ["a", "b", "c"]
        wait_until(lambda: os.listdir(folder) == [], lambda: os.listdir(folder), 10)
        assert classification.is_healthy
    assert not os.path.exists(folder)


def test_failure_of_the_model_is_a_fault_of_the_board_until_it_works(tmp_path: Path) -> None:
    class Failing(Router):
        failures = 2

        def verdict(self, *arguments: Any, **options: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise ModelError("the model has failed")
            return super().verdict(*arguments, **options)

    image = picture(tmp_path / "a.png").read_bytes()
    with private_folder() as folder, Classification(routed(Failing), folder, 1) as classification:
        for _ in range(2):
            with pytest.raises(BoardFaultError, match="the model has failed"):
                classification.submit(image, "a").result(60)
        assert isinstance(classification.submit(image, "a").result(60), Verdict)


def test_lost_folder_is_a_fault_of_the_board(tmp_path: Path) -> None:
    with private_folder() as folder, Classification(routed(), folder, 1) as classification:
        os.rename(folder, tmp_path / "away")
        with pytest.raises(BoardFaultError, match="cannot write the image"):
            classification.submit(b"image", "a")


def test_folder_of_a_killed_board_is_removed_and_that_of_a_living_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"{PREFIX}killed"
    left.mkdir(0o700)
    (left / "1").write_bytes(b"image")
    os.utime(left, (0, 0))
    with private_folder() as first:
        assert not left.exists()
        os.utime(first, (0, 0))
        with private_folder():
            assert os.path.exists(first)
