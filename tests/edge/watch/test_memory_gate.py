"""Large images wait for each other, in different processes."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from edge.watch.memory_gate import MemoryGate

LARGE, SMALL = 1_000_000, 1_000


def enter(gate: MemoryGate, nbytes: int, connection: Connection) -> None:
    gate.wait(nbytes)
    connection.send("inside")
    connection.recv()
    gate.leave()
    connection.send("left")
    connection.recv()


class Process:
    def __init__(self, gate: MemoryGate, nbytes: int) -> None:
        context = multiprocessing.get_context("forkserver")
        self.ours, theirs = context.Pipe()
        self.process = context.Process(target=enter, args=(gate, nbytes, theirs), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def is_inside(self) -> bool:
        return self.ours.poll(30) and self.ours.recv() == "inside"

    def waits(self) -> bool:
        return not self.ours.poll(0.5)


@pytest.fixture
def gate() -> Iterator[MemoryGate]:
    made = MemoryGate(1, 4, 1_000_000)  # a small image may need 62,500 bytes
    yield made
    made.close()


def test_second_large_image_waits_until_the_first_is_done(gate: MemoryGate) -> None:
    first = Process(gate, LARGE)
    assert first.is_inside
    second = Process(gate, LARGE)
    assert second.waits()
    first.ours.send("leave")
    assert second.is_inside


def test_small_image_does_not_wait(gate: MemoryGate) -> None:
    first = Process(gate, LARGE)
    assert first.is_inside
    assert Process(gate, SMALL).is_inside


def test_killed_process_lets_the_next_image_in(gate: MemoryGate) -> None:
    first = Process(gate, LARGE)
    assert first.is_inside
    second = Process(gate, LARGE)
    assert second.waits()
    os.kill(first.process.pid or 0, signal.SIGKILL)
    began = time.monotonic()
    assert second.is_inside
    assert time.monotonic() - began < 20


def test_as_many_large_images_as_slots_are_decoded_at_once() -> None:
    gate = MemoryGate(2, 4, 1_000_000)
    both = [Process(gate, LARGE) for _ in range(2)]
    assert all(one.is_inside for one in both)
    third = Process(gate, LARGE)
    assert third.waits()
    both[1].ours.send("leave")
    assert third.is_inside
    gate.close()
