"""What leads to no public place is refused, and nothing connects. Behind every inner address waits a sink."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from services.search.urls.addresses import Address
from services.search.urls.url_images import UrlImages, UrlRefused
from tests.unit.search.internet import LIMITS, PHOTO, PUBLIC, Internet, refused, small_internet


@pytest.fixture
async def internet() -> AsyncIterator[Internet]:
    async with small_internet() as made:
        yield made


ELSEWHERE = [
    "file:///etc/passwd",
    "gopher://photos.example/_GET",
    "ftp://photos.example/a.jpg",
    "data:image/jpeg;base64,/9j/4AAQSkZJRg==",
    "gopher://photos.example:80/_GET",
    "ftp://photos.example:443/a.jpg",
    "ws://photos.example/",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "dict://127.0.0.1:11211/stat",
    "//photos.example/a.jpg",
    "photos.example/a.jpg",
    "/a.jpg",
    "http:/photos.example/a.jpg",
    "http:photos.example",
    "http://",
    "http:///a.jpg",
    "",
    "http://photos.example:99999999/",
    "http://[::1/",
    "http://photos.example/\x00",
    "http://photos.example\r\nHost: inner/",
    "http://photos.example/" + "a" * 10_000,
    "\ud800",
]
CREDENTIALS = [
    "http://me:secret@photos.example/",
    "http://me@photos.example/",
    "http://:@photos.example/",
    "http://photos.example@127.0.0.1/",
    "http://photos.example\\@127.0.0.1/",
    "http://photos.example%2f@127.0.0.1/",
    "http://photos.example:80@127.0.0.1/",
]
PORTS = [f"http://photos.example:{port}/" for port in (0, 22, 25, 81, 6379, 8080, 9200, 65535)]
NUMBERS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7F.1",
    "0177.0.0.1",
    "00000177.0.0.1",
    "017700000001",
    "127.0.0.01",
    "127.0.0.1.",
    "127.0.0.1..",
    "1.2.3.4.5",
    "0x",
    "0",
    "0.0.0.0",
    "0300.0250.0.1",
    "3232235521",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
]
BRACKETS = [
    "::",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:93.184.216.34",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::93.184.216.34",
    "2002:7f00:1::",
    "2002:5db8:d822::1",
    "2001:0:5db8:d822:0:0:80ff:fffe",
    "2606:2800::5efe:127.0.0.1",
    "2606:2800::200:5efe:10.0.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fe80::1%25eth0",
    "2606:2800::1%eth0",
    "2606:2800::1%25eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "4000::1",
]
TRICKS = [
    "http://127。0。0。1/",
    "http://127．0．0．1/",
    "http://127｡0｡0｡1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://１２７.0.0.1/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "http://127%2e0%2e0%2e1/",
    "http://%31%32%37.0.0.1/",
    "http://127.0.0.1%00.photos.example/",
    "http://127.0.0.1%2523.photos.example/",
    "http://photos.example\t/",
    "http://pho tos.example/",
    "http://photos..example/",
    "http://-photos.example/",
    "http://[127.0.0.1]/",
    "http://[::1]photos.example/",
    "http://" + "a" * 64 + ".example/",
    "http://" + "a.b" * 120 + ".example/",
]
INNER_NAMES = [
    "http://localhost/",
    "http://LocalHost./",
    "http://app.localhost/",
    "http://redis/",
    "http://kubernetes.default.svc.cluster.local/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://metadata.google.internal./",
    "http://router.home.arpa/",
    "http://wiki.corp/",
    "http://printer.lan/",
]


@pytest.mark.parametrize(
    "url",
    [
        *ELSEWHERE,
        *CREDENTIALS,
        *PORTS,
        *(f"http://{host}/" for host in NUMBERS),
        *(f"http://[{host}]/" for host in BRACKETS),
        *TRICKS,
        *INNER_NAMES,
    ],
    ids=lambda url: ascii(url)[:60],
)
async def test_what_leads_elsewhere_is_refused_and_connects_to_nothing(
    internet: Internet, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    # Names of inner networks would resolve here as they do there, to the sink.
    for name in ("localhost", "app.localhost", "redis", "kubernetes.default.svc.cluster.local", "wiki.corp"):
        internet.names[name] = ["127.0.0.1"]
    for name in ("metadata.google.internal", "router.home.arpa", "printer.lan"):
        internet.names[name] = [PUBLIC]  # even so
    await refused(internet, url)
    assert internet.connected == []
    assert "unforeseen" not in caplog.text


@pytest.mark.parametrize("address", [*NUMBERS[:1], *NUMBERS[16:], *BRACKETS, "", "nonsense", "1.2.3"])
@pytest.mark.parametrize("place", ["alone", "first", "last"])
async def test_a_name_with_any_address_that_is_not_public_is_refused(
    internet: Internet, address: str, place: str
) -> None:
    answers = {"alone": [address], "first": [address, PUBLIC], "last": [PUBLIC, address]}
    internet.names["evil.example"] = answers[place]
    await refused(internet, "http://evil.example/")
    assert internet.connected == []


async def test_a_name_without_addresses_is_refused(internet: Internet) -> None:
    internet.names["empty.example"] = []
    await refused(internet, "http://empty.example/")
    assert internet.connected == []


async def test_a_name_that_is_not_there_is_refused(internet: Internet) -> None:
    await refused(internet, "http://nowhere.example/")


async def test_a_name_that_changes_after_it_was_checked_changes_nothing(internet: Internet) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])

    async def rebinding(_: str) -> list[str]:
        return next(answers)

    async with UrlImages(LIMITS, resolve=rebinding, network=internet) as images:
        assert await images.fetch("http://rebind.example/") == PHOTO
        assert internet.connected == [(PUBLIC, 80)]
        with pytest.raises(UrlRefused):
            await images.fetch("http://rebind.example/")
    assert internet.connected == [(PUBLIC, 80)]
    assert await internet.sink.untouched()


async def test_the_sink_is_reached_where_the_rule_is_lifted(internet: Internet) -> None:
    """The other tests' control: without the rule, this is how they would fail."""
    everything: Callable[[Address], bool] = lambda _: True  # noqa: E731
    async with UrlImages(LIMITS, resolve=internet.resolve, network=internet, allows=everything) as images:
        assert await images.fetch("http://127.0.0.1/") == PHOTO
    assert internet.connected == [("127.0.0.1", 80)]
    assert not await internet.sink.untouched()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0.0.0.0", "0", "localhost", "localhost."),
        *("[::1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[::]", "127。0。0。1"),
    ],
)
async def test_real_sockets_and_the_real_resolver_do_not_reach_a_service_of_this_machine(
    internet: Internet, host: str
) -> None:
    limits = replace(LIMITS, ports=frozenset((80, internet.sink.port)))
    async with UrlImages(limits) as images:
        with pytest.raises(UrlRefused):
            await images.fetch(f"http://{host}:{internet.sink.port}/")
    assert await internet.sink.untouched()


async def test_real_sockets_reach_what_is_allowed(internet: Internet) -> None:
    limits = replace(LIMITS, ports=frozenset((internet.sink.port,)))
    async with UrlImages(limits, allows=lambda address: address == IPv4Address("127.0.0.1")) as images:
        assert await images.fetch(f"http://127.0.0.1:{internet.sink.port}/") == PHOTO


async def test_a_name_that_the_real_resolver_does_not_know_is_refused(
    internet: Internet, caplog: pytest.LogCaptureFixture
) -> None:
    async with UrlImages(LIMITS, network=internet) as images:
        with pytest.raises(UrlRefused):
            await images.fetch("http://no-such-host.example/")
    assert "gaierror" in caplog.text or "was not there within" in caplog.text
