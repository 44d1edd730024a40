"""A running watcher, for tests to look at."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import command, environment

PATIENCE = 30.0


class Watching:
    """A running `edge-detect watch --json`, and the lines it has printed."""

    def __init__(self, folder: Path, model: Path, *options: str) -> None:
        arguments = command("watch", folder, "--json", "--model", model, *options)
        self.process = subprocess.Popen(
            arguments,
            cwd=folder.parent,
            env=environment(HOME=str(folder.parent)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.answers: list[dict[str, object]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.append(json.loads(line))

    @property
    def names(self) -> list[str]:
        return [Path(str(answer["path"])).name for answer in self.answers]

    def until(self, condition: Callable[["Watching"], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition(self):
            assert time.monotonic() < deadline, f"waited in vain; so far {self.names}"
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Send a signal, and return what was said on stderr."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE) if self._finished() else ("", "")
        return said

    def _finished(self) -> bool:
        self._reader.join(PATIENCE)
        return not self._reader.is_alive()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
