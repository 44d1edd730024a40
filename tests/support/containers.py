"""A Containerfile and a compose.yaml, read and run without a container engine, in a root of tests/support/roots.py."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path
from typing import Any

from tests.conftest import CHECKOUT
from tests.support.roots import Root, System, copy

INSTRUCTIONS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "RUN", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::-([^}]*))?\}|(\w+))")


def substituted(text: str, variables: Mapping[str, str]) -> str:
    """A text with the values of $NAME, ${NAME} and ${NAME:-DEFAULT} in it."""
    return _VARIABLE.sub(lambda found: variables.get(found[1] or found[3]) or found[2] or "", text)


@dataclass(frozen=True)
class Stage:
    """A stage of a Containerfile: its base image, name, and instructions with their text."""

    base: str
    name: str
    steps: list[tuple[str, str]]


@dataclass(frozen=True)
class Recipe:
    """A Containerfile. `arguments` are those before its first stage, with their defaults."""

    arguments: dict[str, str]
    stages: list[Stage]


def read_recipe(path: Path) -> Recipe:
    """A Containerfile's stages; fails at an instruction that this module does not run."""
    plain = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in filter(str.strip, plain.replace("\\\n", "").splitlines()):
        word, _, text = line.strip().partition(" ")
        if word == "FROM":
            base, *rest = text.split()
            stages.append(Stage(base, rest[1] if rest else "", []))
        elif not stages:
            assert word == "ARG", line
            name, _, default = text.partition("=")
            arguments[name] = default
        else:
            assert word in INSTRUCTIONS, line
            stages[-1].steps.append((word, text.strip()))
    return Recipe(arguments, stages)


@dataclass
class Config:
    """What an image's configuration says."""

    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    user: str = ""
    folder: str = "/"
    entry: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    check: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        return self.arguments | self.environment

    def apply(self, word: str, text: str, given: Mapping[str, str]) -> None:
        """An instruction that changes no files."""
        if word == "ARG":
            name, _, default = text.partition("=")
            self.arguments[name] = given.get(name, default)
        elif word == "ENV":
            for pair in shlex.split(substituted(text, self.variables)):
                name, _, value = pair.partition("=")
                self.environment[name] = value
        elif word == "USER":
            self.user = substituted(text, self.variables)
        elif word == "WORKDIR":
            self.folder = text
        elif word == "ENTRYPOINT":
            self.entry = json.loads(text)
        elif word == "CMD":
            self.command = json.loads(text)
        elif word == "VOLUME":
            self.volumes = json.loads(text)
        elif word == "HEALTHCHECK":
            self.check = json.loads(text[text.index("CMD") + 3 :])


def config(stage: Stage, given: Mapping[str, str]) -> Config:
    """The configuration of the image that a stage makes."""
    made = Config()
    for word, text in stage.steps:
        made.apply(word, text, given)
    return made


def context(folder: Path, ignored: str = ".containerignore") -> list[str]:
    """The files that a build may copy: the last pattern that fits a file or one of its folders decides."""
    patterns = []
    for line in (folder / ignored).read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").strip("/")
            # In these patterns * stops at a slash, and ** does not.
            parts = [translate(part)[:-2].replace(".*", "[^/]*") for part in pattern.split("/") if part != "**"]
            prefix = "(?:.*/)?" if pattern.startswith("**/") else ""
            patterns.append((re.compile(prefix + "/".join(parts)), not line.startswith("!")))
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name.startswith((".git/", ".venv/")):
            continue
        names = [name, *(parent.as_posix() for parent in Path(name).parents if parent.name)]
        is_ignored = False
        for pattern, ignores in patterns:
            if any(pattern.fullmatch(one) for one in names):
                is_ignored = ignores
        if not is_ignored:
            found.append(name)
    return found


@dataclass(frozen=True)
class Image:
    """The files and the configuration of a built image."""

    root: Path
    config: Config


def build(system: System, given: Mapping[str, str], scratch: Path, stack: Any) -> Image:
    """The image of the checkout's Containerfile, with a copy of `system` in the place of each base image."""
    recipe = read_recipe(CHECKOUT / "Containerfile")
    files = context(CHECKOUT)
    roots: dict[str, Path] = {}
    for number, stage in enumerate(recipe.stages):
        place = scratch / str(number)
        place.mkdir()
        folder = stack.enter_context(copy(system, place))
        made, root = Config(), Root(folder, system)
        for word, text in stage.steps:
            if word == "RUN":
                done = root.run("/bin/sh", "-c", text, cwd=made.folder, **made.variables)
                assert done.returncode == 0, f"{text}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
            elif word == "COPY":
                _copy(text, folder, roots, files)
            else:
                made.apply(word, text, given)
        roots[stage.name] = folder
    return Image(folder, made)


def _copy(text: str, root: Path, roots: Mapping[str, Path], files: list[str]) -> None:
    *sources, target = text.split()
    place = root / target.lstrip("/")
    if sources[0].startswith("--from="):
        stage, (source,) = sources[0].removeprefix("--from="), sources[1:]
        subprocess.run(["cp", "-a", roots[stage] / source.lstrip("/"), place], check=True)
        return
    for source in sources:
        chosen = [name for name in files if name == source or name.startswith(f"{source}/")]
        assert chosen, f"{source} is not in the context"
        for name in chosen:
            within = Path(name).relative_to(source) if name != source else Path(name)
            (place / within).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, place / within)


class Network:
    """A network of its own, with nothing but the loopback interface."""

    def __init__(self) -> None:
        script = "ip link set lo up && echo up && exec sleep infinity"
        self._holder = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout
        assert self._holder.stdout.readline() == "up\n"
        self.path = f"/proc/{self._holder.pid}/ns/net"

    def words(self, *words: str | Path) -> list[str | Path]:
        """A command that runs in it."""
        return ["nsenter", f"--net={self.path}", *words]

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class Container:
    """A process as first process of namespaces, with the read-only root of an image, as the image's account."""

    def __init__(
        self, image: Image, words: list[str], mounts: Mapping[str, tuple[Path, bool]], network: Network, log: Path
    ) -> None:
        """
        Args:
            words: the command; the image's entry point comes before it.
            mounts: what is seen at each path inside: (the path outside, whether it is read-only).
            log: both streams are appended to it.
        """
        settings = image.config
        binds = [f"--bind{'-ro' * only}={path}:{inside}" for inside, (path, only) in mounts.items()]
        program, *entry = settings.entry
        self._image, self._settings = image, settings
        # Exactly the image's environment: systemd-nspawn adds variables of its own, such as NOTIFY_SOCKET.
        plain = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in settings.environment.items())]
        command = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--read-only", "-D",
            image.root, f"--user={settings.user.partition(':')[0]}", "--no-new-privileges=yes", "--drop-capability=all",
            "--tmpfs=/tmp:mode=1777", f"--network-namespace-path={network.path}", f"--chdir={settings.folder}", *binds,
            "--", *plain, self._found(program), *entry, *words,
        ]  # fmt: skip
        with log.open("a") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    def _found(self, program: str) -> str:
        """The path of a program inside, by the image's PATH."""
        for folder in self._settings.environment["PATH"].split(":"):
            if os.access(self._image.root / folder.lstrip("/") / program, os.X_OK):
                return f"{folder}/{program}"
        raise AssertionError(f"{program} is not in the image")

    def first_process(self, seconds: float = 60.0) -> int:
        """Its process id outside."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = subprocess.run(["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True).stdout
            for pid in found.split():
                # Not systemd-nspawn or env, which become the program.
                with contextlib.suppress(OSError):
                    if Path(os.readlink(f"/proc/{pid}/exe")).name.startswith("python"):
                        return int(pid)
            assert self._process.poll() is None, "it has ended"
            time.sleep(0.1)
        raise AssertionError("it has no first process")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A further command inside, as the image's account: what `exec` and a health check do."""
        user, _, group = self._settings.user.partition(":")
        inside = ["nsenter", "-t", str(self.first_process()), "-a", "--setuid", user, "--setgid", group]
        given = [f"{name}={value}" for name, value in self._settings.environment.items()]
        found = self._found(words[0]) if "/" not in words[0] else words[0]
        return subprocess.run(
            [*inside, "/usr/bin/env", "-i", *given, found, *words[1:]], capture_output=True, text=True, timeout=60
        )

    def send(self, number: int) -> None:
        """Send a signal to its first process."""
        os.kill(self.first_process(), number)

    def wait(self, seconds: float) -> int:
        return self._process.wait(seconds)

    def close(self) -> None:
        if self._process.poll() is not None:
            return
        with contextlib.suppress(AssertionError, OSError, subprocess.TimeoutExpired):
            self.send(signal.SIGKILL)  # with the first process all others of its namespace end
            self._process.wait(10)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
