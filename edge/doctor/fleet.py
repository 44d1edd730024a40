"""The fleet: its package, and the server that the settings name."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edge.doctor.choices import Choices
from edge.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding
from edge.doctor.runtime import is_there, too_old, version
from edge.errors import FleetError
from edge.requirements import PACKAGES

if TYPE_CHECKING:
    from edge.fleet.server import ServerSettings

LARGEST_SKEW_SECONDS = 30.0
SECONDS = 15.0


def fleet(choices: Choices) -> Iterator[Finding]:
    """Whether the package is there, and the server can be reached, is new enough and has the same time."""
    settings = choices.fleet()
    if not is_there("nats"):
        found = "nats-py is not installed; `edge-detect fleet` needs it"
        yield Finding("fleet", PROBLEM, found, PACKAGES["nats"].fix) if settings else Finding("fleet", ABSENT, found)
        return
    if old := too_old("fleet", "nats", version("nats-py")):
        yield old
        return
    if settings is None:
        yield Finding("fleet", OK, f"nats-py {version('nats-py')}; no server is set")
        return
    try:
        report = asyncio.run(asyncio.wait_for(_asked(settings), SECONDS))
    except FleetError as error:
        yield Finding("fleet", PROBLEM, str(error))
        return
    except TimeoutError:
        yield Finding("fleet", PROBLEM, f"{settings.shown}: does not answer in time")
        return
    what = f"{settings.shown}: nats-server {report['version']}"
    skew = report["skew"]
    if skew is not None and abs(skew) > LARGEST_SKEW_SECONDS:
        direction = "ahead of" if skew > 0 else "behind"
        found = f"{what}; this board's clock is {abs(skew):.0f} s {direction} the server's"
        yield Finding("fleet", WARNING, found, "sudo timedatectl set-ntp true")
    else:
        yield Finding("fleet", OK, f"{what}; {'clocks agree' if skew is not None else 'no queue yet'}")


async def _asked(settings: "ServerSettings") -> dict[str, Any]:
    from edge.fleet.server import connected

    async with connected(settings, "edge-detect doctor") as server:
        return {"version": server.version, "skew": await server.clock_skew()}
