"""Evidence of an image file: its containers are parsed, and never searched as bytes."""

import logging
from typing import TYPE_CHECKING

from edge.verdict import Evidence

if TYPE_CHECKING:
    from edge.provenance.facts import Facts
    from edge.provenance.metadata import Metadata
    from edge.provenance.report import Report

logger = logging.getLogger(__name__)


def evidence(data: bytes, *, explain: bool = False) -> tuple[Evidence, ...]:
    """What a file says of its origin, the most telling first; empty if it says nothing, or is damaged.

    Args:
        data: the file's content.
        explain: include the prompts of generating programs.

    Raises:
        MemoryError: there is not enough memory now. Nothing else is raised, whatever the file holds.
    """
    try:
        return parsed(data, explain=explain)[2]
    except MemoryError:
        raise
    except Exception:  # a file must not end a run; the fuzz tests call `parsed`, so that a mistake there is seen
        logger.debug("metadata not read", exc_info=True)
        return ()


def details(data: bytes) -> "Report":
    """All that a file says of itself.

    Args:
        data: the file's content.

    Raises:
        MemoryError: there is not enough memory now. Nothing else is raised, whatever the file holds.
    """
    from edge.provenance.facts import Facts
    from edge.provenance.report import Report

    try:
        metadata, facts, found = parsed(data)
        manifests = None
        if metadata and metadata.c2pa is not None:
            from edge.provenance import c2pa

            manifests = c2pa.report(metadata.c2pa, data)
        return Report(metadata, facts or Facts(), found, len(data), manifests)
    except MemoryError:
        raise
    except Exception:
        logger.debug("metadata not read", exc_info=True)
        return Report(None, Facts(), (), len(data))


def parsed(data: bytes, *, explain: bool = False) -> "tuple[Metadata | None, Facts | None, tuple[Evidence, ...]]":
    """Metadata blocks, facts and evidence of a file; no facts if it has no metadata.

    Raises:
        Exception: of any kind, where a parser has a mistake.
    """
    from edge.provenance.containers import metadata_of

    metadata = metadata_of(data)
    if metadata is None or not (
        metadata.exif or metadata.xmp or metadata.texts or metadata.iptc or metadata.c2pa is not None
    ):
        return metadata, None, ()
    from edge.provenance.facts import facts
    from edge.provenance.findings import findings, ordered

    known = facts(metadata)
    found = findings(metadata, known, explain=explain)
    if metadata.c2pa is not None:
        from edge.provenance import c2pa

        found += c2pa.evidence(metadata.c2pa, data)
    return metadata, known, ordered(found)
