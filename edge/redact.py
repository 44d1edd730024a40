"""Addresses of network cameras: which are accepted, and how they are shown without a password."""

import re

from edge.errors import CameraError, printable

# Accepted schemes. FFmpeg has others that read local files or join several addresses.
SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt")
# Protocols that FFmpeg may open for an address: a playlist may name other addresses in the network, but no files.
PROTOCOLS = (*SCHEMES, "rtmpt", "rtmpts", "tls", "httpproxy", "crypto", "srtp")

_HOST = re.compile(r"([^\s:=;]*|\[[0-9A-Fa-f:.%]+\])(:[0-9]*)?")
_AUTHORITY = re.compile(r"[^/?#]*")
_WRITTEN = "in a user or password, # is written %23, ? is %3F, / is %2F, @ is %40 and % is %25"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_address(source: str) -> bool:
    """Whether a source is an address, of any scheme."""
    return _SCHEME.match(source) is not None


def scheme(address: str) -> str:
    """The scheme of an address, in lower case.

    Raises:
        CameraError: the scheme is not one of SCHEMES, or the address has invalid characters, or a part of its password
            stands where a port should.
    """
    found = _SCHEME.match(address)
    if found is None or found[1].lower() not in SCHEMES:
        raise CameraError(
            f"{shown(address)}: not an address of a camera; it must begin with {', '.join(SCHEMES)}, and ://"
        )
    if not address.isprintable() or " " in address or len(address) == found.end():
        raise CameraError(f"{shown(address)}: not an address; it needs a host, and a space is written %20")
    port = _AUTHORITY.match(address, found.end())[0].rpartition(":")[2]  # type: ignore[index]  # it always matches
    if _is_cut(address, found.end()) and not port.isdecimal():
        raise CameraError(f"{shown(address)}: not an address; {_WRITTEN}")
    return found[1].lower()


def hint(address: str) -> str:
    """How to write a password, for an error of an address whose password is probably written wrongly; else empty."""
    found = _SCHEME.match(address)
    if found is None:
        return ""
    login = _AUTHORITY.match(address, found.end())[0].rpartition("@")[0]  # type: ignore[index]
    is_wrong = _is_cut(address, found.end()) or re.search(r"%(?![0-9A-Fa-f]{2})", login)
    return f"; {_WRITTEN}" if is_wrong else ""


def _is_cut(address: str, start: int) -> bool:
    """Whether a # or ? or / cuts an address within what looks like user:password@host.

    Args:
        start: where the scheme ends.
    """
    authority = _AUTHORITY.match(address, start)[0]  # type: ignore[index]
    rest = address[start + len(authority) :]
    return ":" in authority and not authority.startswith("[") and "@" not in authority and "@" in rest


def shown(address: str) -> str:
    """An address, or a mistyped one, without anything that may be a password.

    Only the scheme, the host and a plain path are kept. Everything before the
    last @ is dropped, because a password may hold any character; and everything
    after a ? or #, and a path with a =, because some cameras take the password
    there.
    """
    found = _SCHEME.match(address)
    if found is None:
        mistyped = address if "@" not in address else f"...@{address.rpartition('@')[2]}"
        plain, mark, _ = mistyped.partition("?")
        return printable(plain + ("..." if mark else ""))
    rest = address[found.end() :].rpartition("@")[2]
    plain = re.split(r"[?#\s]", rest, maxsplit=1)[0]
    host, slash, path = plain.partition("/")
    if "=" in path or "%3d" in path.lower():
        path = ""
    if not _HOST.fullmatch(host):
        host = slash = path = ""
    plain = host + slash + path
    return printable(f"{found[1].lower()}://{plain}{'' if plain == rest else '...'}")
