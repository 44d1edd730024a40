"""What decides how the server works."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.errors import ServerError
from edge.inference.router import Router
from edge.serve.addresses import DEFAULT_HOST, DEFAULT_PORT, is_loopback_address
from edge.serve.mqtt.settings import MqttSettings
from edge.store.state import default_folder

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./~")


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Names and meanings are those of the command's options.

    Attributes:
        router: makes the router.
        allow_host: further host names that requests may be addressed to, such as that of a reverse proxy.
        token_file: where the token's digest is stored, or a token itself; None: in `own_folder`, if one is needed.
        state: the state folder whose ledger is shown; None: all ledgers of this account and of the services.
        mqtt: the broker that answers are published to; None for none.
    """

    router: Callable[[], Router]
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    base_path: str = ""
    allow_host: tuple[str, ...] = ()
    token_file: Path | None = None
    state: Path | None = None
    mqtt: MqttSettings | None = None

    @property
    def needs_token(self) -> bool:
        """Whether others than this machine's accounts may reach the server: at its address, or by a reverse proxy."""
        return not is_loopback_address(self.host) or bool(self.allow_host)

    @property
    def own_folder(self) -> Path:
        """The folder of the server's own files: token, cached thumbnails, counters. It may not exist yet.

        Raises:
            LedgerError: the account has no home.
        """
        if given := os.environ.get("STATE_DIRECTORY"):  # the service has one of its own
            return Path(given)
        return (self.state or default_folder()) / "serve"


def base_path(text: str) -> str:
    """The path below which everything is served, "" or "/a/b", from what a user wrote: "a/b/", "/a/b".

    Raises:
        ServerError: it has characters that would have to be escaped, or an empty or dotted part.
    """
    path = text.strip("/")
    if path and (set(path) - _PLAIN or any(part in ("", ".", "..") for part in path.split("/"))):
        raise ServerError(f"--base-path {text!a}: use letters, digits, and - _ . ~ between slashes")
    return f"/{path}" if path else ""
