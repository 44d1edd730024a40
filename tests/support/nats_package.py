"""Fetch Debian 13's nats-server for the tests on an older Debian: python3 -m tests.support.nats_package

The package is one program without dependencies. It is unpacked into the tests' cache, and nothing is installed. The
mirror is that of this computer's own package sources.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

CACHE = Path.home() / ".cache" / "edge-detect-tests" / "nats"
PROGRAM = CACHE / "usr" / "sbin" / "nats-server"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def fetch() -> None:
    """Unpack the package, unless that was done.

    Raises:
        OSError, subprocess.SubprocessError: a program or the package cannot be had.
    """
    if PROGRAM.exists():
        return
    printed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    )
    mirror = next((line for line in printed.stdout.split() if line.rstrip("/").endswith("/debian")), None)
    if mirror is None:
        raise OSError("this computer has no package sources of Debian")
    with tempfile.TemporaryDirectory(prefix="edge-detect-nats-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt downloads with an account of its own
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} trixie main\n")
        places = {
            "Dir::State::lists": "lists",
            "Dir::Cache": "cache",
            "Dir::State::status": "status",
            "Dir::Etc::sourcelist": "sources.list",
        }
        options = [word for key, part in places.items() for word in ("-o", f"{key}={folder / part}")]
        options += ["-o", "Dir::Etc::sourceparts=-"]
        for verb in (["update"], ["download", "nats-server"]):
            subprocess.run(["apt-get", "-q", *options, *verb], cwd=folder, check=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "-x", str(next(folder.glob("nats-server_*.deb"))), str(CACHE)], check=True)


if __name__ == "__main__":
    try:
        fetch()
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"nats-server: {error}")
