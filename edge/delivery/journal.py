"""Answers in the systemd journal, with fields to search by: `journalctl EDGE_DETECT_LABEL=FAKE`."""

import os
from collections.abc import Mapping

from edge.delivery.stdout import line_of
from edge.errors import SinkError, printable, reason_of
from edge.files import inode
from edge.verdict import Answer, Failure, Recorded, Verdict

SOCKET = "/run/systemd/journal/socket"
INFO, WARNING = 6, 4  # syslog(3)


def takes(descriptor: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether standard output (1) or error (2) goes to the journal: systemd.exec(5), $JOURNAL_STREAM."""
    try:
        device, number = inode(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{device}:{number}" and os.path.exists(SOCKET)


class JournalLines:
    """Writes one journal entry for each answer: a readable message, and fields to search by."""

    def __init__(self, address: str = SOCKET) -> None:
        import socket  # most runs do not need it

        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def write(self, *answers: Answer | Recorded) -> None:
        """
        Raises:
            SinkError: the journal cannot be written; its `delivered` is the id of the last answer that was.
        """
        last: int | None = None
        for answer in answers:
            try:
                self._write(answer)
            except SinkError as error:
                error.delivered = last
                raise
            last = answer.id if isinstance(answer, Recorded) else None

    def _write(self, answer: Answer | Recorded) -> None:
        fields, message = {"SYSLOG_IDENTIFIER": "edge-detect"}, line_of(answer)
        if isinstance(answer, Recorded):
            fields["EDGE_DETECT_ID"] = str(answer.id)
            if answer.moved_to is not None:
                fields["EDGE_DETECT_MOVED_TO"] = printable(answer.moved_to)
            if answer.event is not None:
                fields["EDGE_DETECT_EVENT"] = answer.event.state
                if answer.event.snapshot is not None:
                    fields["EDGE_DETECT_SNAPSHOT"] = printable(answer.event.snapshot)
            answer = answer.answer
        fields["EDGE_DETECT_PATH"] = printable(answer.path)
        if isinstance(answer, Failure):
            fields |= {"PRIORITY": str(WARNING), "MESSAGE": f"{printable(answer.path)}: {answer.reason}"}
            fields["EDGE_DETECT_ERROR"] = answer.reason
        else:
            fields |= _of_verdict(answer, message)
        try:
            self._socket.sendto(b"".join(_field(*field) for field in fields.items()), self._address)
        except OSError as error:
            raise SinkError(f"cannot write to the journal: {reason_of(error)}") from error


def _of_verdict(verdict: Verdict, message: str) -> dict[str, str]:
    fields = {
        "PRIORITY": str(INFO),
        "MESSAGE": message,
        "EDGE_DETECT_LABEL": verdict.label,
        "EDGE_DETECT_SCORE": f"{verdict.score:.6f}",
        "EDGE_DETECT_CONFIDENCE": f"{verdict.confidence:.6f}",
    }
    if verdict.model:
        fields["EDGE_DETECT_MODEL"] = printable(verdict.model)
    if verdict.provenance:
        fields["EDGE_DETECT_PROVENANCE"] = verdict.provenance[0].says
    return fields


def _field(name: str, value: str) -> bytes:
    """A field in the journal's native protocol, whose simple form is for values of one line: all of these are."""
    return f"{name}={value}\n".encode("utf-8", "replace")
