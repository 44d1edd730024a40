"""The answer to an image: a verdict, or the reason why there is none. With a camera's events, and recorded answers."""

from dataclasses import dataclass
from typing import Any

LABELS = ("FAKE", "REAL")  # by class index; the score is the probability of the second
UNSURE = "UNSURE"  # the label between the two thresholds of an operating point


@dataclass(frozen=True)
class Place:
    """The position of a view in the upright picture, in fractions of the picture's width and height.

    Attributes:
        view_set: index of its view set in the model's description.
    """

    left: float
    top: float
    width: float
    height: float
    view_set: int


@dataclass(frozen=True)
class ViewLogit:
    """The network's logit for one view of a picture: FAKE below 0, REAL above."""

    place: Place
    logit: float

    def as_json(self) -> dict[str, float]:
        place = self.place
        sides = {"left": place.left, "top": place.top, "width": place.width, "height": place.height}
        return {name: round(value, 6) for name, value in (sides | {"logit": self.logit}).items()}


@dataclass(frozen=True)
class Verdict:
    """The classification of one image.

    Attributes:
        path: as the caller named it; undecodable bytes are surrogate escapes (PEP 383).
        label: REAL or FAKE, or UNSURE between the thresholds of an operating point.
        is_real: whether the label is REAL; of UNSURE, whether the score is above the model's threshold.
        score: P(REAL), 0-1.
        confidence: probability of the label, 0-1; of UNSURE, that of the likelier one.
        outside: why the image lies outside of the model's domain, where the confidence means little; None if it lies
            inside, or if the model has no domain.
        elapsed_seconds: from opening the file to the score.
        model: name of the model; empty if unknown.
        explain: every view that the model judged, if that was asked for.
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
        fields: dict[str, Any] = {
            "path": self.path,
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "score": round(self.score, 6),
            "outside": self.outside,
            "model": self.model or None,
            "elapsed_ms": round(self.elapsed_seconds * 1000, 3),
        }
        if self.explain is not None:
            fields["explain"] = [view.as_json() for view in self.explain]
        return fields


@dataclass(frozen=True)
class Failure:
    """An image that could not be classified, and the reason in one line."""

    path: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        return {"path": self.path, "error": self.reason}


Answer = Verdict | Failure


FRAME, BEGAN, ENDED, INTERRUPTED = "frame", "began", "ended", "interrupted"


@dataclass(frozen=True)
class CameraEvent:
    """The event or frame of a camera that an answer belongs to (`edge.camera.event_detector`).

    Attributes:
        state: FRAME for a single frame; BEGAN or ENDED of an event; INTERRUPTED for an event whose end is unknown.
        began_at: when the event began, or when the frame was taken; seconds since the epoch.
        position: the same as seconds within a recording; None for a live camera.
        seconds: duration of the event so far; None if unknown.
        peak: highest smoothed confidence of the event so far, 0-1.
        snapshot: absolute path of a picture of the event.
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
    """An answer in the ledger.

    Attributes:
        id: in its ledger; later answers have greater ids.
        answered_at: seconds since the epoch.
        moved_to: path to which the file was sorted; None if it was not.
        event: the camera's event or frame; None for a file. The answer's path is the camera's name then.
    """

    id: int
    answered_at: float
    answer: Answer
    moved_to: str | None
    event: CameraEvent | None = None

    @property
    def time(self) -> str:
        """`answered_at` in ISO 8601, UTC."""
        return utc(self.answered_at)

    def as_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"id": self.id, "time": self.time, **self.answer.as_json()}
        if self.moved_to is not None:
            fields["moved_to"] = self.moved_to
        if self.event is not None:
            fields["event"] = self.event.as_json()
        return fields


def utc(seconds: float) -> str:
    """Seconds since the epoch in ISO 8601, UTC, to the millisecond."""
    from datetime import UTC, datetime  # here: `classify` starts faster without

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def probability(verdict: Verdict) -> str:
    """The confidence as text: "97.3%"; of UNSURE with the likelier label, "58.3% FAKE"."""
    if verdict.label == UNSURE:
        return f"{percentage(verdict.confidence)} {LABELS[verdict.score > 0.5]}"
    return percentage(verdict.confidence)


def percentage(confidence: float) -> str:
    """A probability in per cent with one decimal; never "100.0%" but ">99.9%"."""
    text = f"{confidence:.1%}"
    return ">99.9%" if text == "100.0%" else text
