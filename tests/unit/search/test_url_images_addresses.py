"""The rule for addresses, against the standard library's table and over every way to write or wrap an address."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from services.search.urls.addresses import check_name, is_public, literal, parse_address, reached

INNER_IPV4 = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4"),
    "240.0.0.0/4",
]
INNER_IPV6 = [
    *("::/8", "100::/8", "200::/7", "400::/6", "800::/5", "1000::/4", "4000::/2", "8000::/1", "fc00::/7", "fe80::/10"),
    *("fec0::/10", "ff00::/8", "2001::/32", "2001:10::/28", "2001:db8::/32", "2002::/16", "3fff::/20"),
]


def inside(network: str) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    return st.ip_addresses(network=network)


inner_ipv4 = st.sampled_from(INNER_IPV4).flatmap(inside).map(IPv4Address)
ipv4 = st.ip_addresses(v=4).map(IPv4Address) | inner_ipv4
ipv6 = st.ip_addresses(v=6).map(IPv6Address)


@given(st.sampled_from([*INNER_IPV4, *INNER_IPV6]).flatmap(inside))
def test_nothing_of_a_special_range_is_public_unless_a_translator_hands_it_on(
    address: IPv4Address | IPv6Address,
) -> None:
    assume(reached(address) == address)
    assert not is_public(address)


@given(ipv4 | ipv6)
def test_what_is_public_is_global_to_the_standard_library_too(address: IPv4Address | IPv6Address) -> None:
    if is_public(address):
        assert reached(address).is_global
        for trait in ("is_private", "is_loopback", "is_link_local", "is_multicast", "is_reserved", "is_unspecified"):
            assert not getattr(reached(address), trait)


@given(ipv4)
@example(IPv4Address("8.8.8.8"))
def test_the_standard_library_knows_no_more_private_addresses_and_we_few_more(address: IPv4Address) -> None:
    ours = [IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24")]
    theirs = address.is_global and not address.is_multicast
    assert is_public(address) == (theirs and not any(address in network for network in ours))


@given(ipv4)
def test_a_wrapped_ipv4_address_is_refused_and_a_translated_one_judged_by_what_it_reaches(inner: IPv4Address) -> None:
    number = int(inner)
    wrapped = {
        "mapped": (0xFFFF << 32) | number,
        "compatible": number,
        "translated": (0xFFFF << 48) | number,
        "6to4": (0x2002 << 112) | (number << 80) | 1,
        "teredo": (0x2001_0000 << 96) | (0x5DB8_D822 << 64) | (number ^ 0xFFFF_FFFF),
        "isatap": (0x2606_2800 << 96) | (0x5EFE << 32) | number,
        "isatap, public": (0x2606_2800 << 96) | (0x0200_5EFE << 32) | number,
        "nat64, local": (0x0064_FF9B_0001 << 80) | number,
    }
    for how, value in wrapped.items():
        assert not is_public(IPv6Address(value)), how
    assert is_public(IPv6Address((0x0064_FF9B << 96) | number)) == is_public(inner)


@given(ipv6)
def test_an_ipv6_address_is_judged_alike_in_all_its_forms(address: IPv6Address) -> None:
    tail = IPv4Address(int(address) & 0xFFFF_FFFF)
    head = address.exploded.rsplit(":", 2)[0]
    for text in (str(address), address.exploded, address.exploded.upper(), f"{head}:{tail}"):
        written = literal(text)
        assert written == address
        assert is_public(written) == is_public(address)


@given(inner_ipv4, st.sampled_from(["decimal", "hex", "octal", "hex parts", "octal parts", "two parts", "three parts"]))
def test_a_number_that_is_not_four_decimal_ones_is_no_host(address: IPv4Address, form: str) -> None:
    number, parts = int(address), list(address.packed)
    text = {
        "decimal": str(number),
        "hex": hex(number),
        "octal": f"0{number:o}",
        "hex parts": ".".join(hex(part) for part in parts),
        "octal parts": ".".join(f"0{part:o}" for part in parts),
        "two parts": f"{parts[0]}.{number & 0xFFFFFF}",
        "three parts": f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
    }[form]
    with pytest.raises(ValueError):  # noqa: PT011
        literal(text)


@given(st.text(alphabet="0123456789abcdefx.-_%:[]", max_size=20))
@example("1.1.1.1")
def test_a_host_is_a_literal_or_a_name_or_neither_but_never_both(text: str) -> None:
    try:
        written = literal(text)
    except ValueError:
        return
    if written is None:
        return
    assert ip_address(text) == written
    with pytest.raises(ValueError):  # noqa: PT011
        check_name(text)


@pytest.mark.parametrize("name", ["photos.example", "a.b", "xn--bcher-kva.example", "my_bucket.s3.example", "3.14.pi"])
def test_full_names_may_be_asked_for(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "a",
            "a.",
            ".a.b",
            "a..b",
            "-a.b",
            "a-.b",
            "a.-b",
            "a b.c",
            "ü.example",
            "A.example",
            "a.b\n",
            "a.b/c",
        ),
        *("localhost", "x.localhost", "x.local", "x.internal", "home.arpa", "x.home.arpa"),
        "a" * 64 + ".b",
        "a." * 127 + "b",
    ],
)
def test_other_names_may_not(name: str) -> None:
    with pytest.raises(ValueError, match="the host is"):
        check_name(name)


def test_an_address_with_a_zone_is_none() -> None:
    with pytest.raises(ValueError, match="has a zone"):
        parse_address("fe80::1%eth0")
