"""Which broker is connected, and under which names everything is published there."""

import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from edge.errors import ServerError, printable, reason_of
from edge.redact import shown

DEFAULT_PREFIX = "edge-detect"
PORTS = {"mqtt": 1883, "mqtts": 8883}
MAX_ADDRESS = 1000  # characters
MAX_PREFIX = 100  # characters
_ADDRESS = re.compile(
    r"(?P<scheme>mqtts?)://(?:(?P<user>[^:@/?#\s]*)(?::(?P<password>[^@/?#\s]*))?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:@/?#\[\]%]+)(?::(?P<port>[0-9]{1,5}))?/?",
    re.ASCII | re.IGNORECASE,
)
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}", re.ASCII)
_HOW = (
    "write mqtt://user:password@host or mqtts://user:password@host:port; in a user or password,"
    " # is written %23, ? is %3F, / is %2F, : is %3A, @ is %40 and % is %25"
)


@dataclass(frozen=True)
class Broker:
    """An MQTT broker and the account that is used there.

    Attributes:
        is_secure: whether the connection is made by TLS.
        user, password: empty for none.
    """

    host: str
    port: int
    is_secure: bool = False
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        """The address without user and password: "mqtts://host:8883"."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.is_secure else 'mqtt'}://{printable(host)}:{self.port}"


@dataclass(frozen=True)
class MqttSettings:
    """
    Attributes:
        prefix: first part of every topic; it may have several levels.
        node: names this board among those at the broker: letters, digits and hyphens.
        ca: file with the certificates (PEM) that a broker's certificate is checked with; None: those of the system.
        url: address of the board's page; None if it can be opened on the board alone.
    """

    broker: Broker
    prefix: str = DEFAULT_PREFIX
    node: str = "board"
    ca: Path | None = None
    url: str | None = None

    def tls(self) -> ssl.SSLContext | None:
        """What checks the broker's certificate and name; None for a connection without TLS.

        Raises:
            ServerError: the file of certificates cannot be used.
        """
        if not self.broker.is_secure:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca)
        except ssl.SSLError as error:
            raise ServerError(f"--mqtt-ca {printable(self.ca or '')}: holds no certificate in PEM format") from error
        except OSError as error:
            raise ServerError(f"--mqtt-ca {printable(self.ca or '')}: {reason_of(error)}") from error


def settings(
    address: str, prefix: str = DEFAULT_PREFIX, node: str | None = None, ca: Path | None = None
) -> MqttSettings:
    """Settings from what a user wrote.

    Args:
        address: such as mqtt://user:password@host; see `broker`.
        prefix: see `MqttSettings`.
        node: see `MqttSettings`; None: made of this board's host name.
        ca: see `MqttSettings`.

    Raises:
        ServerError: one of them is invalid, or the file of certificates cannot be used. The text has no password.
    """
    found = broker(address)
    if not is_topic(prefix):
        raise ServerError(
            f"--mqtt-prefix {printable(prefix[:MAX_PREFIX])}: not the beginning of a topic; use 1 to {MAX_PREFIX}"
            " printable characters without + and #, and no $ or / at the beginning and no / at the end"
        )
    if node is not None and not _NODE.fullmatch(node):
        raise ServerError(f"--mqtt-node {printable(node[:100])}: use 1 to 40 letters, digits and hyphens")
    if ca is not None and not found.is_secure:
        raise ServerError(f"--mqtt-ca {printable(ca)}: {found} is not encrypted; write mqtts:// to use TLS")
    made = MqttSettings(found, prefix, node or default_node(), ca)
    made.tls()
    return made


def of_options(options: Mapping[str, Any]) -> MqttSettings | None:
    """Settings from the values of the options --mqtt, --mqtt-prefix, --mqtt-node and --mqtt-ca; None without a broker.

    Raises:
        ServerError: see `settings`.
    """
    if not options.get("mqtt"):
        return None
    ca = options.get("mqtt_ca")
    prefix = options.get("mqtt_prefix") or DEFAULT_PREFIX
    return settings(options["mqtt"], prefix, options.get("mqtt_node") or None, Path(ca) if ca else None)


def broker(address: str) -> Broker:
    """The broker that an address names: mqtt[s]://[user[:password]@]host[:port].

    Raises:
        ServerError: it is no such address; the text has no password.
    """
    match = _ADDRESS.fullmatch(address) if len(address) <= MAX_ADDRESS else None
    if match is None:
        raise ServerError(f"--mqtt {shown(address[:MAX_ADDRESS])}: not the address of a broker; {_HOW}")
    scheme, host = match["scheme"].lower(), match["host"].strip("[]")
    port = int(match["port"] or PORTS[scheme])
    try:
        user, password = (unquote(match[part] or "", errors="strict") for part in ("user", "password"))
    except UnicodeDecodeError:
        raise ServerError(f"--mqtt {shown(address)}: user or password is not UTF-8; {_HOW}") from None
    if not 0 < port < 65536:
        raise ServerError(f"--mqtt {shown(address)}: invalid port")
    if (password and not user) or "\0" in user:
        raise ServerError(f"--mqtt {shown(address)}: a password needs a user; {_HOW}")
    return Broker(host, port, scheme == "mqtts", user, password)


def is_topic(text: str) -> bool:
    """Whether a text may begin a topic that clients publish to."""
    return (
        0 < len(text) <= MAX_PREFIX
        and text.isprintable()
        and not set("+#") & set(text)
        and not text.startswith(("$", "/"))
        and not text.endswith("/")
    )


def default_node() -> str:
    """The name of this board made of its host name."""
    name = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().partition(".")[0].lower(), flags=re.ASCII).strip("-")
    return name[:40].rstrip("-") or "board"
