"""What a fleet does with its boards: python -m tests.benchmarks.fleet

Boards are processes with a network that sleeps as long as a board's would, so that the queue and not this computer's
processor is measured. Printed are images a second for 1, 2 and 4 boards, their efficiency beside that of one, and how
many boards one server could feed: from the processor time that it takes for an image, and from the messages that it
stores a second.
"""

import asyncio
import hashlib
import sys
import tempfile
import time
from pathlib import Path

import click
import psutil

from edge.fleet import protocol
from edge.fleet.server import ServerSettings, connected
from tests.conftest import MODELS
from tests.soak.fleet import stream_of
from tests.support.nats import Board, Nats, fleet, pictures
from tests.support.ports import free_port

MODEL = MODELS / "brightness_int8.tflite"


@click.command()
@click.option("--sleep", default=0.2, show_default=True, help="Seconds that a board's network takes for an image.")
@click.option("--each", default=60, show_default=True, help="Images for each board.")
@click.option("--boards", default=(1, 2, 4), multiple=True, show_default=True)
@click.option("--size", default=100_000, show_default=True, help="Bytes of the images that the server alone stores.")
def main(sleep: float, each: int, boards: tuple[int, ...], size: int) -> None:
    """Measure a fleet."""
    rates = {}
    print(f"a network of {sleep * 1000:g} ms: at most {1 / sleep:.2f} images a second and board")
    for count in boards:
        with tempfile.TemporaryDirectory(prefix="edge-detect-fleet-bench-") as name:
            rates[count], server_ms = measured(Path(name), count, each * count, sleep)
        efficiency = rates[count] / (count * rates[boards[0]] / boards[0])
        plain = rates[count] * sleep / count
        print(
            f"{count} boards: {rates[count]:.2f} images a second, efficiency {efficiency:.3f},"
            f" {plain:.3f} of the plain rate; the server took {server_ms:.2f} ms of processor time for an image",
            flush=True,
        )
    with tempfile.TemporaryDirectory(prefix="edge-detect-fleet-bench-") as name:
        second, server_ms = asyncio.run(server_alone(Path(name), size))
    print(f"server alone, {size} bytes: {second:.0f} images a second in, out, answered and acknowledged")
    print(f"of which the server took {server_ms:.2f} ms of processor time for each: {second * sleep:.0f} boards")
    need = 1000 / sleep
    print(
        f"1,000 boards: {need:.0f} images a second, {need * size / 1e6 * 8:.0f} Mbit/s out of the server,"
        f" {need * server_ms / 1000:.2f} cores of it"
    )


def measured(folder: Path, boards: int, images: int, sleep: float) -> tuple[float, float]:
    """Images a second of a fleet from its first to its last answer, and processor time of the server, ms an image."""
    monitor = free_port()
    with Nats(folder / "nats", f'http: "127.0.0.1:{monitor}"') as server:
        assert server.process is not None
        words = [sys.executable, "-m", "tests.support.fleet_board", "--server", server.address, "--model", str(MODEL)]
        running = [Board(folder, f"b{number}", "--sleep", str(sleep), words=words) for number in range(boards)]
        try:
            for board in running:
                board.until("works with models")
            inbox = pictures(folder / "inbox", images)
            before = sum(psutil.Process(server.process.pid).cpu_times()[:2])
            done = fleet(folder, "submit", inbox, "--server", server.address)
            assert done.returncode == 0, done.stderr
            begin, began_at = _answers(monitor), time.monotonic()
            while (now := _answers(monitor)) < images:
                time.sleep(0.05)
            seconds = time.monotonic() - began_at
            spent = sum(psutil.Process(server.process.pid).cpu_times()[:2]) - before
            return (now - begin) / seconds, 1000 * spent / images
        finally:
            for board in running:
                board.kill()


def _answers(monitor: int) -> int:
    return int(stream_of(monitor, "EDGE_ANSWERS").get("state", {}).get("messages", 0))


async def server_alone(folder: Path, size: int, images: int = 1500) -> tuple[float, float]:
    """Images a second through a server with boards that do nothing, and its processor time, ms an image."""
    with Nats(folder / "nats") as running:
        assert running.process is not None
        process = psutil.Process(running.process.pid)
        async with connected(ServerSettings((running.address,)), "benchmark") as server:
            await protocol.prepare(server, 1_000_000_000, 1)
            await protocol.consumer(server, protocol.ANY)
            began, before = time.monotonic(), sum(process.cpu_times()[:2])
            image = bytes(size)

            async def put(number: int) -> None:
                digest = hashlib.sha256(str(number).encode()).hexdigest()
                job = protocol.Job(protocol.ANY, digest, f"{number}.jpg")
                headers = job.headers | {protocol.MESSAGE_ID: job.key, protocol.EXPECTED: "0"}
                await server.stream.publish(f"edge.work.{job.key}", image, headers=headers)

            async def answer(message: object) -> None:
                key = message.subject.removeprefix("edge.work.")  # type: ignore[attr-defined]
                await protocol.publish_answer(server, key, b"x" * 400)
                await message.ack_sync(timeout=10)  # type: ignore[attr-defined]

            queue = await server.stream.pull_subscribe_bind(protocol.consumer_name(protocol.ANY), protocol.WORK)
            for start in range(0, images, 50):
                await asyncio.gather(*(put(number) for number in range(start, start + 50)))
                left = 50
                while left:
                    messages = await queue.fetch(left, timeout=10)
                    await asyncio.gather(*(answer(message) for message in messages))
                    left -= len(messages)
            seconds = time.monotonic() - began
            return images / seconds, 1000 * (sum(process.cpu_times()[:2]) - before) / images


if __name__ == "__main__":
    main()
