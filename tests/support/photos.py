"""Two models for tests: that for thumbnails, and a tiny one that takes views of a photo, as the real one does."""

from pathlib import Path

from edge.inference import model
from edge.inference.classifier import Classifier
from edge.inference.model import ModelDescription, load
from edge.inference.router import Router
from tests.conftest import MODELS

ROUTED = (model.default_path(), MODELS / "photo_like_int8.tflite")


def two_models(*paths: Path) -> Router:
    """A router of these files, or of both models."""
    return Router(paths or ROUTED, _made)


def _made(path: Path, description: ModelDescription | None) -> Classifier:
    return Classifier(load(path, description))
