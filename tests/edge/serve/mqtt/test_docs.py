"""The lines of docs/home-assistant.md, run one after the other, with a real broker."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import CHECKOUT, MODELS, environment
from tests.support.brokers import MOSQUITTO, until
from tests.support.packages import missing
from tests.support.ports import free_port

pytestmark = pytest.mark.timeout(300)

DOCUMENT = (CHECKOUT / "docs" / "home-assistant.md").read_text("utf-8")
MODEL = MODELS / "brightness_int8.tflite"


def blocks() -> list[str]:
    """The shell blocks of the page: indented by four spaces, or by six below a list's item."""
    found, lines = [], list[str]()
    for line in [*re.sub(r"```.*?```", "", DOCUMENT, flags=re.S).splitlines(), "end"]:
        if line.startswith("    ") and (lines or line.strip()):
            lines.append(line)
        elif lines and not line.strip():
            lines.append("")
        elif lines:
            found.append(textwrap.dedent("\n".join(lines)).strip() + "\n")
            lines = []
    return found


def block(words: str) -> str:
    """The only block that has these words."""
    (found,) = [text for text in blocks() if words in text]
    return found


class Shell:
    """Runs the lines of the page with folders and ports of the test, and without a super-user."""

    def __init__(self, folder: Path) -> None:
        self.home, self.etc, self._programs = folder / "home", folder / "etc", folder / "programs"
        self.ports = {"1883": str(free_port()), "8883": str(free_port())}
        for path in (self.home, self.etc / "mosquitto" / "conf.d", self.etc / "mosquitto" / "certs", self._programs):
            path.mkdir(parents=True)
        self.broker: subprocess.Popen[bytes] | None = None
        account = "root" if os.geteuid() == 0 else str(os.geteuid())
        self._program("sudo", 'exec "$@"')
        self._program("apt", "exit 0")
        self._program("chown", "exit 0")
        self._program("install", f'shift 2; exec {shutil.which("install")} "$@"')  # without -o mosquitto
        self._program("systemctl", f'echo "$@" >> "{folder}/systemctl"')
        self._program("edge-detect", f'exec {sys.executable} -m edge "$@"')
        self._user = account

    def _program(self, name: str, script: str) -> None:
        path = self._programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def adapted(self, text: str) -> str:
        """Lines with this test's folders and ports."""
        text = text.replace("/etc/", f"{self.etc}/")
        text = re.sub(r"^listener (\d+)$", lambda found: f"listener {self.ports[found[1]]} 127.0.0.1", text, flags=re.M)
        text = re.sub(r"(mqtts?)://(\S+)@127\.0\.0\.1", self._with_port, text)
        return text.replace("-h 127.0.0.1", f"-h 127.0.0.1 -p {self.ports['1883']}")

    def _with_port(self, found: re.Match[str]) -> str:
        return f"{found[1]}://{found[2]}@127.0.0.1:{self.ports['8883' if found[1] == 'mqtts' else '1883']}"

    @property
    def variables(self) -> dict[str, str]:
        path = f"{self._programs}:{os.environ['PATH']}:/usr/sbin"
        return environment(HOME=str(self.home), PATH=path, EDGE_DETECT_MODEL=str(MODEL))

    def run(self, text: str, *, status: int = 0) -> str:
        """Run lines; returns their output."""
        done = subprocess.run(
            ["bash", "-e", "-c", self.adapted(text)],
            cwd=self.home,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == status, f"{text}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def start_broker(self) -> None:
        """What `systemctl restart mosquitto` does, with the files that the lines have written."""
        assert MOSQUITTO is not None
        self.stop_broker()
        file = self.etc / "mosquitto" / "mosquitto.conf"
        own = f"user {self._user}\n" if self._user == "root" else ""
        file.write_text(f"{own}include_dir {self.etc}/mosquitto/conf.d\n")
        self.broker = subprocess.Popen([MOSQUITTO, "-c", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop_broker(self) -> None:
        if self.broker is not None:
            self.broker.kill()
            self.broker.wait()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    if MOSQUITTO is None or not shutil.which("mosquitto_sub"):
        missing("mosquitto mosquitto-clients")
    found = Shell(tmp_path)
    yield found
    found.stop_broker()


def test_lines_of_the_page_lead_to_states_at_the_broker(shell: Shell) -> None:
    shell.run(block("apt install mosquitto"))
    shell.start_broker()
    shell.run(block('mqtt = "mqtt://'))
    check, start = block("edge-detect doctor\nedge-detect serve").splitlines()
    until(lambda: re.search(r"^ok +MQTT .*accepts this board with user and password", shell.run(check, status=0), re.M))
    serving = subprocess.Popen([*start.split(), "--port", "0"], env=shell.variables, stderr=subprocess.PIPE, text=True)
    try:
        assert serving.stderr is not None
        until(lambda: "connected to mqtt://" in serving.stderr.readline())  # type: ignore[union-attr]
        seen = subprocess.run(
            ["bash", "-c", shell.adapted(block("mosquitto_sub"))], env=shell.variables, capture_output=True, text=True
        ).stdout  # it ends by its time limit, with status 27
        node = next(line.split("/")[1] for line in seen.splitlines())
        assert f"edge-detect/{node}/status online" in seen
        assert f"edge-detect/{node}/state {{" in seen
        listing = block("mosquitto_sub").replace("'edge-detect/+/status'", "'homeassistant/#'").replace("-W 10", "-W 2")
        removal = block("mosquitto_pub").replace("edge_detect_pi4_board", f"edge_detect_{node}_board")
        config = f"homeassistant/device/edge_detect_{node}_board/config"
        assert config in shell.run(f"{listing.strip()} || true")
        serving.send_signal(signal.SIGTERM)
        serving.wait(60)
        shell.run(removal)
        assert config not in shell.run(f"{listing.strip()} || true")
    finally:
        serving.kill()
        serving.communicate()


def test_lines_for_tls_lead_to_an_accepted_certificate(shell: Shell) -> None:
    if not shutil.which("openssl"):
        missing("openssl")
    shell.run(block("apt install mosquitto"))
    shell.run(block("openssl req -x509"))
    shell.start_broker()
    output = shell.run(block("mqtt-ca ="))
    assert re.search(r"^ok +MQTT .*mqtts://127\.0\.0\.1:\d+ accepts this board with user and password", output, re.M)
    (shell.home / "ca.pem").write_bytes((shell.etc / "mosquitto" / "certs" / "server.pem").read_bytes())
    wrong = shell.run("edge-detect doctor")
    assert re.search(r"^warning +MQTT .*its certificate is not accepted", wrong, re.M)


def test_line_that_installs_the_service_is_understood(shell: Shell) -> None:
    line = block("service install serve").strip()
    assert "EDGE_DETECT_MQTT" in shell.run(f"{line} --dry-run")
    assert "CHANGE-ME" not in shell.run(f"{line} --dry-run")


def test_every_block_of_the_page_is_run_by_a_test() -> None:
    run = ("apt install", "mqtt://", "edge-detect doctor", "mosquitto_", "openssl", "mqtt-ca", "service install")
    left = [text for text in blocks() if not any(words in text for words in run)]
    assert left == ["pip install '.[serve,mqtt]'\n"], "tests/edge/test_package.py installs"


def test_example_of_an_automation_is_yaml_with_our_event_types() -> None:
    from edge.serve.mqtt.discovery import FOLDER_EVENTS

    (text,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.S)
    automation = yaml.safe_load(text)
    assert automation["conditions"][0]["state"] in FOLDER_EVENTS
    assert automation["triggers"][0]["entity_id"].startswith("event.")
