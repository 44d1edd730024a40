"""Verdicts as lines of text: for people, or as JSON for programs."""

import json
import os
import select
from collections.abc import Iterator, Sequence
from itertools import groupby
from json.encoder import encode_basestring_ascii as _quoted
from typing import Protocol, TextIO

from edge.errors import SinkError, printable, reason_of
from edge.verdict import (
    ENDED,
    FRAME,
    LABELS,
    UNSURE,
    Answer,
    Evidence,
    Failure,
    Recorded,
    Verdict,
    ViewLogit,
    in_words,
    probability,
)


class Sink(Protocol):
    """Something that answers are delivered to from the ledger, such as a log file.

    Attributes:
        name: identifies the sink in the ledger, which records up to which answer it has received them.
    """

    name: str

    def emit(self, batch: Sequence[Recorded]) -> None:
        """Write answers, in their order.

        Raises:
            SinkError: they cannot be written.
        """


class Lines(Protocol):
    """Writes answers as lines on standard output, readable or JSON."""

    def write(self, *answers: Answer | Recorded) -> None:
        """Write some answers.

        Raises:
            SinkError: they cannot be written; its `delivered` is the id of the last one that was.
        """


class JsonLines:
    """Writes one JSON object per line, ASCII only; a bad image has `path` and `error`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = _Stream(stream)

    def write(self, *answers: Answer | Recorded) -> None:
        self._stream.write(answers, [f"{json_line(answer)}\n" for answer in answers])


def json_line(answer: Answer | Recorded) -> str:
    """`answer.as_json()` as JSON text, in a third of the time for the usual answer of a watcher."""
    if type(answer) is Recorded and isinstance(answer.answer, Verdict):
        verdict = answer.answer
        if not (answer.moved_to or answer.event or verdict.provenance or verdict.explain is not None):
            return (
                f'{{"id": {answer.id}, "time": "{answer.time}", "path": {_quoted(verdict.path)},'
                f' "label": {_quoted(verdict.label)}, "confidence": {round(verdict.confidence, 6)!r},'
                f' "score": {round(verdict.score, 6)!r},'
                f' "outside": {_quoted(verdict.outside) if verdict.outside is not None else "null"},'
                f' "model": {_quoted(verdict.model) if verdict.model else "null"},'
                f' "elapsed_ms": {round(verdict.elapsed_seconds * 1000, 3)!r}, "provenance": []}}'
            )
    return json.dumps(answer.as_json())


def text(answer: Answer) -> str:
    """An answer as one readable line, without a newline."""
    if isinstance(answer, Failure):
        return f"ERROR          {printable(answer.path)}: {answer.reason}"
    remark = f"  (outside: {answer.outside})" if answer.outside else ""
    shown = f"({probability(answer)})" if answer.label == UNSURE else f"{probability(answer):>7}"
    says = f"  ({in_words(answer.provenance[0])})" if answer.provenance and not answer.provenance[0].is_weak else ""
    return f"{answer.label}  {shown}  {printable(answer.path)}{remark}{says}"


def line_of(answer: Answer | Recorded) -> str:
    """An answer as one readable line; a camera's record also has the state of the event and its time."""
    if not isinstance(answer, Recorded):
        return text(answer)
    seen = answer.event
    if seen is None:
        return text(answer.answer)
    end = seen.seconds if seen.state == ENDED else None
    moment = None if seen.position is None else seen.position + (end or 0.0)
    parts = [
        "" if seen.state == FRAME else f"event {seen.state}",
        "" if moment is None else f"at {moment:.1f} s",
        "" if end is None else f"after {end:.1f} s",
        "" if seen.snapshot is None else printable(seen.snapshot),
    ]
    verdict = answer.answer
    if isinstance(verdict, Verdict) and verdict.outside:  # the same for every frame: one word is enough
        verdict = verdict._replace(outside=None)
        parts.append("(outside)")
    return "  ".join([text(verdict), " ".join(part for part in parts if part)]).rstrip()


def line_of_view(view: ViewLogit) -> str:
    """A view of an explained answer as one readable line: label, logit and place in the picture."""
    place, label = view.place, LABELS[view.logit > 0] if view.logit else ""
    size, left, top = f"{_share(place.width)} x {_share(place.height)}", f"{place.left:.0%}", f"{place.top:.0%}"
    is_whole = min(place.width, place.height) >= 1
    where = "the whole picture" if is_whole else f"{size} of the picture, {left} from its left, {top} from its top"
    return f"    {label:4} {view.logit:+7.2f}  {where}"


def line_of_evidence(evidence: Evidence) -> str:
    """All of a piece of evidence as one readable line, for an explained answer."""
    prompt = f"prompt: {evidence.prompt}" if evidence.prompt else ""
    further = "; ".join(printable(part) for part in (evidence.detail, prompt) if part)
    return f"    {evidence.kind:8} {in_words(evidence)}{f'; {further}' if further else ''}"


def _share(part: float) -> str:
    return "<1%" if part < 0.005 else f"{part:.0%}"


class HumanLines:
    """Writes one readable line per image, and one per view if the answer is explained.

    Lines about bad images go to the second stream.
    """

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._stream, self._errors = _Stream(stream), _Stream(errors)

    def write(self, *answers: Answer | Recorded) -> None:
        last: int | None = None
        for is_failure, group in groupby(answers, _is_failure):
            those = list(group)
            try:
                (self._errors if is_failure else self._stream).write(those, list(map(_lines_of, those)))
            except SinkError as error:
                error.delivered = last if error.delivered is None else error.delivered
                raise
            last = those[-1].id if isinstance(those[-1], Recorded) else None


def _is_failure(answer: Answer | Recorded) -> bool:
    return isinstance(answer.answer if isinstance(answer, Recorded) else answer, Failure)


def _lines_of(answer: Answer | Recorded) -> str:
    """An answer's line, and those of its details if it is explained."""
    lines = [line_of(answer)]
    if isinstance(answer, Verdict) and answer.explain:
        lines += map(line_of_view, answer.explain)
        lines += map(line_of_evidence, answer.provenance)
    return "".join(f"{line}\n" for line in lines)


class Output:
    """Standard output as a sink; answers that were not written before a stop are written after the next start."""

    name = "output"

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def emit(self, batch: Sequence[Recorded]) -> None:
        """See `Sink.emit`; the error has the id of the last answer that was written."""
        self._lines.write(*batch)


class _Stream:
    """A standard stream whose every byte is written at once, so that the reader of a pipe need not wait for it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rest = b""  # of an answer of which a part was written

    def write(self, answers: Sequence[Answer | Recorded], texts: Sequence[str]) -> None:
        """Write the text of each answer.

        Raises:
            BrokenPipeError: the reader has closed the pipe.
            SinkError: any other error; its `delivered` is the id of the last answer of which something was written.
        """
        try:
            descriptor = self._stream.fileno()
        except OSError:  # a stream in memory
            self._stream.write("".join(texts))
            return
        encoding, errors = self._stream.encoding, self._stream.errors or "strict"
        parts = [text.encode(encoding, errors) for text in texts]
        written = 0
        try:
            self._stream.flush()  # what other code has written
            for piece in _pieces(self._rest, parts):
                while piece:
                    count = os.write(descriptor, piece)
                    piece, written = piece[count:], written + count
        except BrokenPipeError:
            raise  # not an error: the command line ends quietly
        except OSError as error:
            failure = SinkError(f"cannot write the output: {reason_of(error)}")
            failure.delivered = self._keep_rest(answers, parts, written)
            raise failure from error
        self._rest = b""

    def _keep_rest(self, answers: Sequence[Answer | Recorded], parts: Sequence[bytes], written: int) -> int | None:
        """Keep the rest of an answer that was begun for the next call; returns the id of the last one begun.

        Args:
            written: bytes that were written, the former rest first.
        """
        written -= len(self._rest)
        self._rest = self._rest[written:] if written < 0 else b""
        last = None
        for answer, part in zip(answers, parts, strict=True):
            if written <= 0:
                break
            last = answer.id if isinstance(answer, Recorded) else None
            self._rest = part[written:]
            written -= len(part)
        return last


def _pieces(rest: bytes, parts: Sequence[bytes]) -> Iterator[bytes]:
    """The parts, joined as far as a pipe takes them whole or not at all: a kill leaves no half line to its reader."""
    piece = rest
    for part in parts:
        if piece and len(piece) + len(part) > select.PIPE_BUF:
            yield piece
            piece = b""
        piece += part
    yield piece
