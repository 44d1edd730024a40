"""Where the server listens."""

import ipaddress

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8642
LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


def is_loopback_address(host: str) -> bool:
    """Whether a host that a server listens at can be reached from this machine alone."""
    if host.lower() in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
