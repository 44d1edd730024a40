"""All checks, in the order of the report."""

from collections.abc import Iterator

from edge.doctor import cameras, coral, fleet, mqtt, runtime, services, storage, system
from edge.doctor.choices import Choices
from edge.doctor.finding import WARNING, Finding
from edge.doctor.host import Host, shortened
from edge.errors import EdgeDetectError


def findings(machine: Host, choices: Choices) -> Iterator[Finding]:
    """Run the checks and yield each finding as soon as it is known. A check that fails yields a warning."""
    for name, check in _checks(machine, choices):
        try:
            yield from check
        except (EdgeDetectError, OSError, ValueError, ImportError) as error:
            yield Finding(name, WARNING, f"the check failed: {shortened(str(error))}")


def _checks(machine: Host, choices: Choices) -> tuple[tuple[str, Iterator[Finding]], ...]:
    """(name for a failure, generator) of each check: it runs when the generator is read."""
    return (
        ("board", system.board(machine)),
        ("system", system.system(machine)),
        ("temperature", system.temperature(machine)),
        ("power", system.power(machine)),
        ("governor", system.governor(machine)),
        ("clock", system.clock(machine)),
        ("inotify", system.watches(machine)),
        ("memory", storage.memory(machine)),
        ("disk of /", storage.disk(machine)),
        ("state folder", storage.state_folder(machine, choices)),
        ("ledger", storage.ledger(choices)),
        ("settings", services.settings(choices)),
        ("services", services.services(machine)),
        ("Python", runtime.python(machine)),
        ("numpy", runtime.numpy(machine)),
        ("Pillow", runtime.pillow(machine)),
        ("HEIC", runtime.heic(machine)),
        ("AVIF", runtime.avif(machine)),
        ("provenance", runtime.provenance(machine)),
        ("serve", runtime.serve(machine)),
        ("MQTT", mqtt.mqtt(machine, choices)),
        ("click", runtime.commands(machine)),
        ("runtime", runtime.runtimes(machine, choices)),
        ("models", runtime.models(machine, choices)),
        ("Pi camera", cameras.pi_camera(machine)),
        ("webcam", cameras.video(machine)),
        ("Coral", coral.coral(machine, choices)),
        ("fleet", fleet.fleet(choices)),
    )
