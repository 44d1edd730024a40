"""Feeds mutated files to the parsers of provenance, guided by coverage; it needs atheris, which the tests do not.

    python tests/fuzz_provenance.py CORPUS -max_total_time=600

Run it from the checkout in an environment with atheris, Pillow and numpy. CORPUS is a folder for inputs that reach new
code; files of every container are written into it first. It ends at the first error.
"""

import sys
from pathlib import Path

import atheris
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["edge.provenance"]):
    from edge.provenance import (  # noqa: F401 - those that are imported late must be instrumented, too
        containers,
        exif,
        facts,
        findings,
        forms,
        generators,
        heif,
        iptc,
        jpeg,
        png,
        read,
        report,
        tiff,
        webp,
        xmp,
    )

# After the modules that are instrumented.
from tests.edge.provenance import test_fuzz

LIMIT = 1 << 16  # bytes of an input


def once(data: bytes) -> None:
    """Read one input: as a file, and as a block of each kind, by its first byte."""
    kind, content = data[:1], data[1:]
    if kind == b"E":
        exif.fields(content)
    elif kind == b"I":
        iptc.fields(content)
        iptc.from_resources(content)
    elif kind == b"X":
        xmp.properties(content)
    elif kind == b"S":
        forms.settings(content.decode("latin-1"))
        generators.midjourney(content.decode("latin-1"))
    elif kind == b"T":
        tiff.metadata(content)
    else:
        if content.startswith(png.SIGNATURE):
            content = test_fuzz.with_right_checksums(content)
        metadata, found, evidence = read.parsed(content)
        for item in evidence:
            assert len(item.program) <= 100, item
            assert len(item.detail) <= 300, item
            assert (item.program + item.detail).isprintable(), item
        if found:
            for line in report.Report(metadata, found, evidence, len(content)).lines(prompts=True):
                assert line.isprintable(), line


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, kind in enumerate(test_fuzz.KINDS):
        try:
            (folder / f"file-{number}").write_bytes(b"F" + test_fuzz.whole(kind))
        except pytest.skip.Exception as reason:  # a format that cannot be written here
            print(f"without {kind}: {reason}", file=sys.stderr)
    blocks = (b"E" + test_fuzz.BLOCK, b"I" + test_fuzz.RECORD, b"I" + test_fuzz.RESOURCES, b"X" + test_fuzz.PACKET)
    for number, block in enumerate((*blocks, b"S" + test_fuzz.SETTINGS.encode(), b"T" + test_fuzz.BLOCK)):
        (folder / f"block-{number}").write_bytes(block)
    atheris.Setup([*sys.argv, f"-max_len={LIMIT}"], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
