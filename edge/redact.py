"""Addresses of network cameras: which we open, and how they are shown without a password."""

import re

from edge.errors import CameraError, printable

# What an address may begin with. Others of FFmpeg's read files of this machine, or put several addresses together.
SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt")
# What may be opened on behalf of an address: a playlist from the network can name other networked addresses, no files.
PROTOCOLS = (*SCHEMES, "rtmpt", "rtmpts", "tls", "httpproxy", "crypto", "srtp")

_HOST = re.compile(r"([^\s:=;]*|\[[0-9A-Fa-f:.%]+\])(:[0-9]*)?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_address(source: str) -> bool:
    """Whether something is an address at all, of any kind."""
    return _SCHEME.match(source) is not None


def scheme(address: str) -> str:
    """What an address begins with, in small letters.

    Raises:
        CameraError: it is none of SCHEMES, or there are characters in it that no address has.
    """
    found = _SCHEME.match(address)
    if found is None or found[1].lower() not in SCHEMES:
        raise CameraError(f"{shown(address)}: not an address of a camera; it begins with {', '.join(SCHEMES)}, and ://")
    if not address.isprintable() or " " in address or len(address) == found.end():
        raise CameraError(f"{shown(address)}: not an address; a space in it is written %20")
    return found[1].lower()


def shown(address: str) -> str:
    """An address, or what may be a mistyped one, with nothing in it that may be a password.

    Only the host and a plain path are left. What stands before the last @ is
    dropped, wherever that is, for people write passwords with any character in
    them; and so is what stands after a ? or #, and a path with a = in it, for
    there are cameras that take the password there.
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
