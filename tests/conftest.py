"""What the tests share: real files, real processes, small real models."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from edge.doctor.finding import STATES

if TYPE_CHECKING:
    from tests.support.watching import Watching

TESTS = Path(__file__).parent
DATA = TESTS / "data"
CIFAKE = DATA / "cifake"
MODELS = DATA / "models"
CHECKOUT = TESTS.parent

# Left out by --quick: they need TensorFlow, or kill, measure and wait for minutes.
SLOW = {
    "edge/benchmark/test_benchmark",
    "edge/camera/test_camera_live",
    "edge/camera/test_live_frames",
    "edge/capture/test_capture",
    "edge/capture/test_hls",
    "edge/capture/test_http_pictures",
    "edge/capture/test_http_recordings",
    "edge/capture/test_http_snapshots",
    "edge/capture/test_jpeg_scanner",
    "edge/capture/test_pixel_formats",
    "edge/capture/test_recordings",
    "edge/capture/test_rtsp",
    "edge/capture/test_streams",
    "edge/cli/test_classify_photos",
    "edge/cli/test_limits",
    "edge/cli/test_model",
    "edge/cli/test_results",
    "edge/cli/test_tpu",
    "edge/delivery/test_hooks",
    "edge/doctor/test_broken",
    "edge/doctor/test_command",
    "edge/doctor/test_fleet",
    "edge/doctor/test_mqtt",
    "edge/fleet/test_commands",
    "edge/fleet/test_credentials",
    "edge/fleet/test_docs",
    "edge/fleet/test_hostile",
    "edge/fleet/test_kills",
    "edge/fleet/test_network",
    "edge/hub/test_pull",
    "edge/imaging/test_avif",
    "edge/imaging/test_completeness",
    "edge/imaging/test_fuzz",
    "edge/imaging/test_heic",
    "edge/imaging/test_heic_optional",
    "edge/imaging/test_preprocess",
    "edge/imaging/test_second_decoder",
    "edge/inference/test_failover",
    "edge/provenance/test_exiftool",
    "edge/provenance/test_fuzz",
    "edge/provenance/test_outputs",
    "edge/provenance/test_verify",
    "edge/serve/test_attacks",
    "edge/serve/test_browser",
    "edge/serve/test_cameras",
    "edge/serve/test_clients",
    "edge/serve/test_faults",
    "edge/serve/mqtt/test_publishing",
    "edge/serve/mqtt/test_connection",
    "edge/serve/mqtt/test_restarts",
    "edge/serve/mqtt/test_discovery",
    "edge/serve/mqtt/test_docs",
    "edge/serve/test_oldest",
    "edge/serve/test_openapi",
    "edge/serve/test_pages",
    "edge/serve/test_proxy",
    "edge/serve/test_remote",
    "edge/service/test_service",
    "edge/test_package",
    "edge/test_requirements",
    "edge/watch/test_arrivals",
    "edge/watch/test_crash",
    "edge/watch/test_decode_pool",
    "edge/watch/test_fat",
    "edge/watch/test_property",
    "edge/watch/test_sort",
    "edge/watch/test_unfinished",
    "edge/watch/test_unreadable",
    "edge/watch/test_watch_photos",
    "test_containerfile",
}

# Where the tests of a path, or of the paths that begin so, come in the order; the others come at 0. In this order the
# processes of `-n` end together: what runs long as one piece comes early, and last what can be divided. What loads
# TensorFlow comes after the tests of tflite-runtime, which fails beside it.
ORDER = {
    "edge/imaging/test_heic.py": -1,
    "edge/imaging/test_preprocess.py": -1,
    "train/test_train.py": 1,
    "train/test_robust_training.py": 2,
    "convert/test_convert.py": 3,
    "train/": 4,
    "convert/": 4,
    "edge/benchmark/": 5,
    "edge/watch/test_crash.py": 6,
    "edge/watch/test_arrivals.py": 7,
    "edge/doctor/test_command.py": 7,
}
# Files whose tests one process runs, for they share what takes long to make; other tests go to any process.
TOGETHER = (
    "train/",
    "convert/",
    "edge/test_package.py",
    "edge/test_api.py",
    "edge/inference/test_failover.py",
    "edge/serve/test_browser.py",
    "edge/serve/test_pages.py",
)

Run = Callable[..., subprocess.CompletedProcess[str]]
Report = dict[str, dict[str, Any]]
Examine = Callable[..., tuple[int, Report]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="Leave out the slow tests and those that need TensorFlow.")
    parser.addoption("--kills", type=int, default=10, help="How often tests kill a watcher at a random moment.")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.getoption("--quick"):
        return None
    path = collection_path.relative_to(TESTS).with_suffix("").as_posix()
    return True if path in SLOW or path in ("train", "convert") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by ORDER."""

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(TESTS).as_posix()
        return next((number for start, number in ORDER.items() if path.startswith(start)), 0)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the tests to the processes of `-n` in their order, those of TOGETHER by file."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path, _, test = nodeid.removeprefix("tests/").partition("::")
            if test.startswith("test_largest_accepted_"):
                return "memory"  # each takes a gigabyte: one at a time
            return path if path.startswith(TOGETHER) else nodeid

    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often a test kills its watcher: --kills."""
    return int(request.config.getoption("--kills"))


@pytest.fixture(scope="session", autouse=True)
def signals_are_not_ignored() -> None:
    """nohup ignores SIGHUP and a background shell ignores SIGINT; the processes of the tests would inherit that."""
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def command(*arguments: str | Path) -> list[str]:
    """`edge-detect` as a user starts it, in the environment of the tests."""
    return [sys.executable, "-m", "edge", *map(os.fspath, arguments)]


def environment(**changes: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("EDGE_DETECT", "XDG_", "STATE_DIR"))}
    return kept | {"PYTHONPATH": str(CHECKOUT)} | changes


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The messages that the package has logged so far, of whatever thread."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    log, handler = logging.getLogger("edge"), Listener()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield messages
    log.removeHandler(handler)
    log.setLevel(level)


def without_privileges() -> list[str]:
    """For the super-user, who may read everything: the same user without that privilege."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("run as root without setpriv (util-linux): no file would be unreadable")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture
def edge_detect(tmp_path: Path) -> Run:
    """Runs `edge-detect ARGUMENTS` to its end in a folder of its own, with a home of its own."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        variables = environment(HOME=str(tmp_path / "home"))
        defaults = {"cwd": tmp_path, "env": variables, "capture_output": True, "text": True, "timeout": 60}
        return subprocess.run(command(*arguments), **(defaults | options))

    return run


@pytest.fixture
def examine(edge_detect: Run, tmp_path: Path) -> Examine:
    """Runs `edge-detect doctor`: exit status, and checks by their names; of several with one name the worst."""

    def run(*options: str | Path, variables: dict[str, str] | None = None) -> tuple[int, Report]:
        env = environment(HOME=str(tmp_path / "home"), **(variables or {}))
        done = edge_detect("doctor", "--json", *options, env=env)
        assert done.stderr == ""
        report: Report = {}
        for check in json.loads(done.stdout)["checks"]:
            former = report.setdefault(check["name"], check)
            if STATES.index(check["state"]) > STATES.index(former["state"]):
                report[check["name"]] = check
        return done.returncode, report

    return run


@pytest.fixture
def brightness() -> Path:
    """A model that calls bright images REAL and dark ones FAKE."""
    return MODELS / "brightness_int8.tflite"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def picture(path: Path, grey: int = 200, size: tuple[int, int] = (40, 30), seed: int = 0) -> Path:
    """A noisy image around a level of grey; another seed is another content."""
    noise = np.random.default_rng(seed).integers(-20, 20, (size[1], size[0], 3))
    Image.fromarray((grey + noise).clip(0, 255).astype(np.uint8)).save(path)
    return path


def age(path: Path, seconds: float = 60) -> Path:
    """Let a file look as if it had been written some time ago."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))
    return path


def samples(folder: Path) -> list[Path]:
    """Copies of the bundled CIFAKE test images, all in one folder."""
    copies = []
    for label in ("REAL", "FAKE"):
        for original in sorted((CIFAKE / "test" / label).iterdir()):
            copies.append(age(Path(shutil.copyfile(original, folder / f"{label} {original.name}"))))
    return copies


@pytest.fixture
def watching(inbox: Path, brightness: Path) -> Iterator[Callable[..., "Watching"]]:
    """Starts `edge-detect watch` on the inbox, at each call another, and kills them all at the end."""
    from tests.support.watching import Watching  # which needs this module

    started: list[Watching] = []

    def start(*options: str) -> Watching:
        started.append(Watching(inbox, brightness, *options))
        return started[-1]

    yield start
    for watcher in started:
        watcher.kill()


@contextmanager
def systemd(folder: Path) -> Iterator[socket.socket]:
    """systemd's end of NOTIFY_SOCKET: the socket `notify` in a folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.settimeout(30)
        heard.bind(str(folder / "notify"))
        yield heard


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with systemd(tmp_path) as heard:
        yield heard


@pytest.fixture
def runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder of this process; give it to others as XDG_RUNTIME_DIR."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr("edge.daemon.status.SERVICES", tmp_path / "services")
    return folder
