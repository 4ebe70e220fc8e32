"""Where a request comes from: hosts, origins, proxies. A page elsewhere must not drive a service of this machine.

A browser reaches loopback, and lets any page post there. It names the page (`Origin`, `Sec-Fetch-Site`); and a page
whose own name was made to resolve to 127.0.0.1 (DNS rebinding) shows in `Host`.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

Headers = Mapping[bytes, bytes]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SAFE = frozenset({"GET", "HEAD"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to what listens on a host, a name or an address."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(header: str) -> str | None:
    """The name in a Host header, in lower case, without port and brackets; None where there is none."""
    try:
        return urlsplit(f"//{header.strip()}").hostname if header.strip() else None
    except ValueError:
        return None


def is_expected_host(header: str, allowed: frozenset[str], *, loopback: bool) -> bool:
    """Whether a Host header names us: one of the allowed names, or where `loopback`, this machine itself."""
    name = host_name(header)
    if name is None:
        return False
    return name in allowed or (loopback and is_loopback(name))


def comes_from_elsewhere(method: str, headers: Headers) -> bool:
    """Whether a browser sent this for a page of another origin."""
    site = headers.get(b"sec-fetch-site")
    if method in SAFE:
        # A link that somebody followed is no page that asks in secret.
        return site == b"cross-site" and headers.get(b"sec-fetch-mode") != b"navigate"
    if site is not None:
        # No script can set it, and it is right where a gateway has changed the Host.
        return site not in (b"none", b"same-origin")
    origin = headers.get(b"origin")
    if origin is None:
        return False
    _, _, named = origin.lower().partition(b"://")
    return not named or named != headers.get(b"host", b"").lower()


def came_through_proxy(headers: Headers) -> bool:
    """Whether a proxy says that it passed the request on, so that the connection proves nothing."""
    return b"x-forwarded-for" in headers or b"forwarded" in headers


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks such as 10.0.0.0/8. Raises `ValueError`."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """Whose request it is: the last address of X-Forwarded-For that no trusted proxy has, or the peer's.

    An IPv6 network of 64 bits counts as one client: whoever has one address of it has them all.
    """
    address = peer
    if trusted:
        for hop in (peer, *(part.strip() for part in reversed(forwarded_for.split(",")))):
            try:
                parsed = ipaddress.ip_address(hop)
            except ValueError:
                break
            address = hop
            if not any(parsed in network for network in trusted if network.version == parsed.version):
                break
    if ":" not in address:
        return address
    try:
        six = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(six.ipv4_mapped or ipaddress.IPv6Network((int(six) >> 64 << 64, 64)))
