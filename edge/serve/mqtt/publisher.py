"""Publishes to a broker what happens on this board: discovery, states, events and pictures.

An event is derived from the ledger, and the ledger is the backlog: a cursor for each ledger notes how far the broker
has acknowledged. While there is no broker nothing is collected in memory, and after a kill, of the broker or of this
process, the events after the cursor are published (again): each at least once.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.errors import BrokerError, EdgeDetectError, LedgerError, printable
from edge.retry import Backoff
from edge.serve.mqtt import discovery, messages
from edge.serve.mqtt.connection import Connection
from edge.serve.mqtt.messages import Message
from edge.serve.mqtt.observation import STALE_SECONDS, Observation, Sources
from edge.serve.mqtt.progress import Device, Progress
from edge.serve.mqtt.settings import MqttSettings
from edge.serve.mqtt.topics import BIRTH, CAMERA, FOLDER, Place, Source
from edge.store import feed
from edge.store.history import Item, ledger_name

_log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
STATE_SECONDS = 30.0  # a state is published at least this often
SETTLE_SECONDS = 2.0  # for Home Assistant to subscribe to the topics of new devices, before events are published
IMAGE_SECONDS = 5.0  # between two pictures of a source
STABLE_SECONDS = 10.0  # after which a connection counts as good, and the wait after a loss begins with one second again
BIRTH_SECONDS = 5.0  # between two births that are answered
GONE_SECONDS = 3600.0  # for which a source is missing before it is removed: its disk may just not be mounted
BATCH = 50  # events on their way to the broker
BATCHES = 20  # of a ledger, after which states are published again
REPLAYED = 1000  # answers of each ledger that are reported again if the cursors are lost
LOOKED_AT = 50  # answers among which the last picture of a source is looked for
# A change of these fields of a state is published at once.
URGENT = ("state", "in_event", "label", "counts", "throttled")

Picture = Callable[[Item], bytes | None]


class Publisher:
    """Runs in a thread of its own, from `start` to `close`.

    Attributes:
        settings: the broker, and names.
    """

    def __init__(
        self,
        settings: MqttSettings,
        observation: Observation,
        ledgers: Callable[[], list[Path]],
        file: Path,
        pictures: dict[str, Picture],
        *,
        gone_seconds: float = GONE_SECONDS,
    ) -> None:
        """
        Args:
            ledgers: returns the ledgers that exist.
            file: where progress is kept over restarts.
            pictures: makes the picture of an answer, by kind of source (CAMERA, FOLDER).
            gone_seconds: how long a source is missing before it is removed from the broker.
        """
        self.settings = settings
        self._observation, self._ledgers, self._pictures = observation, ledgers, pictures
        self._gone_seconds = gone_seconds
        self._board = Place(settings.prefix, settings.node)
        self._progress = Progress(file)
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._connection: Connection | None = None
        self._connecting = Backoff("; trying again")
        self._reading = Backoff("; its events wait")
        self._opened_at = self._born_at = self._events_at = float("-inf")
        self._is_born = False
        self._announced: set[Place] = set()
        self._sent: dict[Place, tuple[float, dict[str, Any], bool]] = {}  # when, state, whether it is online
        self._labels: dict[Source, str | None] = {}
        self._wanted: dict[Source, Item] = {}  # pictures to be published
        self._pictured_at: dict[Source, float] = {}
        self._missing_since: dict[Device, float] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the broker is connected."""
        connection = self._connection
        return connection is not None and connection.is_up

    @property
    def trouble(self) -> str:
        """Why nothing is published at present, in one line; empty if all is well."""
        return "" if self.is_connected and not self._reading.reason else self._connecting.reason or self._reading.reason

    @property
    def _is_lost_early(self) -> bool:
        """Whether the connection was lost soon after it was made, as if somebody else had taken its place."""
        is_lost = self._connection is not None and not self._connection.is_up
        return is_lost and time.monotonic() - self._opened_at < STABLE_SECONDS

    def as_json(self) -> dict[str, Any]:
        """For the status of the server."""
        return {
            "broker": str(self.settings.broker),
            "node": self.settings.node,
            "connected": self.is_connected,
            "trouble": self.trouble or None,
        }

    def start(self) -> None:
        """Begin to connect and publish."""
        self._thread.start()

    def close(self) -> None:
        """Report the board as offline, and end."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def __enter__(self) -> "Publisher":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                seconds = 0.0 if self._step() else POLL_SECONDS
            except EdgeDetectError as error:
                hint = "; has another board the same --mqtt-node?" if self._is_lost_early else ""
                self._disconnect()
                self._connecting.failed(BrokerError(f"{error}{hint}"))
                seconds = self._connecting.seconds_left
            except Exception as error:  # the server goes on, and so does this thread
                self._disconnect()
                reason = printable(" ".join(str(error).split()))[:200]
                self._connecting.failed(BrokerError(f"MQTT: unexpected {type(error).__name__}: {reason}"))
                seconds = self._connecting.seconds_left
            self._wake.wait(seconds)
            self._wake.clear()
        self._disconnect(says_goodbye=True)
        self._progress.save(now=True)

    def _step(self) -> bool:
        """Connect if that is necessary, and publish what is new; returns whether more events wait.

        Raises:
            BrokerError: the connection is lost, or cannot be made.
        """
        has_more = False
        self._begin_cursors()
        if self._connection is None:
            if not self._connecting.is_due or self._stop.is_set():
                return False
            self._connect()
        elif not self._connection.is_up:
            self._publish([])  # raises the reason
        if self._is_born and time.monotonic() - self._born_at >= BIRTH_SECONDS:
            self._is_born, self._born_at = False, time.monotonic()
            self._forget_sent()
        sources = self._observation.sources()
        self._announce(sources)
        self._publish_states(sources)
        if time.monotonic() >= self._events_at:
            has_more = self._publish_events()
        self._publish_pictures()
        self._remove_gone(sources)
        self._progress.save()
        if self._connecting.reason and time.monotonic() - self._opened_at >= STABLE_SECONDS:
            self._connecting.succeeded()
        return has_more

    def _connect(self) -> None:
        will = Message(self._board.topic("status"), discovery.OFFLINE.encode())
        connection = Connection(self.settings, will, BIRTH, self._on_birth)
        connection.open()
        self._connection, self._opened_at = connection, time.monotonic()
        if not self._connecting.reason:  # else "recovered" is logged once it is stable
            _log.info("connected to %s", self.settings.broker)
        self._forget_sent()  # a broker that was restarted may have lost all

    def _disconnect(self, *, says_goodbye: bool = False) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            goodbye = Message(self._board.topic("status"), discovery.OFFLINE.encode())
            connection.close(goodbye if says_goodbye else None)

    def _on_birth(self) -> None:
        self._is_born = True
        self._wake.set()

    def _forget_sent(self) -> None:
        """Let everything be published again."""
        self._announced.clear()
        self._sent.clear()
        self._labels.clear()

    def _publish(self, wanted: list[Message]) -> None:
        assert self._connection is not None
        self._connection.publish(wanted, self._stop.is_set)

    def _place(self, source: Source) -> Place:
        return Place(self.settings.prefix, self.settings.node, source.kind, source.id)

    def _device(self, place: Place) -> Device:
        return str(self.settings.broker), place

    def _is_current(self, source: Source, sources: Sources) -> bool:
        """Whether a source is to be published: one that runs, or has answered, or was seen, not long ago."""
        if source in sources.running:
            return True
        seen = self._progress.devices.get(self._device(self._place(source)), 0.0)
        return time.time() - max(sources.latest.get(source, 0.0), seen) < STALE_SECONDS

    def _announce(self, sources: Sources) -> None:
        """Publish the discovery of devices that were not announced on this connection."""
        found: list[tuple[Place, dict[str, Any]]] = []
        if self._board not in self._announced:
            health = self._observation.health
            has = {"has_celsius": health.celsius is not None, "has_throttling": health.throttling is not None}
            found.append((self._board, discovery.board(self._board, self.settings.url, **has)))
        current = {source for source in sources.all if self._is_current(source, sources)}
        new = sorted(source for source in current if self._place(source) not in self._announced)
        found += [(self._place(source), discovery.source(self._place(source), source)) for source in new]
        if found:
            self._publish([Message(place.config, messages.as_json(fields)) for place, fields in found])
            self._publish([Message(self._board.topic("status"), discovery.ONLINE.encode())])
            self._announced |= {place for place, _ in found}
            self._events_at = time.monotonic() + SETTLE_SECONDS
            for source in new:
                self._find_last(source)
        self._progress.saw(self._device(self._board))
        for source in current & sources.running.keys():
            self._progress.saw(self._device(self._place(source)))
        for source in new:  # noted also if it does not run: it has to be removed one day
            self._progress.saw(self._device(self._place(source)), sources.latest.get(source))

    def _find_last(self, source: Source) -> None:
        """Look up the last answer and the last picture of a source that is announced."""
        try:
            items = self._observation.newest(source, LOOKED_AT)
        except LedgerError:
            return
        self._labels[source] = messages.label_of(items[0]) if items else None
        newest = next((item for item in items if messages.has_picture(item)), None)
        if newest is not None:
            self._wanted[source] = newest

    def _publish_states(self, sources: Sources) -> None:
        """Publish the states that have changed, and those that are due."""
        now = time.monotonic()
        found: dict[Place, tuple[dict[str, Any], bool]] = {
            self._board: (self._observation.board(sources.running.values()), True)
        }
        for source in sources.all:
            place, status = self._place(source), sources.running.get(source, {})
            if place in self._announced:
                is_online = messages.is_watching(status) if source.kind == CAMERA else bool(status)
                found[place] = (self._observation.state(source, status, self._labels.get(source)), is_online)
        wanted: list[Message] = []
        for place, (state, is_online) in found.items():
            sent_at, sent, was_online = self._sent.get(place, (float("-inf"), {}, None))
            is_urgent = any(state.get(name) != sent.get(name) for name in URGENT)
            if is_online == was_online and not is_urgent and now - sent_at < STATE_SECONDS:
                continue
            self._sent[place] = now, state, is_online
            wanted.append(Message(place.topic("state"), messages.as_json(state)))
            if is_online != was_online:
                word = discovery.ONLINE if is_online else discovery.OFFLINE
                wanted.append(Message(place.topic("status"), word.encode()))
        if wanted:
            self._publish(wanted)

    def _begin_cursors(self) -> None:
        """Let cursors begin: at the first start ever at the ends of the ledgers, later at the beginning of new ones."""
        progress = self._progress
        if not (progress.is_first or progress.is_damaged):
            return
        is_complete = True
        for ledger in self._ledgers():
            if ledger_name(ledger) not in progress.cursors:
                try:
                    cursor = feed.end(ledger, REPLAYED if progress.is_damaged else 0)
                    progress.advance(ledger_name(ledger), *cursor)
                except LedgerError as error:
                    self._reading.failed(error)
                    is_complete = False
        if is_complete:
            progress.is_first = progress.is_damaged = False
            progress.save(now=True)

    def _publish_events(self) -> bool:
        """Publish new answers of all ledgers, some batches of each; returns whether more wait.

        Raises:
            BrokerError: the cursor stays before the batch.
        """
        has_more, errors = False, list[LedgerError]()
        for ledger in self._ledgers():
            name = ledger_name(ledger)
            if self._progress.is_first and name not in self._progress.cursors:
                continue  # it could not be read yet
            try:
                has_more |= self._publish_ledger(ledger, name)
            except LedgerError as error:
                errors.append(error)
        if errors:
            self._reading.failed(errors[0])
        else:
            self._reading.succeeded()
        return has_more

    def _publish_ledger(self, ledger: Path, name: str) -> bool:
        for _ in range(BATCHES):
            step = feed.following(ledger, self._progress.cursors.get(name), BATCH)
            if step.last is None or self._stop.is_set():
                return False
            self._publish_items(step.items)
            self._progress.advance(name, *step.last)
            self._progress.save()
        return True

    def _publish_items(self, items: list[Item]) -> None:
        wanted: list[Message] = []
        for item in items:
            fields = messages.event(item)
            if fields is None or item.source is None:  # None: of a version that did not note it
                continue
            source = Source(CAMERA if item.recorded.event else FOLDER, item.source)
            place = self._place(source)
            if place not in self._announced:
                self._announce_at_once(source)
            wanted.append(Message(place.topic("event"), messages.as_json(fields), is_retained=False))
            self._labels[source] = messages.label_of(item)
            if messages.has_picture(item):
                self._wanted[source] = item
        if wanted:
            self._publish(wanted)
            self._observation.refresh()  # the counts of the next state

    def _announce_at_once(self, source: Source) -> None:
        """Announce a source that has just begun; its first events wait until Home Assistant knows it."""
        place = self._place(source)
        self._publish([Message(place.config, messages.as_json(discovery.source(place, source)))])
        self._announced.add(place)
        self._progress.saw(self._device(place))
        self._stop.wait(SETTLE_SECONDS)

    def _publish_pictures(self) -> None:
        """Publish the last pictures, at most one of each source in IMAGE_SECONDS."""
        for source, item in list(self._wanted.items()):
            now = time.monotonic()
            if now - self._pictured_at.get(source, float("-inf")) < IMAGE_SECONDS or self._stop.is_set():
                continue
            del self._wanted[source]
            self._pictured_at[source] = now
            if (jpeg := self._pictures[source.kind](item)) is not None:
                name = "snapshot" if source.kind == CAMERA else "thumbnail"
                self._publish([Message(self._place(source).topic(name), jpeg)])

    def _remove_gone(self, sources: Sources) -> None:
        """Remove from the broker what it keeps of sources that are gone, and of former names of this board."""
        there = {self._device(self._place(source)) for source in sources.all if self._is_current(source, sources)}
        there.add(self._device(self._board))
        if not sources.is_complete:
            return
        broker = str(self.settings.broker)
        for device in list(self._progress.devices):
            if device in there:
                self._missing_since.pop(device, None)
                continue
            if device[0] != broker:  # another one was used before; it cannot be reached from here
                self._progress.forget(device)
                continue
            place = device[1]
            is_renamed = place.board != self._board
            since = self._missing_since.setdefault(device, time.monotonic())
            if is_renamed or time.monotonic() - since >= self._gone_seconds:
                self._publish([Message(topic, b"") for topic in place.retained])
                self._announced.discard(place)
                self._sent.pop(place, None)
                self._missing_since.pop(device, None)
                self._progress.forget(device)
