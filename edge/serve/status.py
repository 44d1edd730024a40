"""What this server, and the watchers and cameras of the board, are doing."""

from typing import TYPE_CHECKING, Any

from edge import __version__

if TYPE_CHECKING:
    from edge.serve.app import Services


async def status_fields(services: "Services") -> dict[str, Any]:
    """This server's own status, the statuses of the others, and errors of those that do not answer, as JSON fields."""
    running = await services.in_thread(services.cameras.running)
    classifier = services.classifier
    return {
        "version": __version__,
        "server": {"waiting": classifier.waiting, **classifier.stats.as_json(), "trouble": classifier.trouble or None},
        "services": [one.status for one in running if not one.error],
        "errors": [one.error for one in running if one.error],
        "mqtt": None if services.mqtt is None else services.mqtt.as_json(),
    }
