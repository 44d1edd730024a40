"""Verdicts as lines of text: for people, or as JSON for programs."""

import json
from typing import Protocol, TextIO

from edge.errors import printable
from edge.verdict import Answer, Failure


class Sink(Protocol):
    """Anything that takes note of an answer."""

    def tell(self, answer: Answer) -> None: ...


class JsonLines:
    """One JSON object a line, ASCII only; a bad image has `path` and `error`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, answer: Answer) -> None:
        self._stream.write(json.dumps(answer.as_json()) + "\n")
        self._stream.flush()


class HumanLines:
    """One readable line an image; bad images go to the second stream."""

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._stream, self._errors = stream, errors

    def tell(self, answer: Answer) -> None:
        if isinstance(answer, Failure):
            self._errors.write(f"ERROR          {printable(answer.path)}: {answer.reason}\n")
            self._errors.flush()
        else:
            self._stream.write(f"{answer.label}  {answer.confidence:7.1%}  {printable(answer.path)}\n")
            self._stream.flush()
