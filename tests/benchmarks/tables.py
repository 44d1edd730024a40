"""What benchmarks print: tables in Markdown, with where and how they were measured."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edge.benchmark.machine import machine, warnings


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, its first column to the left."""
    ruler = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, ruler, *rows])


def where() -> str:
    """A sentence on this machine, and on what may be wrong with it just now."""
    here = machine()
    troubles = "".join(f" Warning: {warning}." for warning in warnings())
    return f"Measured on: {here.board}, {here.cores} cores, {here.architecture}, Python {here.python}.{troubles}"


def tell(module: str, parts: Sequence[str], out: Path | None) -> None:
    """Print a report or, with `out`, write it to a file."""
    words = ["python", "-m", module, *("..." if os.sep in argument else argument for argument in sys.argv[1:])]
    text = "\n\n".join([f"<!-- Written by `{' '.join(words)}`. -->", where(), *parts]) + "\n"
    if out is None:
        click.echo(text)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, "utf-8")
        click.echo(f"{out}: written")


def rounded(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def differences(scores: Mapping[Any, float], others: Mapping[Any, float]) -> tuple[float, int]:
    """The greatest difference of scores of the same images, and how many labels differ."""
    both = [(scores[name], others[name]) for name in scores if name in others]
    return max(abs(one - other) for one, other in both), sum((one > 0.5) != (other > 0.5) for one, other in both)
