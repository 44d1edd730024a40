"""A whole virtual machine, emulated: its kernel has cameras that come and go, and keeps all of systemd's limits.

It runs Debian 13 on QEMU, ten to twenty times slower than this machine, so its commands are few. What takes minutes to
make is made once and kept, see tests/support/roots.py; the wheel of the checkout is always fresh.
"""

import hashlib
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

from tests.conftest import CHECKOUT
from tests.support.roots import CACHE, System

PACKAGES = (
    "systemd,systemd-sysv,dbus,udev,kmod,python3,python3-venv,ca-certificates,linux-image-amd64,initramfs-tools,zstd,"
    "procps,passwd,v4l-utils"
)
PROGRAM = "/opt/edge-detect/bin/edge-detect"
DISK_SIZE = "4G"
BOOT_SECONDS = 600.0
PATIENCE_SECONDS = 300.0

# Only what the disk needs: what is there by default takes long to be unpacked.
INITRAMFS = {
    "etc/initramfs-tools/conf.d/small": "MODULES=list\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
}
# Runs the scripts of the shared folder whose names come through the port.
AGENT = """\
#!/bin/sh
modprobe 9pnet_virtio
mkdir -p /shared
mount -t 9p -o trans=virtio,version=9p2000.L shared /shared
cp -a /shared/fresh/. /
until [ -e /dev/virtio-ports/test ]; do sleep 0.2; done
exec 3<>/dev/virtio-ports/test
echo ready >&3
while read -r number <&3; do
    sh "/shared/$number.sh" >"/shared/$number.said" 2>&1 </dev/null 3>&-
    echo "$?" >&3
done
"""
UNIT = """\
[Service]
ExecStart=/usr/local/sbin/agent
Environment=HOME=/root LANG=C.UTF-8 SYSTEMD_PAGER=cat
KillMode=process
"""
WAITED_FOR_IN_VAIN = ("serial-getty@ttyS0.service", "getty.target", "apt-daily.timer", "apt-daily-upgrade.timer")


class VirtualMachine:
    """One that has booted.

    Attributes:
        shared: a folder that is /shared inside.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: for what it needs while it runs; its console's output is there.
        """
        kept = _kept()
        self.shared = folder / "shared"
        (self.shared / "fresh").mkdir(parents=True)
        _fresh(kept / "root", self.shared / "fresh", folder)
        self._number = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        port = folder / "port"
        self._process = subprocess.Popen(
            [
                "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048",
                "-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot", "-snapshot",
                "-serial", f"file:{folder / 'console.log'}",
                "-kernel", kept / "vmlinuz", "-initrd", kept / "initrd.img",
                "-append", "console=ttyS0 root=/dev/vda rw panic=-1 quiet",
                "-drive", f"file={kept / 'disk.img'},if=virtio,format=raw",
                "-virtfs", f"local,path={self.shared},mount_tag=shared,security_model=none",
                "-device", "virtio-serial", "-chardev", f"socket,id=port,path={port},server=on,wait=on",
                "-device", "virtserialport,chardev=port,name=test",
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _until(port.exists, 60.0, "QEMU does not start")
            self._socket.connect(str(port))
            assert self._line(BOOT_SECONDS) == "ready", f"no boot; see {folder / 'console.log'}"
        except BaseException:
            self.close()
            raise

    def sh(self, script: str, seconds: float = PATIENCE_SECONDS) -> tuple[int, str]:
        """The exit status of a shell's script, run as the super-user, and what it says on both streams."""
        self._number += 1
        (self.shared / f"{self._number}.sh").write_text(script)
        self._socket.sendall(f"{self._number}\n".encode())
        status = int(self._line(seconds))
        return status, (self.shared / f"{self._number}.said").read_text("utf-8", "replace")

    def run(self, *words: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Output of a command that must not fail."""
        status, said = self.sh(shlex.join(words), seconds)
        assert status == 0, f"{words}: {said}"
        return said

    def until(self, condition: Callable[[], object], otherwise: str, seconds: float = PATIENCE_SECONDS) -> None:
        _until(condition, seconds, otherwise)

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "-P", name, unit).strip()

    def close(self) -> None:
        """Switched off, not shut down: nothing of it is kept."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _line(self, seconds: float) -> str:
        self._socket.settimeout(seconds)
        line = b""
        while not line.endswith(b"\n"):
            more = self._socket.recv(1)
            assert more, "the virtual machine has ended"
            line += more
        return line.decode().strip()


def _until(condition: Callable[[], object], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.5)


def _kept() -> Path:
    """A folder with disk.img, vmlinuz, initrd.img, and root, whose content is the disk's; made if it is not there."""
    setup = ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    needs = setup["options"]["install_requires"] + setup["options.extras_require"]["camera"]
    recipe = hashlib.sha256(repr((PACKAGES, INITRAMFS, AGENT, UNIT, WAITED_FOR_IN_VAIN, needs)).encode()).hexdigest()
    kept = CACHE / "vm"
    if kept.exists() and (kept / "recipe").read_text() == recipe:
        return kept
    partial = CACHE / "vm.partial"
    for former in (kept, partial):
        shutil.rmtree(former, ignore_errors=True)
    partial.mkdir(parents=True)
    root = partial / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", System("trixie-vm", "trixie", PACKAGES).pristine(), root], check=True)
    _prepare(root)
    (partial / "disk.img").touch()
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, partial / "disk.img", DISK_SIZE], check=True)
    shutil.copyfile(next((root / "boot").glob("vmlinuz-*")), partial / "vmlinuz")
    shutil.copyfile(next((root / "boot").glob("initrd.img-*")), partial / "initrd.img")
    (partial / "recipe").write_text(recipe)
    partial.rename(kept)
    return kept


def _prepare(root: Path) -> None:
    """All but the wheel of the checkout."""
    for name, text in INITRAMFS.items():
        (root / name).write_text(text)
    (root / "usr/local/sbin/agent").write_text(AGENT)
    (root / "usr/local/sbin/agent").chmod(0o755)
    units = root / "etc/systemd/system"
    (units / "agent.service").write_text(UNIT)
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    (units / "multi-user.target.wants/agent.service").symlink_to("../agent.service")
    for name in WAITED_FOR_IN_VAIN:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (root / "etc/hostname").write_text("emulated\n")
    chroot = ["chroot", root]
    subprocess.run([*chroot, "update-initramfs", "-u"], check=True)
    subprocess.run([*chroot, "systemd-machine-id-setup"], check=True)
    wheels = root / "wheels"
    wheel = _wheel(wheels)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    needs = ["--python-version", "3.13", "--only-binary=:all:"]
    subprocess.run([*pip, "download", *needs, "-d", wheels, f"{wheel}[camera]"], check=True)
    subprocess.run([*chroot, "python3", "-m", "venv", "/opt/edge-detect"], check=True)
    inside = [*chroot, "/opt/edge-detect/bin/pip", "--quiet"]
    subprocess.run([*inside, "install", "--no-index", "--find-links=/wheels", "edge-detect[camera]"], check=True)
    subprocess.run([*inside, "uninstall", "--yes", "edge-detect"], check=True)
    shutil.rmtree(wheels)


def _fresh(root: Path, into: Path, scratch: Path) -> None:
    """What an installation of this checkout's wheel adds to the disk; made by the machine's own Python, compiled."""
    wheel = _wheel(scratch / "wheel")
    script = (
        'mount --bind "$1" mnt && cd mnt && mkdir fresh && cd .. && mount -t proc proc proc &&'
        " exec chroot . /opt/edge-detect/bin/pip install --quiet --no-deps --no-index --no-warn-script-location"
        ' --root /mnt/fresh "/mnt/$2"'
    )
    subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", wheel.parent, wheel.name], cwd=root, check=True)
    (wheel.parent / "fresh").rename(into.with_name("made"))
    into.rmdir()
    into.with_name("made").rename(into)


def _wheel(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, CHECKOUT], check=True)
    (wheel,) = folder.glob("edge_detect-*.whl")
    return wheel
