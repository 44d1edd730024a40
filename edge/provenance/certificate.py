"""Who signed, and when: the few fields of X.509 certificates and RFC 3161 time stamps that a report names.

Nothing is verified here; see `edge.provenance.verify`.
"""

import re
from dataclasses import dataclass

from edge.provenance.values import text

_SEQUENCE, _SET, _OID, _OCTETS, _INTEGER = 0x30, 0x31, 0x06, 0x04, 0x02
_CONTEXT_0 = 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_ENCODINGS = {0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii", 0x14: "latin-1", 0x1E: "utf-16-be"}
_COMMON_NAME, _ORGANISATION = b"\x55\x04\x03", b"\x55\x04\x0a"
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_MAX_FIELDS = 100  # of one sequence


class DerError(ValueError):
    """The data are not DER, or have another structure."""


@dataclass(frozen=True)
class Certificate:
    """Fields of an X.509 certificate.

    Attributes:
        subject: the owner's organisation, or the common name if there is none; may be empty.
        issuer: the same of who issued it.
        valid_from, valid_until: times in ISO 8601, UTC; empty if unreadable.
    """

    subject: str
    issuer: str
    valid_from: str
    valid_until: str


def read_certificate(data: bytes) -> Certificate:
    """The fields of a certificate in DER.

    Raises:
        DerError: it is not one.
    """
    body = _fields(_only(_fields(_only(_fields(data), _SEQUENCE)), _SEQUENCE))
    if body and body[0][0] == _CONTEXT_0:  # the version
        body = body[1:]
    if [tag for tag, _ in body[:5]] != [_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE]:
        raise DerError("not a certificate")
    _, _, issuer, validity, subject = (content for _, content in body[:5])
    times = [_time(*field) for field in _fields(validity)[:2]] + ["", ""]
    return Certificate(_name(subject), _name(issuer), times[0], times[1])


def read_time(data: bytes) -> str:
    """The time of an RFC 3161 time stamp in ISO 8601, UTC.

    Args:
        data: a TimeStampResp, or the ContentInfo in it, in DER.

    Raises:
        DerError: it is neither.
    """
    fields = _fields(_only(_fields(data), _SEQUENCE))
    if len(fields) >= 2 and [tag for tag, _ in fields[:2]] == [_SEQUENCE, _SEQUENCE]:  # a response: status, token
        fields = _fields(fields[1][1])
    if fields[:1] != [(_OID, _SIGNED_DATA)] or len(fields) < 2:
        raise DerError("not a time stamp")
    signed = _fields(_only(_fields(fields[1][1]), _SEQUENCE))
    encapsulated = _fields(_only(signed[2:], _SEQUENCE))
    octets = _only(_fields(_only(encapsulated[1:], _CONTEXT_0)), _OCTETS)
    for tag, content in _fields(_only(_fields(octets), _SEQUENCE)):
        if tag == _GENERALIZED_TIME:
            return _time(tag, content)
    raise DerError("a time stamp without a time")


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """(tag, content) of the elements that follow each other in the data."""
    fields: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        if len(fields) == _MAX_FIELDS or at + 2 > len(data) or data[at] & 0x1F == 0x1F:
            raise DerError("damaged, or too many fields")
        tag, length = data[at], data[at + 1]
        at += 2
        if length >= 0x80:
            octets = length & 0x7F
            if not 1 <= octets <= 4:
                raise DerError("an unknown or enormous length")
            length = int.from_bytes(data[at : at + octets], "big")
            at += octets
        if at + length > len(data):
            raise DerError("cut short")
        fields.append((tag, data[at : at + length]))
        at += length
    return fields


def _only(fields: list[tuple[int, bytes]], tag: int) -> bytes:
    """The content of the first field, which must have a tag."""
    if not fields or fields[0][0] != tag:
        raise DerError("another structure than expected")
    return fields[0][1]


def _name(data: bytes) -> str:
    """The organisation of a distinguished name, or else its common name, or else nothing."""
    found: dict[bytes, str] = {}
    for tag, attributes in _fields(data):
        for _, attribute in _fields(attributes) if tag == _SET else ():
            parts = _fields(attribute)
            if len(parts) == 2 and parts[0][0] == _OID and parts[1][0] in _ENCODINGS:
                value = parts[1][1].decode(_ENCODINGS[parts[1][0]], "replace")
                found.setdefault(parts[0][1], text(value))
    return found.get(_ORGANISATION) or found.get(_COMMON_NAME) or ""


def _time(tag: int, content: bytes) -> str:
    """A UTCTime or GeneralizedTime in ISO 8601; empty if it is neither."""
    years = {_UTC_TIME: rb"(\d\d)", _GENERALIZED_TIME: rb"(\d{4})"}.get(tag)
    match = years and re.fullmatch(
        years + rb"(0[1-9]|1[0-2])([0-2]\d|3[01])([01]\d|2[0-3])([0-5]\d)([0-5]\d)(?:\.\d{1,9})?Z", content
    )
    if not match:
        return ""
    year, month, day, hour, minute, second = (part.decode() for part in match.groups())
    if len(year) == 2:  # RFC 5280: 50 to 99 are of the last century
        year = ("19" if year >= "50" else "20") + year
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}Z"
