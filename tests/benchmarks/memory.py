"""What memory a watcher and a camera take, and whether it stays so: python -m tests.benchmarks.memory FOLDER

The watcher works through all of FOLDER, the camera looks at a network stream of
640 x 480 pixels for a while. Of the process itself all that is resident counts;
of it and its decode processes together, memory that they share counts once
(proportional set size, proc(5)).
"""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psutil

from tests.conftest import command, environment
from tests.support.network_camera import network_camera
from tests.support.videos import jpeg

MB = 1_000_000
SHARES = 10


@contextmanager
def started(home: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(*arguments),
        cwd=home,
        env=environment(HOME=str(home)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def resident(process: subprocess.Popen[str]) -> tuple[float, float]:
    """MB of the process, and of it with all that it has started."""
    own = psutil.Process(process.pid)
    together = 0
    for one in [own, *own.children(recursive=True)]:
        try:
            together += one.memory_full_info().pss
        except psutil.Error:
            continue  # it has just ended
    return own.memory_info().rss / MB, together / MB


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--camera-seconds", default=60.0, show_default=True)
def main(folder: Path, camera_seconds: float) -> None:
    """Print it at ten moments each."""
    count = sum(1 for path in folder.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory() as home:
        click.echo(f"watch --once, {count} files\n{'answered':>12}{'MB itself':>12}{'MB together':>12}")
        with started(Path(home), "watch", folder.absolute(), "--recursive", "--once", "--json") as watcher:
            assert watcher.stdout is not None
            for number, _ in enumerate(watcher.stdout, 1):
                if number % max(1, count // SHARES) == 0 and number < count - 100:
                    own, together = resident(watcher)
                    click.echo(f"{number:12}{own:12.1f}{together:12.1f}")
        click.echo(f"\ncamera, 640 x 480\n{'seconds':>12}{'MB itself':>12}")
        options = ("--event", "REAL", "--cool-down", "0", "--snapshots", Path(home) / "seen")
        with (
            network_camera(jpeg(640, 480)) as server,
            started(Path(home), "camera", "--source", server.address("/video"), *options) as camera,
        ):
            for moment in range(1, SHARES + 1):
                time.sleep(camera_seconds / SHARES)
                click.echo(f"{moment * camera_seconds / SHARES:12.0f}{resident(camera)[0]:12.1f}")


if __name__ == "__main__":
    main()
