"""What the commands import before they work, and how they end: their start decides how fast one image is answered."""

import json
import subprocess
import sys
from pathlib import Path

from edge.inference.runtime import RUNTIMES, installed
from edge.store.ledger import Ledger
from tests.conftest import environment, picture

HEAVY = ("tensorflow", "keras", "torch", "matplotlib", "jax")


def last_line_of(program: str, folder: Path, *arguments: str) -> str:
    """Run a Python program in a folder; the last line that it prints."""
    words = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_cli_imports_no_numpy_and_classify_and_watch_no_training_library(tmp_path: Path, brightness: Path) -> None:
    program = f"""
import sys, edge.cli
assert not {{"numpy", "PIL"}} & set(sys.modules), "imported for nothing"
try:
    edge.cli.main(sys.argv[1:])
except SystemExit as end:
    assert not end.code
print(sorted(set(sys.modules) & {{*{(*HEAVY, "train", "convert")}}}))
"""
    picture(tmp_path / "x.png")
    for arguments in (["classify", "x.png", "--figure"], ["watch", ".", "--once", "--state", "state"]):
        assert last_line_of(program, tmp_path, *arguments, "--model", str(brightness)) == "[]"


# Prints the names of all modules that a command has loaded when it ends.
LOADED = """
import atexit, json, sys, edge.__main__
sys.argv[0] = "edge-detect"
atexit.register(lambda: print(json.dumps(sorted(sys.modules))))
edge.__main__.run()
"""


def test_each_command_imports_only_the_modules_it_needs(tmp_path: Path, brightness: Path) -> None:
    names = "asyncio numpy PIL PIL.ImageDraw PIL.ImageFont subprocess sqlite3 edge.camera edge.capture edge.cli.watch"
    picture(tmp_path / "x.png")

    def imported(*arguments: str) -> list[str]:
        loaded = json.loads(last_line_of(LOADED, tmp_path, *arguments))
        return sorted(set(loaded) & set(names.split()))

    assert imported("--version") == []
    assert imported("watch", "--help") == ["edge.cli.watch"]
    assert imported("camera", "--help") == []
    assert "edge.cli.watch" in imported("--help")  # which lists the help of all commands
    assert not {"asyncio", "numpy", "subprocess"} & set(imported("--help"))
    Ledger(tmp_path / "state").close()
    assert imported("results", "--state", "state") == ["sqlite3"]
    assert "numpy" not in imported("watch", ".", "--once", "--state", "watched"), "it is for the decoding processes"
    assert not set(imported("classify", "x.png", "--model", str(brightness))) - {"numpy", "PIL", "subprocess"}


def test_garbage_is_collected_again_once_a_command_works(tmp_path: Path, brightness: Path) -> None:
    program = "import atexit, gc, edge.__main__; atexit.register(lambda: print(gc.isenabled())); edge.__main__.run()"
    picture(tmp_path / "x.png")
    Ledger(tmp_path / "state").close()
    for arguments in (["results", "--state", "state"], ["classify", "x.png", "--model", str(brightness)]):
        assert last_line_of(program, tmp_path, *arguments) == "True"


def test_classify_loads_only_the_modules_that_one_image_needs(tmp_path: Path, brightness: Path) -> None:
    picture(tmp_path / "x.jpg")
    loaded = set(json.loads(last_line_of(LOADED, tmp_path, "classify", "x.jpg", "--model", str(brightness))))
    assert sorted(name for name in loaded if name.startswith("edge.") and name != "edge.__main__") == [
        "edge.cli",
        "edge.cli.classify",
        "edge.cli.commands",
        "edge.cli.config_file",
        "edge.cli.log",
        "edge.cli.options",
        "edge.delivery",
        "edge.delivery.stdout",
        "edge.errors",
        "edge.imaging",
        "edge.imaging.inputs",
        "edge.imaging.jpeg",
        "edge.imaging.modes",
        "edge.imaging.preprocess",
        "edge.imaging.reasons",
        "edge.imaging.turning",
        "edge.imaging.views",
        "edge.inference",
        "edge.inference.chosen",
        "edge.inference.classifier",
        "edge.inference.description",
        "edge.inference.model",
        "edge.inference.router",
        "edge.inference.runtime",
        "edge.inference.tensors",
        "edge.inference.tflite_check",
        "edge.paths",
        "edge.process",
        "edge.process.stderr",
        "edge.provenance",
        "edge.provenance.containers",
        "edge.provenance.jpeg",
        "edge.provenance.metadata",
        "edge.provenance.read",
        "edge.provenance.trust_list",
        "edge.records",
        "edge.requirements",
        "edge.resources",
        "edge.sources",
        "edge.sources.files",
        "edge.sources.filters",
        "edge.verdict",
    ]
    # What numpy, the runtime, click and Pillow's decoder of JPEGs load themselves costs nothing on top of them.
    needed = f"""
import atexit, fnmatch, gc, json, locale, sys, zlib
import numpy, PIL.Image, PIL.JpegImagePlugin, {RUNTIMES[installed()]}.interpreter, click
print(json.dumps(sorted(sys.modules)))
"""
    others = loaded - set(json.loads(last_line_of(needed, tmp_path)))
    assert {name for name in others if name.split(".")[0] not in ("edge", "numpy")} == set()  # numpy: by the runtime


def test_what_classify_prints_is_complete_although_its_process_ends_at_once(tmp_path: Path, brightness: Path) -> None:
    names = [picture(tmp_path / f"{number:03}.png", size=(2, 2), seed=number).name for number in range(300)]
    program = """
import atexit, edge.__main__
atexit.register(print, "exit handlers run")
edge.__main__.run()
raise SystemExit("the interpreter was taken apart")
"""
    words = [sys.executable, "-c", program, "classify", *names, "missing.png", "--model", str(brightness)]
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines()] == [*names, "run"]
    assert done.stderr.splitlines() == ["ERROR          missing.png: no such file or directory"]
