"""The metadata blocks of an image file, by its container. The parser of a format is imported at its first file."""

from edge.provenance.metadata import Metadata

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def metadata_of(data: bytes) -> Metadata | None:
    """The metadata blocks of a file; None if its container is not one of those that are read.

    Only what the container's structure leads to is read: bytes after its end, or between its parts, do not count. A
    structure that is damaged is read up to the damage.

    Args:
        data: the file's content.
    """
    if data.startswith(b"\xff\xd8\xff"):
        from edge.provenance import jpeg

        return jpeg.metadata(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        from edge.provenance import png

        return png.metadata(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        from edge.provenance import webp

        return webp.metadata(data)
    if data[4:8] == b"ftyp":
        from edge.provenance import heif

        name = heif.format_of(data)
        return heif.metadata(data, name) if name else None
    if data.startswith(_TIFF):
        from edge.provenance import tiff

        return tiff.metadata(data)
    return None
