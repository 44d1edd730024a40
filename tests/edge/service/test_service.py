"""Installing the service: idempotent, all or nothing, and gone again without a trace."""

import os
import pwd
import re
import stat
import subprocess
from pathlib import Path

import pytest

from edge.errors import ServiceError
from edge.serve import auth
from edge.service import install
from edge.service.install import Installer, Places
from edge.service.units import CAMERA_UNIT, Camera, Serve, Watch, drop_in_text, escaped, settings_text
from tests.conftest import CHECKOUT, command, environment


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/srv/inbox", "srv-inbox"),
        ("/srv//inbox/", "srv-inbox"),
        ("/", "-"),
        ("/srv/my pictures", r"srv-my\x20pictures"),
        ("/srv/a-b", r"srv-a\x2db"),
        ("/.hidden", r"\x2ehidden"),
        ("/srv/caf\u00e9", r"srv-caf\xc3\xa9"),
    ],
)
def test_instance_names_are_those_of_systemd_escape(path: str, name: str) -> None:
    assert escaped(path) == name


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine in a folder: systemctl, useradd and userdel only note that they were called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("systemctl", "useradd", "userdel"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/called\n[ ! -e {tmp_path}/fail-$1 ]\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "srv/inbox").mkdir(parents=True)
    monkeypatch.setattr(install, "ACCOUNT", pwd.getpwuid(os.getuid()).pw_name)  # this account exists
    return tmp_path


def watch(system: Path, *, sort: bool = False) -> Watch:
    sorted_into = str(system / "srv/sorted")
    options = {"EDGE_DETECT_SORT_INTO": sorted_into} if sort else {}
    return Watch(str(system / "srv/inbox"), (sorted_into,) if sort else (), options)


def installer(system: Path, said: list[str] | None = None, *, dry_run: bool = False) -> Installer:
    return Installer(Places(system), (said if said is not None else []).append, dry_run=dry_run)


def tree(system: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(system)): path.read_bytes() if path.is_file() else b""
        for path in system.rglob("*")
        if path.name != "called"
    }


def test_repeated_installation_uninstalls_without_trace(system: Path) -> None:
    before = tree(system)
    installer(system).install(watch(system, sort=True))
    made = tree(system)
    unit = watch(system).unit
    assert "etc/systemd/system/edge-detect-watch@.service" in made
    assert f"etc/systemd/system/{unit}.d/installed.conf" in made
    called = (system / "called").read_text()
    assert f"systemctl enable {unit}" in called
    assert f"systemctl restart {unit}" in called

    installer(system).install(watch(system, sort=True))
    assert tree(system) == made
    assert (system / "called").read_text().count(f"restart {unit}") == 1, "nothing has changed, so nothing restarts"

    installer(system).uninstall(unit)
    assert f"systemctl disable --now {unit}" in (system / "called").read_text()
    assert tree(system) == before


def test_uninstalling_one_of_two_services_keeps_the_other(system: Path) -> None:
    (system / "srv/other").mkdir()
    other = Watch(str(system / "srv/other"), (), {})
    installer(system).install(other)
    only_one = tree(system)
    installer(system).install(watch(system, sort=True))
    (system / "srv/sorted/kept.jpg").write_bytes(b"a picture of the user's")
    installer(system).uninstall(watch(system).unit)
    left = tree(system)
    assert left.pop("srv/sorted/kept.jpg") == b"a picture of the user's"
    left.pop("srv/sorted")
    manifest = "etc/edge-detect/installed.json"
    assert {name: text for name, text in left.items() if name != manifest} == {
        name: text for name, text in only_one.items() if name != manifest
    }
    installer(system).uninstall(None)
    assert not (system / "etc/edge-detect").exists()
    assert (system / "srv/sorted/kept.jpg").exists()


def test_the_camera_service_installs_and_uninstalls_without_a_trace(system: Path) -> None:
    installer(system).install(watch(system))
    before = tree(system)
    camera = Camera((str(system / "srv/snapshots"),), {"EDGE_DETECT_TPU": "any", "EDGE_DETECT_SOURCE": "rtsp://x"})
    installer(system).install(camera)
    made = tree(system)
    assert b"ExecStart=" in made["etc/systemd/system/edge-detect-camera.service"]
    drop_in = made["etc/systemd/system/edge-detect-camera.service.d/installed.conf"].decode()
    assert "PrivateNetwork=no" in drop_in, "its source is elsewhere"
    assert 'EDGE_DETECT_TPU="any"' in made["etc/edge-detect/camera.env"].decode()
    installer(system).uninstall(camera.unit)
    manifest = "etc/edge-detect/installed.json"
    left = tree(system)
    shared = {"etc/systemd/system/edge-detect-camera.service", "srv/snapshots"}
    assert {name for name in left if name not in shared} == set(before)
    installer(system).uninstall(None)
    assert manifest not in tree(system)
    assert not shared & set(tree(system))


def test_a_dry_run_of_the_camera_service_shows_its_settings() -> None:
    words = command("service", "install", "camera", "--tpu", "--dry-run")
    shown = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert 'EDGE_DETECT_TPU="any"' in shown.stdout


def test_dry_run_shows_no_password() -> None:
    words = command("service", "install", "camera", "--source", "rtsp://u:Geheim@cam/x", "--dry-run")
    shown = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    assert 'EDGE_DETECT_SOURCE="rtsp://cam/x"' in shown.stdout
    assert "Geheim" not in shown.stdout + shown.stderr
    assert "Geheim" in settings_text(Camera((), {"EDGE_DETECT_SOURCE": "rtsp://u:Geheim@cam/x"}))


def test_start_limits_stop_only_a_unit_that_cannot_start() -> None:
    text = (CHECKOUT / "systemd" / CAMERA_UNIT).read_text()
    seconds = {name: int(value) for name, value in re.findall(r"^(\w+Sec|StartLimitBurst)=(\d+)$", text, re.MULTILINE)}
    apart = seconds["StartLimitIntervalSec"] / seconds["StartLimitBurst"]
    assert seconds["RestartSec"] + 15 <= apart, "one that needs so long to fail would be tried for ever"
    assert apart < seconds["WatchdogSec"], "one whose camera freezes each time would be given up"


def test_a_failed_installation_is_undone(system: Path) -> None:
    before = tree(system)
    (system / "fail-enable").write_text("")
    said: list[str] = []
    with pytest.raises(ServiceError, match="systemctl enable"):
        installer(system, said).install(watch(system, sort=True))
    (system / "fail-enable").unlink()
    assert tree(system) == before
    assert any("undoing the installation" in line for line in said)


def test_a_failed_reinstallation_restores_the_former_one(system: Path) -> None:
    installer(system).install(watch(system))
    before = tree(system)
    (system / "fail-restart").write_text("")
    with pytest.raises(ServiceError, match="systemctl restart"):
        installer(system).install(watch(system, sort=True))
    (system / "fail-restart").unlink()
    assert tree(system) == before


def test_a_failed_removal_can_be_repeated(system: Path) -> None:
    before = tree(system)
    installer(system).install(watch(system))
    (system / "fail-disable").write_text("")
    installer(system).uninstall(None)
    assert (system / "etc/edge-detect/installed.json").exists()
    (system / "fail-disable").unlink()
    installer(system).uninstall(None)
    assert tree(system) == before


def test_units_get_permissions_for_other_folders_and_commands() -> None:
    plain = Watch("/srv/my-in box", (), {})
    assert plain.settings_name.isascii()
    assert not set(plain.settings_name) & set(" \\*?[")
    text = drop_in_text(plain, Path("/etc/edge-detect/x.env"))
    assert text == "[Service]\nEnvironmentFile=/etc/edge-detect/x.env\n"
    sorting = drop_in_text(Watch("/srv/in", ("/home/a",), {}), Path("/x"))
    assert "ProtectSystem=full" in sorting
    assert "ProtectHome=no" in sorting
    assert "PrivateNetwork" not in sorting
    assert "PrivateNetwork=no" in drop_in_text(Watch("/srv/in", (), {"EDGE_DETECT_ON_FAKE": "curl x"}), Path("/x"))


@pytest.mark.parametrize("pattern", ["two words*", "*\t*"])
def test_patterns_with_spaces_are_refused(pattern: str) -> None:
    done = subprocess.run(
        command("service", "install", "watch", "/srv", "--exclude", pattern, "--dry-run"),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "edge-detect.toml" in done.stderr


def test_a_foreign_unit_file_is_not_overwritten(system: Path) -> None:
    theirs = system / "etc/systemd/system/edge-detect-watch@.service"
    theirs.write_text("mine")
    with pytest.raises(ServiceError, match="was not installed by edge-detect"):
        installer(system).install(watch(system))
    assert theirs.read_text() == "mine"
    with pytest.raises(ServiceError, match="not installed by `edge-detect service install`"):
        installer(system).uninstall(watch(system).unit)


def test_dry_run_shows_all_steps_and_does_nothing(system: Path) -> None:
    before = tree(system)
    said: list[str] = []
    installer(system, said, dry_run=True).install(watch(system, sort=True))
    assert tree(system) == before
    assert not (system / "called").exists()
    text = "\n".join(said)
    assert "ExecStart=" in text
    assert "EDGE_DETECT_SORT_INTO" in text
    assert "systemctl enable" in text


def test_settings_are_escaped_in_environment_file() -> None:
    text = settings_text(Watch("/srv/in", (), {"A": 'say "$HOME" \\ `x`'}))
    assert text.splitlines()[-1] == 'A="say \\"\\$HOME\\" \\\\ \\`x\\`"'


def test_without_root_the_error_is_one_line(tmp_path: Path) -> None:
    if not os.geteuid():
        pytest.skip("the tests run as root")
    done = subprocess.run(
        command("service", "install", "watch", tmp_path), env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "sudo edge-detect" in done.stderr
    assert stat.S_ISDIR(tmp_path.stat().st_mode)


def token_in(said: list[str]) -> str:
    (line,) = [line for line in said if "shown only now" in line]
    return line.split()[-1]


def test_service_of_server_gets_a_token_that_is_shown_once(system: Path) -> None:
    before, said = tree(system), list[str]()
    serve = Serve({"EDGE_DETECT_HOST": "0.0.0.0"})
    installer(system, said).install(serve)
    file = system / "var/lib/edge-detect/serve/token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token, digest = token_in(said), auth.read(file)
    assert digest is not None
    assert digest.fits(token)
    made = tree(system)
    assert not any(token.encode() in content for content in made.values()), "only its digest is stored"
    assert "EDGE_DETECT_HOST" in made["etc/edge-detect/serve.env"].decode()

    again: list[str] = []
    installer(system, again).install(serve)
    assert tree(system) == made
    assert not any("shown only now" in line for line in again)

    installer(system).uninstall(serve.unit)
    assert tree(system) == before


def test_failed_installation_of_server_leaves_no_token(system: Path) -> None:
    (system / "fail-enable").write_text("")
    with pytest.raises(ServiceError, match="systemctl enable"):
        installer(system).install(Serve({"EDGE_DETECT_HOST": "::"}))
    assert not (system / "var").exists()


def test_service_of_local_server_has_no_token_and_no_network(system: Path) -> None:
    said: list[str] = []
    installer(system, said).install(Serve())
    assert not (system / "var/lib/edge-detect").exists()
    assert not any("token" in line for line in said)
    drop_in = drop_in_text(Serve(), Path("/x"))
    assert "IPAddressDeny=any\nIPAddressAllow=localhost" in drop_in
    behind_proxy = Serve({"EDGE_DETECT_ALLOW_HOST": "board.example.org"})
    assert behind_proxy.token_file
    assert "IPAddressAllow=localhost" in drop_in_text(behind_proxy, Path("/x"))
    assert "IPAddressDeny" not in drop_in_text(Serve({"EDGE_DETECT_HOST": "192.168.1.2"}), Path("/x"))


def test_service_with_a_broker_reaches_it_and_hides_its_password() -> None:
    serve = Serve({"EDGE_DETECT_MQTT": "mqtt://user:secret@192.168.1.9"})
    assert "IPAddressDeny" not in drop_in_text(serve, Path("/x"))
    assert "secret" in settings_text(serve)
    assert "secret" not in settings_text(serve, is_shown=True)


def test_port_of_the_system_needs_a_capability() -> None:
    text = drop_in_text(Serve({"EDGE_DETECT_HOST": "::", "EDGE_DETECT_PORT": "443"}), Path("/x"))
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in text
    assert "CAP_" not in drop_in_text(Serve({"EDGE_DETECT_HOST": "::"}), Path("/x"))


def test_dry_run_of_service_of_server_shows_unit_and_makes_no_token() -> None:
    words = command("service", "install", "serve", "--host", "0.0.0.0", "--allow-host", "a.example", "--dry-run")
    words += ["--base-path", "edge/", "--port", "8000"]
    shown = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    for line in ('HOST="0.0.0.0"', 'ALLOW_HOST="a.example"', 'BASE_PATH="/edge"', 'PORT="8000"'):
        assert f"EDGE_DETECT_{line}" in shown.stdout
    assert "make a token" in shown.stdout
    assert "shown only now" not in shown.stdout
