"""Hostile metadata: thousands of mutated files of every container, each answered without an error."""

import json
import struct
import time
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from edge.provenance import exif, forms, iptc, read, xmp
from edge.provenance.report import Report
from edge.verdict import CAPTURED, EDITED, GENERATED
from tests.edge.imaging.test_fuzz import mutated
from tests.edge.provenance.test_containers import with_store
from tests.support.metadata import (
    FORMATS,
    SOURCE_TYPE,
    chunk,
    encoded,
    exif_of,
    plain,
    png,
    store,
    unicode_comment,
    with_chunk,
    with_segments,
    xmp_packet,
)

MUTATIONS = 400  # of each kind of file
SETTINGS = "a lake\nSteps: 20, Sampler: Euler, Seed: 5, Size: 8x8, Model: m1, Version: v1.10.1"
COMFY = {"3": {"class_type": "KSampler", "inputs": {"seed": 9, "positive": ["6", 0]}}}
PACKET = xmp_packet(
    "<dc:description><rdf:Alt><rdf:li xml:lang='x-default'>text</rdf:li></rdf:Alt></dc:description>",
    Iptc4xmpExt_DigitalSourceType=SOURCE_TYPE + "trainedAlgorithmicMedia",
    xmp_CreatorTool="GIMP 2.10",
)
BLOCK = exif_of(
    {0x010F: "Acme", 0x0110: "X1", 0x0131: "GIMP 2.10"},
    {0x829A: 0.01, 0x829D: 2.8, 0x8827: 100, 0x9286: unicode_comment(SETTINGS)},
)
RECORD = b"\x1c\1\x5a\0\3\x1b%G\x1c\2\x6e\0\4name\x1c\2\x41\0\4GIMP"
RESOURCES = b"8BIM\4\4\0\0" + len(RECORD).to_bytes(4, "big") + RECORD


@cache
def whole(name: str) -> bytes:
    """A file with all kinds of metadata that its container can have."""
    if name in FORMATS:
        data = encoded(name, exif=BLOCK, xmp=PACKET)
        small = plain(name)
        return data if len(data) < 20_000 else small
    if name == "JPEG with all":
        head = b"\xff\xed" + (len(RESOURCES) + 16).to_bytes(2, "big") + b"Photoshop 3.0\0" + RESOURCES
        comment = b"\xff\xfe" + (len(SETTINGS) + 13).to_bytes(2, "big") + b"parameters\0" + SETTINGS.encode()
        return with_segments(with_store("JPEG", store()), head, comment)
    if name == "PNG with all":
        texts = png(("parameters", SETTINGS), ("prompt", json.dumps(COMFY)), ("Dream", '"x" -S 5'), compressed=True)
        return with_chunk(texts, b"caBX", store())
    return with_store(name.removesuffix(" with C2PA"), store())


KINDS = (*FORMATS, "JPEG with all", "PNG with all", "WEBP with C2PA", "TIFF with C2PA", "HEIC with C2PA")


def check(data: bytes) -> tuple[str, ...]:
    """Read a file; everything found is printable and bounded."""
    metadata, facts, evidence = read.parsed(data)
    for item in evidence:
        assert item.says in (GENERATED, EDITED, CAPTURED)
        assert len(item.program) <= 100
        assert len(item.detail) <= 300
        assert (item.program + item.detail).isprintable()
    if facts:
        report = Report(metadata, facts, evidence, len(data))
        assert all(line.isprintable() for line in report.lines(prompts=True))
        json.dumps(report.as_json())
    return tuple(item.says for item in evidence)


def with_right_checksums(data: bytes) -> bytes:
    """A PNG file whose chunks all have the checksums of their content, so that mutations of it are read."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + length]
        parts.append(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join(parts) if len(data) > 8 else data


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_read_without_an_error(kind: str) -> None:
    content = whole(kind)
    original = check(content)
    random = np.random.default_rng(sum(map(ord, kind)))
    seen = set()
    for _ in range(MUTATIONS):
        data = mutated(content, random)
        seen.add(check(with_right_checksums(data) if data.startswith(b"\x89PNG\r\n\x1a\n") else data))
    assert len(seen) > 1 or not original, "the mutations were too mild to show anything"


def test_mutated_blocks_are_read_without_an_error() -> None:
    """The same for each block alone, where all mutations hit metadata."""
    random = np.random.default_rng(1)
    counts = dict.fromkeys(("exif", "iptc", "resources", "xmp", "settings", "json"), 0)
    for _ in range(MUTATIONS):
        counts["exif"] += bool(exif.fields(mutated(BLOCK, random)))
        counts["iptc"] += bool(iptc.fields(mutated(RECORD, random)))
        counts["resources"] += bool(iptc.from_resources(mutated(RESOURCES, random)))
        counts["xmp"] += bool(xmp.properties(mutated(PACKET, random)))
        counts["settings"] += bool(forms.settings(mutated(SETTINGS.encode(), random).decode("latin-1")))
        counts["json"] += bool(
            forms.settings(mutated(json.dumps({"prompt": COMFY}).encode(), random).decode("latin-1"))
        )
    assert all(0 < count < MUTATIONS for count in counts.values()), counts


def test_random_bytes_behind_each_signature_are_read_without_an_error() -> None:
    random = np.random.default_rng(2)
    heads = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\0\0WEBP", b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0")
    for head in (*heads, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\0\0\0\x18ftypavif\0\0\0\0avifmif1"):
        for size in (0, 1, 10, 100, 2000):
            check(head + random.bytes(size))


def bombs() -> bytes:
    """200 texts, each of which inflates to 16 MB."""
    data, bomb = plain("PNG"), b"a\0\0" + zlib.compress(bytes(1 << 24))
    at = data.index(b"IDAT") - 4
    return data[:at] + chunk(b"zTXt", bomb) * 200 + data[at:]


def overlapping_items() -> bytes:
    """4000 items of EXIF, all of the same 4 MB."""
    items = b"".join(struct.pack(">I4sB3xHH4s", 20, b"infe", 2, number, 0, b"Exif") for number in range(4000))
    infos = struct.pack(">I4s4xH", 14 + len(items), b"iinf", 4000) + items
    places = b"".join(struct.pack(">HHHII", number, 0, 1, 0, 4_000_000) for number in range(4000))
    locations = struct.pack(">I4s4xHH", 16 + len(places), b"iloc", 0x4400, 4000) + places
    meta = struct.pack(">I4s4x", 12 + len(infos) + len(locations), b"meta") + infos + locations
    return plain("AVIF")[: int.from_bytes(plain("AVIF")[:4], "big")] + meta + bytes(4_000_000)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "texts that inflate to gigabytes": bombs,
    "EXIF in 300 segments": lambda: b"\xff\xd8" + (b"\xff\xe1\xff\xffExif\0\0" + b"x" * 65527) * 300 + b"\xff\xd9",
    "4000 items of EXIF at the same place": overlapping_items,
    "30,000 elements of a long namespace": lambda: encoded(
        "WEBP", xmp=xmp_packet(f"<dc:x xmlns:a='{'n' * 500}'>{'<a:b/>' * 30_000}</dc:x>")
    ),
    "nested JSON": lambda: png(("parameters", '{"a":' * 200_000)),
    "a line of many names": lambda: png(("parameters", "Steps: 1" + ", a: b" * 150_000 + ", Seed: 1, Size: 1x1")),
    "a long quoted prompt": lambda: png(("Dream", '"' * 1_000_000 + " -S 1")),
    "a description of a megabyte": lambda: png(("Description", "Job ID: " * 130_000)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_file_takes_a_bounded_time(kind: str) -> None:
    data = HOSTILE[kind]()
    began = time.process_time()
    check(data)
    assert time.process_time() - began < 2, "a limit is missing: this takes milliseconds"


def test_evidence_is_empty_where_a_parser_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last guard: a mistake in a parser must not end a run; too little memory must be seen."""
    from edge.provenance import containers

    def fails(_: bytes) -> None:
        raise error

    monkeypatch.setattr(containers, "metadata_of", fails)
    error: Exception = RecursionError()
    assert read.evidence(b"x") == ()
    assert read.details(b"x").evidence == ()
    error = MemoryError()
    with pytest.raises(MemoryError):
        read.evidence(b"x")
    with pytest.raises(MemoryError):
        read.details(b"x")
