"""How many images a second all cores together can read and decode: a part of the limit of `watch`."""

import multiprocessing
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from edge.benchmark.rounds import Round
from edge.imaging import views
from edge.imaging.inputs import Input
from edge.process.forkserver import start_server


class Decoding:
    """A process for each core, which reads and decodes images."""

    def __init__(self, paths: Sequence[str], input_: Input, processes: int) -> None:
        """
        Args:
            paths: the images.
            input_: what a model takes of each image.
            processes: their number.
        """
        context = multiprocessing.get_context("forkserver")
        start_server(__name__)
        self._ends: list[Connection] = []
        self._processes = []
        try:
            for number in range(processes):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, list(paths), input_, number), daemon=True)
                process.start()
                theirs.close()
                self._ends.append(ours)
                self._processes.append(process)
            for end in self._ends:
                end.recv()  # it is ready
        except BaseException:
            self.close()
            raise

    def round(self, seconds: float) -> Round:
        """All processes at once, for about so many seconds."""
        for end in self._ends:
            end.send(seconds)
        turns: list[Round] = [end.recv() for end in self._ends]
        rate = sum(turn.images / turn.seconds for turn in turns)
        images = sum(turn.images for turn in turns)
        cpu = sum(turn.cpu_seconds for turn in turns)
        return Round(images, images / rate, cpu, tuple(seconds for turn in turns for seconds in turn.each))

    def close(self) -> None:
        for end in self._ends:
            end.close()
        for process in self._processes:
            process.kill()
            process.join()

    def __enter__(self) -> "Decoding":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(orders: Connection, paths: list[str], input_: Input, number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to every process of a terminal; our parent ends us
    place = number * len(paths) // 7
    with suppress(EOFError, OSError):
        orders.send(None)
        while True:
            seconds: float = orders.recv()
            each: list[float] = []
            cpu, began = time.process_time(), time.perf_counter()
            before = began
            while not each or before - began < seconds:
                # The least that is needed: few pictures need the further views.
                views.taken_lazily(paths[place % len(paths)], None, lambda _: (input_.views, input_.size)).first()
                place += 1
                now = time.perf_counter()
                each.append(now - before)
                before = now
            orders.send(Round(len(each), before - began, time.process_time() - cpu, tuple(each)))
