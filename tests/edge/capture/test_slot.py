"""Frames between the thread that reads a camera and the thread that takes them."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge.capture.frame import Frame
from edge.capture.slot import QUEUE_FRAMES, QUEUE_PIXELS, FrameSlot
from edge.errors import CameraError

LIMIT_SECONDS = 60.0


def frame(number: int, pixels: int = 4) -> Frame:
    return Frame(np.broadcast_to(np.uint8(0), (1, pixels, 3)), float(number))


def number_of(taken: Frame | None) -> float | None:
    return None if taken is None else taken.seconds


@pytest.fixture
def slot() -> FrameSlot:
    return FrameSlot()


@pytest.fixture
def on_thread(slot: FrameSlot) -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Runs a call on another thread, which is released and has ended when the test is over."""
    threads: list[threading.Thread] = []

    def start(call: Callable[[], object]) -> threading.Thread:
        threads.append(threading.Thread(target=call))
        threads[-1].start()
        return threads[-1]

    yield start
    slot.close()
    for thread in threads:
        thread.join(LIMIT_SECONDS)
        assert not thread.is_alive()


def test_newer_frame_replaces_waiting_one_and_counts_it_as_skipped(slot: FrameSlot) -> None:
    for number in range(3):
        slot.replace(frame(number))
    assert number_of(slot.take()) == 2
    assert slot.take() is None
    assert (slot.received, slot.skipped) == (3, 2)


def test_replacing_a_taken_frame_skips_none(slot: FrameSlot) -> None:
    slot.replace(frame(0))
    slot.take()
    slot.replace(frame(1))
    assert (slot.received, slot.skipped) == (2, 0)


def test_queued_frames_are_taken_once_and_in_order(slot: FrameSlot) -> None:
    for number in range(QUEUE_FRAMES):
        slot.append(frame(number))
    assert [number_of(slot.take()) for _ in range(QUEUE_FRAMES + 1)] == [*range(QUEUE_FRAMES), None]
    assert (slot.received, slot.skipped) == (QUEUE_FRAMES, 0)


@pytest.mark.parametrize(
    ("pixels", "capacity"),
    [(4, QUEUE_FRAMES), (QUEUE_PIXELS // 2, 2), (QUEUE_PIXELS // 2 + 1, 1), (2 * QUEUE_PIXELS, 1)],
)
def test_full_queue_blocks_append_until_a_frame_is_taken(
    slot: FrameSlot, on_thread: Callable[..., threading.Thread], pixels: int, capacity: int
) -> None:
    for number in range(capacity):
        slot.append(frame(number, pixels))
    thread = on_thread(lambda: slot.append(frame(capacity, pixels)))
    thread.join(0.05)
    assert (thread.is_alive(), slot.received) == (True, capacity)
    assert number_of(slot.take()) == 0
    thread.join(LIMIT_SECONDS)
    assert (thread.is_alive(), slot.received) == (False, capacity + 1)


def test_close_wakes_blocked_append(slot: FrameSlot, on_thread: Callable[..., threading.Thread]) -> None:
    for number in range(QUEUE_FRAMES):
        slot.append(frame(number))
    thread = on_thread(lambda: slot.append(frame(QUEUE_FRAMES)))
    slot.close()
    thread.join(LIMIT_SECONDS)
    assert not thread.is_alive()


def test_take_waits_for_a_frame(slot: FrameSlot, on_thread: Callable[..., threading.Thread]) -> None:
    on_thread(lambda: (time.sleep(0.05), slot.replace(frame(7))))
    assert number_of(slot.take(LIMIT_SECONDS)) == 7


def test_take_returns_none_after_timeout(slot: FrameSlot) -> None:
    began = time.monotonic()
    assert slot.take(0.05) is None
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("last_call", [FrameSlot.end, FrameSlot.close])
def test_take_does_not_wait_for_frames_that_cannot_come(
    slot: FrameSlot, on_thread: Callable[..., threading.Thread], last_call: Callable[[FrameSlot], None]
) -> None:
    on_thread(lambda: (time.sleep(0.05), last_call(slot)))
    assert slot.take(10 * LIMIT_SECONDS) is None  # a test may not last that long


def test_slot_is_over_after_last_frame_is_taken(slot: FrameSlot) -> None:
    slot.append(frame(0))
    assert not slot.is_empty
    slot.end()
    assert not slot.is_over
    slot.take()
    assert slot.is_empty
    assert slot.is_over


def test_error_is_raised_by_every_take_after_last_frame(slot: FrameSlot) -> None:
    slot.append(frame(0))
    slot.end(CameraError("damaged"))
    assert number_of(slot.take()) == 0
    for _ in range(2):
        with pytest.raises(CameraError, match="damaged"):
            slot.take(LIMIT_SECONDS)
    assert not slot.is_over
