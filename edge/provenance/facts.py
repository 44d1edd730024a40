"""The metadata of a file, read: fields of EXIF, IPTC and XMP, and settings of generating programs."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge.provenance.metadata import Metadata

if TYPE_CHECKING:
    from edge.provenance.exif import Value
    from edge.provenance.forms import Settings
    from edge.provenance.xmp import Properties

_MOST_BLOCKS = 8  # of a kind; real files have one or two


@dataclass(frozen=True)
class Facts:
    """What the metadata of a file say.

    Attributes:
        exif: fields by name (`edge.provenance.exif.fields`).
        xmp: values by namespace and name.
        iptc: datasets by name.
        settings: of generating programs.
    """

    exif: "dict[str, Value]" = field(default_factory=dict)
    xmp: "Properties" = field(default_factory=dict)
    iptc: dict[str, str] = field(default_factory=dict)
    settings: "tuple[Settings, ...]" = ()


def facts(metadata: Metadata) -> Facts:
    """Read the metadata blocks of a file; of a field that stands in several blocks of a kind, the first is valid."""
    found = Facts()
    if metadata.exif:
        from edge.provenance import exif

        for block in reversed(metadata.exif[:_MOST_BLOCKS]):
            found.exif.update(exif.fields(block))
    if metadata.xmp:
        from edge.provenance import xmp

        for packet in reversed(metadata.xmp[:_MOST_BLOCKS]):
            found.xmp.update(xmp.properties(packet))
    if metadata.iptc:
        from edge.provenance import iptc

        for record in reversed(metadata.iptc[:_MOST_BLOCKS]):
            found.iptc.update(iptc.fields(record))
    if not (metadata.texts or found.exif or found.xmp):
        return found
    from edge.provenance import generators

    settings = generators.settings(metadata.texts, found.exif, found.xmp, metadata.format)
    return Facts(found.exif, found.xmp, found.iptc, settings)
