"""https: the certificate is checked against the name that was asked for, and nothing less will do."""

import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.search.urls.url_images import UrlImages, UrlRefused
from tests.unit.search.internet import LIMITS, OTHER, PHOTO, PUBLIC, Internet, answer, site, small_internet


class Authority:
    """Signs certificates; `trust` is a client's context that believes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority of the tests")])
        own = self._builder(self._name, self._key, days=1).add_extension(x509.BasicConstraints(True, 0), critical=True)
        self._own = own.sign(self._key, hashes.SHA256())
        root = folder / "root.pem"
        root.write_bytes(self._own.public_bytes(serialization.Encoding.PEM))
        self.trust = ssl.create_default_context(cafile=str(root))

    def server(self, *names: str, days: int = 1) -> ssl.SSLContext:
        """A server's context with a certificate for names and addresses, which ends in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([]), key, days=days)
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        certificate = builder.add_extension(alternatives, critical=True).sign(self._key, hashes.SHA256())
        both = self._folder / f"{names[0]}.pem"
        both.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def internet() -> AsyncIterator[Internet]:
    async with small_internet() as made:
        yield made


def images_of(internet: Internet, authority: Authority) -> UrlImages:
    return UrlImages(LIMITS, resolve=internet.resolve, network=internet, tls=authority.trust)


@pytest.mark.parametrize("host", ["photos.example", "PHOTOS.example.", PUBLIC])
async def test_the_name_that_was_asked_for_is_told_and_certified(
    internet: Internet, authority: Authority, host: str
) -> None:
    async with site(answer(), authority.server("photos.example", PUBLIC)) as safe:
        internet.put(PUBLIC, safe, port=443)
        async with images_of(internet, authority) as images:
            assert await images.fetch(f"https://{host}/") == PHOTO
        assert safe.server_names == [None if host == PUBLIC else "photos.example"]
        assert safe.asked[0].headers["host"] == host.lower().rstrip(".")
    assert internet.connected == [(PUBLIC, 443)]


@pytest.mark.parametrize(
    ("names", "days"),
    [(["other.example"], 1), (["photos.example.evil.example"], 1), ([PUBLIC], 1), (["photos.example"], -1)],
)
async def test_another_name_s_certificate_or_an_old_one_is_refused(
    internet: Internet, authority: Authority, names: list[str], days: int
) -> None:
    async with site(answer(), authority.server(*names, days=days)) as unsafe:
        internet.put(PUBLIC, unsafe, port=443)
        async with images_of(internet, authority) as images:
            with pytest.raises(UrlRefused):
                await images.fetch("https://photos.example/")
        assert unsafe.asked == []


async def test_an_unknown_authority_is_refused_by_default(
    internet: Internet, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    async with site(answer(), authority.server("photos.example")) as unsafe:
        internet.put(PUBLIC, unsafe, port=443)
        async with UrlImages(LIMITS, resolve=internet.resolve, network=internet) as images:
            with pytest.raises(UrlRefused):
                await images.fetch("https://photos.example/")
        assert unsafe.asked == []


async def test_a_redirect_may_rise_to_https_but_not_fall_from_it(internet: Internet, authority: Authority) -> None:
    async with (
        site(answer(b"", "302 Found", Location="http://photos.example/"), authority.server("go.example")) as falling,
        site(answer(b"", "302 Found", Location="https://safe.example/")) as rising,
        site(answer(), authority.server("safe.example")) as safe,
    ):
        internet.put(OTHER, falling, "go.example", port=443)
        internet.put(OTHER, rising, port=80)
        internet.put(PUBLIC, safe, "safe.example", port=443)
        async with images_of(internet, authority) as images:
            with pytest.raises(UrlRefused):
                await images.fetch("https://go.example/")
            assert internet.photos.connections == 0
            assert await images.fetch("http://go.example/") == PHOTO
