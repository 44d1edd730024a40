"""The HTTP proxy that the environment names for an address: http_proxy, https_proxy, no_proxy, as for curl."""

import base64
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from edge.errors import printable

DEFAULT_PORT = 1080  # as for curl


@dataclass(frozen=True)
class Proxy:
    """A proxy.

    Attributes:
        url: its address, with user and password if it needs them.
        variable: the environment variable that names it.
    """

    url: str
    variable: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or DEFAULT_PORT

    @property
    def headers(self) -> dict[str, str]:
        """Of a request to it: its user and password (RFC 9110, section 11.7.2)."""
        login, at, _ = urlsplit(self.url).netloc.rpartition("@")
        if not at:
            return {}
        user, _, password = login.partition(":")
        return {
            "Proxy-Authorization": f"Basic {base64.b64encode(f'{unquote(user)}:{unquote(password)}'.encode()).decode()}"
        }

    def __str__(self) -> str:
        return printable(f"the proxy {self.host}:{self.port} of {self.variable}")


def proxy_for(address: str) -> Proxy | None:
    """The proxy for an address; None if it is reached directly, or the proxy is not one of HTTP.

    Args:
        address: http:// or https://; no other one has a proxy.
    """
    try:
        parts = urlsplit(address)
        url = getproxies().get(parts.scheme, "") if parts.scheme in ("http", "https") else ""
        url = url if "://" in url or not url else f"http://{url}"
        found = Proxy(url, f"{parts.scheme}_proxy")
        if not url.lower().startswith("http://") or not found.host or found.port < 0 or not parts.hostname:
            return None
        port = f":{parts.port}" if parts.port else ""
        return None if proxy_bypass(parts.hostname + port) or proxy_bypass(parts.hostname) else found
    except ValueError:  # one of the addresses is invalid
        return None
