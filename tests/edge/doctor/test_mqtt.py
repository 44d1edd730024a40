"""The doctor's check of MQTT: package, settings, broker, login, TLS."""

from pathlib import Path

import pytest

from edge.doctor.choices import Choices
from edge.doctor.finding import ABSENT, OK, WARNING
from edge.doctor.host import Host
from edge.doctor.mqtt import mqtt
from edge.errors import ServerError
from edge.serve.mqtt.settings import MqttSettings, settings
from tests.conftest import Examine
from tests.support.brokers import PASSWORD, USER, WRITTEN_PASSWORD, Mosquitto, certificates
from tests.support.ports import free_port


def test_package_without_broker_is_ok(examine: Examine) -> None:
    _, report = examine()
    assert report["MQTT"]["state"] == "ok"
    assert report["MQTT"]["found"].endswith("; no broker is set")


def test_broker_of_the_settings_file_is_asked(examine: Examine, tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker", users={USER: PASSWORD}).start()
    file = tmp_path / "home" / ".config" / "edge-detect.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        file.write_text(f'[serve]\nmqtt = "mqtt://{USER}:{WRITTEN_PASSWORD}@127.0.0.1:{broker.port}"\n')
        _, report = examine()
        assert report["MQTT"]["state"] == "ok"
        assert f"mqtt://127.0.0.1:{broker.port} accepts this board with user and password" in report["MQTT"]["found"]
        file.write_text(f'[serve]\nmqtt = "mqtt://{USER}:wrong@127.0.0.1:{broker.port}"\n')
        _, report = examine()
        assert report["MQTT"]["state"] == "warning"
        assert "refuses user and password" in report["MQTT"]["found"]
        assert "docs/home-assistant.md" in report["MQTT"]["mend"]
    finally:
        broker.kill()


def test_broker_that_does_not_run_is_a_warning() -> None:
    port = free_port()
    (found,) = mqtt(Host(), Choices(mqtt=lambda: settings(f"mqtt://127.0.0.1:{port}")))
    assert (found.state, found.found) == (WARNING, f"mqtt://127.0.0.1:{port}: cannot connect: connection refused")


def test_wrong_authority_is_a_warning(tmp_path: Path) -> None:
    _, certificate, key = certificates(tmp_path / "pki")
    other = certificates(tmp_path / "other")[0]
    broker = Mosquitto(tmp_path / "broker", f"certfile {certificate}", f"keyfile {key}").start()
    try:
        (found,) = mqtt(Host(), Choices(mqtt=lambda: settings(f"mqtts://127.0.0.1:{broker.port}", ca=other)))
        assert found.state == WARNING
        assert "give the certificate of its authority with --mqtt-ca" in found.found
    finally:
        broker.kill()


def test_invalid_setting_is_a_warning_without_the_password() -> None:
    def wrong() -> MqttSettings:
        return settings(f"mqtt://u:{PASSWORD}@h")

    (found,) = mqtt(Host(), Choices(mqtt=wrong))
    assert found.state == WARNING
    assert PASSWORD not in found.found
    with pytest.raises(ServerError):
        wrong()


@pytest.mark.parametrize(("address", "state"), [(None, ABSENT), ("mqtt://h", WARNING)])
def test_missing_package_matters_only_with_a_broker(
    monkeypatch: pytest.MonkeyPatch, address: str | None, state: str
) -> None:
    monkeypatch.setattr("edge.doctor.mqtt.is_there", lambda package: False)
    (found,) = mqtt(Host(), Choices(mqtt=lambda: settings(address) if address else None))
    assert found.state == state != OK
    assert ("pip install" in (found.fix or "")) is (address is not None)
