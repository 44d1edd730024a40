"""`serve`, composed: token, models, uploads, application, server; released in reverse order at the end."""

import logging
import os
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge.daemon.lifecycle import Lifecycle, Stopped
from edge.errors import ServerError, printable, reason_of
from edge.inference.router import Router
from edge.process.forkserver import start_server
from edge.serve import auth
from edge.serve.app import Services, make_app
from edge.serve.cameras import Cameras
from edge.serve.classification import Classification
from edge.serve.events import Feed
from edge.serve.history import History
from edge.serve.metrics import Metrics
from edge.serve.mqtt.settings import MqttSettings
from edge.serve.mqtt.topics import CAMERA, FOLDER
from edge.serve.pages import DISPLAY
from edge.serve.server import listen, serve
from edge.serve.settings import ServeSettings
from edge.serve.thumbnails import Thumbnails, default_cache
from edge.serve.totals import FILE as TOTALS_FILE
from edge.serve.totals import Totals
from edge.serve.uploads import Uploads
from edge.stats import Stats
from edge.store import queries
from edge.watch.decode_pool import PRELOADED

if TYPE_CHECKING:
    from edge.serve.mqtt.publisher import Publisher

_log = logging.getLogger(__name__)

TOKEN_FILE = "token"


def run(settings: ServeSettings, life: Lifecycle) -> Stats:
    """Serve until stopped.

    Raises:
        EdgeDetectError: the server cannot start.
    """
    with suppress(Stopped), ExitStack() as stack:
        own_folder = _made(settings.own_folder)
        listener = stack.enter_context(listen(settings.host, settings.port))
        digest = _digest(settings, own_folder, life)
        start_server(PRELOADED)
        router = life.at_start(lambda: _ready(settings.router()))
        stack.callback(router.close)
        uploads = stack.enter_context(Uploads())
        classifier = stack.enter_context(Classification(router, str(uploads.folder)))
        port = listener.getsockname()[1]
        services = _services(settings, own_folder, auth.Auth(digest, port), classifier, uploads)
        stack.callback(services.threads.shutdown, wait=False, cancel_futures=True)
        stack.callback(services.history.totals.close)
        stack.enter_context(services.thumbnails)
        stack.enter_context(services.pictures)
        if settings.mqtt is not None:
            services.mqtt = stack.enter_context(_publisher(settings, settings.mqtt, services, port))
        _log.info("serving at http://%s:%d%s/", _in_address(settings.host), port, settings.base_path)
        serve(make_app(settings, services), listener, _Ticks(life, services).tick)
        return classifier.stats
    return Stats()


class _Ticks:
    """What the event loop does ten times a second, to show that it works and to see whether it is to end."""

    def __init__(self, life: Lifecycle, services: Services) -> None:
        self._life, self._services, self._sampled_at = life, services, 0.0

    def tick(self) -> bool:
        """Returns whether the server is to end."""
        life, classifier = self._life, self._services.classifier
        life.ready()
        if time.monotonic() - self._sampled_at > 1.0:
            self._sampled_at = time.monotonic()
            classifier.stats.sample()
            if classifier.is_healthy:
                trouble = f"; {classifier.trouble}" if classifier.trouble else ""
                life.notifier.alive(f"{classifier.stats}, {classifier.waiting} waiting{trouble}")
        if life.stopping and not self._services.stopping.is_set():
            self._services.stop()
        return life.stopping


def _services(
    settings: ServeSettings, own_folder: Path, may: auth.Auth, classifier: Classification, uploads: Uploads
) -> Services:
    totals = Totals(own_folder / TOTALS_FILE)
    history = History(lambda: queries.ledgers(settings.state), totals)
    return Services(
        settings,
        may,
        classifier,
        uploads,
        own_folder,
        history=history,
        cameras=Cameras(),
        metrics=Metrics(totals),
        thumbnails=Thumbnails(default_cache()),
        pictures=Thumbnails(None, side=DISPLAY),
        feed=Feed(lambda: history.ledgers),
    )


def _publisher(settings: ServeSettings, mqtt: MqttSettings, services: Services, port: int) -> "Publisher":
    from edge.serve.mqtt.observation import Observation
    from edge.serve.mqtt.progress import FILE as MQTT_FILE
    from edge.serve.mqtt.publisher import Publisher

    history = services.history
    url = None
    if settings.needs_token:  # else others cannot open it
        url = f"http://{os.uname().nodename.partition('.')[0].lower()}.local:{port}{settings.base_path}/"
    return Publisher(
        replace(mqtt, url=url),
        Observation(history, services.cameras.running, services.own_folder),
        lambda: history.ledgers,
        services.own_folder / MQTT_FILE,
        {CAMERA: services.pictures.get, FOLDER: services.thumbnails.get},
    )


def _ready(router: Router) -> Router:
    """The router with its first model loaded, and the files of the others checked."""
    router.classifier(0)
    router.check()
    return router


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ServerError(f"{printable(folder)}: cannot make the folder of the server: {reason_of(error)}") from error
    return folder


def _digest(settings: ServeSettings, own_folder: Path, life: Lifecycle) -> auth.Digest | None:
    """The digest of the token that is needed; None if none is. A first token is generated and printed.

    Raises:
        ServerError: see `auth.read`; or a service has no token yet.
    """
    if settings.token_file is None and not settings.needs_token:
        return None
    path = settings.token_file or own_folder / TOKEN_FILE
    if (digest := auth.read(path)) is not None:
        return digest
    if life.is_service:  # what it prints is kept in the journal, which others may read
        raise ServerError(f"{printable(path)}: there is no token yet; `edge-detect service install serve` makes one")
    token = auth.new_token()
    digest = auth.Digest.of(token)
    auth.write(path, digest)
    print(
        f"The token of this server, shown only now:\n\n    {token}\n\nRemove {printable(path)} to get another.",
        file=sys.stdout,
        flush=True,
    )
    return digest


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host or os.uname().nodename
