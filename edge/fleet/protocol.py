"""Streams, subjects, headers and bodies that the boards and those who submit images share.

    EDGE_WORK      edge.work.MODELS.ID      a work queue of images; full means that whoever submits waits
    EDGE_ANSWERS   edge.answers.MODELS.ID   one answer for each image; a second one is refused
    EDGE_FAILED    edge.failed.MODELS.ID    why the last try of an image failed
    EDGE_DEAD      the server's notices of images that were tried MAX_TRIES times

ID is the first half of the SHA-256 of the image. MODELS is "any", or the identity of the models that must answer: a
board takes images of "any" and of its own models. File names travel in headers, percent-encoded, never in subjects.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from edge.errors import FleetError, printable
from edge.fleet.server import Server, in_words
from edge.verdict import Answer, Evidence, Failure, Recorded, Verdict

WORK, ANSWERS, FAILED, DEAD = "EDGE_WORK", "EDGE_ANSWERS", "EDGE_FAILED", "EDGE_DEAD"
ADVISORIES = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{WORK}.>"
ANY = "any"
MAX_TRIES = 3
ACK_SECONDS = 60.0  # after which the image of a board that has vanished is given to another one
MOST_IN_HAND = 10_000  # images that all boards together hold
INLINE_BYTES = 1_000_000  # larger images travel by URL; nats-server takes messages of 1 MiB
HEADER_BYTES = 16_384
MESSAGE_BYTES = INLINE_BYTES + HEADER_BYTES
ANSWER_BYTES = 65_536
ANSWER_SECONDS = 30 * 86_400
NAME_BYTES = 4096
URL_BYTES = 4096

SHA256, NAME, MODELS, URL = "Edge-Sha256", "Edge-Name", "Edge-Model", "Edge-Url"
MESSAGE_ID, EXPECTED = "Nats-Msg-Id", "Nats-Expected-Last-Subject-Sequence"

# Errors of JetStream: https://github.com/nats-io/nats-server/blob/main/server/errors.json
WRONG_SEQUENCE, FULL, NO_STORAGE, TOO_LARGE, NAME_IN_USE = 10071, 10077, 10047, 10054, 10058

_SUBJECT = re.compile(r"edge\.(work|answers|failed)\.(any|[0-9a-f]{16})\.([0-9a-f]{32})")
_HEX = re.compile(r"[0-9a-f]{64}")


def models_id(digests: Iterable[str]) -> str:
    """The identity of a set of models, 16 hexadecimal digits, of the SHA-256 of each."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()[:16]


def is_models_id(text: str) -> bool:
    """Whether a text has the form of `models_id`."""
    return re.fullmatch(r"[0-9a-f]{16}", text) is not None


@dataclass(frozen=True)
class Job:
    """An image in the queue.

    Attributes:
        models: ANY, or the identity of the models that must answer.
        sha256: of the image, hexadecimal.
        name: path of the file as it was submitted; undecodable bytes are surrogate escapes (PEP 383).
        url: where the image lies; empty: in the message.
    """

    models: str
    sha256: str
    name: str
    url: str = ""

    @property
    def key(self) -> str:
        """The end of its subjects."""
        return f"{self.models}.{self.sha256[:32]}"

    @property
    def headers(self) -> dict[str, str]:
        """Of its message."""
        found = {SHA256: self.sha256, NAME: quote(os.fsencode(self.name)[:NAME_BYTES], safe="/"), MODELS: self.models}
        return found | ({URL: self.url} if self.url else {})

    @classmethod
    def of(cls, subject: str, headers: dict[str, str] | None) -> "Job":
        """The image that a message is about.

        Raises:
            FleetError: it is no message of `fleet submit`.
        """
        match, headers = _SUBJECT.fullmatch(subject), headers or {}
        sha256, name, url = (str(headers.get(key) or "") for key in (SHA256, NAME, URL))
        if match is None or not _HEX.fullmatch(sha256) or not sha256.startswith(match[3]):
            raise FleetError(f"{printable(subject)}: its subject and {SHA256} do not fit")
        if (headers.get(MODELS) or ANY) != match[2]:
            raise FleetError(f"{printable(subject)}: its subject and {MODELS} do not fit")
        if len(name) > 3 * NAME_BYTES or len(url) > URL_BYTES:
            raise FleetError(f"{printable(subject)}: its name or URL is too long")
        return cls(match[2], sha256, os.fsdecode(unquote_to_bytes(name)) or sha256, url)


class FleetAnswer(Recorded):
    """An answer in EDGE_ANSWERS; the time is the server's, whatever a board's clock says.

    Attributes:
        sha256: of the image.
        board: which answered.
    """

    sha256: str
    board: str

    def __init__(self, sequence: int, answered_at: float, answer: Answer, sha256: str, board: str) -> None:
        super().__init__(sequence, answered_at, answer, None)
        vars(self).update(sha256=sha256, board=board)  # assignments are refused

    def as_json(self) -> dict[str, Any]:
        return super().as_json() | {"sha256": self.sha256, "board": self.board}


def packed(answer: Answer, job: Job, board: str) -> bytes:
    """The body of an answer's message."""
    fields = answer.as_json() | {"sha256": job.sha256, "board": board}
    body = json.dumps(fields).encode()
    if len(body) > ANSWER_BYTES - HEADER_BYTES:  # what the file says of itself is the one part that can be long
        body = json.dumps(fields | {"provenance": [], "path": job.sha256}).encode()
    return body


def unpacked(sequence: int, answered_at: float, subject: str, body: bytes) -> FleetAnswer:
    """The answer in a message.

    Raises:
        FleetError: it holds none.
    """
    try:
        fields = json.loads(body)
        path, sha256, board = (str(fields[key]) for key in ("path", "sha256", "board"))
        answer: Answer = Failure(path, str(fields["error"])) if "error" in fields else _verdict(path, fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FleetError(f"{printable(subject)}: not an answer: {printable(str(error))}") from error
    return FleetAnswer(sequence, answered_at, answer, sha256, board)


def _verdict(path: str, fields: dict[str, Any]) -> Verdict:
    score, confidence = float(fields["score"]), float(fields["confidence"])
    outside = None if fields["outside"] is None else printable(str(fields["outside"]))
    says = tuple(
        Evidence(
            str(one["kind"]), str(one["says"]), str(one["program"] or ""), str(one["detail"] or ""), one["verified"]
        )
        for one in fields["provenance"]
    )
    label, seconds = printable(str(fields["label"])), float(fields["elapsed_ms"]) / 1000
    model = printable(str(fields["model"] or ""))
    return Verdict(path, label, label == "REAL", score, confidence, outside, seconds, model, provenance=says)


async def prepare(server: Server, queue_bytes: int, replicas: int | None) -> None:
    """Create the streams that are missing; those that exist stay as they are.

    Args:
        queue_bytes: size of a new queue.
        replicas: of new streams; None: 3 in a cluster, else 1.

    Raises:
        FleetError: a stream cannot be created, or is there with other settings.
    """
    for config in _streams(queue_bytes, replicas or (3 if server.is_cluster else 1)):
        found = await server.request(f"STREAM.INFO.{config['name']}")
        if "error" in found:
            found = await server.request(f"STREAM.CREATE.{config['name']}", config)
        if found.get("error", {}).get("err_code") == NAME_IN_USE:  # another client was faster
            found = await server.request(f"STREAM.INFO.{config['name']}")
        if error := found.get("error"):
            reason = printable(str(error.get("description")))
            raise FleetError(f"{server.shown}: cannot create the stream {config['name']}: {reason}")
        there = found.get("config", {})
        needed = ("subjects", "retention", "discard", "max_msgs_per_subject", "discard_new_per_subject")
        different = [key for key in needed if key in config and there.get(key) != config[key]]
        if different:
            raise FleetError(f"{server.shown}: the stream {config['name']} has other settings: {', '.join(different)}")


async def consumer(server: Server, models: str, ack_seconds: float = ACK_SECONDS) -> float:
    """Create the consumer of a kind of images if it is missing.

    Args:
        models: ANY, or the identity of models.
        ack_seconds: of a new consumer.

    Returns:
        Seconds after which an image that nobody has acknowledged is delivered again.

    Raises:
        FleetError: it cannot be created.
    """
    name = consumer_name(models)
    found = await server.request(f"CONSUMER.INFO.{WORK}.{name}")
    if "error" in found:
        subject = f"edge.work.{models}.*"
        config = {
            "durable_name": name,
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "ack_wait": int(ack_seconds * 1e9),
            "max_deliver": MAX_TRIES,
            "max_ack_pending": MOST_IN_HAND,
            "filter_subject": subject,
            "replay_policy": "instant",
        }
        found = await server.request(
            f"CONSUMER.CREATE.{WORK}.{name}.{subject}", {"stream_name": WORK, "config": config}
        )
    if error := found.get("error"):
        raise FleetError(f"{server.shown}: cannot create the consumer {name}: {printable(str(error))}")
    return float(found["config"].get("ack_wait", ACK_SECONDS * 1e9)) / 1e9


def consumer_name(models: str) -> str:
    """The name of the consumer through which boards take images for these models."""
    return f"fleet-{models}"


async def is_answered(server: Server, key: str) -> bool:
    """Whether there is an answer; False also if that is unknown, for a second answer is refused anyway."""
    try:
        await server.stream.get_last_msg(ANSWERS, f"edge.answers.{key}", direct=True)
    except Exception:
        return False
    return True


async def publish_answer(server: Server, key: str, body: bytes) -> bool:
    """Store an answer, unless there is one.

    Returns:
        Whether this answer was stored now; False: the image was answered before, perhaps by this call's lost twin.

    Raises:
        FleetError: it is not known whether it was stored.
    """
    try:
        await server.stream.publish(f"edge.answers.{key}", body, headers={EXPECTED: "0"})
    except Exception as error:
        code, text = getattr(error, "err_code", None), str(getattr(error, "description", ""))
        if code == WRONG_SEQUENCE or (code == FULL and "per subject" in text):
            return False
        raise in_words(error, server.shown) from error
    return True


def _streams(queue_bytes: int, replicas: int) -> list[dict[str, Any]]:
    shared = {"storage": "file", "num_replicas": replicas, "max_consumers": -1, "max_msgs": -1, "allow_direct": True}
    month = int(ANSWER_SECONDS * 1e9)
    return [
        shared
        | {
            "name": WORK,
            "subjects": ["edge.work.*.*"],
            "retention": "workqueue",
            "discard": "new",
            "max_bytes": queue_bytes,
            "max_msg_size": MESSAGE_BYTES,
            "duplicate_window": int(120e9),
        },
        shared
        | {
            "name": ANSWERS,
            "subjects": ["edge.answers.*.*"],
            "retention": "limits",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "discard_new_per_subject": True,
            "max_age": month,
            "max_msg_size": ANSWER_BYTES,
        },
        shared
        | {
            "name": FAILED,
            "subjects": ["edge.failed.*.*"],
            "retention": "limits",
            "discard": "old",
            "max_msgs_per_subject": 1,
            "max_age": month,
            "max_bytes": 64_000_000,
            "max_msg_size": HEADER_BYTES,
        },
        shared
        | {
            "name": DEAD,
            "subjects": [ADVISORIES],
            "retention": "limits",
            "discard": "old",
            "max_age": month,
            "max_bytes": 256_000_000,
        },
    ]
