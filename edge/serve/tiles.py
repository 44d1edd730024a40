"""The figures at the top of the page Status, each with a word and a colour."""

from collections.abc import Sequence
from dataclasses import dataclass

from edge.serve.entries import Service
from edge.serve.health import CONDITIONS, Health, LedgerState
from edge.serve.messages import Messages

HOT_CELSIUS = 80.0  # from which a Raspberry Pi slows down
WARM_CELSIUS = 70.0
LEAST_FREE_BYTES = 1_000_000_000
MANY_WAITING = 1000
GOOD, WARNED, BAD, PLAIN = "good", "warned", "bad", "plain"


@dataclass(frozen=True)
class Tile:
    """A figure.

    Attributes:
        name: its text is "status.tile.NAME".
        state: GOOD, WARNED, BAD or PLAIN, a style class.
        note: a few words below the value, for which the colour alone would not do; empty for none.
    """

    name: str
    value: str
    state: str = PLAIN
    note: str = ""


def tiles(
    messages: Messages, services: Sequence[Service], health: Health, ledgers: Sequence[LedgerState]
) -> list[Tile]:
    """The tiles, in the order of the page."""
    waiting = sum(one.waiting for one in services)
    rate = messages.number(sum(one.per_second for one in services), 1)
    found = [
        Tile("rate", messages("status.per_second", number=rate)),
        Tile("queue", messages.number(waiting), WARNED if waiting >= MANY_WAITING else PLAIN),
        _heat(messages, health.celsius),
    ]
    if health.throttling is not None:
        found.append(_power(messages, health))
    free = [one.free for one in ledgers if one.free is not None]
    if free:
        is_low = min(free) < LEAST_FREE_BYTES
        found.append(Tile("disk", messages.size(min(free)), BAD if is_low else GOOD, _word(messages, is_low)))
    return found


def _word(messages: Messages, is_bad: bool) -> str:
    return messages("status.low" if is_bad else "status.enough")


def _heat(messages: Messages, celsius: float | None) -> Tile:
    if celsius is None:
        return Tile("heat", messages("status.unknown"))
    if celsius >= HOT_CELSIUS:
        return Tile("heat", messages.celsius(celsius), BAD, messages("status.hot"))
    if celsius >= WARM_CELSIUS:
        return Tile("heat", messages.celsius(celsius), WARNED, messages("status.warm"))
    return Tile("heat", messages.celsius(celsius), GOOD, messages("status.normal"))


def _power(messages: Messages, health: Health) -> Tile:
    throttling = health.throttling
    assert throttling is not None
    now = ", ".join(messages(f"status.power.{CONDITIONS[one]}") for one in throttling.now)
    earlier = ", ".join(messages(f"status.power.{CONDITIONS[one]}") for one in throttling.earlier)
    if now:
        return Tile("power", messages("status.throttled"), BAD, now)
    if earlier:
        return Tile("power", messages("status.was_throttled"), WARNED, earlier)
    return Tile("power", messages("status.steady"), GOOD)
