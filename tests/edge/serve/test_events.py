"""The feed of new answers: one reader for all listeners, missed answers, slow listeners."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from edge.serve import events
from edge.serve.events import Event, Feed, TooManyListenersError, parsed
from edge.store import schema
from tests.support.histories import add

FILE = schema.FILE
POLL = 0.02


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    add(tmp_path / "one", "old.jpg", at=1)
    return Feed(lambda: sorted(tmp_path.glob(f"*/{FILE}")), poll_seconds=POLL)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(limited())


async def following(listening: AsyncIterator[Event | None]) -> Event:
    """The next answer."""
    async for event in listening:
        if event is not None:
            return event
    raise AssertionError("the feed has ended")


async def begun(feed: Feed, last_event_id: str = "") -> tuple[Any, "asyncio.Task[Event]"]:
    """A listener, and the task that waits for its first answer, once the feed knows the ends of the ledgers."""
    listening = feed.listen(last_event_id)
    task = asyncio.create_task(following(listening))
    while feed._task is None and not task.done():
        await asyncio.sleep(0.01)
    return listening, task


def name(event: Event) -> str:
    return Path(event.item.recorded.answer.path).name


def test_listener_gets_new_answers_only_in_order(feed: Feed, tmp_path: Path) -> None:
    async def work() -> None:
        listening, task = await begun(feed)
        add(tmp_path / "one", "a.jpg", at=2)
        add(tmp_path / "one", "b.jpg", at=3)
        assert name(await task) == "a.jpg"
        assert name(await following(listening)) == "b.jpg"
        await listening.aclose()
        assert feed.listeners == 0

    run(work)


def test_one_task_reads_for_all_listeners(feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    former = events._since

    def counted(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return former(*arguments)

    async def work() -> None:
        nonlocal reads
        started = [await begun(feed) for _ in range(20)]
        monkeypatch.setattr(events, "_since", counted)
        reads = 0
        await asyncio.sleep(20 * POLL)
        assert 1 <= reads <= 21
        add(tmp_path / "one", "a.jpg", at=2)
        assert {name(await task) for _, task in started} == {"a.jpg"}
        for listening, _ in started:
            await listening.aclose()
        assert feed.listeners == 0
        reads = 0
        await asyncio.sleep(5 * POLL)
        assert reads == 0, "nobody listens"

    run(work)


def test_returning_listener_gets_what_it_missed_from_every_ledger(feed: Feed, tmp_path: Path) -> None:
    add(tmp_path / "two", "old.jpg", at=1)

    async def work() -> None:
        listening, task = await begun(feed)
        add(tmp_path / "one", "a.jpg", at=2)
        first = await task
        await listening.aclose()
        add(tmp_path / "two", "b.jpg", at=3)
        add(tmp_path / "one", "c.jpg", at=4)
        listening, task = await begun(feed, first.id)
        missed = [await task, await following(listening)]
        assert sorted(map(name, missed)) == ["b.jpg", "c.jpg"]
        await listening.aclose()
        # It was cut off between the two.
        listening, task = await begun(feed, missed[0].id)
        assert name(await task) == name(missed[1])
        add(tmp_path / "two", "d.jpg", at=5)
        assert name(await following(listening)) == "d.jpg"
        await listening.aclose()

    run(work)


def test_answers_between_reading_and_queue_come_once(feed: Feed, tmp_path: Path) -> None:
    async def work() -> None:
        listening, task = await begun(feed)
        add(tmp_path / "one", "a.jpg", at=2)
        last = (await task).id
        for number in range(5):
            add(tmp_path / "one", f"{number}.jpg", at=3)
        other, other_task = await begun(feed, last)
        add(tmp_path / "one", "end.jpg", at=4)
        found = [name(await other_task)]
        while found[-1] != "end.jpg":
            found.append(name(await following(other)))
        assert found == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "end.jpg"]
        await other.aclose()
        await listening.aclose()

    run(work)


def test_missed_answers_are_limited_to_the_newest(feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REPLAYED", 3)

    async def work() -> None:
        listening, task = await begun(feed)
        add(tmp_path / "one", "a.jpg", at=2)
        last = (await task).id
        await listening.aclose()
        for number in range(9):
            add(tmp_path / "one", f"{number}.jpg", at=3)
        listening, task = await begun(feed, last)
        assert [name(await task), name(await following(listening)), name(await following(listening))] == [
            "6.jpg",
            "7.jpg",
            "8.jpg",
        ]
        await listening.aclose()

    run(work)


def test_slow_listener_is_dropped_and_others_are_not(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "QUEUE", 3)

    async def work() -> None:
        slow, task = await begun(feed)
        fast, fast_task = await begun(feed)
        add(tmp_path / "one", "0.jpg", at=2)
        assert name(await task) == name(await fast_task) == "0.jpg"
        for number in range(1, 8):
            add(tmp_path / "one", f"{number}.jpg", at=2)
            assert name(await following(fast)) == f"{number}.jpg"
        got = [name(event) async for event in slow if event]
        assert got == ["1.jpg", "2.jpg", "3.jpg"], "what had waited, and then the end"
        assert feed.listeners == 1
        await fast.aclose()

    run(work)


def test_silence_is_interrupted_by_keep_alives(feed: Feed) -> None:
    async def work() -> None:
        async with aclosing(feed.listen(keep_alive_seconds=0.01)) as listening:
            assert await anext(listening) is None

    run(work)


def test_close_ends_listeners_and_refuses_others(feed: Feed) -> None:
    async def work() -> None:
        listening = feed.listen()
        task = asyncio.create_task(anext(listening, "ended"))
        while feed._task is None:
            await asyncio.sleep(0.01)
        await feed.close()
        assert await task == "ended"
        with pytest.raises(TooManyListenersError):
            await anext(feed.listen())

    run(work)


def test_too_many_listeners_are_refused(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_LISTENERS", 1)

    async def work() -> None:
        listening, task = await begun(feed)
        with pytest.raises(TooManyListenersError):
            await anext(feed.listen())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await listening.aclose()
        async with aclosing(feed.listen(keep_alive_seconds=0.01)) as other:
            assert await anext(other) is None

    run(work)


def test_new_replaced_and_damaged_ledgers_do_not_end_the_feed(feed: Feed, tmp_path: Path) -> None:
    async def work() -> None:
        listening, task = await begun(feed)
        add(tmp_path / "two", "new ledger.jpg", at=2)
        assert name(await task) == "new ledger.jpg"
        for number in range(3):
            add(tmp_path / "two", f"{number}.jpg", at=2)
            await following(listening)
        (tmp_path / "one" / FILE).write_bytes(b"damaged" * 1000)
        for path in (tmp_path / "two").iterdir():
            path.unlink()
        await asyncio.sleep(3 * POLL)
        add(tmp_path / "two", "replaced.jpg", at=2)
        assert name(await following(listening)) == "replaced.jpg"
        await listening.aclose()

    run(work)


@pytest.mark.parametrize("text", ["", "1", "x" * 10_000, "00000000-1,00000001-2", "zzzzzzzz-1", "00000000-" + "9" * 30])
def test_invalid_last_event_id_is_ignored(text: str) -> None:
    assert parsed(text) == {}


def test_last_event_id_round_trips(feed: Feed) -> None:
    assert parsed("00000000-1.0000000a-2") == {"00000000": 1, "0000000a": 2}
