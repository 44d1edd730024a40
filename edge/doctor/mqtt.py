"""The MQTT broker of `edge-detect serve`: its package, and whether the broker lets this board in."""

from collections.abc import Iterator

from edge import requirements
from edge.doctor.choices import Choices
from edge.doctor.finding import ABSENT, OK, WARNING, Finding
from edge.doctor.host import Host, ProbeError
from edge.doctor.runtime import installing, is_there, reinstalling, version
from edge.errors import EdgeDetectError, printable

_NAME = "MQTT"


def mqtt(machine: Host, choices: Choices) -> Iterator[Finding]:
    """paho-mqtt; and if a broker is set for `serve`: whether it is reached, by TLS, with user and password."""
    package = requirements.PACKAGES["paho.mqtt"]
    try:
        wanted = choices.mqtt()
    except EdgeDetectError as error:
        yield Finding(_NAME, WARNING, printable(str(error)), "correct it: `edge-detect serve` does not start with it")
        return
    if not is_there("paho"):
        if wanted is None:
            yield Finding(_NAME, ABSENT, "paho-mqtt is not installed; `edge-detect serve --mqtt` would need it")
        else:
            fix = installing(machine, package.requirement)
            yield Finding(_NAME, WARNING, "paho-mqtt is not installed: `edge-detect serve` does not start", fix)
        return
    found = f"paho-mqtt {version(package.name)}"
    if reason := requirements.too_old("paho.mqtt", version(package.name)):
        yield Finding(_NAME, WARNING, f"paho-mqtt {reason}", package.fix)
        return
    try:
        machine.ask("module", "paho.mqtt.client")
    except ProbeError as error:
        yield Finding(_NAME, WARNING, f"{found} does not load: {error}", reinstalling(machine, package.name))
        return
    if wanted is None:
        yield Finding(_NAME, OK, f"{found}; no broker is set")
        return
    from edge.serve.mqtt.connection import Connection

    connection = Connection(wanted, role="-doctor")
    try:
        connection.open()
    except EdgeDetectError as error:
        fix = "check the broker, the setting `mqtt` of [serve], and docs/home-assistant.md"
        yield Finding(_NAME, WARNING, printable(str(error)), fix)
        return
    finally:
        connection.close()
    account = "with user and password" if wanted.broker.user else "without user and password"
    yield Finding(_NAME, OK, f"{found}; {wanted.broker} accepts this board {account}")
