"""An installation by the README's own lines on emulated ARM boards: `make test-arm`, as the super-user.

The files of each board are made once, see tests/support/roots.py. How fast it is there says nothing of a real board.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edge.inference.runtime import RUNTIMES
from tests.conftest import CHECKOUT, command, environment
from tests.support.roots import Root, System, check_out, copy, emulate, need

pytestmark = [pytest.mark.arm, pytest.mark.timeout(3600)]

PYTHON = "python3,python3-venv,ca-certificates"
IMAGES = "tests/data/cifake/test"
IMAGE_COUNT = len(list((CHECKOUT / IMAGES).rglob("*.jpg")))
PROGRAM, PYTHON_THERE = "/root/edge-detect/bin/edge-detect", "/root/edge-detect/bin/python"
# What the default model's network returns for each image, as it stands in the file.
OUTPUTS = f"""
import json, sys
from importlib import import_module
from pathlib import Path
import numpy as np
from edge.imaging import preprocess
from edge.inference import model

runtime = import_module(sys.argv[1] + ".interpreter")
kernels = getattr(runtime.OpResolverType, sys.argv[2])
network = runtime.Interpreter(str(model.default_path()), experimental_op_resolver_type=kernels)
network.allocate_tensors()
takes, returns = network.get_input_details()[0]["index"], network.get_output_details()[0]["index"]
found = []
for path in sorted(Path("{IMAGES}").rglob("*.jpg")):
    network.set_tensor(takes, (preprocess.pixels(path, (32, 32)).astype(int) - 128).astype(np.int8)[None])
    network.invoke()
    found.append(int(network.get_tensor(returns)[0, 0]))
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Board:
    """
    Attributes:
        system: its operating system.
        runtime: what pip takes there.
        kernels: of the same runtime on x86-64, that round as the board's do.
    """

    system: System
    runtime: str
    kernels: str
    # Further lines of the README for this board.
    apt: str = ""
    environment: str = "python3 -m venv"


BOARDS = [
    Board(System("bookworm-arm64", "bookworm", PYTHON, "arm64"), "tflite-runtime", "BUILTIN_REF"),
    Board(System("trixie-arm64", "trixie", PYTHON, "arm64"), "ai-edge-litert", "AUTO"),
    Board(
        System("bookworm-armhf", "bookworm", f"{PYTHON},python3-numpy,python3-pil", "armhf"),
        "tflite-runtime",
        "BUILTIN_REF",
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
        check_out(folder / "checkout")
        root = Root(folder, board.system)
        root.succeed("bash", "-ec", 'sudo() { "$@"; }\n' + _lines_of_the_readme(board), cwd="/checkout")
        yield root


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


def _answers(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


def test_installed_runtime_is_the_documented_one(root: Root, board: Board) -> None:
    listed = root.succeed("/root/edge-detect/bin/pip", "list", "--format=json")
    assert {one["name"] for one in json.loads(listed)} & set(RUNTIMES) == {board.runtime}


def test_network_outputs_equal_those_on_x86_64(root: Root, board: Board) -> None:
    """To the bit. On x86-64 tflite-runtime's fast int8 kernels round otherwise, so its reference kernels run there."""
    package = RUNTIMES[board.runtime]
    there = root.succeed(PYTHON_THERE, "-c", OUTPUTS, package, "AUTO", cwd="/checkout")
    assert len(json.loads(there)) == IMAGE_COUNT
    _skip_without(board.runtime)
    command_here = [sys.executable, "-c", OUTPUTS, package, board.kernels]
    here = subprocess.run(command_here, cwd=CHECKOUT, env=environment(), capture_output=True, text=True, check=True)
    assert json.loads(there) == json.loads(here.stdout)


def test_verdicts_equal_those_on_x86_64(root: Root, board: Board) -> None:
    arguments = ["classify", IMAGES, "--recursive", "--json", "--runtime", board.runtime]
    there = _answers(root.succeed(PROGRAM, *arguments, cwd="/checkout"))
    assert len(there) == IMAGE_COUNT
    _skip_without(board.runtime)
    here = subprocess.run(
        command(*arguments), cwd=CHECKOUT, env=environment(), capture_output=True, text=True, check=True
    )
    for one, other in zip(there, _answers(here.stdout), strict=True):
        assert [one[key] for key in ("path", "label", "outside")] == [
            other[key] for key in ("path", "label", "outside")
        ]
        assert one["score"] == pytest.approx(other["score"], abs=0 if board.kernels == "AUTO" else 0.01)


def _skip_without(runtime: str) -> None:
    if not find_spec(RUNTIMES[runtime]):
        pytest.skip(f"{runtime} is not installed here, for comparison")


def test_watch_once_answers_each_file_once(root: Root) -> None:
    watch = [PROGRAM, "watch", IMAGES, "--recursive", "--once", "--json"]
    answers = _answers(root.succeed(*watch, cwd="/checkout"))
    images = {path.name for path in (CHECKOUT / IMAGES).rglob("*.jpg")}
    assert {Path(str(one["path"])).name for one in answers} == images
    assert len(answers) == IMAGE_COUNT
    assert {one["label"] for one in answers} == {"REAL", "FAKE"}
    assert root.succeed(*watch, cwd="/checkout") == ""
    assert len(_answers(root.succeed(PROGRAM, "results", "--json"))) == IMAGE_COUNT


def test_file_that_is_no_image_is_reported(root: Root) -> None:
    (root.folder / "srv/bad.jpg").write_text("no image")
    done = root.run(PROGRAM, "classify", "/srv/bad.jpg", "--json")
    assert done.returncode == 1
    assert "known format" in _answers(done.stdout)[0]["error"]


def test_camera_replays_a_folder(root: Root) -> None:
    frames = f"{IMAGES}/REAL"
    arguments = ["camera", "--source", frames, "--max-frames", "4", "--record", "1", "--state", "/srv/camera", "--json"]
    told = _answers(root.succeed(PROGRAM, *arguments, cwd="/checkout"))
    assert [one["event"]["position"] for one in told] == [0, 1, 2, 3]
    answers = _answers(root.succeed(PROGRAM, "classify", frames, "--json", cwd="/checkout"))
    assert [one["score"] for one in told] == [one["score"] for one in answers[:4]]


def test_doctor_reports_no_problem(root: Root, board: Board) -> None:
    report = json.loads(root.succeed(PROGRAM, "doctor", "--json"))
    assert {one["state"] for one in report["checks"]} <= {"ok", "absent", "warning"}
    found = {one["name"]: one["state"] for one in report["checks"]}
    assert [found[name] for name in (board.runtime, "model", "inference")] == ["ok", "ok", "ok"]


def test_iphone_photo_is_read_if_pillow_heif_installs(root: Root, board: Board) -> None:
    """Last of all, because it installs a newer Pillow."""
    classify = [PROGRAM, "classify", "tests/data/photo.heic", "--json"]
    assert "pip install 'edge-detect[heic]'" in _answers(root.run(*classify, cwd="/checkout").stdout)[0]["error"]
    if board.system.architecture == "armhf":
        return
    root.succeed("/root/edge-detect/bin/pip", "install", "-q", ".[heic]", cwd="/checkout")
    (answer,) = _answers(root.succeed(*classify, cwd="/checkout"))
    assert answer["label"] in ("REAL", "UNSURE"), "it is of one colour"
