"""What the networks of train/ cost: python -m tests.benchmarks.networks

They are built untrained and converted to int8, for what a network costs is no
matter of its weights. Accuracy is none of this: models/README.md has it for the
one that was trained.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from tests.benchmarks import runtimes
from tests.benchmarks.tables import markdown, rounded, tell


@click.command()
@click.option("--seconds", default=3.0, show_default=True, help="For each network and runtime.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--recipes", default="compact,small,resnet50", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the table to a file.")
def main(seconds: float, rounds: int, recipes: str, out: Path | None) -> None:
    """Milliseconds an invocation, one thread, both runtimes."""
    with tempfile.TemporaryDirectory() as name:
        made = {recipe: _made(recipe, Path(name)) for recipe in recipes.split(",")}
        cases = [(recipe, runtime) for recipe in made for runtime in runtimes.MODULES]
        taken: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
        for _ in range(rounds):
            for recipe, runtime in cases:
                words = [sys.executable, runtimes.__file__, "--model", str(made[recipe][0]), "--runtime", runtime]
                words += ["--threads", "1", "--seconds", str(seconds / rounds), "--json"]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                taken[recipe, runtime].append(json.loads(done.stdout)["ms"])
        rows = []
        for recipe, (path, size, multiply_adds) in made.items():
            ms = [rounded(statistics.median(taken[recipe, runtime])) for runtime in runtimes.MODULES]
            weight = f"{path.stat().st_size / 1000:.0f}"
            rows.append([recipe, f"{size[0]} x {size[1]}", f"{multiply_adds / 1e6:.1f}", weight, *ms])
    heading = (
        "recipe",
        "input",
        "million multiply-adds",
        "int8 file, kB",
        *(f"{name}, ms" for name in runtimes.MODULES),
    )
    tell("tests.benchmarks.networks", [markdown(heading, rows)], out)


def _made(recipe: str, folder: Path) -> tuple[Path, tuple[int, int], int]:
    """The int8 file of an untrained network, its input size, its multiply-adds."""
    from convert import litert
    from train.recipes import RECIPES

    network = RECIPES[recipe].build("none")
    width, height = RECIPES[recipe].size
    examples = np.random.default_rng(0).integers(0, 256, (8, height, width, 3), dtype=np.uint8)
    path = folder / f"{recipe}.tflite"
    path.write_bytes(litert.int8(litert.logits(network) or network, examples))
    return path, (width, height), _multiply_adds(network)


def _multiply_adds(network: Any) -> int:
    """Of the convolutions and dense layers, also of a network within the network."""
    total = 0
    for layer in network.layers:
        if hasattr(layer, "layers"):
            total += _multiply_adds(layer)
        elif hasattr(layer, "kernel"):
            positions = int(np.prod(layer.output.shape[1:3])) if len(layer.kernel.shape) == 4 else 1
            total += positions * int(np.prod(layer.kernel.shape))
    return total


if __name__ == "__main__":
    main()
