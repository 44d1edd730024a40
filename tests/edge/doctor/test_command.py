"""`edge-detect doctor` on this machine, and on what is broken."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from edge.doctor.finding import STATES
from edge.doctor.runtime import RUNTIMES
from tests.conftest import CHECKOUT, CIFAKE, Examine, Run, command, environment
from tests.edge.cli.test_cli import without_privileges


def test_json_report_has_documented_fields(edge_detect: Run) -> None:
    done = edge_detect("doctor", "--json")
    report = json.loads(done.stdout)
    assert set(report) == {"version", "state", "checks"}
    for check in report["checks"]:
        assert set(check) == {"name", "state", "found", "mend"}
        assert check["state"] in STATES
        assert check["mend"] is not None or check["state"] != "problem"
    assert done.returncode == any(check["state"] == "problem" for check in report["checks"])
    expected = {"board", "kernel", "clock", "memory", "ledger", "settings", "numpy", "inference", "webcam", "Coral"}
    assert expected <= {check["name"] for check in report["checks"]}
    models = [check["found"] for check in report["checks"] if check["name"] == "model"]
    assert models[0].startswith("compact_int8.tflite, came with edge-detect, ")
    assert models[0].endswith(" bytes, checksum right, for pictures of 32 x 32 pixels")
    assert [found for found in models if found.startswith("photo_int8.tflite")], "whether it travels or not"
    assert not [check for check in report["checks"] if "the check failed" in check["found"]]


@pytest.mark.parametrize("runtime", list(RUNTIMES))
def test_each_runtime_returns_correct_answers(examine: Examine, runtime: str) -> None:
    from edge.inference.runtime import is_installed

    if not is_installed(runtime):
        pytest.skip(f"{runtime} is not installed")
    _, report = examine("--runtime", runtime)
    assert report["inference"]["found"].startswith("compact_int8.tflite: right answers, ")
    assert "in use, loads" in report[runtime]["found"]


def test_runtime_list_equals_that_of_inference() -> None:
    from edge.inference import runtime

    assert RUNTIMES == runtime.RUNTIMES


def test_samples_are_bundled_test_images() -> None:
    for label in ("REAL", "FAKE"):
        sample = (CHECKOUT / "edge" / "doctor" / f"{label.lower()}.jpg").read_bytes()
        assert sample in [path.read_bytes() for path in (CIFAKE / "test" / label).iterdir()]


def test_text_columns_are_aligned(edge_detect: Run) -> None:
    done = edge_detect("doctor")
    *rows, empty, summary = done.stdout.splitlines()
    assert empty == ""
    assert "problem" in summary
    for row in rows:
        is_fix = row.startswith(" ")
        assert row[:25].strip() == "" if is_fix else row.split()[0] in STATES
        assert row[25:].startswith("-> ") if is_fix else row[24] == " " and row[25] != " "
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(("variables", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_only_on_terminals_without_no_color(
    tmp_path: Path, variables: dict[str, str], is_coloured: bool
) -> None:
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in environment(HOME=str(tmp_path)).items() if name != "NO_COLOR"}
    process = subprocess.Popen(command("doctor"), env=kept | variables, stdout=theirs, stderr=theirs, cwd=tmp_path)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    process.wait(60)
    assert (b"\x1b[" in said) is is_coloured
    assert b"board" in said


def test_terminal_without_utf8_gets_ascii(edge_detect: Run, tmp_path: Path) -> None:
    env = environment(HOME=str(tmp_path), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    done = edge_detect("doctor", "--state", tmp_path / "\u017cycie", env=env)
    assert done.stdout.isascii()
    assert r"\u017cycie" in done.stdout


def test_a_read_only_state_folder_is_a_problem(edge_detect: Run, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o500)
    env = environment(HOME=str(tmp_path))
    done = subprocess.run(
        [*without_privileges(), *command("doctor", "--json", "--state", tmp_path / "state")],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    (folder,) = (check for check in json.loads(done.stdout)["checks"] if check["name"] == "state folder")
    assert (done.returncode, folder["state"]) == (1, "problem")
    assert "permission denied" in folder["found"]


@pytest.mark.parametrize(("options", "words"), [("ro", "read-only file system"), ("rw", ": full")])
def test_a_read_only_or_full_file_system_is_a_problem(tmp_path: Path, options: str, words: str) -> None:
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o size=64k,{options} none {tmp_path}/disk"
    inside = ["unshare", "--mount", "sh", "-c", f'{mount} || exit 77; exec "$@"', "sh"]
    try:
        done = subprocess.run(
            [*inside, *command("doctor", "--json", "--state", tmp_path / "disk/state")],
            env=environment(HOME=str(tmp_path)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except FileNotFoundError:
        pytest.skip("no unshare (util-linux)")
    if not done.stdout:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    (folder,) = (check for check in json.loads(done.stdout)["checks"] if check["name"] == "state folder")
    assert (done.returncode, folder["state"]) == (1, "problem")
    assert folder["found"].endswith(words)


def test_answers_in_the_ledger_are_counted(edge_detect: Run, examine: Examine, inbox: Path, brightness: Path) -> None:
    Image.new("RGB", (40, 40)).save(inbox / "a.png")
    edge_detect("watch", inbox, "--once", "--model", brightness, "--state", inbox.parent / "state")
    _, report = examine("--state", inbox.parent / "state")
    assert report["ledger"]["found"] == "intact, 1 answers"


def test_checks_work_without_programs_in_the_path(examine: Examine) -> None:
    _, report = examine(variables={"PATH": "/nonexistent"})
    assert report["services"]["state"] == "absent"
    assert report["inference"]["state"] == "ok"


@pytest.mark.parametrize(
    ("settings", "variables", "words"),
    [
        ("[wach]\n", {}, "unknown table wach"),
        ("[watch\n", {}, "invalid TOML"),
        ("", {"EDGE_DETECT_POL": "3"}, "did you mean EDGE_DETECT_POLL?"),
    ],
)
def test_invalid_settings_are_a_problem_in_the_report(
    examine: Examine, tmp_path: Path, settings: str, variables: dict[str, str], words: str
) -> None:
    (tmp_path / "home/.config").mkdir(parents=True)
    (tmp_path / "home/.config/edge-detect.toml").write_text(settings)
    status, report = examine(variables=variables)
    assert (status, report["settings"]["state"]) == (1, "problem")
    assert words in report["settings"]["found"]


def test_valid_settings_are_named(examine: Examine, tmp_path: Path) -> None:
    (tmp_path / "home/.config").mkdir(parents=True)
    (tmp_path / "home/.config/edge-detect.toml").write_text('[doctor]\nstate = "/elsewhere/state"\n')
    _, report = examine()
    assert report["settings"]["found"].endswith("edge-detect.toml, valid")
    assert report["state folder"]["found"].startswith("/elsewhere/state, ")
