"""A link between two programs that delays what passes, stalls at random, and can be cut."""

import asyncio
import contextlib
import random
import threading
from types import TracebackType


class SlowLink:
    """Forwards connections to a port of this computer, like a far and lossy network: a lost packet is a stall.

    Attributes:
        port: to connect to instead.
    """

    def __init__(self, port: int, delay: float = 0.08, loss: float = 0.05, stall: float = 0.4, seed: int = 0) -> None:
        """
        Args:
            delay: seconds in each direction.
            loss: probability that a piece of data is delayed by a further `stall` seconds.
        """
        self._target, self._delay, self._loss, self._stall = port, delay, loss, stall
        self._chance, self._loop = random.Random(seed), asyncio.new_event_loop()
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def cut(self) -> None:
        """From now on nothing passes, and nobody notices."""
        self._is_cut = True

    def mend(self) -> None:
        """Connections that were there are reset; new ones pass."""
        self._is_cut = False
        self._loop.call_soon_threadsafe(self._reset)

    def _reset(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers |= {writer, back}
            try:
                await asyncio.gather(self._forward(reader, back), self._forward(there, writer))
            finally:
                for one in (writer, back):
                    one.transport.abort()
                    self._writers.discard(one)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pieces keep their order; several are on their way at a time."""
        loop, due = asyncio.get_running_loop(), 0.0
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                when, piece = await on_the_way.get()
                await asyncio.sleep(max(0.0, when - loop.time()))
                while self._is_cut:
                    await asyncio.sleep(0.1)
                writer.write(piece)

        delivering = asyncio.create_task(deliver())
        try:
            while piece := await reader.read(65_536):
                stall = self._stall if self._chance.random() < self._loss else 0.0
                due = max(due, loop.time() + self._delay + stall)
                on_the_way.put_nowait((due, piece))
        finally:
            delivering.cancel()

    def __enter__(self) -> "SlowLink":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        async def close() -> None:
            self._server.close()
            self._reset()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
