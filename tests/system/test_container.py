"""The image of the Containerfile and the services of compose.yaml, without a container engine: `make test-container`.

The Containerfile's instructions run in a Debian 12 (see tests/support/roots.py) in the place of the base image. The
services run in namespaces by systemd-nspawn: read-only, as the image's account, with the volumes and secrets that
compose.yaml names, beside a real broker if there is one.
"""

import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.conftest import CHECKOUT, CIFAKE
from tests.support.containers import Container, Image, Network, build, substituted
from tests.support.roots import System, need
from tests.test_containerfile import lines_of_the_page

pytestmark = [pytest.mark.container, pytest.mark.timeout(1800)]

# The same as that of tests/system/test_systemd.py, so that it is made once.
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,procps,passwd,libpam-systemd"
COMPOSE = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
PATIENCE = 120.0
STOP_SECONDS = 15.0
ACCOUNT = 1000
# Sends one request in the network of the services; prints status and body.
CLIENT = """
import sys
from http.client import HTTPConnection
path, token, file = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}"} if token else {}
connection = HTTPConnection("127.0.0.1", 8642, timeout=60)
connection.request("POST" if file else "GET", path, open(file, "rb").read() if file else None, headers)
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    need("systemd-nspawn", "debootstrap", "nsenter", "unshare", "pgrep", "ip")
    extras = substituted(COMPOSE["services"]["serve"]["build"]["args"]["EXTRAS"], {})
    given = {"EXTRAS": extras, "UID": str(ACCOUNT)}
    with ExitStack() as stack:
        built = build(System("bookworm", "bookworm", PACKAGES), given, tmp_path_factory.mktemp("image"), stack)
        (built.root / "etc" / "hosts").touch()  # a container engine makes this file too
        yield built


class Deployment:
    """A folder with what the page prepares, and the services of compose.yaml.

    Attributes:
        folder: in the place of the checkout.
    """

    def __init__(self, image: Image, folder: Path, stack: ExitStack) -> None:
        self._image, self.folder, self._stack = image, folder, stack
        (folder / "packaging").mkdir()
        shutil.copy(CHECKOUT / "packaging" / "mosquitto.conf", folder / "packaging")
        # In the place of Docker, the host's own program writes the passwords.
        stand_in = (
            'docker() { shift 5; words=("${@//\\/mosquitto\\/config/container/mosquitto}");'
            ' if command -v mosquitto_passwd > /dev/null; then "${words[@]}"; fi; }\n'
        )
        subprocess.run(["bash", "-euc", stand_in + lines_of_the_page()], cwd=folder, check=True, capture_output=True)
        self.network = Network()
        stack.callback(self.network.close)
        self.volumes = {name: folder / "volumes" / name for name in COMPOSE["volumes"]}
        for path in self.volumes.values():
            path.mkdir(parents=True)
        # The account that would have run the page's lines; and a new volume belongs to the owner of its mount point.
        for path in [*self.volumes.values(), *(folder / "container").rglob("*"), folder / "container"]:
            os.chown(path, ACCOUNT, ACCOUNT)
        for path in [folder, *folder.parents]:
            if path.owner() == "root" and path != Path("/"):
                path.chmod(path.stat().st_mode | 0o011)
        self._hosts = folder / "hosts"
        self._hosts.write_text("127.0.0.1 localhost mosquitto\n")
        self._hosts.chmod(0o644)

    @property
    def token(self) -> str:
        return (self.folder / "container" / "token").read_text().strip()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def start(self, name: str) -> Container:
        """A service as compose.yaml describes it."""
        service = COMPOSE["services"][name]
        mounts = {"/etc/hosts": (self._hosts, True)}
        for volume in service["volumes"]:
            source, inside, *mode = volume.split(":")
            path = self.folder / source if source.startswith(".") else self.volumes[source]
            mounts[inside] = (path.resolve(), mode == ["ro"])
        for secret in service["secrets"]:
            mounts[f"/run/secrets/{secret}"] = ((self.folder / COMPOSE["secrets"][secret]["file"]).resolve(), True)
        started = Container(self._image, service["command"], mounts, self.network, self.folder / f"{name}.log")
        self._stack.callback(started.close)
        return started

    def ask(self, path: str, token: str = "", file: Path | str = "") -> tuple[int, Any]:
        """Status and JSON of the server's answer; (0, None) while it does not listen."""
        words = self.network.words(sys.executable, "-c", CLIENT, path, token, str(file))
        done = subprocess.run(words, capture_output=True, text=True, timeout=90)
        if done.returncode:
            assert "ConnectionRefusedError" in done.stderr, done.stderr
            return 0, None
        status, _, body = done.stdout.partition(" ")
        return int(status), json.loads(body)

    def healthy(self, container: Container, name: str) -> bool:
        """What the health check of compose.yaml finds."""
        return container.run(*COMPOSE["services"][name]["healthcheck"]["test"][1:]).returncode == 0

    def drop(self, *paths: Path) -> None:
        """Copy images into the inbox."""
        for path in paths:
            shutil.copyfile(path, self.folder / "container" / "inbox" / f"{path.parent.name}-{path.name}")

    def answers(self, container: Container) -> list[dict[str, Any]]:
        done = container.run("edge-detect", "results", "--json")
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def deployment(image: Image, tmp_path: Path) -> Iterator[Deployment]:
    with ExitStack() as stack:
        yield Deployment(image, tmp_path, stack)


def until(is_true: Callable[[], Any], what: Callable[[], str]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := is_true()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.3)
    return found


def listing(root: Path) -> dict[str, tuple[int, int, int]]:
    """Kind, size and time of change of every file below a folder."""
    found = {}
    for folder, names, files in os.walk(root):
        for name in names + files:
            status = os.lstat(path := os.path.join(folder, name))
            found[os.path.relpath(path, root)] = status.st_mode, status.st_size, status.st_mtime_ns
    return found


def test_image_holds_the_installation_and_nothing_else_of_the_checkout(image: Image) -> None:
    root = image.root
    packages = next(root.glob("opt/edge-detect/lib/python3*/site-packages"))
    assert (packages / "edge" / "serve" / "static").is_dir()
    assert list((packages / "edge" / "models").glob("*.tflite"))
    names = {path.name for path in packages.iterdir()}
    assert not names & {"tests", "train", "convert", "pip", "tensorflow", "pytest"}
    assert not (root / "source").exists()
    assert not (root / "wheels").exists()
    assert not [path for path in (root / "opt").rglob("*") if path.suffix in (".keras", ".whl")]
    assert not [path for path in (root / "opt").rglob("*") if path.lstat().st_uid != 0]


def test_account_of_the_image_owns_the_volumes_alone(image: Image) -> None:
    for folder in image.config.volumes:
        status = (image.root / folder.lstrip("/")).stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (ACCOUNT, 0o750)
    owned = [path for path in image.root.rglob("*") if path.lstat().st_uid == ACCOUNT]
    assert {f"/{path.relative_to(image.root)}" for path in owned} == set(image.config.volumes)


def test_serve_answers_health_and_classifies_an_upload(deployment: Deployment) -> None:
    serve = deployment.start("serve")
    status, body = until(lambda: (found := deployment.ask("/healthz"))[0] and found, lambda: deployment.log("serve"))
    assert status == 200, body
    assert deployment.healthy(serve, "serve")
    sample = next((CIFAKE / "test" / "FAKE").glob("*.jpg"))
    assert deployment.ask("/api/v1/classify", "", sample)[0] == 401
    status, answer = deployment.ask(f"/api/v1/classify?name={quote(sample.name)}", deployment.token, sample)
    assert status == 200, answer
    assert answer["label"] in ("REAL", "FAKE", "UNSURE")
    _require_confined(serve)
    serve.send(signal.SIGTERM)
    assert serve.wait(STOP_SECONDS) == 0, deployment.log("serve")


def _require_confined(container: Container) -> None:
    """The processes run as the account, without capabilities, on a read-only root."""
    first = container.first_process()
    words = ["pgrep", "--ns", str(first), "--nslist", "pid"]
    pids = subprocess.run(words, capture_output=True, text=True).stdout.split()
    assert str(first) in pids
    assert len(pids) > 1  # PID 1 only waits
    for pid in pids:
        status = dict(re.findall(r"^(\w+):\t(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
        assert set(status["Uid"].split()) == {str(ACCOUNT)}
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        assert status["NoNewPrivs"] == "1"
    written = container.run("python3", "-c", "open('/opt/edge-detect/x', 'w')")
    assert "Read-only file system" in written.stderr or "Permission denied" in written.stderr
    mounts = Path(f"/proc/{first}/mountinfo").read_text().splitlines()
    (root,) = (line for line in mounts if line.split()[4] == "/")
    assert "ro" in root.split()[5].split(",")


def test_services_share_ledger_and_sockets_and_write_only_to_their_volumes(
    image: Image, deployment: Deployment
) -> None:
    before, inbox = listing(image.root), deployment.folder / "container" / "inbox"
    samples = sorted((CIFAKE / "test").rglob("*.jpg"))[:6]
    deployment.drop(*samples)
    names = {path.name for path in inbox.iterdir()}
    watch = deployment.start("watch")
    until(lambda: len(deployment.answers(watch)) == len(samples), lambda: deployment.log("watch"))
    assert deployment.healthy(watch, "watch")
    serve = deployment.start("serve")
    until(lambda: deployment.ask("/healthz")[0] == 200, lambda: deployment.log("serve"))

    status, recorded = deployment.ask("/api/v1/results", deployment.token)
    assert status == 200, recorded
    shown = json.dumps(recorded)
    assert all(name in shown for name in names)
    # The server's container asks the watcher's by its socket.
    seen = serve.run("edge-detect", "status", "--json")
    assert [json.loads(line)["folder"] for line in seen.stdout.splitlines()] == ["/inbox"], seen.stderr
    status, running = deployment.ask("/api/v1/status", deployment.token)
    assert status == 200
    assert "/inbox" in json.dumps(running)

    for name, container in (("watch", watch), ("serve", serve)):
        _require_confined(container)
        started = time.monotonic()
        container.send(signal.SIGTERM)
        assert container.wait(STOP_SECONDS) == 0, deployment.log(name)
        assert time.monotonic() - started < STOP_SECONDS
        assert "Read-only file system" not in deployment.log(name)
        assert "Permission denied" not in deployment.log(name)
    assert {path.name for path in inbox.iterdir()} == names
    assert listing(image.root) == before
    assert not list(deployment.volumes["runtime"].iterdir())
    assert (deployment.volumes["state"] / "ledger.sqlite3").exists()


def test_watcher_goes_on_after_sigkill_and_answers_each_image_once(deployment: Deployment) -> None:
    samples = sorted((CIFAKE / "test").rglob("*.jpg"))
    watch = deployment.start("watch")
    for number, sample in enumerate(samples[:3]):
        deployment.drop(sample)
        if number:
            _until_answered(deployment, watch, number)
        watch.send(signal.SIGKILL)
        watch.wait(STOP_SECONDS)
        watch = deployment.start("watch")
    deployment.drop(*samples[3:6])
    _until_answered(deployment, watch, 6)
    assert len(deployment.answers(watch)) == 6
    assert deployment.healthy(watch, "watch")  # the sockets of the killed ones are in nobody's way
    assert len({answer["path"] for answer in deployment.answers(watch)}) == 6
    watch.send(signal.SIGTERM)
    assert watch.wait(STOP_SECONDS) == 0
    # Printed lines are derived from the ledger; a line may come twice when its printing was cut off, an answer may not.
    assert len(re.findall(r"^(?:REAL|FAKE|UNSURE)\b", deployment.log("watch"), re.MULTILINE)) >= 6


def _until_answered(deployment: Deployment, watch: Container, count: int) -> None:
    until(lambda: len(deployment.answers(watch)) >= count, lambda: deployment.log("watch"))


def test_orphans_of_the_first_process_are_collected(deployment: Deployment) -> None:
    watch = deployment.start("watch")
    until(lambda: deployment.healthy(watch, "watch"), lambda: deployment.log("watch"))
    first = watch.first_process()
    # A command whose parent ends at once becomes a child of the first process.
    inside = ["nsenter", "-t", str(first), "-a", "sh", "-c", "(sleep 1; exit 3) & exit 0"]
    subprocess.run(inside, check=True, timeout=60)
    time.sleep(2)
    states = subprocess.run(
        ["pgrep", "--ns", str(first), "--nslist", "pid", "--runstates", "Z"], capture_output=True, text=True
    )
    assert states.stdout.split() == []


def test_server_publishes_to_the_broker_of_the_compose_file(deployment: Deployment) -> None:
    broker = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if not broker or not shutil.which("mosquitto_sub"):
        pytest.skip("needs: apt install mosquitto mosquitto-clients")
    folder = deployment.folder / "container" / "mosquitto"
    lines = (folder / "mosquitto.conf").read_text().replace("/mosquitto/config", str(folder))
    settings = deployment.folder / "mosquitto.conf"
    settings.write_text(lines.replace("/mosquitto/data", str(folder / "data")) + "user root\n")
    running = subprocess.Popen(
        deployment.network.words(broker, "-c", settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        serve = deployment.start("serve")
        until(lambda: deployment.ask("/healthz")[0] == 200, lambda: deployment.log("serve"))
        given = (deployment.folder / "container" / "edge-detect.toml").read_text()
        password = re.search(r"//edge-detect:(.*)@", given)
        assert password
        words = ["mosquitto_sub", "-h", "127.0.0.1", "-u", "edge-detect", "-P", password[1]]
        heard = subprocess.run(
            deployment.network.words(*words, "-t", "edge-detect/#", "-t", "homeassistant/#", "-C", "2", "-W", "60"),
            capture_output=True, text=True,
        )  # fmt: skip
        assert heard.returncode == 0, deployment.log("serve")
        assert password[1] not in deployment.log("serve")
        refused = subprocess.run(
            deployment.network.words("mosquitto_sub", "-h", "127.0.0.1", "-t", "#", "-C", "1", "-W", "10"),
            capture_output=True, text=True,
        )  # fmt: skip
        assert refused.returncode != 0
        serve.send(signal.SIGTERM)
        assert serve.wait(STOP_SECONDS) == 0
    finally:
        running.kill()
        running.wait()


def test_first_start_without_a_token_prints_one_and_stores_its_digest(image: Image, deployment: Deployment) -> None:
    """The page's first way: the image's own command, without compose.yaml."""
    mounts = {"/var/lib/edge-detect": (deployment.volumes["state"], False)}
    log = deployment.folder / "plain.log"
    alone = Container(image, image.config.command, mounts, deployment.network, log)
    try:
        until(lambda: deployment.ask("/healthz")[0] == 200, log.read_text)
        assert alone.run(*image.config.check).returncode == 0
        token = re.search(r"^    (\S{32})$", log.read_text(), re.MULTILINE)
        assert token
        assert deployment.ask("/api/v1/status", token[1])[0] == 200
        stored = deployment.volumes["state"] / "serve" / "token"
        assert token[1] not in stored.read_text()
        assert "Read-only file system" not in log.read_text()
        alone.send(signal.SIGTERM)
        assert alone.wait(STOP_SECONDS) == 0, shlex.join(image.config.command)
    finally:
        alone.close()
