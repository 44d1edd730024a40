"""The token: generated, stored as a digest, checked; and the cookie of those who signed in with it.

A token has 192 random bits, so a plain digest of it is safe, and nobody finds it by trying. The limit of attempts
keeps those who try from costing time. A session of a browser is a signed date: the key lives in this process alone, so
that no file holds what could sign in; after a restart browsers sign in again.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import secrets
import stat
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from edge.errors import ServerError, printable, reason_of
from edge.files import whole_file

TOKEN_BYTES = 24
LEAST_CHARACTERS = 16  # of a token that a user has chosen
MOST_CHARACTERS = 512  # of what is compared with it
PREFIX = "sha256$"  # of a stored digest: sha256$SALT$DIGEST
SESSION_SECONDS = 30 * 86_400
FREE_FAILURES = 10  # wrong tokens of one address before it has to wait
FAILURE_SECONDS = 6.0  # after which one of them is forgotten
MOST_ADDRESSES = 1024  # whose failures are counted; beyond that those that failed longest ago are forgotten


@dataclass(frozen=True)
class Digest:
    """What is stored of a token."""

    salt: bytes
    sha256: bytes

    @classmethod
    def of(cls, token: str) -> "Digest":
        salt = secrets.token_bytes(16)
        return cls(salt, cls._hashed(salt, token))

    @staticmethod
    def _hashed(salt: bytes, token: str) -> bytes:
        return hashlib.sha256(salt + token.encode("utf-8", "surrogatepass")).digest()

    def fits(self, token: str) -> bool:
        """Whether this is the token; takes the same time for every wrong one."""
        return hmac.compare_digest(self.sha256, self._hashed(self.salt, token[:MOST_CHARACTERS]))

    def __str__(self) -> str:
        return f"{PREFIX}{self.salt.hex()}${self.sha256.hex()}"


def new_token() -> str:
    """A token of letters, digits, - and _."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def read(path: Path) -> Digest | None:
    """The digest in a token file, or that of the token in it; None if there is no such file.

    Raises:
        ServerError: it cannot be read, others may read it, or it holds neither.
    """
    try:
        with open(path, encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(2 * MOST_CHARACTERS).strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        text, mode = "", 0
    except OSError as error:
        raise ServerError(f"{printable(path)}: {reason_of(error)}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ServerError(f"{printable(path)}: other accounts may read it: chmod 600 {printable(path)}")
    if text.startswith(PREFIX):
        try:
            salt, digest = map(bytes.fromhex, text.removeprefix(PREFIX).split("$"))
        except ValueError:
            salt = digest = b""
        if len(digest) == hashlib.sha256().digest_size:
            return Digest(salt, digest)
    elif LEAST_CHARACTERS <= len(text) <= MOST_CHARACTERS and text.isprintable() and " " not in text:
        return Digest.of(text)
    raise ServerError(
        f"{printable(path)}: holds no token; remove the file, and a new token is generated at the next start"
    )


def write(path: Path, digest: Digest) -> None:
    """Store a digest in a file that this account alone may read.

    Raises:
        ServerError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with whole_file(path, mode=0o600) as file:
            file.write(f"{digest}\n".encode("ascii"))
    except OSError as error:
        raise ServerError(f"{printable(path)}: cannot store the token: {reason_of(error)}") from error


class Failures:
    """Counts wrong tokens of each address, so that whoever tries has to wait."""

    def __init__(self) -> None:
        self._debts: OrderedDict[str, tuple[float, float]] = OrderedDict()  # (failures, when), oldest first

    def seconds_left(self, address: str) -> float:
        """How long the address has to wait before the next attempt is looked at; 0 for not at all."""
        excess = self._now(address) - FREE_FAILURES + 1
        return excess * FAILURE_SECONDS if excess > 0 else 0.0

    def add(self, address: str) -> None:
        failures = self._now(address) + 1
        self._debts[address] = failures, time.monotonic()
        self._debts.move_to_end(address)
        while len(self._debts) > MOST_ADDRESSES:
            self._debts.popitem(last=False)

    def _now(self, address: str) -> float:
        failures, when = self._debts.get(address, (0.0, 0.0))
        return max(0.0, failures - (time.monotonic() - when) / FAILURE_SECONDS)


class Auth:
    """Decides who may ask.

    Attributes:
        is_required: whether a token is needed at all.
        cookie: name of the session's cookie.
        session_seconds: how long a session lasts.
    """

    def __init__(self, digest: Digest | None, port: int) -> None:
        """
        Args:
            digest: of the token; None: everybody may ask.
            port: browsers send cookies to every port of a host; so each server has a cookie of its own.
        """
        self._digest, self._key, self._failures = digest, secrets.token_bytes(32), Failures()
        self.is_required = digest is not None
        self.cookie, self.session_seconds = f"edge_detect_{port}", SESSION_SECONDS

    def seconds_left(self, address: str) -> float:
        """See `Failures.seconds_left`."""
        return self._failures.seconds_left(_network(address))

    def accepts(self, token: str, address: str) -> bool:
        """Whether this is the token; a wrong one counts as a failure of the address."""
        if self._digest is None or self._digest.fits(token):
            return True
        self._failures.add(_network(address))
        return False

    def session(self) -> str:
        """The value of a cookie for one who has signed in."""
        until = f"{int(time.time()) + SESSION_SECONDS:x}"
        return f"{until}.{self._signature(until)}"

    def is_session(self, cookie: str) -> bool:
        """Whether a cookie is of a session that has not ended."""
        until, _, signature = cookie[:MOST_CHARACTERS].partition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._signature(until).encode("ascii")):
            return False
        return int(until, 16) > time.time()

    def _signature(self, until: str) -> str:
        return hmac.new(self._key, until.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def tokens(authorization: str, hub_authorization: str) -> list[str]:
    """What a request offers as tokens.

    Args:
        authorization: the header: `Bearer TOKEN`, or `Basic` with the token as password.
        hub_authorization: the header x-hf-authorization of Gradio's clients; `Bearer TOKEN`.
    """
    found = []
    for value in (authorization, hub_authorization):
        scheme, _, rest = value.strip().partition(" ")
        if scheme.lower() == "bearer" and rest.strip():
            found.append(rest.strip())
        elif scheme.lower() == "basic":
            try:
                pair = base64.b64decode(rest.strip(), validate=True).decode("utf-8")
            except (binascii.Error, ValueError):
                pair = ":"
            found.append(pair.partition(":")[2])
        elif value:
            found.append("")  # counts as a wrong token
    return found


def _network(address: str) -> str:
    """What failures are counted of: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False).network_address
    return str(found)
