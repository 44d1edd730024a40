"""What the queue holds: numbers of images and answers, dead images, answers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from edge.errors import FleetError, printable
from edge.fleet import protocol
from edge.fleet.protocol import ANSWERS, DEAD, EXPECTED, FAILED, MAX_TRIES, WORK, FleetAnswer, Job
from edge.fleet.server import Server, in_words
from edge.verdict import Failure

BATCH = 256
NOT_FOUND = 10037  # no message with this number
FETCH_SECONDS = 5.0
ATTEMPTS = 4  # to read the messages of a cluster

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeadImage:
    """An image that was tried MAX_TRIES times without an answer.

    Attributes:
        sequence: its number in the queue.
        job: None if its message is none of `fleet submit`.
        subject: of its message.
        reason: of the last try that a board could report; empty: the board ended without a report.
        board: which reported it.
    """

    sequence: int
    subject: str
    job: Job | None
    reason: str = ""
    board: str = ""

    @property
    def name(self) -> str:
        return self.job.name if self.job else self.subject

    def as_json(self) -> dict[str, Any]:
        fields = {"id": self.sequence, "path": self.name, "sha256": self.job.sha256 if self.job else None}
        return fields | {"tries": MAX_TRIES, "reason": self.reason or None, "board": self.board or None}


async def status(server: Server) -> dict[str, Any]:
    """Numbers of the queue.

    Raises:
        FleetError: the server does not answer, or has no queue.
    """
    work, answers = await _info(server, WORK), await _info(server, ANSWERS)
    consumers = (await server.request(f"CONSUMER.LIST.{WORK}", {"offset": 0})).get("consumers") or []
    queues = {
        str(one["name"]).removeprefix("fleet-"): {
            "waiting": one.get("num_pending", 0),
            "in_hand": one.get("num_ack_pending", 0),
            "delivered_again": one.get("num_redelivered", 0),
        }
        for one in consumers
    }
    state, held = work["state"], sum(queue["waiting"] + queue["in_hand"] for queue in queues.values())
    skew = await server.clock_skew()
    return {
        "server": printable(str(server.info.get("server_name", ""))),
        "version": server.version,
        "cluster": server.info.get("cluster"),
        "images": state["messages"],
        "bytes": state["bytes"],
        "most_bytes": work["config"].get("max_bytes", -1),
        "dead": max(0, state["messages"] - held),
        "answers": answers["state"]["messages"],
        "queues": queues,
        "clock_ahead_seconds": None if skew is None else round(skew, 1),
    }


async def answers(server: Server, after: int = 0, *, follow: bool = False) -> AsyncIterator[FleetAnswer]:
    """The answers in their order.

    Args:
        after: only those with greater ids.
        follow: wait for further ones, for ever.

    Raises:
        FleetError: the server does not answer; with `follow` only at first.
    """
    await _info(server, ANSWERS)
    last, has_failed = after, False
    while True:
        try:
            async for message in _messages(server, ANSWERS, last):
                last, has_failed = message.metadata.sequence.stream, False
                try:
                    time = message.metadata.timestamp.timestamp()
                    yield protocol.unpacked(last, time, message.subject, bytes(message.data))
                except FleetError as error:
                    _log.warning("%s", error)
        except FleetError as error:
            if not follow:
                raise
            if not has_failed:
                _log.warning("%s; trying again", error)
            has_failed = True
        if not follow:
            return
        await asyncio.sleep(1.0)


async def dead(server: Server) -> AsyncIterator[DeadImage]:
    """The images that were tried too often, in the order of the notices.

    Raises:
        FleetError: the server does not answer.
    """
    await _info(server, DEAD)
    seen: set[int] = set()
    async for message in _messages(server, DEAD, 0):
        try:
            sequence = int(json.loads(message.data)["stream_seq"])
        except (ValueError, KeyError, TypeError):
            continue
        found = None if sequence in seen else await _message(server, sequence)
        seen.add(sequence)
        if found is None:  # answered meanwhile, or a second notice
            await _forget(server, message.metadata.sequence.stream)
            continue
        yield await _dead_image(server, found)


async def retry(server: Server, image: DeadImage) -> bool:
    """Put a dead image back into the queue.

    Returns:
        False if it is not there any more.

    Raises:
        FleetError: the server refuses.
    """
    found = await _message(server, image.sequence)
    if found is None:
        return False
    kept = (protocol.SHA256, protocol.NAME, protocol.MODELS, protocol.URL)
    headers = {key: value for key, value in (found.headers or {}).items() if key in kept}
    try:  # the copy first: between the two steps there are two messages, and never none
        headers[EXPECTED] = str(image.sequence)
        await server.stream.publish(found.subject, found.data or b"", headers=headers)
        await server.stream.delete_msg(WORK, image.sequence)
    except Exception as error:
        raise in_words(error, server.shown) from error
    return True


async def give_up(server: Server, image: DeadImage, board: str) -> bool:
    """Answer a dead image with an error, and remove it from the queue; what is no image is removed.

    Returns:
        False if it was answered meanwhile.

    Raises:
        FleetError: the server refuses.
    """
    is_new = True
    if image.job is not None:
        failure = Failure(image.job.name, f"gave up after {MAX_TRIES} tries: {image.reason or 'the board ended'}")
        body = protocol.packed(failure, image.job, board)
        is_new = await protocol.publish_answer(server, image.job.key, body)
    try:
        await server.stream.delete_msg(WORK, image.sequence)
    except Exception as error:
        raise in_words(error, server.shown) from error
    return is_new


async def _dead_image(server: Server, found: Any) -> DeadImage:
    subject = printable(found.subject)
    try:
        job: Job | None = Job.of(found.subject, found.headers)
    except FleetError as error:
        return DeadImage(found.seq, subject, None, str(error))
    reason = board = ""
    try:
        note = await server.stream.get_last_msg(FAILED, found.subject.replace("edge.work.", "edge.failed.", 1))
        fields = json.loads(note.data)
        reason, board = printable(str(fields["reason"])), printable(str(fields["board"]))
    except Exception:
        pass  # no board has reported
    return DeadImage(found.seq, subject, job, reason, board)


async def _message(server: Server, sequence: int) -> Any:
    """A message of the queue; None if it is not there."""
    try:
        return await server.stream.get_msg(WORK, sequence)
    except Exception as error:
        if getattr(error, "err_code", None) == NOT_FOUND:
            return None
        raise in_words(error, server.shown) from error


async def _forget(server: Server, notice: int) -> None:
    try:
        await server.stream.delete_msg(DEAD, notice)
    except Exception as error:
        _log.debug("cannot delete a notice: %s", error)


async def _info(server: Server, stream: str) -> dict[str, Any]:
    found = await server.request(f"STREAM.INFO.{stream}")
    if "error" in found:
        what = printable(str(found["error"].get("description", "")))
        raise FleetError(f"{server.shown}: no stream {stream}: {what}; `fleet submit` and `fleet work` create it")
    return found


async def _messages(server: Server, stream: str, after: int) -> AsyncIterator[Any]:
    """The messages of a stream that are there now, with numbers greater than `after`.

    Raises:
        FleetError: the server does not answer; in a cluster only after some attempts, for it may be choosing a leader.
    """
    failures = 0
    while True:
        try:
            async for message in _read(server, stream, after):
                after, failures = message.metadata.sequence.stream, 0
                yield message
            return
        except FleetError:
            failures += 1
            if failures > ATTEMPTS or not server.is_cluster:
                raise
            await asyncio.sleep(1.0)


async def _read(server: Server, stream: str, after: int) -> AsyncIterator[Any]:
    """See `_messages`; through a consumer that the server forgets afterwards."""
    made = await server.request(
        f"CONSUMER.CREATE.{stream}",
        {
            "stream_name": stream,
            "config": {
                "ack_policy": "none",
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": after + 1,
                "replay_policy": "instant",
                "inactive_threshold": int(60e9),
            },
        },
    )
    if error := made.get("error"):
        raise FleetError(f"{server.shown}: cannot read {stream}: {printable(str(error.get('description')))}")
    name, left = str(made["name"]), int(made.get("num_pending", 0))
    reading = await server.stream.pull_subscribe_bind(name, stream)
    try:
        while left > 0:
            try:
                batch = await reading.fetch(min(BATCH, left), timeout=FETCH_SECONDS)
            except Exception as error:
                raise in_words(error, server.shown) from error
            for message in batch:
                yield message
            left -= len(batch)
    finally:
        try:
            await reading.unsubscribe()
            await server.stream.delete_consumer(stream, name)
        except Exception as error:
            _log.debug("cannot delete a consumer: %s", error)
