"""Counts the instructions of programs for ARM, under QEMU's user emulation with a plugin of our own.

Everything happens in a user namespace, in which QEMU with the plugin starts the programs of the root: other emulated
programs of this machine are not affected.
"""

import os
import platform
import re
import shlex
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.roots import ARM, BINFMT, EMULATION, MASK

EMULATOR = "qemu-aarch64"  # not the static one, which cannot load a plugin
PLUGIN = EMULATION / "instructions.c"
LEAST_KERNEL = (6, 7)  # since then each user namespace has its own table of foreign programs
HERE = "/counting"  # where `Counter.folder` is seen inside
# What the emulator needs of this machine; the places are empty in a root for ARM.
LIBRARIES = ("/lib/x86_64-linux-gnu", "/lib64")
SUCCESS = (0, 1)  # of `edge-detect`: 1 after images that were not classified


def missing() -> str:
    """What this machine lacks for counting, in one line; empty if nothing."""
    kernel = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
    if platform.machine() != "x86_64" or os.geteuid():
        return "counting needs x86-64 and the super-user"
    if kernel < LEAST_KERNEL:
        return f"counting needs Linux {'.'.join(map(str, LEAST_KERNEL))} or later"
    needed = {EMULATOR: "qemu-user", "gcc": "gcc", "unshare": "util-linux", "debootstrap": "debootstrap"}
    if packages := [package for program, package in needed.items() if not shutil.which(program)]:
        return f"counting needs: apt install --no-install-recommends {' '.join(packages)}"
    if "-plugin" not in subprocess.run([EMULATOR, "-help"], capture_output=True, text=True).stdout:
        return f"this {EMULATOR} was built without plugins"
    return ""


@dataclass(frozen=True)
class Counter:
    """Runs commands in the root of an emulated system, and counts their instructions.

    Attributes:
        root: files of a Debian for arm64.
        folder: of this machine, seen as HERE inside; holds the plugin, the counts and what the caller puts there.
    """

    root: Path
    folder: Path

    def prepare(self) -> None:
        """Compile the plugin, and make the mount points."""
        version = subprocess.run([EMULATOR, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"version (\d+)", version)
        assert found, version
        api = 1 if int(found[1]) < 9 else 2
        library = self.folder / "instructions.so"
        subprocess.run(["gcc", f"-DAPI={api}", "-O2", "-shared", "-fPIC", "-o", library, PLUGIN], check=True)
        (self.folder / "counts").mkdir(exist_ok=True)
        for place in (HERE, *LIBRARIES):
            (self.root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def run(self, words: Sequence[str], **variables: str) -> tuple[int, str]:
        """Run a command with all processes that it starts, to its end.

        Returns:
            The number of instructions of all processes, and the command's output.
        """
        counts = self.folder / "counts"
        for path in counts.iterdir():
            path.unlink()
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": f"{HERE}/home",
            "PYTHONHASHSEED": "0",  # the order of sets and the collisions of tables are the same in each run
            "QEMU_PLUGIN": f"{HERE}/instructions.so,folder={HERE}/counts",
            **ARM["arm64"][2],
            **variables,
        }
        apart = ["unshare", "--user", "--map-root-user", "--mount", "--propagation=private", "--pid", "--fork"]
        script = f'{self._mounted()} && exec chroot . "$@"'
        done = subprocess.run(
            [*apart, "--kill-child", "sh", "-ec", script, "sh", *words],
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode not in SUCCESS:
            raise RuntimeError(f"{shlex.join(words)}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
        return sum(struct.unpack("=Q", path.read_bytes())[0] for path in counts.iterdir()), done.stdout

    def _mounted(self) -> str:
        """A line for the shell, in the root, that mounts what is needed and registers the emulator."""
        name, magic, _ = ARM["arm64"]
        escaped = ("".join(f"\\x{byte:02x}" for byte in half) for half in (magic, MASK))
        rule = ":".join([":counted-" + name, "M:", *escaped, f"{shutil.which(EMULATOR)}", "F"])
        bound = {str(self.folder): HERE, str(EMULATION / "cpuinfo"): "/proc/cpuinfo"} | {one: one for one in LIBRARIES}
        lines = [f"mount -t binfmt_misc none {BINFMT}", f"printf %s {shlex.quote(rule)} > {BINFMT}/register"]
        lines += ["mount -t proc proc proc", "mount --rbind /sys sys", "mount --rbind /dev dev"]
        lines += [shlex.join(["mount", "--bind", outside, f".{inside}"]) for outside, inside in bound.items()]
        return " && ".join(lines)
