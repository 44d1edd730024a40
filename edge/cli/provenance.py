"""`edge-detect provenance`."""

import json
import os
import sys
from pathlib import Path

import click

from edge.cli.options import FAILED, option, trust_list_option, use_trust_list
from edge.errors import ImageError, printable, reason_of


@click.command(
    epilog="\b\nExamples:\n  edge-detect provenance photo.jpg\n  edge-detect provenance --json ./pictures > found.jsonl"
    "\n\nExit status: 0 success, 1 a file could not be read, 2 the work could not be done.",
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@option("--explain", is_flag=True, help="Include the prompts and settings that a generating program has stored.")
@option("--recursive", "-r", is_flag=True, help="Include sub-folders.")
@trust_list_option
def provenance(paths: tuple[str, ...], as_json: bool, explain: bool, recursive: bool, trust_list: Path | None) -> None:
    """Show what image files say of their own origin; no model is asked.

    Reads Content Credentials (C2PA), IPTC, XMP and EXIF data, and the settings
    of generating programs. Anybody can write or remove them; only a checked
    signature, with the extra [provenance], is proof.
    """
    from edge.imaging import preprocess
    from edge.provenance.read import details
    from edge.sources.files import images

    use_trust_list(trust_list)
    failed = False
    for path in images(paths, recursive, lambda line: click.echo(f"edge-detect: {line}", err=True)):
        name = path.filename if isinstance(path, OSError) else path
        try:
            if isinstance(path, OSError):
                raise path
            report = details(preprocess.read(path))
            if report.metadata is None:
                raise ImageError(path, "not a JPEG, PNG, WebP, TIFF, HEIC or AVIF file")
        except (ImageError, OSError) as error:
            reason = error.reason if isinstance(error, ImageError) else reason_of(error)
            failed = True
            if as_json:
                click.echo(json.dumps({"path": name, "error": reason}))
            else:
                click.echo(f"{printable(name)}: {reason}", err=True)
            continue
        if as_json:
            click.echo(json.dumps({"path": os.fspath(path), **report.as_json(prompts=explain)}))
        else:
            click.echo("\n".join([printable(path), *report.lines(prompts=explain)]))
        sys.stdout.flush()
    sys.exit(FAILED if failed else 0)
