"""Other systems to run in: their files, made once and kept, a copy for each test, other processors emulated.

Kept in $TEST_CACHE or ~/.cache/edge-detect-tests; making one takes minutes, under emulation up to ten.
"""

import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

CACHE = Path(os.environ.get("TEST_CACHE", Path.home() / ".cache" / "edge-detect-tests"))
EMULATION = CHECKOUT / "tests" / "emulation"
BINFMT = Path("/proc/sys/fs/binfmt_misc")

# Debian's name of an architecture: QEMU's, the machine in an ELF header, and the processor to emulate. The one of a
# Raspberry Pi 4 is emulated several times faster than QEMU's default, which signs every return address.
ARM = {
    "arm64": ("aarch64", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00", {"QEMU_CPU": "cortex-a72"}),
    "armhf": ("arm", b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x02\x00\x28\x00", {}),
}
# Any ABI of any system, and executables as well as shared objects.
MASK = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"

# What pip and TLS go by on this machine, seen inside at the same place.
NETWORK = [Path("/etc/resolv.conf"), Path("/etc/ssl/certs"), Path("/etc/pip.conf"), Path("/root/.config/pip")]
NETWORK_VARIABLES = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy", "HTTP_", "HTTPS_")

PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "pgrep": "procps",
    "mke2fs": "e2fsprogs",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-aarch64-static": "qemu-user-static",
    "qemu-arm-static": "qemu-user-static",
}


@dataclass(frozen=True)
class System:
    """A Debian.

    Attributes:
        name: under which it is kept.
        suite, packages, architecture: by Debian's names; without an architecture it is this machine's.
    """

    name: str
    suite: str
    packages: str
    architecture: str = ""

    def pristine(self) -> Path:
        """Its files as debootstrap leaves them, which nobody may write to; made if they are not there."""
        kept = CACHE / self.name
        if not kept.exists():
            partial = CACHE / f"{self.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            words = ["debootstrap", "--variant=minbase", f"--include={self.packages}"]
            words += [f"--arch={self.architecture}"] if self.architecture else []
            subprocess.run([*words, self.suite, partial], env=os.environ | self.variables, check=True)
            partial.rename(kept)
        return kept

    @property
    def is_emulated(self) -> bool:
        return self.architecture in ARM and platform.machine() != ARM[self.architecture][0]

    @property
    def variables(self) -> Mapping[str, str]:
        return ARM[self.architecture][2] if self.is_emulated else {}


def need(*programs: str) -> None:
    """Skip, and say what to install, unless these programs are there and we are the super-user."""
    missing = {PACKAGES.get(name, name) for name in programs if not shutil.which(name)}
    if os.geteuid() or missing:
        pytest.skip(f"needs the super-user and {'apt install ' * bool(missing)}{' '.join(missing) or 'nothing else'}")


def emulate(architecture: str) -> None:
    """Let this kernel start ARM programs, in every root; it goes on doing so until it is booted again."""
    emulator, magic, _ = ARM[architecture]
    if not (BINFMT / "register").exists():
        mounted = subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"this kernel starts no foreign programs: {mounted.stderr.strip()}")
    if (BINFMT / f"qemu-{emulator}").exists():
        return
    need(f"qemu-{emulator}-static")
    # F: the emulator is opened now, so it need not be inside of the root.
    escaped = ("".join(f"\\x{byte:02x}" for byte in half) for half in (magic, MASK))
    rule = [f":qemu-{emulator}:M:", *escaped, f"{shutil.which(f'qemu-{emulator}-static')}:F"]
    (BINFMT / "register").write_text(":".join(rule))


@contextmanager
def copy(system: System, folder: Path) -> Iterator[Path]:
    """The files of a system, to do with as one likes; removed at the end."""
    root = folder / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", system.pristine(), root], check=True)
    try:
        yield root
    finally:
        shutil.rmtree(root)


def check_out(folder: Path) -> None:
    """A copy of this checkout: what git has of it, or would have."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, folder / name)


@dataclass(frozen=True)
class Root:
    """A copy of a system to run commands in, with this machine's way to the network.

    Attributes:
        folder: where its files are.
        system: what it is a copy of.
        mounts: what of this machine is seen inside, and where.
    """

    folder: Path
    system: System
    mounts: Mapping[Path, str] = field(default_factory=dict)

    def run(
        self, *words: str, cwd: str = "/", seconds: float = 900, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """A command, and whatever it has started, to its end; its mounts are its own and go with it."""
        return subprocess.run(
            self._words(words, cwd, variables),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def start(self, *words: str, cwd: str = "/", **variables: str) -> subprocess.Popen[str]:
        """A command whose standard output and errors can be read; killed, all that it has started ends as well."""
        return subprocess.Popen(
            self._words(words, cwd, variables),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _words(self, words: tuple[str, ...], cwd: str, variables: Mapping[str, str]) -> list[str]:
        passed = {name: value for name, value in os.environ.items() if name.startswith(NETWORK_VARIABLES)}
        passed |= {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        passed |= {**self.system.variables, **variables}
        apart = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
        script = self._mounted() + ' && chroot . /usr/bin/env -i "$@"; exit $?'
        given = ["-C", cwd, *(f"{name}={value}" for name, value in passed.items()), *words]
        return [*apart, "sh", "-c", script, "sh", *given]

    def _mounted(self) -> str:
        """A line for the shell, which is in the folder, that mounts all that is to be seen inside."""
        seen = {path: str(path) for path in NETWORK if path.exists()} | dict(self.mounts)
        for outside, inside in seen.items():
            _make(self.folder / inside.lstrip("/"), like=outside)
        if self.system.is_emulated:
            # Programs look for the processor's abilities there, and would find those of this machine.
            seen[EMULATION / "cpuinfo"] = "/proc/cpuinfo"
        lines = ["mount -t proc proc proc", "mount --rbind /sys sys", "mount --rbind /dev dev"]
        lines += [shlex.join(["mount", "--bind", str(outside), f".{inside}"]) for outside, inside in seen.items()]
        return " && ".join(lines)

    def succeed(self, *words: str, **options: str) -> str:
        """Output of a command that must not fail."""
        done = self.run(*words, **options)
        assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout


def _make(place: Path, like: Path) -> None:
    """Create a mount point."""
    if like.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    elif not place.exists() or place.is_symlink():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.touch()
