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
    """A running `edge-detect ... --json`, the answers it has printed, and its lines on standard error."""

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
        self.errors: list[str] = []
        self._readers = [threading.Thread(target=read) for read in (self._read_answers, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read_answers(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.append(json.loads(line))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)

    @property
    def names(self) -> list[str]:
        return [Path(str(answer["path"])).name for answer in self.answers]

    def until(self, condition: Callable[["Running"], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition(self):
            assert time.monotonic() < deadline, f"waited in vain; so far {self.names}"
            assert self.process.poll() is None, "".join(self.errors)
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Send a signal, and return what the process wrote to stderr."""
        self.process.send_signal(number)
        for reader in self._readers:
            reader.join(PATIENCE)
        if not any(reader.is_alive() for reader in self._readers):
            self.process.wait(PATIENCE)
            self._close()
        return "".join(self.errors)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        self._close()

    def _close(self) -> None:
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


class Watching(Running):
    """`edge-detect watch` on a folder."""

    def __init__(self, folder: Path, model: Path, *options: str) -> None:
        super().__init__(folder.parent, "watch", folder, "--model", model, *options)
