"""All that a file says of itself, for people and programs that ask for it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edge.provenance import xmp
from edge.provenance.facts import Facts
from edge.provenance.forms import Settings
from edge.provenance.metadata import Metadata
from edge.provenance.values import text
from edge.verdict import Evidence

MOST_TEXT = 1 << 16  # characters of a text
_MOST_LINE = 400  # characters of a line of the tree
_MOST_FIELDS = 200  # of XMP
_MOST_DEPTH = 12  # of the tree
_PREFIXES = {
    xmp.DC: "dc",
    xmp.EXIF: "exif",
    xmp.NOTE: "xmpNote",
    xmp.PHOTOSHOP: "photoshop",
    xmp.XMP: "xmp",
    xmp.IPTC: "Iptc4xmpExt",
    xmp.SD_CPP: "sdcpp",
    xmp.AIGC: "TC260",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/xap/1.0/mm/": "xmpMM",
    "http://ns.adobe.com/xap/1.0/rights/": "xmpRights",
    "http://ns.adobe.com/camera-raw-settings/1.0/": "crs",
}
# Where prompts stand, if a generating program stored its settings.
_EXIF_WITH_PROMPTS = frozenset(("UserComment", "ImageDescription"))
_XMP_WITH_PROMPTS = frozenset(("description", "title", "UserComment", "parameters", "subject"))
_TEXTS_WITHOUT_PROMPTS = frozenset(("Author", "Copyright", "Creation Time", "Software", "Source"))


@dataclass(frozen=True)
class Report:
    """The metadata of a file.

    Attributes:
        metadata: its blocks; None if the container is not one of those that are read.
        facts: what they say.
        evidence: what follows from it.
        size: of the file, bytes.
        c2pa: the manifests, as `edge.provenance.c2pa.report` gives them; None if there are none.
    """

    metadata: Metadata | None
    facts: Facts
    evidence: tuple[Evidence, ...]
    size: int
    c2pa: Mapping[str, Any] | None = None

    def blocks(self) -> list[tuple[str, int]]:
        """Name and size in bytes of each metadata block; for the EXIF data of a TIFF file, that of the file."""
        found = self.metadata
        if found is None:
            return []
        kinds = (("EXIF", found.exif), ("XMP", found.xmp), ("IPTC", found.iptc))
        blocks = [(name, len(block)) for name, group in kinds for block in group]
        blocks += ((f"text {text(keyword, 79)}".strip(), len(value.encode("utf-8"))) for keyword, value in found.texts)
        return [*blocks, ("C2PA", len(found.c2pa))] if found.c2pa is not None else blocks

    def as_json(self, prompts: bool = True) -> dict[str, Any]:
        """The report for JSON; texts are shortened to MOST_TEXT characters.

        Args:
            prompts: whether with prompts, and with the fields that hold them.
        """
        return {
            "format": self.metadata.format if self.metadata else None,
            "size": self.size,
            "evidence": [item.as_json() for item in self.evidence],
            "blocks": [{"name": name, "size": size} for name, size in self.blocks()],
            "settings": [_settings_json(item, prompts) for item in self.facts.settings],
            "c2pa": dict(self.c2pa) if self.c2pa is not None else None,
            "exif": self._exif(prompts),
            "xmp": self._xmp(prompts),
            "iptc": {name: value[:MOST_TEXT] for name, value in self.facts.iptc.items()},
            "texts": self._texts(prompts),
        }

    def lines(self, prompts: bool = False) -> Iterator[str]:
        """The report as a tree, one printable line at a time, without a line for the file itself.

        Args:
            prompts: whether with prompts, and with the fields that hold them.
        """
        name = self.metadata.format if self.metadata else "not a container that is read"
        sections: dict[str, Any] = {
            "evidence": [sentence(item) for item in self.evidence] or ["none"],
            f"metadata ({name})": [f"{block}: {size} bytes" for block, size in self.blocks()] or ["none"],
        }
        for item in self.facts.settings:
            known = _settings_json(item, prompts)
            known.pop("parameters", None)
            title = f"settings of {text(item.program, 100) or 'a generating program'}"
            sections[f"{title} in {item.place}" if title in sections else title] = known
        sections |= {
            "Content Credentials": self.c2pa,
            "EXIF": self._exif(prompts),
            "XMP": {key: values[0] if len(values) == 1 else values for key, values in self._xmp(prompts).items()},
            "IPTC": self.facts.iptc,
            "text": self._texts(prompts),
        }
        yield from _tree(sections)

    def _exif(self, prompts: bool) -> dict[str, Any]:
        is_shortened = bool(self.facts.settings) and not prompts
        return {
            name: value[:MOST_TEXT] if isinstance(value, str) else value
            for name, value in self.facts.exif.items()
            if not (is_shortened and (name in _EXIF_WITH_PROMPTS or "{" in str(value)))
        }

    def _xmp(self, prompts: bool) -> dict[str, list[str]]:
        is_shortened = bool(self.facts.settings) and not prompts
        return {
            f"{_PREFIXES.get(namespace, namespace[:200])}:{name[:100]}": [value[:MOST_TEXT] for value in values]
            for (namespace, name), values in list(self.facts.xmp.items())[:_MOST_FIELDS]
            if not (is_shortened and name in _XMP_WITH_PROMPTS)
        }

    def _texts(self, prompts: bool) -> dict[str, str]:
        is_shortened = bool(self.facts.settings) and not prompts
        texts = self.metadata.texts if self.metadata else ()
        return {
            keyword or "comment": value[:MOST_TEXT]
            for keyword, value in reversed(texts)  # of several with a keyword, the first is shown
            if not is_shortened or keyword in _TEXTS_WITHOUT_PROMPTS
        }


def sentence(item: Evidence) -> str:
    """Evidence in one line: "generated by ComfyUI (text: model X, seed 1); a claim, not checked"."""
    known = {True: "signature checked", False: "the signature does not fit", None: "a claim, not checked"}
    program = f" by {item.program}" if item.program else ""
    source = f"{item.kind}: {item.detail}" if item.detail else item.kind
    return f"{item.says}{program} ({source}); {known[item.verified]}"


def _settings_json(item: Settings, prompts: bool) -> dict[str, Any]:
    known = {
        "program": item.program or None,
        "says": item.says,
        "model": item.model[:MOST_TEXT] or None,
        "seed": item.seed or None,
        "note": item.note or None,
        "place": item.place,
    }
    if prompts:
        known |= {
            "prompt": item.prompt[:MOST_TEXT] or None,
            "negative_prompt": item.negative[:MOST_TEXT] or None,
            "parameters": item.raw[:MOST_TEXT] or None,
        }
    return known


def _tree(value: Any, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """The lines of nested values: names and values of an object, or items of a list, without what is empty."""
    rows = list(value.items()) if isinstance(value, Mapping) else [("", item) for item in value]
    rows = [(key, item) for key, item in rows if item is not None and item not in ("", [], {})]
    for number, (key, item) in enumerate(rows):
        is_last = number == len(rows) - 1
        is_nested = isinstance(item, Mapping | list | tuple) and depth < _MOST_DEPTH
        shown = key if is_nested else f"{key}: {_shown(item)}" if key else _shown(item)
        yield prefix + ("└─ " if is_last else "├─ ") + text(shown or f"{number + 1}", _MOST_LINE)
        if is_nested:
            yield from _tree(item, prefix + ("   " if is_last else "│  "), depth + 1)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
