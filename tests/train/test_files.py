"""Files of a training, written completely or not at all."""

import os
from pathlib import Path

import pytest

from train.files import whole_path, write_whole


def test_former_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("before")
    with whole_path(path) as partial:
        partial.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert os.listdir(tmp_path) == ["run.json"]


def test_error_while_writing_leaves_the_former_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_whole(path, "é before")

    def interrupted() -> None:
        with whole_path(path) as partial:
            partial.write_text("af")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text("utf-8") == "é before"
    assert os.listdir(tmp_path) == ["run.json"]


@pytest.mark.parametrize("name", [None, "partial-model.keras"])
def test_partial_file_of_a_killed_run_is_replaced(tmp_path: Path, name: str | None) -> None:
    path = tmp_path / "model.keras"
    (tmp_path / (name or ".model.keras.part")).write_text("longer than what is written now")
    with whole_path(path, partial=name) as partial:
        assert partial.name == name or name is None
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["model.keras"]
