"""Pictures with metadata, and exiftool as another reader of them."""

import io
import json
import struct
import subprocess
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "HEIC", "AVIF")
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "HEIC": ".heic", "AVIF": ".avif"}
IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": IPTC_EXTENSION,
    "sdcpp": "https://github.com/leejet/stable-diffusion.cpp/ns/1.0/",
    "TC260": "http://www.tc260.org.cn/ns/AIGC/1.0/",
}
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
STORE_LABEL = b"c2pa"


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (32, 48, 3), np.uint8))


def require(name: str) -> None:
    """Skip a test whose format cannot be written here."""
    if name == "HEIC":
        pytest.importorskip("pillow_heif", reason="needs pillow-heif")
    elif name == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow does not write AVIF")


def encoded(name: str, **options: Any) -> bytes:
    """A small picture of a format, with metadata: `exif` (a TIFF structure), `xmp`, or other options of its writer."""
    require(name)
    file = io.BytesIO()
    if name == "TIFF" and {"exif", "xmp"} <= options.keys():
        both = Image.Exif()
        both.load(options["exif"])
        both[700] = options.pop("xmp")
        options["exif"] = both
    elif name != "TIFF" and "exif" in options:
        options["exif"] = b"Exif\0\0" + options["exif"]
    if name == "HEIC":
        import pillow_heif

        pillow_heif.from_pillow(picture()).save(file, quality=50, **options)
    elif name == "PNG" and "xmp" in options:
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode("utf-8"))
        picture().save(file, "PNG", pnginfo=texts, **options)
    elif name == "TIFF" and "xmp" in options:
        picture().save(file, "TIFF", tiffinfo={700: options.pop("xmp")}, **options)
    else:
        picture().save(file, name, **options)
    return file.getvalue()


@cache
def plain(name: str) -> bytes:
    """A small picture of a format without metadata."""
    return encoded(name)


def png(*texts: tuple[str, str], compressed: bool = False) -> bytes:
    """A PNG file with texts."""
    chunks = PngImagePlugin.PngInfo()
    for keyword, text in texts:
        chunks.add_text(keyword, text, zip=compressed)
    return encoded("PNG", pnginfo=chunks)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG file with a further chunk before its pixels."""
    at = data.index(b"IDAT") - 4
    return data[:at] + chunk(kind, body) + data[at:]


def segment(code: int, body: bytes) -> bytes:
    """A segment of JPEG."""
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """A JPEG file with further segments at its beginning."""
    return data[:2] + b"".join(segments) + data[2:]


def with_riff_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A WebP file with a further chunk at its end."""
    content = data[8:] + kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def exif_of(tags: dict[int, Any], camera: dict[int, Any] | None = None, order: str = "<") -> bytes:
    """A TIFF structure with tags of the first directory, and of its EXIF directory."""
    exif = Image.Exif()
    exif.endian = order
    exif.update(tags)
    exif.get_ifd(0x8769).update(camera or {})
    return exif.tobytes().removeprefix(b"Exif\0\0")


def with_exif(name: str, tags: dict[int, Any], camera: dict[int, Any] | None = None) -> bytes:
    """A picture of a format with EXIF data."""
    return encoded(name, exif=exif_of(tags, camera))


def unicode_comment(text: str, order: str = ">") -> bytes:
    """A UserComment in UTF-16, as piexif writes it."""
    return b"UNICODE\0" + text.encode("utf-16-be" if order == ">" else "utf-16-le")


def xmp_packet(body: str = "", **attributes: str) -> bytes:
    """An XMP packet; attributes are properties named "prefix_name", the body holds elements."""
    from xml.sax.saxutils import quoteattr

    namespaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    simple = " ".join(f"{name.replace('_', ':', 1)}={quoteattr(value)}" for name, value in attributes.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {namespaces} {simple}>{body}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


def store(content: bytes = b"content of the manifest") -> bytes:
    """A JUMBF superbox with the type of a C2PA manifest store; what is in it means nothing."""
    kind = STORE_LABEL + bytes.fromhex("0011001080000000AA00389B71"[:24])
    description = struct.pack(">I", 8 + 16 + 1 + 5) + b"jumd" + kind + b"\3" + b"c2pa\0"
    inner = description + struct.pack(">I", 8 + len(content)) + b"free" + content
    return struct.pack(">I", 8 + len(inner)) + b"jumb" + inner


def jumbf_segments(box: bytes, number: int = 1, piece: int = 64) -> list[bytes]:
    """A box cut into APP11 segments (ISO/IEC 19566-5, annex D)."""
    head, body = box[:8], box[8:]
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)]
    return [
        segment(0xEB, b"JP" + struct.pack(">HI", number, index) + head + part)
        for index, part in enumerate(pieces, start=1)
    ]


def manifest_box(box: bytes) -> bytes:
    """A box of ISO base media files with a C2PA manifest store."""
    uuid = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
    body = uuid + bytes(4) + b"manifest\0" + bytes(8) + box
    return struct.pack(">I", 8 + len(body)) + b"uuid" + body


def with_manifest_box(data: bytes, box: bytes) -> bytes:
    """A HEIC or AVIF file with a C2PA manifest store at its end, where the offsets of its items stay right."""
    return data + manifest_box(box)


def exiftool(path: Path) -> dict[str, Any]:
    """All that exiftool reads of a file, by "group:name"; numbers as numbers."""
    done = subprocess.run(
        ["exiftool", "-j", "-G1", "-a", "-n", "-struct", str(path)], capture_output=True, check=True, timeout=60
    )
    (found,) = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def exiftool_write(path: Path, *arguments: str) -> None:
    """Change a file with exiftool."""
    subprocess.run(
        ["exiftool", "-q", "-overwrite_original", "-codedcharacterset=utf8", *arguments, str(path)],
        capture_output=True,
        check=True,
        timeout=60,
    )
