"""The report of everything: JSON and tree, with and without prompts."""

import json

import pytest

from edge.provenance import read
from tests.support.metadata import FORMATS, encoded, exif_of, plain, png, with_exif, xmp_packet

SETTINGS = "a secret lake\nNegative prompt: people\nSteps: 20, Sampler: Euler, Seed: 5, Size: 8x8, Model: m1"
COMFY = {"3": {"class_type": "KSampler", "inputs": {"seed": 9, "positive": ["6", 0]}}}
COMFY["6"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "a secret lake"}}


def test_report_names_blocks_fields_and_evidence() -> None:
    data = encoded(
        "JPEG",
        exif=exif_of({0x010F: "Acme", 0x0110: "X1", 0x0131: "GIMP 2.10"}, {0x8827: 200}),
        xmp=xmp_packet(photoshop_Credit="The archive"),
        comment=b"hello",
    )
    report = read.details(data)
    found = report.as_json()
    assert json.loads(json.dumps(found)) == found
    assert (found["format"], found["size"]) == ("JPEG", len(data))
    assert {block["name"] for block in found["blocks"]} == {"EXIF", "XMP", "text"}
    assert all(block["size"] > 0 for block in found["blocks"])
    assert found["exif"] == {"ISO": 200, "Make": "Acme", "Model": "X1", "Software": "GIMP 2.10"}
    assert found["xmp"] == {"photoshop:Credit": ["The archive"]}
    assert found["texts"] == {"comment": "hello"}
    assert [item["says"] for item in found["evidence"]] == ["edited", "captured"]
    assert list(report.lines())[:4] == [
        "├─ evidence",
        "│  ├─ edited by GIMP 2.10 (software); a claim, not checked",
        "│  └─ captured by Acme X1 (exif: ISO 200); a claim, not checked",
        "├─ metadata (JPEG)",
    ]
    assert "   └─ comment: hello" in report.lines()


@pytest.mark.parametrize(
    "data",
    [
        png(("parameters", SETTINGS)),
        png(("prompt", json.dumps(COMFY)), ("workflow", json.dumps({"nodes": ["a secret lake"], "links": []}))),
        with_exif("WEBP", {0x0110: f"prompt:{json.dumps(COMFY)}", 0x010F: 'workflow:{"note": "a secret lake"}'}),
        with_exif("JPEG", {0x010E: "a secret lake"}, {0x9286: SETTINGS.encode()}),
        png(("Description", "a secret lake --v 6 Job ID: 0f5a8b9c-1d2e-3f40-8a9b-0c1d2e3f4a5b")),
    ],
)
def test_prompts_are_shown_only_if_asked_for(data: bytes) -> None:
    report = read.details(data)
    assert report.evidence
    assert "secret" not in "\n".join(report.lines())
    assert "secret" not in json.dumps(report.as_json(prompts=False))
    assert "secret" in "\n".join(report.lines(prompts=True))
    assert report.as_json()["settings"][0]["prompt"].startswith("a secret lake")


@pytest.mark.parametrize("name", FORMATS)
def test_report_of_a_plain_file_says_that_there_is_nothing(name: str) -> None:
    report = read.details(plain(name))
    assert report.as_json()["evidence"] == []
    assert list(report.lines())[:2] == ["├─ evidence", "│  └─ none"]


def test_report_of_something_else_says_so() -> None:
    report = read.details(b"no picture")
    assert report.as_json()["format"] is None
    assert "└─ metadata (not a container that is read)" in report.lines()


def test_lines_are_printable_and_bounded() -> None:
    evil = "\x1b[2J\n\u202e" * 100_000
    data = png(("Title", evil), ("Key\x9b", "x"), ("parameters", evil + "\n" + SETTINGS))
    for line in read.details(data).lines(prompts=True):
        assert line.isprintable()
        assert len(line) < 500
    assert len(json.dumps(read.details(data).as_json())) < 3_000_000
