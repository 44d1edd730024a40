"""A running watcher or camera, for tests to look at."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import command, environment

PATIENCE = 30.0


class Running:
    """A running `edge-detect ... --json`, and the lines it has printed."""

    def __init__(self, home: Path, *arguments: str | Path, **variables: str) -> None:
        self._start(home, command(*arguments, "--json"), **variables)

    def _start(self, home: Path, words: list[str], **variables: str) -> None:
        self.process = subprocess.Popen(
            words,
            cwd=home,
            env=environment(HOME=str(home), **variables),
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

    def until(self, condition: Callable[["Running"], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition(self):
            assert time.monotonic() < deadline, f"waited in vain; so far {self.names}"
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Send a signal, and return what the process wrote to stderr."""
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


class Watching(Running):
    """`edge-detect watch` on a folder."""

    def __init__(self, folder: Path, model: Path, *options: str) -> None:
        super().__init__(folder.parent, "watch", folder, "--model", model, *options)
