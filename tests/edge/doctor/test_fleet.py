"""The doctor's check of the fleet, with a real server."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.cli.fleet import configured
from edge.doctor.choices import Choices
from edge.doctor.finding import OK, PROBLEM, WARNING
from edge.doctor.fleet import fleet as check
from edge.fleet.server import ServerSettings
from tests.conftest import CHECKOUT, command, environment, picture
from tests.support.nats import Nats, fleet
from tests.support.packages import missing


def test_without_a_server_only_the_package_is_checked() -> None:
    (found,) = check(Choices())
    assert (found.state, found.found.endswith("; no server is set")) == (OK, True)


def test_server_version_and_clock_are_reported(tmp_path: Path) -> None:
    with Nats(tmp_path / "nats") as server:
        choices = Choices(fleet=lambda: ServerSettings((server.address,)))
        (found,) = check(choices)
        assert (found.state, found.found.endswith("; no queue yet")) == (OK, True)
        fleet(tmp_path, "submit", picture(tmp_path / "a.png"), "--server", server.address)
        (found,) = check(choices)
        assert (found.state, found.found.endswith("; clocks agree")) == (OK, True)
        assert f"{server.address}: nats-server 2." in found.found


def test_unreachable_server_and_wrong_credentials_are_problems(tmp_path: Path) -> None:
    server = Nats(tmp_path / "nats", 'authorization { token: "right" }')
    choices = Choices(fleet=lambda: ServerSettings((server.address,), token="wrong"))
    (found,) = check(choices)
    assert (found.state, found.found) == (PROBLEM, f"{server.address}: connection refused")
    with server:
        (found,) = check(choices)
        assert (found.state, found.found) == (PROBLEM, f"{server.address}: the server refuses these credentials")


def test_clock_an_hour_fast_is_a_warning(tmp_path: Path) -> None:
    if not shutil.which("faketime"):
        missing("faketime")
    with Nats(tmp_path / "nats") as server:
        fleet(tmp_path, "submit", picture(tmp_path / "a.png"), "--server", server.address)
        variables = environment(HOME=str(tmp_path), EDGE_DETECT_SERVER=server.address, FAKETIME_DONT_FAKE_MONOTONIC="1")
        words = ["faketime", "-f", "+1h", *command("doctor", "--json")]
        done = subprocess.run(words, env=variables, cwd=CHECKOUT, capture_output=True, text=True, timeout=110)
        (found,) = (one for one in json.loads(done.stdout)["checks"] if one["name"] == "fleet")
        assert found["state"] == WARNING
        assert "s ahead of the server's" in found["found"]
        assert found["mend"] == "sudo timedatectl set-ntp true"


def test_server_comes_from_settings_file_or_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configured({}) is None
    assert configured({"server": ["nats://a"], "user": "ann"}) == ServerSettings(("nats://a",), user="ann")
    monkeypatch.setenv("EDGE_DETECT_SERVER", "nats://b,nats://c")
    assert configured({}) == ServerSettings(("nats://b", "nats://c"))
