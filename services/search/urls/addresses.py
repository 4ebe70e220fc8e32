"""Which hosts and addresses belong to the open internet, in whatever notation or wrapping they come.

The tables follow IANA's special-purpose registries (RFC 6890 and its successors). IPv6 is judged by what is
allocated, not by what is forbidden, so a range nobody has thought of is refused.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL_IPV4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform address, public by its number alone
        "169.254.0.0/16",  # link-local; the metadata of most clouds at 169.254.169.254
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_ALLOCATED_IPV6 = IPv6Network("2000::/3")
_SPECIAL_IPV6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address is inside
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

_INNER_NAMES = frozenset(
    ("alt", "corp", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost", "onion")
)
"""Last labels that name no host of the open internet (`metadata.google.internal` among them)."""
_INNER_ZONES = ("home.arpa",)
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def reached(address: Address) -> Address:
    """The address that packets to this one end at: a translator (NAT64) hands them to the IPv4 address inside."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet's.

    No private, loopback, link-local, shared, multicast, reserved or documentation address is, and none
    that wraps an IPv4 address (mapped, compatible, 6to4, Teredo, ISATAP), except NAT64 around a public one,
    by which an IPv6-only network reaches the IPv4 internet.
    """
    address = reached(address)
    if isinstance(address, IPv4Address):
        special = any(address in network for network in _SPECIAL_IPV4)
    else:
        special = (
            address not in _ALLOCATED_IPV6
            or any(address in network for network in _SPECIAL_IPV6)
            or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP
        )
    # The library's table is a second opinion: it knows less today and may learn more.
    return not special and address.is_global and not address.is_multicast


def literal(host: str) -> Address | None:
    """The address that a host is written as, or None for a name.

    Raises `ValueError` for a host that looks like a number but is not four decimal ones: what resolvers
    make of `0x7f.1`, `2130706433` or `0177.0.0.1` differs, and who writes so has something to hide.
    """
    if "%" in host:
        raise ValueError("a zone or a percent sign stands in the host")
    if ":" in host:
        return IPv6Address(host)
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        return IPv4Address(host)
    return None


def check_name(host: str) -> None:
    """Raise `ValueError` unless a lower-case ASCII host name may be one of the open internet's."""
    last = host.rpartition(".")[2]
    if len(host) > 253 or not _NAME.fullmatch(host) or _NUMBER.fullmatch(last):
        raise ValueError("the host is no full name")
    if last in _INNER_NAMES or any(f".{host}".endswith(f".{zone}") for zone in _INNER_ZONES):
        raise ValueError("the host is a name of inner networks")


def parse_address(text: str) -> Address:
    """An address as a resolver tells it. Raises `ValueError`, also for one with a zone."""
    if "%" in text:
        raise ValueError(f"{text} has a zone")
    return ip_address(text)
