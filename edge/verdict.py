"""What is told of an image: a verdict, or the reason why there is none."""

from dataclasses import dataclass
from typing import Any

LABELS = ("FAKE", "REAL")  # in the order of a class index; the score is the probability of the second
UNSURE = "UNSURE"  # the label between the two thresholds of an operating point


@dataclass(frozen=True)
class Place:
    """Where a view lies in the upright picture, in fractions of the picture's width and height.

    Attributes:
        view_set: its index among the view sets of the model's description.
    """

    left: float
    top: float
    width: float
    height: float
    view_set: int


@dataclass(frozen=True)
class ViewLogit:
    """What one view of a picture spoke for: FAKE below 0, REAL above."""

    place: Place
    logit: float

    def as_json(self) -> dict[str, float]:
        place = self.place
        sides = {"left": place.left, "top": place.top, "width": place.width, "height": place.height}
        return {name: round(value, 6) for name, value in (sides | {"logit": self.logit}).items()}


@dataclass(frozen=True)
class Verdict:
    """One image, classified.

    Attributes:
        path: as the caller named it; undecodable bytes are surrogate escapes (PEP 383).
        label: REAL or FAKE, or UNSURE where the model's operating point has a range for that.
        is_real: whether REAL is the likelier one: that is the label, or it is UNSURE and the score above the threshold.
        score: P(REAL), 0-1.
        confidence: the probability of the label that was given, 0-1; of UNSURE, that of the likelier one.
        outside: why the image is none of those that the model was measured on, so that the confidence is worth
            little; None if it may be one of them, or if the model does not say what those were.
        elapsed_seconds: from opening the file to the score.
        model: the name of the model that was asked; empty if nobody remembers.
        explain: every view that the model was shown, if that was asked for.
    """

    path: str
    label: str
    is_real: bool
    score: float
    confidence: float
    outside: str | None
    elapsed_seconds: float
    model: str = ""
    explain: tuple[ViewLogit, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "path": self.path,
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "score": round(self.score, 6),
            "outside": self.outside,
            "model": self.model or None,
            "elapsed_ms": round(self.elapsed_seconds * 1000, 3),
        }
        if self.explain is not None:
            told["explain"] = [view.as_json() for view in self.explain]
        return told


@dataclass(frozen=True)
class Failure:
    """One image that could not be classified, and why in one line."""

    path: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        return {"path": self.path, "error": self.reason}


Answer = Verdict | Failure


FRAME, BEGAN, ENDED, INTERRUPTED = "frame", "began", "ended", "interrupted"


@dataclass(frozen=True)
class CameraEvent:
    """What a camera's answer is about: one frame, or the start or end of an event (`edge.camera.event_detector`).

    Attributes:
        state: FRAME, BEGAN, ENDED, or INTERRUPTED for an event whose end nobody saw.
        began_at: the event, or when the frame was taken; seconds since the epoch.
        position: the same within a recording, seconds; None of a live camera.
        seconds: the event has lasted so far; None if unknown.
        peak: the highest smoothed confidence of the event so far.
        snapshot: absolute path of a picture of it.
    """

    state: str
    began_at: float
    position: float | None = None
    seconds: float | None = None
    peak: float | None = None
    snapshot: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "began": utc(self.began_at),
            "position": None if self.position is None else round(self.position, 3),
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "peak": None if self.peak is None else round(self.peak, 6),
            "snapshot": self.snapshot,
        }


@dataclass(frozen=True)
class Recorded:
    """An answer that the ledger holds.

    Attributes:
        id: of the answer in its ledger; later answers have greater ones.
        answered_at: seconds since the epoch.
        moved_to: where the file was sorted into, if it was.
        sighting: what it tells of, if it is an answer to a camera; its path is the camera's name then.
    """

    id: int
    answered_at: float
    answer: Answer
    moved_to: str | None
    sighting: CameraEvent | None = None

    @property
    def time(self) -> str:
        """When it was answered, as ISO 8601 has it, in UTC."""
        return utc(self.answered_at)

    def as_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"id": self.id, "time": self.time, **self.answer.as_json()}
        if self.moved_to is not None:
            told["moved_to"] = self.moved_to
        if self.sighting is not None:
            told["event"] = self.sighting.as_json()
        return told


def utc(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 has them."""
    from datetime import UTC, datetime  # which `classify` does without, and starts the sooner

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def probability(verdict: Verdict) -> str:
    """For a person: of the label; of UNSURE, which has none, that of the likelier one, with its name."""
    if verdict.label == UNSURE:
        return f"{percentage(verdict.confidence)} {LABELS[verdict.score > 0.5]}"
    return percentage(verdict.confidence)


def percentage(confidence: float) -> str:
    """For a person: one digit after the point, and never a certainty that it is not."""
    text = f"{confidence:.1%}"
    return ">99.9%" if text == "100.0%" else text
