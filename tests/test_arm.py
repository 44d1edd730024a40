"""An installation by the README's own lines on emulated ARM boards: `make test-arm`, as the super-user.

The files of each board are made once, see tests/roots.py. How fast it is there says nothing of a real board.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from edge.interpreter import RUNTIMES
from tests.conftest import CHECKOUT, command, environment
from tests.roots import Root, System, copy, emulate, need

pytestmark = [pytest.mark.arm, pytest.mark.timeout(3600)]

PYTHON = "python3,python3-venv,ca-certificates"
IMAGES = "tests/data/cifake/test"
PROGRAM = "/root/edge-detect/bin/edge-detect"


@dataclass(frozen=True)
class Board:
    system: System
    runtime: str
    # What the README has for it beside the common lines.
    apt: str = ""
    environment: str = "python3 -m venv"


BOARDS = [
    Board(System("bookworm", "arm64", PYTHON, "bookworm-arm64"), "tflite-runtime"),
    Board(System("trixie", "arm64", PYTHON, "trixie-arm64"), "ai-edge-litert"),
    Board(
        System("bookworm", "armhf", f"{PYTHON},python3-numpy,python3-pil", "bookworm-armhf"),
        "tflite-runtime",
        "sudo apt install python3-numpy python3-pil",
        "python3 -m venv --system-site-packages",
    ),
]


@pytest.fixture(scope="module", params=BOARDS, ids=lambda board: board.system.name)
def board(request: pytest.FixtureRequest) -> Board:
    chosen: Board = request.param
    return chosen


@pytest.fixture(scope="module")
def root(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    need("debootstrap", "unshare", "git")
    if board.system.is_emulated:
        emulate(board.system.architecture)
    with copy(board.system, tmp_path_factory.mktemp(board.system.name)) as folder:
        _check_out(folder / "checkout")
        root = Root(folder, board.system)
        root.succeed("bash", "-ec", 'sudo() { "$@"; }\n' + _lines_of_the_readme(board), cwd="/checkout")
        yield root


def _check_out(folder: Path) -> None:
    """What git has, or would have."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, folder / name)


def _lines_of_the_readme(board: Board) -> str:
    """How to install, as the README says; its packages are there already, so apt asks nothing."""
    readme = (CHECKOUT / "README.md").read_text()
    section = readme[readme.index("\n## Install\n") :]
    block = re.search(r"(?:^ {4}.*\n)+", section, re.MULTILINE)
    assert block
    lines = block.group()
    assert "sudo apt install python3-venv\n" in lines
    assert "/bin/pip install .\n" in lines
    assert "`" + board.environment + "`" in section or "    " + board.environment + " " in lines
    assert "`" + board.apt + "`" in section or not board.apt
    return f"{board.apt}\n" + lines.replace("python3 -m venv", board.environment)


def _answers(said: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in said.splitlines()]


def test_the_runtime_is_the_one_that_the_readme_names(root: Root, board: Board) -> None:
    listed = root.succeed("/root/edge-detect/bin/pip", "list", "--format=json")
    assert {one["name"] for one in json.loads(listed)} & set(RUNTIMES) == {board.runtime}


def test_the_scores_are_those_of_the_same_runtime_on_this_machine(root: Root, board: Board) -> None:
    arguments = ["classify", IMAGES, "--recursive", "--json", "--runtime", board.runtime]
    there = _answers(root.succeed(PROGRAM, *arguments, cwd="/checkout"))
    assert len(there) == len(list((CHECKOUT / IMAGES).rglob("*.jpg"))) > 0
    if not find_spec(RUNTIMES[board.runtime]):
        pytest.skip(f"{board.runtime} is not installed here, for comparison")
    here = subprocess.run(
        command(*arguments), cwd=CHECKOUT, env=environment(), capture_output=True, text=True, check=True
    )
    told = ("path", "label", "score", "confidence", "outside")
    assert [[one[key] for key in told] for one in there] == [
        [one[key] for key in told] for one in _answers(here.stdout)
    ]


def test_a_folder_is_answered_once(root: Root) -> None:
    watch = [PROGRAM, "watch", IMAGES, "--recursive", "--once", "--json"]
    answers = _answers(root.succeed(*watch, cwd="/checkout"))
    images = {path.name for path in (CHECKOUT / IMAGES).rglob("*.jpg")}
    assert {Path(str(one["path"])).name for one in answers} == images
    assert len(answers) == len(images)
    assert {one["label"] for one in answers} == {"REAL", "FAKE"}
    assert root.succeed(*watch, cwd="/checkout") == ""
    assert len(_answers(root.succeed(PROGRAM, "results", "--json"))) == len(images)


def test_an_image_that_is_none_is_told_of(root: Root) -> None:
    (root.folder / "srv/bad.jpg").write_text("no image")
    done = root.run(PROGRAM, "classify", "/srv/bad.jpg", "--json")
    assert done.returncode == 1
    assert "known format" in _answers(done.stdout)[0]["error"]
