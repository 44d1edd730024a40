"""From the facts of a file to evidence: what they say of its origin."""

from collections.abc import Iterator
from dataclasses import replace

from edge.provenance import xmp
from edge.provenance.facts import Facts
from edge.provenance.forms import Settings
from edge.provenance.metadata import Metadata
from edge.provenance.source_types import MEANINGS, SAYS, term
from edge.provenance.values import text
from edge.verdict import CAPTURED, EDITED, GENERATED, Evidence

MOST_EVIDENCE = 16  # of a file
_MOST_PROGRAM, _MOST_DETAIL, _MOST_NAME, _MOST_PROMPT = 100, 300, 80, 4000  # characters
_MOST_SECONDS = 86400  # of a plausible exposure
_ORDER = (GENERATED, EDITED, CAPTURED)
_KINDS = ("c2pa", "iptc", "text", "exif", "software")
_SOURCE_NAMES = ("DigitalSourceType", "DigitalSourceFileType", "DigitalSourcefileType")  # the last two: older names
_CREDITS = {"Made with Google AI": GENERATED, "Edited with Google AI": EDITED}  # exactly as Google's programs write it

# Names with which programs that edit pictures begin their entry; a version, a platform or nothing follows.
_EDITORS = (
    "ACDSee",
    "Adobe Bridge",
    "Adobe Elements",
    "Adobe ImageReady",
    "Adobe Lightroom",
    "Adobe Photoshop",
    "Affinity Photo",
    "Aperture",
    "CaptureOne",
    "Capture One",
    "Corel PaintShop",
    "darktable",
    "digiKam",
    "DxO PhotoLab",
    "GIMP",
    "Krita",
    "Lightroom",
    "Luminar",
    "ON1 Photo RAW",
    "paint.net",
    "Paint.NET",
    "PaintShop Pro",
    "Photoscape",
    "PhotoScape",
    "Picasa",
    "PicsArt",
    "Picsart",
    "Pixelmator",
    "Polarr",
    "RawTherapee",
    "Snapseed",
    "Topaz Photo AI",
    "VSCO",
)


def findings(metadata: Metadata, facts: Facts, *, explain: bool = False) -> list[Evidence]:
    """Evidence of facts, without that of Content Credentials.

    Args:
        explain: include the prompts of generating programs.
    """
    return [
        *_source_types(facts),
        *(_of_settings(item, explain=explain) for item in facts.settings),
        *_editors(metadata, facts),
        *_camera(facts),
    ]


def ordered(evidence: list[Evidence]) -> tuple[Evidence, ...]:
    """Evidence without repetitions: first what says generated, then edited, then captured."""
    unique: dict[tuple[str, str, str], Evidence] = {}
    for item in evidence:
        key = (item.kind, item.says, item.program)
        known = unique.get(key)
        if known is None or (not known.detail and item.detail):
            unique[key] = item
        elif item.detail not in ("", known.detail):
            unique[(*key[:2], f"{item.program}\0{item.detail}")] = item
    kinds = {kind: number for number, kind in enumerate(_KINDS)}
    by_weight = sorted(unique.values(), key=lambda item: (_ORDER.index(item.says), kinds.get(item.kind, len(kinds))))
    return tuple(by_weight[:MOST_EVIDENCE])


def _evidence(kind: str, says: str, program: str, *details: str) -> Evidence:
    return Evidence(kind, says, text(program, _MOST_PROGRAM), text("; ".join(filter(None, details)), _MOST_DETAIL))


def _first(facts: Facts, namespace: str, name: str) -> str:
    return facts.xmp.get((namespace, name), [""])[0]


def _source_types(facts: Facts) -> Iterator[Evidence]:
    credit = _first(facts, xmp.PHOTOSHOP, "Credit") or facts.iptc.get("Credit", "")
    system = _first(facts, xmp.IPTC, "AISystemUsed")  # IPTC Photo Metadata 2025.1
    program = system or _first(facts, xmp.XMP, "CreatorTool")
    quoted = f'credit "{text(credit, _MOST_NAME)}"' if credit else ""
    has_type = False
    for name in _SOURCE_NAMES:
        for value in facts.xmp.get((xmp.IPTC, name), [])[:1]:
            if (found := term(value)) and not has_type:
                has_type = True
                yield _evidence("iptc", SAYS[found], program, f"{found} ({MEANINGS[found]})", quoted)
    if not has_type and credit in _CREDITS:
        yield _evidence("iptc", _CREDITS[credit], program, quoted)
    elif not has_type and system:
        yield _evidence("iptc", GENERATED, system, "named as the AI system")


def _of_settings(item: Settings, *, explain: bool) -> Evidence:
    model = f"model {text(item.model, _MOST_NAME)}" if item.model else ""
    seed = f"seed {item.seed}" if item.seed else ""
    evidence = _evidence("text", item.says, item.program, ", ".join(filter(None, (model, seed))), item.note)
    return replace(evidence, prompt=text(item.prompt, _MOST_PROMPT)) if explain and item.prompt else evidence


def _editors(metadata: Metadata, facts: Facts) -> Iterator[Evidence]:
    names = [
        str(facts.exif.get("Software", "")),
        _first(facts, xmp.XMP, "CreatorTool"),
        " ".join(filter(None, (facts.iptc.get("OriginatingProgram"), facts.iptc.get("ProgramVersion")))),
        *(value for keyword, value in metadata.texts if keyword == "Software"),
    ]
    for name in dict.fromkeys(text(name, _MOST_PROGRAM) for name in names):
        if is_editor(name):
            yield _evidence("software", EDITED, name)


def is_editor(name: str) -> bool:
    """Whether a program's name, as a file gives it, is that of a program that edits pictures."""
    return any(name.startswith(editor) and not name[len(editor) : len(editor) + 1].isalpha() for editor in _EDITORS)


def _camera(facts: Facts) -> Iterator[Evidence]:
    exif = facts.exif
    make, model = text(str(exif.get("Make", "")), _MOST_NAME), text(str(exif.get("Model", "")), _MOST_NAME)
    if not (make and model) or "{" in make + model:
        return
    shot = []
    seconds = exif.get("ExposureTime")
    if isinstance(seconds, float | int) and seconds < _MOST_SECONDS:
        shot.append(f"1/{1 / seconds:.0f} s" if seconds < 0.3 else f"{seconds:g} s")
    for field, form in (("FNumber", "f/{:g}"), ("ISO", "ISO {:g}"), ("FocalLength", "{:g} mm")):
        if field in exif:
            shot.append(form.format(exif[field]))
    if not shot or any(item.says == GENERATED for item in facts.settings):
        return
    name = model if model.lower().startswith(make.split(" ")[0].lower()) else f"{make} {model}"
    taken = text(str(exif.get("DateTimeOriginal", "")), _MOST_NAME)
    yield _evidence("exif", CAPTURED, name, ", ".join(shot), f"taken {taken}" if taken else "")
