"""Manifest stores of any structure, valid or not: JUMBF boxes and CBOR items, written by hand."""

import struct
from typing import Any

ISO_SUFFIX = bytes.fromhex("00110010800000AA00389B71")


def cbor(value: Any) -> bytes:
    """A value in CBOR."""
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(cbor(item) for item in value)
    return head(5, len(value)) + b"".join(cbor(key) + cbor(item) for key, item in value.items())


def head(major: int, argument: int) -> bytes:
    """The first bytes of an item: its kind, and its value or length."""
    if argument < 24:
        return bytes((major << 5 | argument,))
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            return bytes((major << 5 | info,)) + argument.to_bytes(size, "big")
    raise ValueError(argument)


def box(kind: bytes, content: bytes, *, extended: bool = False) -> bytes:
    """A box; with its length in the XLBox if that is wanted."""
    if extended:
        return struct.pack(">I4sQ", 1, kind, len(content) + 16) + content
    return struct.pack(">I4s", len(content) + 8, kind) + content


def superbox(kind: bytes, label: str, *inner: bytes, extended: bool = False) -> bytes:
    """A superbox of a C2PA type such as b"c2ma"."""
    description = box(b"jumd", kind + ISO_SUFFIX + b"\x03" + label.encode() + b"\0")
    return box(b"jumb", description + b"".join(inner), extended=extended)


def assertion(label: str, value: Any) -> bytes:
    return superbox(b"cbor", label, box(b"cbor", cbor(value)))


def manifest(label: str, **assertions: Any) -> bytes:
    """A manifest without a signature, whose claim lists the assertions; "c2pa_" in their names stands for "c2pa."."""
    boxes = {name.replace("c2pa_", "c2pa."): value for name, value in assertions.items()}
    claim = {"created_assertions": [{"url": f"self#jumbf=c2pa.assertions/{name}"} for name in boxes]}
    return superbox(
        b"c2ma",
        label,
        superbox(b"c2as", "c2pa.assertions", *(assertion(name, value) for name, value in boxes.items())),
        superbox(b"c2cl", "c2pa.claim.v2", box(b"cbor", cbor(claim))),
    )


def store(*manifests: bytes) -> bytes:
    return superbox(b"c2pa", "c2pa", *manifests)


def parent(label: str, relationship: str = "parentOf") -> dict[str, Any]:
    """An ingredient that has a manifest in the same store."""
    return {"relationship": relationship, "activeManifest": {"url": f"self#jumbf=/c2pa/{label}", "hash": b""}}


def actions(*named: tuple[str, str]) -> dict[str, Any]:
    """An assertion of actions: (name, last part of the digital source type) each."""
    kinds = "http://cv.iptc.org/newscodes/digitalsourcetype/"
    return {
        "actions": [
            {"action": f"c2pa.{name}"} | ({"digitalSourceType": kinds + kind} if kind else {}) for name, kind in named
        ]
    }
