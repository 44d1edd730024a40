"""The package as it is installed, with two models inside: for tests of commands that choose between them."""

import json
import shutil
from pathlib import Path

from edge.inference import model
from tests.conftest import CHECKOUT, MODELS

COMPACT, PHOTO = "compact_int8", "photo_int8"  # as the models call themselves


def package(folder: Path) -> Path:
    """A copy of `edge` in a folder for $PYTHONPATH: with the model for thumbnails, and a tiny one for photos."""
    installed = folder / "edge"
    installed.mkdir(parents=True)
    for part in (CHECKOUT / "edge").iterdir():
        if part.name not in ("__pycache__", "models"):
            (installed / part.name).symlink_to(part)
    models = installed / "models"
    models.mkdir()
    for suffix in (".tflite", ".json"):
        compact = model.default_path().with_suffix(suffix)
        shutil.copyfile(compact, models / compact.name)
    shutil.copyfile(MODELS / "photo_like_int8.tflite", models / f"{PHOTO}.tflite")
    description = json.loads((MODELS / "photo_like_int8.json").read_text())
    (models / f"{PHOTO}.json").write_text(json.dumps(description | {"name": PHOTO}))
    return folder
