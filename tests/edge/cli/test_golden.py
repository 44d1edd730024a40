"""What other programs rely on: JSON lines, exit statuses, the ledger's tables, options. A change here breaks them."""

import json
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from edge import __version__
from edge.cli import main
from edge.store.ledger import Ledger
from edge.store.schema import FILE
from tests.conftest import DATA, MODELS, Run, age, environment, picture
from tests.support.watching import Running, Watching

BRIGHT, DARK = 240, 15
HELP = json.loads(Path(__file__).with_name("golden_help.json").read_text())

# Expected fields, in their order. A type or a pattern stands for a value that depends on the model or the time.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ID_AND_TIME = {"id": int, "time": TIME}
PROBABILITIES = {"confidence": float, "score": float}
NOT_AN_IMAGE = "not an image in a known format (JPEG, PNG, GIF, BMP, WEBP, TIFF, HEIC, AVIF)"
VIEW = {"left": float, "top": float, "width": float, "height": float, "logit": float}
COLUMNS = "id,time,path,label,confidence,score,outside,error,moved_to,event,began,position,seconds,peak,snapshot,model"
COLUMNS += ",provenance"


def verdict(path: Any, label: Any, model: str = "model", outside: Any = None) -> dict[str, Any]:
    fields = {"path": path, "label": label, **PROBABILITIES, "outside": outside, "model": model, "elapsed_ms": float}
    return fields | {"provenance": []}


def status(folder: str, last: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "folder": folder,
        "pid": int,
        "version": __version__,
        "since": float,
        "labels": dict,
        "failed": 0,
        "answered_before": 0,
        "per_second": float,
        "last": last,
        "last_error": None,
        "waiting": int,
        **changes,
        "trouble": None,
    }


def matched(actual: Any, expected: Any) -> Any:
    """The actual value, with each value that fits an expected type or pattern replaced by that."""
    if isinstance(actual, dict) and isinstance(expected, dict):
        return {name: matched(value, expected.get(name)) for name, value in actual.items()}
    if isinstance(actual, list) and isinstance(expected, list):
        return [matched(*pair) for pair in zip_longest(actual, expected)][: len(actual)]
    is_fitting = type(actual) is expected
    if isinstance(expected, re.Pattern):
        is_fitting = isinstance(actual, str) and expected.fullmatch(actual) is not None
    return expected if is_fitting else actual


def require_lines(output: str, *expected: dict[str, Any]) -> None:
    """Assert that these are the JSON lines, with the same fields in the same order."""
    for line, fields in zip_longest(output.splitlines(), expected):
        found = matched(json.loads(line or "null"), fields)
        assert found == fields
        assert str(found) == str(fields), "the order of the fields, or a number's type"


@pytest.fixture
def folder(tmp_path: Path, inbox: Path, brightness: Path) -> Path:
    """The folder where commands run: images in `inbox`, `film` with a FAKE event, `model.tflite`, and bad files."""
    age(picture(inbox / "bright.png", BRIGHT))
    age(picture(inbox / "dark.png", DARK))
    (inbox / "text.png").write_text("I am a text\n")
    age(inbox / "text.png")
    for name in ("film", "empty"):
        (tmp_path / name).mkdir()
    for second in range(5):
        picture(tmp_path / "film" / f"{second}.png", DARK if second in (1, 2) else BRIGHT, seed=second)
    shutil.copyfile(brightness, tmp_path / "model.tflite")
    return tmp_path


def test_classify_json_has_golden_fields(edge_detect: Run, folder: Path) -> None:
    done = edge_detect("classify", "--json", "inbox", "missing.png", "--model", "model.tflite")
    require_lines(
        done.stdout,
        verdict("inbox/bright.png", "REAL"),
        verdict("inbox/dark.png", "FAKE"),
        {"path": "inbox/text.png", "error": NOT_AN_IMAGE},
        {"path": "missing.png", "error": "no such file or directory"},
    )


def test_classify_json_with_explain_adds_views_of_photo_and_thumbnail(edge_detect: Run, folder: Path) -> None:
    model, photo = MODELS / "photo_like_int8.tflite", DATA / "photos" / "FAKE" / "hiker.webp"
    done = edge_detect("classify", "--json", "--explain", photo, "inbox/dark.png", "inbox/text.png", "--model", model)
    outside = "40 x 30 pixels; the model was measured on 100-20000 x 100-20000"
    require_lines(
        done.stdout,
        verdict(str(photo), "FAKE", "photo_like_int8") | {"explain": [VIEW] * 5},
        verdict("inbox/dark.png", "FAKE", "photo_like_int8", outside) | {"explain": [VIEW] * 5},
        {"path": "inbox/text.png", "error": NOT_AN_IMAGE},
    )


def test_watch_and_results_json_have_golden_fields(edge_detect: Run, folder: Path) -> None:
    done = edge_detect(
        *("watch", "inbox", "--once", "--json", "--sort-into", "sorted", "--state", "state", "--model", "model.tflite")
    )
    lines = sorted(done.stdout.splitlines(), key=lambda line: str(json.loads(line)["path"]))
    inbox, target = f"{folder}/inbox", f"{folder}/sorted"
    require_lines(
        "\n".join(lines),
        ID_AND_TIME | verdict(f"{inbox}/bright.png", "REAL") | {"moved_to": f"{target}/REAL/bright.png"},
        ID_AND_TIME | verdict(f"{inbox}/dark.png", "FAKE") | {"moved_to": f"{target}/FAKE/dark.png"},
        ID_AND_TIME | {"path": f"{inbox}/text.png", "error": NOT_AN_IMAGE, "moved_to": f"{target}/UNREADABLE/text.png"},
    )
    assert edge_detect("results", "--json", "--state", "state").stdout == done.stdout


def test_camera_and_results_json_have_golden_fields(edge_detect: Run, folder: Path) -> None:
    rules = ("--smooth", "0", "--least", "0", "--record", "2", "--snapshots", "seen")
    done = edge_detect("camera", "--source", "film", "--json", "--state", "state", *rules, "--model", "model.tflite")

    def report(label: str, event: dict[str, Any]) -> dict[str, Any]:
        return ID_AND_TIME | verdict(f"{folder}/film/", label) | {"event": event}

    def frame(position: float) -> dict[str, Any]:
        return {
            "state": "frame",
            "began": TIME,
            "position": position,
            "seconds": None,
            "peak": None,
            "snapshot": None,
        }

    picture_of_event = re.compile(re.escape(f"{folder}/seen/") + r"\d{8}T\d{6}\.\d{3}Z_began_FAKE_[0-9a-f]{4}\.jpg")
    event = {"position": 1.0, "seconds": 0.0, "peak": float, "snapshot": picture_of_event}
    require_lines(
        done.stdout,
        report("REAL", frame(0.0)),
        report("FAKE", {"state": "began", "began": TIME} | event),
        report("FAKE", frame(2.0)),
        report("FAKE", {"state": "ended", "began": TIME} | event | {"seconds": 1.0}),
        report("REAL", frame(4.0)),
    )
    assert edge_detect("results", "--json", "--state", "state").stdout == done.stdout
    assert edge_detect("results", "--csv", "--state", "state").stdout.splitlines()[0] == COLUMNS


@pytest.fixture
def film(tmp_path: Path, folder: Path) -> Iterator[Running]:
    """A camera on a recording that takes long: many frames that take long to decode."""
    (tmp_path / "long").mkdir()
    Image.effect_noise((3000, 2000), 100).convert("RGB").save(tmp_path / "long" / "0.jpg")
    for number in range(1, 3000):
        (tmp_path / "long" / f"{number}.jpg").hardlink_to(tmp_path / "long" / "0.jpg")
    running = Running(tmp_path, "camera", "--source", "long", "--record", "0", "--model", "model.tflite")
    yield running
    running.kill()


def test_answers_and_status_json_of_unsorted_watch_have_golden_fields(
    edge_detect: Run, folder: Path, watching: Callable[..., Watching]
) -> None:
    (folder / "inbox" / "dark.png").unlink()  # so that one image alone has a label, for their order may vary
    watcher = watching()
    watcher.until(lambda running: len(running.answers) == 2)
    done = edge_detect("status", "--json", env=environment(HOME=str(folder)))
    assert (done.returncode, done.stderr) == (0, "")
    good = verdict(f"{folder}/inbox/bright.png", "REAL", "brightness_int8")
    bad = {"path": f"{folder}/inbox/text.png", "error": NOT_AN_IMAGE}
    lines = [json.dumps(answer) for answer in sorted(watcher.answers, key=lambda answer: str(answer["path"]))]
    require_lines("\n".join(lines), ID_AND_TIME | good, ID_AND_TIME | bad)
    expected = status(f"{folder}/inbox", good) | {"labels": {"REAL": 1}, "failed": 1, "last_error": bad}
    require_lines(done.stdout, expected)


def test_status_json_of_camera_has_golden_fields(edge_detect: Run, folder: Path, film: Running) -> None:
    film.until(lambda running: len(running.answers) >= 2)
    done = edge_detect("status", "--json", env=environment(HOME=str(folder)))
    assert (done.returncode, done.stderr) == (0, "")
    figures = {"events": int, "skipped": int, "capture_ms": float, "network_ms": float, "age_ms": None}
    figures |= {"state": str, "frame_seconds": float, "frames_per_second": float, "label": str, "score": float}
    figures |= {"event": str, "smoothed": float, "in_event": bool}
    require_lines(done.stdout, status(f"{folder}/long/", verdict(f"{folder}/long/", str), **figures))
    film.stop(signal.SIGTERM)
    assert film.process.returncode == 128 + signal.SIGTERM


MODEL = " --model model.tflite --state state"
NO_OPTION = "Error: No such option"


@pytest.mark.parametrize(
    ("arguments", "status", "stderr"),
    [
        ("classify inbox/bright.png --model model.tflite", 0, ""),
        ("classify inbox/text.png --model model.tflite", 1, f"ERROR          inbox/text.png: {NOT_AN_IMAGE}"),
        ("classify missing --model model.tflite", 1, "ERROR          missing: no such file or directory"),
        ("classify empty --model model.tflite", 1, "ERROR          empty: no images in this folder"),
        ("classify inbox --model none.tflite", 2, "edge-detect: none.tflite: cannot read the model: no such file"),
        ("classify", 2, "Error: Missing argument 'PATH...'."),
        ("classify inbox --wrong", 2, NO_OPTION),
        ("watch empty --once" + MODEL, 0, "nothing new in "),
        ("watch inbox --once --include text* --json" + MODEL, 1, ""),
        ("watch model.tflite --once" + MODEL, 2, "edge-detect: model.tflite: cannot watch it: not a directory"),
        ("watch inbox --once --model none.tflite", 2, "edge-detect: none.tflite: cannot read the model: no such file"),
        ("watch", 2, "Error: Missing argument 'FOLDER'."),
        ("watch inbox --once --wrong", 2, NO_OPTION),
        ("watch inbox --once --poll never", 2, "Error: Invalid value for '--poll'"),
        ("camera --source film" + MODEL, 0, "2 FAKE, 3 REAL in "),
        ("camera --source inbox/text.png" + MODEL, 2, f"edge-detect: inbox/text.png: {NOT_AN_IMAGE}"),
        ("camera --source empty" + MODEL, 2, "edge-detect: empty: no images in this folder"),
        ("camera --source missing" + MODEL, 2, "edge-detect: missing: no such file or camera; a camera is picamera2,"),
        ("camera --source film --model none.tflite", 2, "edge-detect: none.tflite: cannot read the model: no such"),
        ("camera --wrong", 2, NO_OPTION),
        ("results --state missing", 2, "edge-detect: missing/ledger.sqlite3: no such ledger; nothing was answered yet"),
        ("results --wrong", 2, NO_OPTION),
        ("results --state missing prune --older-than 1d", 2, "edge-detect: missing/ledger.sqlite3: no such ledger"),
        ("results prune", 2, "Error: Missing option '--older-than'"),
        ("status", 3, "edge-detect: no watcher or camera of this account is running; services need sudo"),
        ("status --wrong", 2, NO_OPTION),
        ("service install watch inbox --dry-run", 0, ""),
        ("service install camera --dry-run --wrong", 2, NO_OPTION),
        ("service uninstall watch", 2, "Error: Name the folder: service uninstall watch FOLDER"),
        ("doctor --wrong", 2, NO_OPTION),
        ("benchmark --images missing --model model.tflite", 2, "edge-detect: missing: no such folder"),
        ("benchmark --model none.tflite", 2, "edge-detect: none.tflite: cannot read the model: no such file"),
        ("completion tcsh", 2, "Error: Invalid value for '{bash|zsh|fish}'"),
        ("wrong", 2, "Error: No such command 'wrong'."),
        ("--config none.toml status", 2, "edge-detect: none.toml: no such file or directory"),
    ],
)
def test_command_ends_with_golden_status_and_at_most_one_line_on_stderr(
    edge_detect: Run, folder: Path, arguments: str, status: int, stderr: str
) -> None:
    done = edge_detect(*arguments.split())
    lines = done.stderr.splitlines()
    if stderr.startswith("Error: "):  # invalid use: click's hint comes before the line
        usage, hint, empty = (lines + [""] * 3)[:3]
        assert (usage.startswith("Usage: edge-detect "), hint.endswith("--help' for help."), empty) == (True, True, "")
        lines = lines[3:]
    assert (done.returncode, len(lines)) == (status, 1 if stderr else 0), done.stderr
    assert done.stderr == "" or lines[0].startswith(stderr), done.stderr


def plain(sql: str) -> str:
    """SQL without comments and line breaks."""
    return re.sub(r"\s*([(),])\s*", r"\1 ", " ".join(re.sub("--.*", "", sql).split())).strip()


SCHEMA = """
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL,
    sha256 BLOB NOT NULL,
    label TEXT,
    score REAL,
    error TEXT,
    model_sha256 TEXT NOT NULL,
    answered_at REAL NOT NULL,
    outside TEXT,
    confidence REAL,
    elapsed_ms REAL,
    folder BLOB,
    moved_to BLOB,
    state TEXT,
    began_at REAL,
    position REAL,
    lasted_seconds REAL,
    peak REAL,
    snapshot BLOB,
    model TEXT,
    provenance TEXT,
    UNIQUE (path, sha256)
);
CREATE TABLE deliveries (
    folder BLOB NOT NULL,
    sink TEXT NOT NULL,
    answer_id INTEGER NOT NULL,
    PRIMARY KEY (folder, sink)
) WITHOUT ROWID;
CREATE TABLE files (
    path BLOB PRIMARY KEY,
    stamp TEXT NOT NULL,
    seen_ns INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    ctime_ns INTEGER
) WITHOUT ROWID;
CREATE TABLE given_up (
    folder BLOB NOT NULL,
    sink TEXT NOT NULL,
    answer_id INTEGER NOT NULL,
    PRIMARY KEY (folder, sink, answer_id)
) WITHOUT ROWID;
CREATE TABLE moves (
    source BLOB PRIMARY KEY,
    target BLOB NOT NULL,
    stamp TEXT NOT NULL,
    answer_id INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX answers_by_folder ON answers (folder, id);
CREATE INDEX answers_by_label ON answers (label, answered_at, id, state);
CREATE INDEX answers_by_source ON answers (folder, label, answered_at, id, state);
CREATE INDEX answers_captured ON answers (answered_at, id, label, folder)
    WHERE instr(provenance, '"says":"captured"') > 0;
CREATE INDEX answers_edited ON answers (answered_at, id, label, folder)
    WHERE instr(provenance, '"says":"edited"') > 0;
CREATE INDEX answers_generated ON answers (answered_at, id, label, folder)
    WHERE instr(provenance, '"says":"generated"') > 0;
CREATE INDEX events_by_folder ON answers (folder, id) WHERE state != 'frame';
CREATE INDEX files_by_stamp ON files (stamp);
CREATE INDEX frames_by_folder ON answers (folder, id) WHERE state = 'frame'
"""


def test_new_ledger_has_golden_schema(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        found = database.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY type DESC, name").fetchall()
        (version,) = database.execute("PRAGMA user_version").fetchone()
    assert [plain(sql) for (sql,) in found] == [plain(sql) for sql in SCHEMA.split(";")]
    assert version == 8


def helps(of: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Of a command and those below it: the path, and what its help shows of arguments, options and variables."""
    context = click.Context(of, parent, name, terminal_width=1000, **(of.context_settings if parent is None else {}))
    usage, *lines = of.get_help(context).splitlines()
    shown, option = {"usage": usage.removeprefix(f"Usage: {context.command_path} ")}, ""
    first = lines.index("Options:") + 1
    for line in lines[first : lines.index("", first) if "" in lines[first:] else None]:
        option = (re.match(r"  (-.*?)(  |$)", line) or ["", option])[1]
        shown[option] = (re.search(r"\[(env var: [^]]*)]$", line) or ["", ""])[1]
    yield context.command_path, shown
    if isinstance(of, click.Group):
        for below in of.list_commands(context):
            command_below = of.get_command(context, below)
            assert command_below is not None
            yield from helps(command_below, below, context)


def test_every_command_has_golden_options_and_variables() -> None:
    assert dict(helps(main, "edge-detect")) == HELP, "python -m tests.edge.cli.test_golden prints the new ones"


if __name__ == "__main__":
    print(json.dumps(dict(helps(main, "edge-detect")), indent=2))
