"""Verdicts as lines of text: for people, or as JSON for programs."""

import json
from typing import Protocol, TextIO

from edge.errors import SinkError, printable
from edge.verdict import Answer, Failure, percentage


class Sink(Protocol):
    """Anything that takes note of an answer."""

    def tell(self, answer: Answer) -> None:
        """
        Raises:
            SinkError: it could not be written down.
        """


class JsonLines:
    """One JSON object a line, ASCII only; a bad image has `path` and `error`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, answer: Answer) -> None:
        _write(self._stream, json.dumps(answer.as_json()) + "\n")


class HumanLines:
    """One readable line an image; bad images go to the second stream."""

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        self._stream, self._errors = stream, errors

    def tell(self, answer: Answer) -> None:
        if isinstance(answer, Failure):
            _write(self._errors, f"ERROR          {printable(answer.path)}: {answer.reason}\n")
        else:
            remark = f"  (outside: {answer.outside})" if answer.outside else ""
            _write(
                self._stream, f"{answer.label}  {percentage(answer.confidence):>7}  {printable(answer.path)}{remark}\n"
            )


def _write(stream: TextIO, line: str) -> None:
    """At once, so that a reader of a pipe need not wait."""
    try:
        stream.write(line)
        stream.flush()
    except BrokenPipeError:
        raise  # the reader has gone, which is no error of anyone: the command line ends quietly
    except OSError as error:
        raise SinkError(f"cannot write the output: {(error.strerror or '').lower()}") from error
