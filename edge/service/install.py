"""Installation of a service: account, unit, settings, folders. Only what is missing is made, and all of it or nothing.

A manifest lists what is made, each entry before the thing itself. `uninstall`
removes what the manifest lists and nothing else. A failed installation is
undone by the same list; so can be one that a power cut interrupted.
"""

import grp
import json
import os
import pwd
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import ServiceError, printable, reason_of
from edge.files import mode_permits, whole_file
from edge.process.command import run
from edge.serve import auth
from edge.service.units import SETTINGS_SUFFIX, Service, drop_in_text, settings_text, unit_text

ACCOUNT = "edge-detect"
DROP_IN = "installed.conf"

Print = Callable[[str], None]


@dataclass(frozen=True)
class Places:
    """Where files are installed; tests use another `root`."""

    root: Path = Path("/")

    @property
    def units(self) -> Path:
        return self.root / "etc/systemd/system"

    @property
    def settings(self) -> Path:
        return self.root / "etc/edge-detect"

    @property
    def manifest(self) -> Path:
        return self.settings / "installed.json"


class Installer:
    """Installs and uninstalls services by a manifest of what it made."""

    def __init__(self, places: Places, print_line: Print, *, dry_run: bool = False) -> None:
        """
        Args:
            print_line: reports each step, and problems.
            dry_run: report the steps without doing them.

        Raises:
            ServiceError: the manifest cannot be read.
        """
        self._places, self._print, self._dry_run = places, print_line, dry_run
        self._made: list[dict[str, str]] = self._manifest()
        self._new: list[dict[str, str]] = []
        self._former: dict[Path, bytes] = {}  # previous content of changed files
        self._has_changed = False

    def install(self, service: Service) -> None:
        """Install and start a service, or apply its changed options.

        Raises:
            ServiceError: a step failed; the earlier ones are undone.
        """
        self._require_root()
        unit, settings = service.unit, self._places.settings / service.settings_name
        drop_in = self._places.units / f"{unit}.d" / DROP_IN
        try:
            self._account()
            for path in service.folders:
                self._folder(path)
            self._file(self._places.units / service.unit_file, unit_text(service.unit_file), "shared")
            self._file(settings, settings_text(service), unit, shown=settings_text(service, is_shown=True))
            self._file(drop_in, drop_in_text(service, Path("/") / settings.relative_to(self._places.root)), unit)
            if service.token_file:
                self._token(self._places.root / service.token_file.lstrip("/"), unit)
            self._run("systemctl", "daemon-reload")
            self._note("enabled", unit, unit)
            self._run("systemctl", "enable", unit)
            self._run("systemctl", "restart" if self._has_changed else "start", unit)
        except BaseException as error:  # also Ctrl-C: never half an installation
            self._print(f"undoing the installation: {error or 'interrupted'}")
            self._remove_all(self._new)
            self._restore(unit)
            if isinstance(error, OSError):
                raise ServiceError(str(error)) from error
            raise
        if not self._dry_run:
            self._warn_of_permissions(service)

    def uninstall(self, unit: str | None) -> None:
        """Remove one unit and what was made only for it; None: everything.

        Raises:
            ServiceError: nothing of that name was installed by us.
        """
        self._require_root()
        units = {one["for"] for one in self._made} - {"shared"}
        if unit is not None and unit not in units:
            raise ServiceError(f"{printable(unit)}: not installed by `edge-detect service install`")
        left = units - {unit} if unit is not None else set()
        self._remove_all([one for one in self._made if one["for"] == unit or not left])

    def _manifest(self) -> list[dict[str, str]]:
        try:
            made: list[dict[str, str]] = json.loads(self._places.manifest.read_text("utf-8"))
            return made
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise ServiceError(f"{self._places.manifest}: {error}") from error

    def _require_root(self) -> None:
        if os.geteuid() and not self._dry_run and self._places.root == Path("/"):
            raise ServiceError("root privileges are needed: sudo edge-detect service ...")

    def _account(self) -> None:
        try:
            pwd.getpwnam(ACCOUNT)
        except KeyError:
            self._note("account", ACCOUNT, "shared")
            self._run(
                "useradd", "--system", "--user-group", "--home-dir", "/nonexistent", "--no-create-home",
                "--shell", "/usr/sbin/nologin", ACCOUNT,
            )  # fmt: skip

    def _folder(self, path: str) -> None:
        """Make a folder that the account can write to, and the missing folders above it."""
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            self._folder(parent)
        self._note("folder", path, "shared")
        self._print(f"make the folder {printable(path)}")
        if not self._dry_run:
            os.mkdir(path)
            os.chmod(path, 0o2775)
            shutil.chown(path, ACCOUNT, ACCOUNT)

    def _token(self, path: Path, for_unit: str) -> None:
        """Make the token of a server, and print it, unless there is one already."""
        if path.exists():
            self._print(f"the token stays as it is; to get another, remove {path} and install again")
            return
        self._print(f"make a token, and write its digest to {path}")
        if self._dry_run:
            return
        for folder in reversed(path.parents):
            if not folder.exists():
                self._note("folder", str(folder), for_unit)
                folder.mkdir(mode=0o755)
        shutil.chown(path.parent, ACCOUNT, ACCOUNT)
        path.parent.chmod(0o750)
        self._note("file", str(path), for_unit)
        token = auth.new_token()
        auth.write(path, auth.Digest.of(token))
        shutil.chown(path, ACCOUNT, ACCOUNT)
        self._print(f"\nThe token of the server, shown only now:\n\n    {token}\n")

    def _file(self, path: Path, text: str, for_unit: str, shown: str | None = None) -> None:
        """Write a file if its content is new.

        Args:
            for_unit: the unit that needs it, or "shared".
            shown: the text without passwords, for a dry run; None: `text`.

        Raises:
            ServiceError: a file of the user's has that name.
        """
        content = os.fsencode(text)
        if path.exists() and path.read_bytes() == content:
            return
        if path.exists() and not any(one["path"] == str(path) for one in self._made):
            raise ServiceError(f"{path}: exists, and was not installed by edge-detect; move it away first")
        self._print(f"write {path}")
        if self._dry_run:
            self._print("".join(f"    {line}\n" for line in (shown or text).splitlines()).rstrip("\n"))
            return
        for parent in reversed(path.parents):
            if not parent.exists():
                self._note("folder", str(parent), "shared")
                parent.mkdir()
        self._note("file", str(path), for_unit)
        self._has_changed = True
        if path.exists():
            self._former[path] = path.read_bytes()
        _replace(path, content)

    def _note(self, kind: str, path: str, for_unit: str) -> None:
        """Add to the manifest what is about to be made."""
        one = {"kind": kind, "path": path, "for": for_unit}
        if self._dry_run or one in self._made:
            return
        self._made.append(one)
        self._new.append(one)
        self._write_manifest()

    def _write_manifest(self) -> None:
        self._places.manifest.parent.mkdir(parents=True, exist_ok=True)
        _replace(self._places.manifest, (json.dumps(self._made, indent=1) + "\n").encode("ascii"))

    def _remove_all(self, made: Sequence[dict[str, str]]) -> None:
        """Remove what was made, last first; folders only if they are empty.

        What cannot be removed stays in the manifest, for another attempt.
        """
        for one in list(reversed(made)):
            is_gone = self._remove(one["kind"], one["path"])
            if is_gone and not self._dry_run:
                self._made.remove(one)
                self._write_manifest()
        if not self._dry_run and not self._made:
            self._places.manifest.unlink(missing_ok=True)
            _remove_if_empty(self._places.settings)
        self._run("systemctl", "daemon-reload", may_fail=True)

    def _restore(self, unit: str) -> None:
        """Write the previous content of changed files back, and restart the service with it."""
        for path, content in self._former.items():
            self._print(f"restore {path}")
            _replace(path, content)
        if self._former:
            self._run("systemctl", "daemon-reload", may_fail=True)
            self._run("systemctl", "restart", unit, may_fail=True)

    def _remove(self, kind: str, path: str) -> bool:
        """Remove one thing; returns False if that failed and is to be tried again."""
        if kind == "enabled":
            return self._run("systemctl", "disable", "--now", path, may_fail=True)
        if kind == "account":
            return self._run("userdel", path, may_fail=True)
        if kind == "folder":
            self._print(f"remove the folder {printable(path)}, if it is empty")
            if not self._dry_run:
                _remove_if_empty(Path(path))
            return True
        self._print(f"remove {path}")
        if self._dry_run:
            return True
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            self._print(f"  {error}")
            return False
        if os.path.basename(path) == DROP_IN:
            _remove_if_empty(Path(path).parent)
        return True

    def _run(self, *words: str, may_fail: bool = False) -> bool:
        """Run a command; returns whether it succeeded.

        Raises:
            ServiceError: it failed, and `may_fail` is not set.
        """
        self._print(shlex.join(words))
        if self._dry_run:
            return True
        try:
            done = run(words)
        except OSError as error:
            reason = f"{words[0]}: {reason_of(error)}"
        else:
            if not done.status:
                return True
            reason = f"{shlex.join(words)}: {done.last_line or f'exit status {done.status}'}"
        if not may_fail:
            raise ServiceError(reason)
        self._print(f"  {reason}")
        return False

    def _warn_of_permissions(self, service: Service) -> None:
        for path in service.folders:
            needs_writing = path in service.writable
            if not _may(path, writing=needs_writing):
                what = "write to" if needs_writing else "read"
                self._print(
                    f"warning: the account {ACCOUNT} cannot {what} {printable(path)}; fix it, for example, by:"
                    f" chgrp {ACCOUNT} {shlex.quote(path)} && chmod g+rwxs {shlex.quote(path)}"
                )


def _may(path: str, *, writing: bool) -> bool:
    """Whether the account may list a folder, and write to it, by its mode; access control lists are not read."""
    try:
        account, status = pwd.getpwnam(ACCOUNT), os.stat(path)
    except (KeyError, OSError):
        return False
    groups = {account.pw_gid, *(group.gr_gid for group in grp.getgrall() if ACCOUNT in group.gr_mem)}
    return mode_permits(status, 7 if writing else 5, account.pw_uid, groups)


def _replace(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    partial = f".{path.name}.part"
    path.with_name(partial).unlink(missing_ok=True)  # of an installation that a power cut ended
    # Settings may hold a camera's password, and only systemd reads them, as root.
    mode = 0o600 if path.suffix == SETTINGS_SUFFIX else 0o644
    with whole_file(path, mode=mode, partial=partial) as file:
        file.write(content)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
