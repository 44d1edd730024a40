"""Containerfile, compose.yaml and the add-on for Home Assistant, as files; tests/system/test_container.py runs them."""

import configparser
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import yaml

from edge import __version__
from edge.cli import main
from edge.cli.commands import PREFIX
from edge.cli.config_file import read as read_settings
from edge.cli.config_file import require_known_variables
from edge.serve.auth import read as read_token
from tests.conftest import CHECKOUT, DATA
from tests.support.containers import Recipe, config, context, read_recipe, substituted

ADDON = CHECKOUT / "packaging" / "home-assistant"
SCHEMA = json.loads((DATA / "home_assistant_addon.json").read_text())
EXTRAS = {"serve", "camera", "heic", "provenance", "mqtt"}
TYPES = {"str": str, "bool": bool, "dict": dict}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return read_recipe(CHECKOUT / "Containerfile")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
    return read


def known_extras() -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(CHECKOUT / "setup.cfg")
    return set(parser["options.extras_require"])


def parse(words: list[str]) -> str:
    """The command that a line names; fails like the command line if an option does not exist or a value is invalid."""
    root = main.make_context("edge-detect", list(words))
    name, command, rest = main.resolve_command(root, [*root._protected_args, *root.args])
    assert name
    assert command
    command.make_context(name, rest, parent=root)
    return name


def lines_of_the_page() -> str:
    """The lines of docs/container.md that prepare the folder `container`."""
    page = (CHECKOUT / "docs" / "container.md").read_text()
    block = re.search(r"(?:^    .*\n)+", page[page.index("Prepare it:") :], re.MULTILINE)
    assert block
    return re.sub("^    ", "", block.group(), flags=re.MULTILINE)


# Containerfile


def test_stages_are_debian_slim_of_either_release(recipe: Recipe) -> None:
    assert recipe.arguments == {"DEBIAN": "trixie"}
    for release in ("trixie", "bookworm"):
        bases = {substituted(stage.base, {"DEBIAN": release}) for stage in recipe.stages}
        assert bases == {f"docker.io/library/debian:{release}-slim"}


def test_image_runs_as_a_numbered_account_that_is_not_root(recipe: Recipe) -> None:
    made = config(recipe.stages[-1], {})
    assert made.user == "1000:1000"
    assert config(recipe.stages[-1], {"UID": "1234"}).user == "1234:1234"
    assert made.entry == ["edge-detect"]
    assert {"/var/lib/edge-detect", "/var/cache/edge-detect", "/run/edge-detect"} == set(made.volumes)


def test_default_command_and_settings_of_the_image_exist(recipe: Recipe) -> None:
    made = config(recipe.stages[-1], {})
    assert parse(made.command) == "serve"
    assert any(name.startswith(PREFIX) for name in made.environment)
    require_known_variables(main, made.environment)
    assert "/healthz" in made.check[-1]


def test_build_installs_extras_that_exist(recipe: Recipe) -> None:
    build = config(recipe.stages[0], {})
    assert {build.arguments["EXTRAS"]} <= known_extras()
    assert known_extras() >= EXTRAS
    page = (CHECKOUT / "docs" / "container.md").read_text()
    assert f"EXTRAS={','.join(('serve', 'camera', 'heic', 'provenance', 'mqtt'))}" in page


def test_last_stage_copies_only_the_installation(recipe: Recipe) -> None:
    copies = [text for word, text in recipe.stages[-1].steps if word == "COPY"]
    assert copies == ["--from=build /opt/edge-detect /opt/edge-detect"]


def test_context_has_no_tests_training_code_or_secrets(tmp_path: Path) -> None:
    """A checkout with everything that may lie in it."""
    (tmp_path / ".containerignore").write_bytes((CHECKOUT / ".containerignore").read_bytes())
    wanted = ["edge/__init__.py", "edge/serve/static/a.css", "models/a.tflite", "systemd/a.service", "setup.cfg"]
    refused = [
        "tests/data/a.jpg", "train/fit.py", "convert/cli.py", "container/token", "container/edge-detect.toml", ".env",
        "edge/__pycache__/a.pyc", "edge/cli/__pycache__/b.cpython-311.pyc", "models/compact.keras", "runs/a",
        ".ssh/id", "dist/a.whl", "packaging/home-assistant/run.py", "edgeless", "secrets/token", "notes/setup.cfg",
    ]  # fmt: skip
    for name in wanted + refused:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(context(tmp_path)) == sorted(wanted)


def test_context_of_this_checkout_has_all_that_the_build_copies(recipe: Recipe) -> None:
    found = context(CHECKOUT)
    tops = {name.split("/")[0] for name in found}
    copied = {word for step, text in recipe.stages[0].steps if step == "COPY" for word in text.split()[:-1]}
    assert tops == copied
    assert not [name for name in found if name.endswith((".keras", ".pyc"))]


def test_docker_and_podman_ignore_the_same_files() -> None:
    assert (CHECKOUT / ".dockerignore").read_bytes() == (CHECKOUT / ".containerignore").read_bytes()


# compose.yaml


def test_services_have_a_read_only_root_and_no_rights(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"serve", "watch", "mosquitto"}
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "privileged" not in service
    assert compose["services"]["watch"]["network_mode"] == "none"
    assert "ports" not in compose["services"]["watch"]


def test_services_share_ledger_and_sockets(compose: dict[str, Any], recipe: Recipe) -> None:
    mounted = {
        name: dict(reversed(volume.split(":")[:2]) for volume in compose["services"][name]["volumes"])
        for name in ("serve", "watch")
    }
    for folder in ("/var/lib/edge-detect", "/run/edge-detect", "/inbox"):
        assert mounted["serve"][folder] == mounted["watch"][folder]
    assert set(config(recipe.stages[-1], {}).volumes) <= set(mounted["serve"])
    named = {source for volumes in mounted.values() for source in volumes.values() if not source.startswith(".")}
    assert named == set(compose["volumes"])


def test_build_arguments_are_those_of_the_containerfile(compose: dict[str, Any], recipe: Recipe) -> None:
    known = {text.partition("=")[0] for stage in recipe.stages for word, text in stage.steps if word == "ARG"}
    known |= set(recipe.arguments)
    for name in ("serve", "watch"):
        given = compose["services"][name]["build"]["args"]
        assert set(given) == known
        assert set(substituted(given["EXTRAS"], {}).split(",")) <= known_extras()


def test_commands_are_valid_with_the_files_that_the_page_prepares(compose: dict[str, Any], prepared: Path) -> None:
    assert read_settings(prepared / "container" / "edge-detect.toml", main)["serve"]["mqtt"].startswith("mqtt://")
    secrets = {f"/run/secrets/{name}": str(prepared / one["file"]) for name, one in compose["secrets"].items()}
    for name in ("serve", "watch"):
        assert parse([secrets.get(word, word) for word in compose["services"][name]["command"]]) == name
        used = {word for word in compose["services"][name]["command"] if word.startswith("/run/secrets/")}
        assert used == {f"/run/secrets/{secret}" for secret in compose["services"][name]["secrets"]}
        require_known_variables(main, compose["services"][name]["environment"])


def test_health_of_watch_is_asked_by_status(compose: dict[str, Any], recipe: Recipe) -> None:
    kind, program, *words = compose["services"]["watch"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "edge-detect")
    assert parse(words) == "status"
    assert compose["services"]["serve"]["healthcheck"]["test"] == ["CMD", *config(recipe.stages[-1], {}).check]


def test_podman_maps_the_account_of_each_service(compose: dict[str, Any]) -> None:
    podman = yaml.safe_load((CHECKOUT / "packaging" / "compose.podman.yaml").read_text())
    assert set(podman["services"]) == set(compose["services"])
    for service in podman["services"].values():
        assert substituted(service["userns_mode"], {"UID": "1234"}) == "keep-id:uid=1234,gid=1234"


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """What the lines of the page make; `docker` is replaced by a function that writes down how it is called."""
    (tmp_path / "packaging").mkdir()
    (tmp_path / "packaging" / "mosquitto.conf").write_bytes((CHECKOUT / "packaging" / "mosquitto.conf").read_bytes())
    script = 'docker() { printf "%s\\n" "$@" > docker-called; }\n' + lines_of_the_page()
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_lines_of_the_page_prepare_secrets_that_nobody_else_can_read(prepared: Path, compose: dict[str, Any]) -> None:
    assert read_token(prepared / "container" / "token")
    for secret in compose["secrets"].values():
        assert (prepared / secret["file"]).stat().st_mode & 0o777 == 0o600
    assert f"UID={os.getuid()}\n" in (prepared / ".env").read_text()
    password = (prepared / "docker-called").read_text().splitlines()[-1]
    assert password in (prepared / "container" / "edge-detect.toml").read_text()
    assert re.fullmatch(r"[\w=-]{20,}", password)


# Add-on for Home Assistant


def check(value: Any, rule: dict[str, Any], where: str) -> None:
    """What voluptuous does with the rule in Supervisor; keys that Supervisor would drop are refused."""
    if kind := rule.get("type"):
        if kind == "port":
            assert type(value) is int, where
            assert 0 < value < 65536, where
        else:
            assert isinstance(value, TYPES[kind]), where
    if "in" in rule:
        assert value in rule["in"], where
    if "match" in rule:
        assert re.fullmatch(rule["match"], value), where
    if "range" in rule:
        assert rule["range"][0] <= value <= rule["range"][1], where
    if "each" in rule:
        for number, one in enumerate(value):
            check(one, rule["each"], f"{where}[{number}]")
    if "keys" in rule:
        for key, one in value.items():
            assert re.fullmatch(rule["keys"], key), f"{where}.{key}"
            check(one, rule["values"], f"{where}.{key}")
    if "mapping" in rule:
        check_mapping(value, rule["mapping"], where)


def check_mapping(value: dict[str, Any], rules: dict[str, Any], where: str) -> None:
    assert set(value) <= set(rules), where
    assert {name for name, rule in rules.items() if rule.get("required")} <= set(value), where
    for name, one in value.items():
        check(one, rules[name], f"{where}.{name}")


@pytest.fixture(scope="module")
def addon() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ADDON / "config.yaml").read_text())
    return read


def test_addon_fits_the_schema_of_the_supervisor(addon: dict[str, Any]) -> None:
    check_mapping(addon, SCHEMA["config"], "config")
    assert addon["version"] == __version__


@pytest.mark.parametrize(
    ("name", "value"),
    [("slug", "a b"), ("arch", ["x86"]), ("startup", "later"), ("webui", "http://host"), ("ports", {"8642": "x"}),
     ("services", ["mqtt"]), ("unknown", 1), ("timeout", 5), ("map", [{"read_only": True}]), ("version", 1)],
)  # fmt: skip
def test_schema_refuses_an_addon_with_an_invalid_value(addon: dict[str, Any], name: str, value: Any) -> None:
    with pytest.raises(AssertionError):
        check_mapping(addon | {name: value}, SCHEMA["config"], "config")


def test_options_of_the_addon_fit_their_own_schema(addon: dict[str, Any]) -> None:
    for name, element in addon["schema"].items():
        one = element[0] if isinstance(element, list) else element
        found = re.fullmatch(SCHEMA["option_element"], one)
        assert found, name
        if name not in addon["options"]:
            assert one.endswith("?"), name
        elif one == "bool":
            assert isinstance(addon["options"][name], bool)
        elif found["list"]:
            assert addon["options"][name] in found["list"].split("|")
        elif found["match"]:
            assert re.fullmatch(found["match"], addon["options"][name])
    assert set(addon["options"]) <= set(addon["schema"])


def test_translations_name_each_option_and_port(addon: dict[str, Any]) -> None:
    languages = sorted((ADDON / "translations").glob("*.yaml"))
    assert [path.stem for path in languages] == ["de", "en", "es"]
    for path in languages:
        texts = yaml.safe_load(path.read_text())
        check_mapping(texts, SCHEMA["translation"], path.name)
        assert set(texts["configuration"]) == set(addon["schema"])
        assert set(texts["network"]) == set(addon["ports"])


def test_false_alarms_of_the_addon_are_those_of_every_model(addon: dict[str, Any]) -> None:
    found = re.fullmatch(SCHEMA["option_element"], addon["schema"]["false_alarms"])
    assert found
    described = [json.loads(path.read_text()) for path in (CHECKOUT / "models").glob("*.json")]
    points = [{point["name"] for point in one["operating_points"]} for one in described if "operating_points" in one]
    assert points
    for names in points:
        assert set(found["list"].split("|")) <= names


def test_addon_starts_commands_that_exist(addon: dict[str, Any], tmp_path: Path) -> None:
    commands = run_path(str(ADDON / "run.py"))["commands"](addon["options"], tmp_path)
    assert [parse(words) for words in commands] == ["serve", "watch"]
    require_known_variables(main, {"EDGE_DETECT_MQTT": ""})


class _Supervisor(http.server.BaseHTTPRequestHandler):
    """Answers like the Supervisor's service of MQTT."""

    def do_GET(self) -> None:
        allowed = self.path == "/services/mqtt" and self.headers["Authorization"] == "Bearer secret"
        found = {"host": "core-mosquitto", "port": 1883, "ssl": False, "username": "addons", "password": "p@ss/1"}
        body = json.dumps({"result": "ok", "data": found if allowed else {}}).encode()
        self.send_response(200 if allowed else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def supervisor() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Supervisor) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Addon:
    """The add-on's program in a process, with a stand-in for `edge-detect` that writes down how it was started."""

    def __init__(self, folder: Path, supervisor: str, options: dict[str, Any]) -> None:
        self.folder = folder
        (folder / "data").mkdir()
        (folder / "data" / "options.json").write_text(json.dumps(options | {"folder": str(folder / "media" / "in")}))
        program = folder / "edge-detect"
        program.write_text(
            '#!/bin/sh\necho "$$ ${EDGE_DETECT_MQTT:-none} ${SUPERVISOR_TOKEN:-none}" > '
            f'"{folder}/started-$1.part"\nmv "{folder}/started-$1.part" "{folder}/started-$1"\nexec sleep 600\n'
        )
        program.chmod(0o755)
        code = (
            "import sys; from pathlib import Path; from runpy import run_path; run = run_path(sys.argv[1]);"
            "run['main'].__globals__['ACCOUNT'] = __import__('os').getuid();"
            "sys.exit(run['main'](Path(sys.argv[2]), sys.argv[3], sys.argv[4]))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, ADDON / "run.py", folder / "data", program, supervisor],
            env={**os.environ, "SUPERVISOR_TOKEN": "secret"},
        )

    def started(self, name: str) -> tuple[int, str, str]:
        deadline = time.monotonic() + 30
        while not (path := self.folder / f"started-{name}").exists():
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.05)
        pid, broker, token = path.read_text().split()
        return int(pid), broker, token


def test_addon_gives_the_broker_to_the_server_alone_and_stops_both(
    addon: dict[str, Any], tmp_path: Path, supervisor: str
) -> None:
    running = Addon(tmp_path, supervisor, addon["options"] | {"token": "0123456789abcdef"})
    try:
        pids = []
        for name, broker in (("serve", "mqtt://addons:p%40ss%2F1@core-mosquitto:1883"), ("watch", "none")):
            pid, given, token = running.started(name)
            pids.append(pid)
            assert given == broker
            assert token == "none"
        assert (tmp_path / "media" / "in").is_dir()
        assert read_token(tmp_path / "data" / "state" / "token")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
        for pid in pids:
            assert not Path(f"/proc/{pid}").exists()
    finally:
        running.process.kill()
        running.process.wait()


def test_addon_ends_with_an_error_when_one_of_its_processes_ends(
    addon: dict[str, Any], tmp_path: Path, supervisor: str
) -> None:
    running = Addon(tmp_path, supervisor, addon["options"] | {"mqtt": False})
    try:
        server, given, _ = running.started("serve")
        watcher, _, _ = running.started("watch")
        assert given == "none"
        os.kill(watcher, signal.SIGKILL)
        assert running.process.wait(30) == 1
        assert not Path(f"/proc/{server}").exists()
    finally:
        running.process.kill()
        running.process.wait()


def test_addon_without_a_broker_reports_one_line(supervisor: str, capsys: pytest.CaptureFixture[str]) -> None:
    broker = run_path(str(ADDON / "run.py"))["broker"]
    assert broker(supervisor, "wrong") == ""
    printed = capsys.readouterr().err
    assert printed.startswith("edge-detect: no MQTT broker: ")
    assert printed.count("\n") == 1
