"""What is looked at, in the order of the report."""

from collections.abc import Iterator

from edge.doctor import cameras, coral, runtime, services, storage, system
from edge.doctor.choices import Chosen
from edge.doctor.finding import WARNING, Finding
from edge.doctor.host import Host, shortened
from edge.errors import EdgeDetectError


def findings(machine: Host, chosen: Chosen) -> Iterator[Finding]:
    """Each as soon as it is known; a check that cannot be done is one, and the others go on."""
    for name, of_one in _checks(machine, chosen):
        try:
            yield from of_one
        except (EdgeDetectError, OSError, ValueError, ImportError) as error:
            yield Finding(name, WARNING, f"could not be looked at: {shortened(str(error))}")


def _checks(machine: Host, chosen: Chosen) -> tuple[tuple[str, Iterator[Finding]], ...]:
    """All of them; each is a generator, and so does nothing before it is asked."""
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
        ("state folder", storage.state_folder(machine, chosen)),
        ("ledger", storage.ledger(chosen)),
        ("settings", services.settings(chosen)),
        ("services", services.services(machine)),
        ("Python", runtime.python(machine)),
        ("numpy", runtime.numpy(machine)),
        ("Pillow", runtime.pillow(machine)),
        ("HEIC", runtime.heic(machine)),
        ("click", runtime.commands(machine)),
        ("runtime", runtime.runtimes(machine, chosen)),
        ("models", runtime.models(machine, chosen)),
        ("Pi camera", cameras.pi_camera(machine)),
        ("webcam", cameras.video(machine)),
        ("Coral", coral.coral(machine, chosen)),
    )
