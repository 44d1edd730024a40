"""The command, as a real process."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import (
    CHECKOUT,
    CIFAKE,
    MODELS,
    Run,
    age,
    command,
    environment,
    picture,
    samples,
    without_privileges,
)


def lines(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def test_classify_prints_one_line_per_file(edge_detect: Run, tmp_path: Path, brightness: Path) -> None:
    bright, dark = picture(tmp_path / "bright.png", 230), picture(tmp_path / "dark.png", 30)
    done = edge_detect("classify", bright, dark, "--model", brightness)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.split()[0] == "REAL"
    assert first.endswith(str(bright))
    assert second.split()[0] == "FAKE"


def test_classify_json_has_documented_fields(edge_detect: Run, tmp_path: Path) -> None:
    done = edge_detect("classify", "--json", CIFAKE / "test" / "REAL")
    assert (done.returncode, done.stderr) == (0, "")
    verdicts = lines(done.stdout)
    assert len(verdicts) == 10
    for verdict in verdicts:
        assert set(verdict) == {"path", "label", "confidence", "score", "outside", "model", "elapsed_ms", "provenance"}
        score, label = float(verdict["score"]), verdict["label"]
        assert label == ("REAL" if score > 0.5 else "FAKE")
        assert float(verdict["confidence"]) == pytest.approx(score if label == "REAL" else 1 - score)


def test_classify_reads_folders_and_subfolders_with_recursive(edge_detect: Run, inbox: Path, brightness: Path) -> None:
    (inbox / "inner").mkdir()
    for name in ("b.png", "a.PNG", ".hidden.png", "inner/c.jpg"):
        picture(inbox / name)
    (inbox / "notes.txt").write_text("not for us")
    flat = edge_detect("classify", inbox, "--json", "--model", brightness)
    assert [Path(str(line["path"])).name for line in lines(flat.stdout)] == ["a.PNG", "b.png"]
    deep = edge_detect("classify", inbox, "--json", "--recursive", "--model", brightness)
    assert [Path(str(line["path"])).name for line in lines(deep.stdout)] == ["a.PNG", "b.png", "c.jpg"]


def make_bad_input(folder: Path) -> dict[str, str]:
    """One file of every kind of bad input, with a part of its error message."""
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("I am a text\n")
    whole = picture(folder / "whole.jpg", size=(300, 200)).read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.jpg").unlink()
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    (folder / "folder.png").mkdir()
    (folder / "broken.png").symlink_to("nowhere.png")
    picture(folder / "forbidden.png").chmod(0)
    return {
        "empty.jpg": "empty",
        "text.jpg": "not an image",
        "truncated.jpg": "truncated",
        "bomb.png": "limit",
        "folder.png": "folder",
        "broken.png": "broken symbolic link",
        "forbidden.png": "permission denied",
    }


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("verb", ["classify", "watch"])
def test_each_bad_file_gets_a_one_line_error_and_others_are_classified(
    tmp_path: Path, inbox: Path, brightness: Path, verb: str, as_json: bool
) -> None:
    expected = make_bad_input(inbox)
    if verb == "watch":
        del expected["folder.png"]  # a watcher ignores folders
    picture(inbox / "good.png")
    picture(inbox / "new\nline.png")
    for path in inbox.iterdir():  # else a watcher waits for their writers
        os.utime(path, (1e9, 1e9), follow_symlinks=False)
    options = ["--model", str(brightness), *(["--json"] if as_json else []), *(["--once"] if verb == "watch" else [])]
    done = subprocess.run(
        [*without_privileges(), sys.executable, "-m", "edge", verb, str(inbox), *options],
        env=environment(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    if as_json:
        assert done.stderr == ""
        answers = {Path(str(line["path"])).name: line for line in lines(done.stdout)}
        assert set(answers) == set(expected) | {"good.png", "new\nline.png"}
        for name, reason in expected.items():
            assert set(answers[name]) - {"id", "time"} == {"path", "error"}
            assert reason in str(answers[name]["error"])
    else:
        assert len(done.stdout.splitlines()) == 2  # a newline in a name does not make a line
        assert "new\\nline.png" in done.stdout
        for name, reason in expected.items():
            (line,) = (line for line in done.stderr.splitlines() if f"{name}: " in line)
            assert reason in line


def test_missing_file_reports_its_own_line(edge_detect: Run, tmp_path: Path, brightness: Path) -> None:
    picture(tmp_path / "good.png")
    done = edge_detect("classify", "missing.png", "good.png", "--json", "--model", brightness)
    assert done.returncode == 1
    missing, good = lines(done.stdout)
    assert missing == {"path": "missing.png", "error": "no such file or directory"}
    assert good["label"] == "REAL"


def test_classify_of_an_empty_folder_exits_with_status_1(edge_detect: Run, inbox: Path, brightness: Path) -> None:
    done = edge_detect("classify", inbox, "--model", brightness)
    assert done.returncode == 1
    assert "no images in this folder" in done.stderr


@pytest.mark.parametrize(
    ("model", "reason"),
    [("missing.tflite", "no such file"), ("corrupt.tflite", "not a LiteRT model"), ("ten_classes.tflite", "(1, 10)")],
)
@pytest.mark.parametrize("verb", ["classify", "watch"])
def test_unusable_model_is_a_one_line_error_with_status_2(
    edge_detect: Run, tmp_path: Path, inbox: Path, verb: str, model: str, reason: str
) -> None:
    (tmp_path / "corrupt.tflite").write_bytes(b"\0" * 100)
    shutil.copy(MODELS / "ten_classes.tflite", tmp_path)
    done = edge_detect(verb, inbox, "--model", tmp_path / model)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = (line for line in done.stderr.splitlines() if model in line)
    assert reason in line
    assert "Traceback" not in done.stderr


def test_figure_is_written_beside_image_and_user_files_are_kept(
    edge_detect: Run, inbox: Path, brightness: Path
) -> None:
    first, second = picture(inbox / "a.png", 230), picture(inbox / "a.jpg", 30)
    picture(inbox / "b.png", 230)
    precious = inbox / "b_results.png"
    precious.write_bytes(b"the user's own")
    (inbox / "b.png_results.png").write_bytes(b"this too")
    done = edge_detect("classify", first, second, inbox / "b.png", "--figure", "--model", brightness)
    assert done.returncode == 1
    assert "another file has that name" in done.stderr
    assert precious.read_bytes() == b"the user's own"
    with Image.open(inbox / "a_results.png") as of_first, Image.open(inbox / "a.jpg_results.png") as of_second:
        assert of_first.size == of_second.size
        assert of_first.text["Description"].startswith("REAL")
        assert of_second.text["Description"].startswith("FAKE")
    assert not [path for path in inbox.iterdir() if path.name.startswith(".")]

    again = edge_detect("classify", inbox, "--figure", "--json", "--model", brightness)
    classified = {Path(str(line["path"])).name for line in lines(again.stdout)}
    assert classified == {"a.png", "a.jpg", "b.png", "b_results.png", "b.png_results.png"}, "a figure is no input"


def test_pipe_and_bomb_with_the_names_of_figures_do_not_stop_other_images(
    edge_detect: Run, inbox: Path, brightness: Path
) -> None:
    os.mkfifo(inbox / "pipe_results.png")
    Image.new("1", (20_000, 20_000)).save(inbox / "bomb_results.png")
    picture(inbox / "good.png")
    for verb in (["classify"], ["watch", "--once"]):
        done = edge_detect(*verb, inbox, "--json", "--model", brightness)
        assert done.returncode == 1
        answers = {Path(str(line["path"])).name: line for line in lines(done.stdout)}
        assert answers["good.png"]["label"] == "REAL"
        if verb == ["classify"]:
            assert "regular file" in str(answers["pipe_results.png"]["error"])
        assert "limit" in str(answers["bomb_results.png"]["error"])


def test_full_disk_is_an_error_and_unencodable_names_are_escaped(tmp_path: Path, brightness: Path) -> None:
    picture(tmp_path / "é🙂.png")

    def run(redirection: str, **variables: str) -> subprocess.CompletedProcess[str]:
        line = f'"{sys.executable}" -m edge classify "é🙂.png" --model "{brightness}" {redirection}'
        return subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment(**variables), capture_output=True, text=True, timeout=60
        )

    full = run("> /dev/full")
    assert full.returncode != 0
    assert full.stderr.splitlines()[0] == "edge-detect: cannot write the output: no space left on device"
    assert "Traceback" not in full.stderr
    assert "\\xe9\\U0001f642.png" in run("", PYTHONIOENCODING="ascii").stdout
    for closed in ("2>&-", ">&-"):
        done = run(closed)
        assert done.returncode == 0
        assert "Traceback" not in done.stderr
    assert "REAL" in run("2>&-").stdout


def test_account_without_a_home_has_no_default_state_folder(inbox: Path, brightness: Path) -> None:
    if os.geteuid():
        pytest.skip("only the super-user can become nobody in particular")
    variables = environment()
    variables.pop("HOME", None)
    # Still the super-user's group, for the interpreter may lie in the super-user's home.
    program = "import os, sys; from edge.store.state import default_folder; os.setuid(54321); default_folder()"
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=60)
    assert "LedgerError: this account has no home folder" in done.stderr


def test_help_version_and_completion_exit_with_status_0(edge_detect: Run) -> None:
    for verb in ((), ("classify",), ("watch",), ("completion",), ("service",), ("service", "show")):
        done = edge_detect(*verb, "--help")
        assert done.returncode == 0
        assert "Example" in done.stdout
    assert edge_detect("--version").stdout.startswith("edge-detect, version 0.")
    for shell in ("bash", "zsh", "fish"):
        done = edge_detect("completion", shell)
        assert "_EDGE_DETECT_COMPLETE" in done.stdout
        assert done.returncode == 0


def test_service_show_prints_a_unit_that_starts_this_installation(edge_detect: Run) -> None:
    unit = edge_detect("service", "show").stdout
    (start,) = (line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert start == f"ExecStart={os.path.normpath(sys.executable)} -m edge watch --recursive %f"
    assert "@EDGE_DETECT@" not in unit


@pytest.mark.parametrize("verb", ["classify", "watch"])
def test_numpy_that_does_not_load_is_a_one_line_error(tmp_path: Path, verb: str, brightness: Path) -> None:
    (tmp_path / "in").mkdir()
    age(picture(tmp_path / "in" / "x.png"))
    (tmp_path / "stubs" / "numpy").mkdir(parents=True)
    (tmp_path / "stubs" / "numpy" / "__init__.py").write_text("raise ImportError('libopenblas.so.0: cannot open')")
    done = subprocess.run(
        command(verb, "in", *(("--once",) if verb == "watch" else ()), "--model", brightness),
        env=environment(HOME=str(tmp_path), PYTHONPATH=f"{tmp_path / 'stubs'}{os.pathsep}{CHECKOUT}"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    error = "edge-detect: numpy is installed but does not load: libopenblas.so.0: cannot open\n"
    assert done.stderr.endswith(error)
    assert re.fullmatch(r"(nothing new in [\d.]+ s\n)?", done.stderr.removesuffix(error))


def test_closed_pipe_ends_classify_without_a_traceback(inbox: Path, brightness: Path) -> None:
    samples(inbox)
    done = subprocess.run(
        f'"{sys.executable}" -m edge classify "{inbox}" --model "{brightness}" | head -n 1',
        shell=True,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
