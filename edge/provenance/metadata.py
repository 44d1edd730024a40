"""The metadata of an image file, as its container holds them."""

from edge.records import dataclass


@dataclass(frozen=True)
class Metadata:
    """The metadata blocks of one file, not interpreted.

    Attributes:
        format: "JPEG", "PNG", "WEBP", "TIFF", "HEIC" or "AVIF".
        exif: TIFF structures.
        xmp: XMP packets, serialised XML.
        iptc: IIM records (IPTC-NAA).
        texts: (keyword, text) of PNG's text chunks, and comments of other formats with an empty keyword.
        c2pa: the C2PA manifest store, a JUMBF superbox; None if there is none.
    """

    format: str
    exif: tuple[bytes, ...] = ()
    xmp: tuple[bytes, ...] = ()
    iptc: tuple[bytes, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    c2pa: bytes | None = None
