"""The answer to an image: a verdict, or the reason why there is none. With a camera's events, and recorded answers."""

from functools import lru_cache
from typing import Any, NamedTuple

from edge.errors import printable
from edge.records import dataclass

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


GENERATED, EDITED, CAPTURED = "generated", "edited", "captured"


@dataclass(frozen=True)
class Evidence:
    """One thing that an image file says of its own origin (`edge.provenance`). It never changes the score.

    Attributes:
        kind: where it stands: "c2pa" (Content Credentials), "iptc" (digital source type), "text" (settings of a
            generating program), "exif" (a camera), "software" (a program's name).
        says: GENERATED, EDITED or CAPTURED.
        program: the program or camera, as the file names it; empty if it does not.
        detail: further facts in one line; empty if there are none.
        prompt: what the program was asked for; None if that was not asked for or is not given.
        verified: True if its signature was checked, fits the file and is trusted; False if it does not fit; None if
            nobody checked it.
    """

    kind: str
    says: str
    program: str = ""
    detail: str = ""
    verified: bool | None = None
    prompt: str | None = None

    @property
    def is_weak(self) -> bool:
        """Whether it is hardly worth a line: any program can write a camera's or an editor's name."""
        return self.kind in ("exif", "software")

    def as_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "kind": self.kind,
            "says": self.says,
            "program": self.program or None,
            "detail": self.detail or None,
            "verified": self.verified,
        }
        if self.prompt is not None:
            fields["prompt"] = self.prompt
        return fields


class Verdict(NamedTuple):
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
        provenance: what the image's file says of its origin, the most telling first. It never changes the score; a
            verified one may decide the label, see `edge.inference.router.Router.with_provenance`.
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
    provenance: tuple[Evidence, ...] = ()

    def as_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "path": self.path,
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "score": round(self.score, 6),
            "outside": self.outside,
            "model": self.model or None,
            "elapsed_ms": round(self.elapsed_seconds * 1000, 3),
            "provenance": [one.as_json() for one in self.provenance] if self.provenance else [],
        }
        if self.explain is not None:
            fields["explain"] = [view.as_json() for view in self.explain]
        return fields


class Failure(NamedTuple):
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


@lru_cache(maxsize=4)  # the answers of one commit have the same time
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


def in_words(evidence: Evidence) -> str:
    """Evidence in a few words: "claims: generated by ComfyUI", "verified: captured by Pixel 10"."""
    how = {True: "verified", False: "does not fit its signature, but claims", None: "claims"}[evidence.verified]
    by = f" by {printable(evidence.program)}" if evidence.program else ""
    return f"{how}: {evidence.says}{by}"
