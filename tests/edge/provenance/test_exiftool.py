"""Fields of every container, as exiftool reads them, and as exiftool and Pillow write them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL.TiffImagePlugin import IFDRational

from edge.provenance import read
from edge.provenance.facts import Facts
from edge.verdict import CAPTURED, EDITED, GENERATED
from tests.support.metadata import (
    FORMATS,
    SOURCE_TYPE,
    SUFFIXES,
    encoded,
    exif_of,
    exiftool,
    exiftool_write,
    plain,
    unicode_comment,
    xmp_packet,
)
from tests.support.packages import missing


@pytest.fixture(autouse=True)
def _with_exiftool() -> None:
    if not shutil.which("exiftool"):
        missing("libimage-exiftool-perl")


EXIF = {
    "ImageDescription": "IFD0:ImageDescription",
    "Make": "IFD0:Make",
    "Model": "IFD0:Model",
    "Software": "IFD0:Software",
    "Artist": "IFD0:Artist",
    "UserComment": "ExifIFD:UserComment",
    "DateTimeOriginal": "ExifIFD:DateTimeOriginal",
    "ExposureTime": "ExifIFD:ExposureTime",
    "FNumber": "ExifIFD:FNumber",
    "ISO": "ExifIFD:ISO",
    "FocalLength": "ExifIFD:FocalLength",
}
XMP = {
    ("http://ns.adobe.com/xap/1.0/", "CreatorTool"): "XMP-xmp:CreatorTool",
    ("http://ns.adobe.com/photoshop/1.0/", "Credit"): "XMP-photoshop:Credit",
    ("http://ns.adobe.com/photoshop/1.0/", "Source"): "XMP-photoshop:Source",
    ("http://purl.org/dc/elements/1.1/", "description"): "XMP-dc:Description",
    ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "DigitalSourceType"): "XMP-iptcExt:DigitalSourceType",
}
IPTC = ("Credit", "Source", "Caption-Abstract", "OriginatingProgram", "By-line")
TAGS = {0x010E: "A quiet street", 0x010F: "Acme", 0x0110: "Acme X1", 0x0131: "Firmware 1.2", 0x013B: "A. Person"}
CAMERA = {0x829A: IFDRational(1, 250), 0x829D: 2.8, 0x8827: 400, 0x9003: "2024:05:06 07:08:09", 0x920A: 35.0}
WITH_IPTC = ("JPEG", "TIFF", "PNG")


def facts_of(path: Path) -> Facts:
    _, facts, _ = read.parsed(path.read_bytes())
    assert facts is not None
    return facts


def compare(path: Path) -> dict[str, Any]:
    """Check that all known fields are as exiftool reads them; returns exiftool's."""
    theirs, ours = exiftool(path), facts_of(path)
    for name, tag in EXIF.items():
        want, got = theirs.get(tag), ours.exif.get(name)
        if isinstance(want, float) or isinstance(got, float):
            assert got == pytest.approx(want, rel=1e-6), name
        else:
            assert got == want, name
    for key, tag in XMP.items():
        assert ours.xmp.get(key, [None])[0] == theirs.get(tag), tag
    for name in IPTC:
        assert ours.iptc.get(name) == theirs.get(f"IPTC:{name}"), name
    return theirs


@pytest.mark.parametrize("name", FORMATS)
def test_fields_that_pillow_writes_are_as_exiftool_reads_them(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{SUFFIXES[name]}"
    camera = CAMERA | {0x9286: unicode_comment("Café at night", "<")}
    packet = xmp_packet(
        "<dc:description><rdf:Alt><rdf:li xml:lang='x-default'>A quiet street &amp; a lamp</rdf:li></rdf:Alt>"
        "</dc:description>",
        xmp_CreatorTool="Tool 1",
        photoshop_Credit="The archive",
        Iptc4xmpExt_DigitalSourceType=SOURCE_TYPE + "digitalCapture",
    )
    path.write_bytes(encoded(name, exif=exif_of(TAGS, camera), xmp=packet))
    theirs = compare(path)
    assert theirs["IFD0:Model"] == "Acme X1"
    assert theirs["ExifIFD:UserComment"] == "Café at night"
    assert theirs["XMP-photoshop:Credit"] == "The archive"
    found = read.evidence(path.read_bytes())
    assert [(item.kind, item.says, item.program) for item in found] == [
        ("iptc", CAPTURED, "Tool 1"),
        ("exif", CAPTURED, "Acme X1"),
    ]
    assert found[1].detail == "1/250 s, f/2.8, ISO 400, 35 mm; taken 2024:05:06 07:08:09"


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("name", FORMATS)
def test_fields_that_exiftool_writes_are_read(name: str, order: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{SUFFIXES[name]}"
    path.write_bytes(plain(name))
    exiftool_write(
        path,
        *(() if name == "TIFF" else (f"-ExifByteOrder={order}",)),
        "-IFD0:Make=Acme",
        "-IFD0:Model=X1",
        "-IFD0:Software=GIMP 2.10.36",
        "-IFD0:ImageDescription=A street with cafés",
        "-ExifIFD:UserComment=Ünïcode and more",
        "-ExifIFD:ExposureTime=1/8",
        "-ExifIFD:FNumber=5.6",
        "-ExifIFD:ISO=3200",
        "-ExifIFD:FocalLength=85",
        "-ExifIFD:DateTimeOriginal=2020:01:02 03:04:05",
        f"-XMP-iptcExt:DigitalSourceType={SOURCE_TYPE}trainedAlgorithmicMedia",
        "-XMP-photoshop:Credit=Made with Google AI",
        "-XMP-photoshop:Source=A generator",
        "-XMP-xmp:CreatorTool=Adobe Photoshop 25.0 (Windows)",
        "-XMP-dc:Description=Zwei Sätze",
        *(("-IPTC:Credit=Crédit", "-IPTC:Caption-Abstract=One line") if name in WITH_IPTC else ()),
    )
    theirs = compare(path)
    assert theirs["ExifIFD:UserComment"] == "Ünïcode and more"
    assert theirs["XMP-iptcExt:DigitalSourceType"] == SOURCE_TYPE + "trainedAlgorithmicMedia"
    if name in WITH_IPTC:
        assert theirs["IPTC:Credit"] == "Crédit"
    first, *others = read.evidence(path.read_bytes())
    assert (first.kind, first.says, first.program) == ("iptc", GENERATED, "Adobe Photoshop 25.0 (Windows)")
    assert first.detail == 'trainedAlgorithmicMedia (made by a generative model); credit "Made with Google AI"'
    assert [(item.kind, item.says, item.program) for item in others] == [
        ("software", EDITED, "GIMP 2.10.36"),
        ("software", EDITED, "Adobe Photoshop 25.0 (Windows)"),
        ("exif", CAPTURED, "Acme X1"),
    ]


def test_iptc_program_of_a_jpeg_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(plain("JPEG"))
    exiftool_write(path, "-IPTC:OriginatingProgram=Adobe Photoshop", "-IPTC:ProgramVersion=7.0", "-IPTC:Source=Agency")
    compare(path)
    assert [(item.kind, item.says, item.program) for item in read.evidence(path.read_bytes())] == [
        ("software", EDITED, "Adobe Photoshop 7.0")
    ]


def test_extended_xmp_of_a_jpeg_is_read_if_the_main_packet_names_it(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(plain("JPEG"))
    text = tmp_path / "text"
    text.write_text("word " * 29_999 + "word")
    exiftool_write(
        path, f"-XMP-dc:Description<={text}", f"-XMP-iptcExt:DigitalSourceType={SOURCE_TYPE}trainedAlgorithmicMedia"
    )
    data = path.read_bytes()
    assert b"http://ns.adobe.com/xmp/extension/\0" in data
    description = facts_of(path).xmp[("http://purl.org/dc/elements/1.1/", "description")][0]
    assert description.split() == ["word"] * 30_000
    compare(path)
    main = data.index(b"HasExtendedXMP=") + 16 if b"HasExtendedXMP=" in data else data.index(b"HasExtendedXMP>") + 15
    other = data[:main] + b"0" * 32 + data[main + 32 :]
    _, facts, found = read.parsed(other)
    assert facts is not None
    assert ("http://purl.org/dc/elements/1.1/", "description") not in facts.xmp
    assert [item.says for item in found] == [GENERATED]


def test_big_tiff_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(encoded("TIFF", big_tiff=True, tiffinfo={0x010F: "Acme", 0x0110: "X1", 700: xmp_packet()}))
    assert path.read_bytes()[2:3] == b"+"
    assert compare(path)["IFD0:Make"] == "Acme"
