import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from imaging.decode import open_image
from imaging.keywords import MAX_KEYWORD_LENGTH, MOST_KEYWORDS

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description>'
    "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>Red &amp; blue</rdf:li></rdf:Alt></dc:title>"
    "<dc:subject><rdf:Bag><rdf:li>beach</rdf:li><rdf:li>Жук</rdf:li></rdf:Bag></dc:subject>"
    "<dc:creator><rdf:Seq><rdf:li>Nobody</rdf:li></rdf:Seq></dc:creator>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)


def keywords(data: bytes) -> tuple[str, ...]:
    opened = open_image(data, max_pixels=10_000)
    opened.decode()
    return opened.keywords()


def saved(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, form, **options)
    return buffer.getvalue()


def iptc(*keywords: bytes) -> bytes:
    """A JPEG with a photoshop segment that holds keywords."""
    records = b"".join(b"\x1c\x02\x19" + len(one).to_bytes(2, "big") + one for one in keywords)
    block = b"8BIM\x04\x04\x00\x00" + len(records).to_bytes(4, "big") + records + b"\x00" * (len(records) % 2)
    segment = b"Photoshop 3.0\x00" + block
    jpeg = saved("JPEG")
    return jpeg[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]


def windows(text: str) -> bytes:
    exif = Image.Exif()
    exif[0x9C9E] = text.encode("utf-16-le") + b"\0\0"
    return saved("JPEG", exif=exif)


@pytest.mark.parametrize(
    "data", [saved("JPEG", xmp=XMP.encode()), saved("WEBP", xmp=XMP.encode())], ids=["jpeg", "webp"]
)
def test_xmp_says_title_and_subject_and_nothing_else_is_taken(data: bytes) -> None:
    assert keywords(data) == ("Red & blue", "beach", "Жук")


def test_xmp_of_a_png_is_read() -> None:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP)
    assert keywords(saved("PNG", pnginfo=info)) == ("Red & blue", "beach", "Жук")


@pytest.mark.parametrize("start", ["<dc:title>", "<dc:title ", "<dc:subject><rdf:li>", "<rdf:li "])
def test_xmp_without_ends_says_nothing_and_takes_one_pass(start: str) -> None:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", start * 40_000, zip=True)
    assert keywords(saved("PNG", pnginfo=info)) == ()


def test_iptc_keywords_are_read_in_either_encoding_and_each_once() -> None:
    assert keywords(iptc(b"beach", "Straße".encode(), "café".encode("latin-1"), b"beach")) == (
        "beach",
        "Straße",
        "café",
    )


def test_what_windows_writes_is_read() -> None:
    assert keywords(windows("beach; 犬;")) == ("beach", "犬")


def test_most_images_have_none() -> None:
    assert keywords(saved("JPEG")) == keywords(saved("GIF")) == ()


def test_too_many_and_too_long_ones_are_cut() -> None:
    many = keywords(iptc(*(b"%d" % n + b"x" * 300 for n in range(100))))
    assert len(many) == MOST_KEYWORDS
    assert {len(one) for one in many} == {MAX_KEYWORD_LENGTH}


@settings(deadline=None)
@given(garbage=st.binary(max_size=300), where=st.integers(0, 200))
def test_garbage_never_raises(garbage: bytes, where: int) -> None:
    packet = XMP.encode()
    for data in (
        iptc(garbage, b"beach"),
        saved("JPEG", xmp=packet[:where] + garbage + packet[where:]),
        windows(garbage.decode("latin-1")),
    ):
        assert all(isinstance(one, str) and one for one in keywords(data))
