"""What follows from fields: digital source types, credits, editors and cameras; order, repetitions and limits."""

import subprocess
import sys

import pytest

from edge.provenance import findings, read, source_types
from edge.verdict import CAPTURED, EDITED, GENERATED, Evidence
from tests.conftest import CHECKOUT, CIFAKE
from tests.support.metadata import FORMATS, SOURCE_TYPE, encoded, plain, png, with_exif, xmp_packet

CAMERA = {0x8827: 100, 0x829D: 2.8}


def found(data: bytes) -> list[tuple[str, str, str]]:
    return [(item.kind, item.says, item.program) for item in read.parsed(data)[2]]


def says(value: str, name: str = "DigitalSourceType") -> list[str]:
    data = encoded("JPEG", xmp=xmp_packet(**{f"Iptc4xmpExt_{name}": value}))
    return [item.says for item in read.parsed(data)[2]]


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("trainedAlgorithmicMedia", GENERATED),
        ("algorithmicMedia", GENERATED),
        ("compositeWithTrainedAlgorithmicMedia", EDITED),
        ("compositeSynthetic", EDITED),
        ("humanEdits", EDITED),
        ("algorithmicallyEnhanced", EDITED),
        ("computationalCapture", CAPTURED),
        ("digitalCapture", CAPTURED),
        ("negativeFilm", CAPTURED),
        ("print", CAPTURED),
        ("digitalArt", None),
        ("screenCapture", None),
        ("noSuchTerm", None),
    ],
)
def test_digital_source_types_are_told_apart(term: str, expected: str | None) -> None:
    wanted = [expected] if expected else []
    assert says(SOURCE_TYPE + term) == wanted
    assert says(SOURCE_TYPE.replace("http:", "https:") + term + "/") == wanted
    assert says(f"digsrctype:{term}") == wanted
    assert says(f" {term} ") == wanted
    assert says(SOURCE_TYPE + term, "DigitalSourceFileType") == wanted
    assert says("http://example.org/" + term) == []
    assert says(f"not {term}") == []


def test_each_source_type_that_says_something_has_a_meaning() -> None:
    assert source_types.SAYS.keys() == source_types.MEANINGS.keys()
    assert says(SOURCE_TYPE + source_types.UNTRAINED) == [GENERATED]
    data = encoded("JPEG", xmp=xmp_packet(Iptc4xmpExt_DigitalSourceType=SOURCE_TYPE + "algorithmicMedia"))
    assert "without a trained model" in read.evidence(data)[0].detail


@pytest.mark.parametrize("name", FORMATS)
def test_xmp_of_each_container_is_evidence(name: str) -> None:
    packet = xmp_packet(Iptc4xmpExt_DigitalSourceType=SOURCE_TYPE + "compositeWithTrainedAlgorithmicMedia")
    assert found(encoded(name, xmp=packet)) == [("iptc", EDITED, "")]


def test_system_of_iptc_names_the_program() -> None:
    packet = xmp_packet(Iptc4xmpExt_AISystemUsed="A model 3", xmp_CreatorTool="GIMP 2.10")
    assert found(encoded("JPEG", xmp=packet)) == [("iptc", GENERATED, "A model 3"), ("software", EDITED, "GIMP 2.10")]


def test_credits_count_only_if_they_are_exactly_as_written_by_the_program() -> None:
    def credited(text: str) -> list[tuple[str, str, str]]:
        return found(encoded("PNG", xmp=xmp_packet(photoshop_Credit=text)))

    assert credited("Made with Google AI") == [("iptc", GENERATED, "")]
    assert credited("Edited with Google AI") == [("iptc", EDITED, "")]
    assert credited("Not Made with Google AI") == []
    assert credited("Made with Google AI, they say") == []
    assert credited("Midjourney") == []


def test_names_of_generators_in_free_texts_say_nothing() -> None:
    words = "Stable Diffusion, Midjourney, DALL-E, Firefly, ComfyUI, trainedAlgorithmicMedia, AI generated"
    texts = [(key, words) for key in ("Title", "Description", "Comment", "Author", "Source", "Software", "parameters")]
    assert found(png(*texts)) == []
    tags = dict.fromkeys((0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x8298), words)
    assert found(with_exif("JPEG", tags, {0x9286: b"ASCII\0\0\0" + words.encode()})) == []
    packet = xmp_packet(
        f"<dc:description><rdf:Alt><rdf:li>{words}</rdf:li></rdf:Alt></dc:description>", xmp_CreatorTool=words
    )
    assert found(encoded("JPEG", xmp=packet)) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Adobe Photoshop 25.0 (Windows)", True),
        ("Adobe Photoshop CC 2017 (Macintosh)", True),
        ("Adobe Photoshop Lightroom Classic 13.0", True),
        ("GIMP", True),
        ("GIMP 2.10.36", True),
        ("paint.net 5.0", True),
        ("darktable 4.6.1", True),
        ("Snapseed 2.0", True),
        ("GIMPressive", False),
        ("not GIMP", False),
        ("17.5.1", False),
        ("Firmware of Adobe Photoshop", False),
        ("", False),
    ],
)
def test_editors_are_recognised_by_the_beginning_of_a_program_name(name: str, expected: bool) -> None:
    assert findings.is_editor(name) is expected
    wanted = [("software", EDITED, name)] if expected else []
    assert found(with_exif("JPEG", {0x0131: name or " "})) == wanted
    assert found(png(("Software", name))) == wanted
    assert found(encoded("PNG", xmp=xmp_packet(xmp_CreatorTool=name))) == wanted


@pytest.mark.parametrize(
    ("make", "model", "name"),
    [
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("NIKON CORPORATION", "NIKON D750", "NIKON D750"),
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("Acme\nCo.", "X\x1b1", r"Acme Co. X\x1b1"),
    ],
)
def test_camera_is_named_by_make_and_model(make: str, model: str, name: str) -> None:
    (item,) = read.evidence(with_exif("JPEG", {0x010F: make, 0x0110: model}, CAMERA))
    assert item == Evidence("exif", CAPTURED, name, "f/2.8, ISO 100")


@pytest.mark.parametrize(
    ("tags", "camera"),
    [
        ({0x010F: "Canon", 0x0110: "EOS"}, {}),
        ({0x010F: "Canon"}, CAMERA),
        ({0x0110: "EOS"}, CAMERA),
        ({0x010F: " ", 0x0110: "EOS"}, CAMERA),
        ({0x010F: "workflow:{", 0x0110: "prompt:{"}, CAMERA),
        ({0x010F: "Canon", 0x0110: "EOS"}, {0x829A: 1e9}),
    ],
)
def test_make_and_model_without_a_shot_are_no_camera(tags: dict[int, str], camera: dict[int, float]) -> None:
    assert found(with_exif("JPEG", tags, camera)) == []


@pytest.mark.parametrize(("seconds", "text"), [(1 / 250, "1/250 s"), (0.5, "0.5 s"), (30.0, "30 s")])
def test_exposure_is_written_as_photographers_do(seconds: float, text: str) -> None:
    (item,) = read.evidence(with_exif("JPEG", {0x010F: "A", 0x0110: "B"}, {0x829A: seconds}))
    assert item.detail == text


def test_evidence_is_ordered_and_repetitions_are_merged() -> None:
    camera = Evidence("exif", CAPTURED, "Acme X1", "ISO 100")
    edited = Evidence("software", EDITED, "GIMP 2.10")
    label, credentials = Evidence("iptc", GENERATED, "", "x"), Evidence("c2pa", GENERATED, "P", "y", True)
    settings, more = Evidence("text", GENERATED, "P"), Evidence("text", GENERATED, "P", "seed 1")
    other = Evidence("text", GENERATED, "P", "seed 2")
    given = [camera, edited, settings, label, more, edited, camera, other, more, credentials]
    assert findings.ordered(given) == (credentials, label, more, other, edited, camera)
    many = [Evidence("text", GENERATED, f"program {number}") for number in range(100)]
    assert len(findings.ordered([*many, camera])) == findings.MOST_EVIDENCE


def test_nothing_is_verified_here() -> None:
    data = with_exif("JPEG", {0x010F: "Canon", 0x0110: "EOS", 0x0131: "GIMP"}, CAMERA)
    assert [item.verified for item in read.evidence(data)] == [None, None]


def test_file_without_metadata_loads_no_parser_of_a_block() -> None:
    """Thumbnails are judged by the thousand; reading a block is imported with the first block."""
    thumbnail = next(CIFAKE.rglob("*.jpg"))
    program = (
        "import sys; from pathlib import Path; from edge.provenance import read\n"
        f"assert read.evidence(Path({str(thumbnail)!r}).read_bytes()) == ()\n"
        "print(*sorted(m for m in sys.modules if m in ('json', 'xml', 're', 'struct', 'pyexpat') or 'provenance' in m))"
    )
    path = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r})\n"
    command = [sys.executable, "-I", "-S", "-c", path + program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if name.startswith("edge.")] == [
        "edge.provenance",
        "edge.provenance.containers",
        "edge.provenance.jpeg",
        "edge.provenance.metadata",
        "edge.provenance.read",
    ]
    assert "json" not in done.stdout.split()
    assert "pyexpat" not in done.stdout.split()


@pytest.mark.parametrize("name", FORMATS)
def test_file_without_metadata_says_nothing(name: str) -> None:
    assert read.evidence(plain(name)) == ()
