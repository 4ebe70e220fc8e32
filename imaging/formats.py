"""What the first bytes of a file say it is.

Signatures are those of the formats' own specifications; for the ISO base media family (AVIF, HEIC, video)
the brands of ISO/IEC 14496-12 `ftyp` and of the MPEG registration authority decide.
"""

from dataclasses import dataclass

from schemas.dead_letter import RejectReason

ALLOWED = ("jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic")
"""The formats that are decoded, by the names that go into `ImageFacts.format`."""

_ALLOWED_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"BM", "bmp"),
)
_KNOWN_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"8BPS", "a Photoshop document"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "encapsulated PostScript"),
    (b"%PDF-", "a PDF document"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 codestream"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\x00\x00\x01\x00", "a Windows icon"),
    (b"icns", "an Apple icon"),
    (b"DDS ", "a DirectDraw surface"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"FUJIFILMCCD-RAW", "a Fujifilm raw file"),
    (b"IIRO", "an Olympus raw file"),
    (b"IIRS", "an Olympus raw file"),
    (b"IIU\x00", "a Panasonic raw file"),
    (b"gimp xcf", "a GIMP document"),
    (b"AT&TFORM", "DjVu"),
    (b"SIMPLE  =", "FITS"),
    (b"qoif", "QOI"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
)
_NO_IMAGE_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x1f\x8b", "gzip data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"OggS", "Ogg media"),
    (b"ID3", "MP3 audio"),
    (b"SQLite format 3", "a SQLite database"),
)
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}


class BadImage(Exception):
    """Bytes that are no image which can be embedded; `reason` is a `RejectReason`, `detail` a phrase for a person."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class _Markup:
    """The beginning of a text, without byte order mark and leading space, in lower case."""

    start: str

    @property
    def looks_like(self) -> str:
        if self.start.startswith(("<!doctype html", "<html", "<head", "<body")):
            return "an HTML page"
        if self.start.startswith("<"):
            return "XML"
        if self.start.startswith(("{", "[")):
            return "JSON"
        return f"text beginning {self.start[:40]!r}"


def sniff(data: bytes) -> str:
    """The allowed format (one of `ALLOWED`) that the bytes begin like.

    Raises `BadImage`: EMPTY without bytes, UNSUPPORTED_FORMAT for an image or document format that is not decoded,
    NOT_AN_IMAGE for everything else, saying what it looks like.
    """
    if not data:
        raise BadImage(RejectReason.EMPTY, "the object has no bytes")
    if data[:4] in (b"II*\x00", b"MM\x00*") and data[8:10] == b"CR":
        raise _unsupported("a Canon raw file")
    for signature, name in _ALLOWED_SIGNATURES:
        if data.startswith(signature) and (name != "bmp" or _is_bmp(data)):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _sniff_iso_media(data)
    for signature, description in _KNOWN_SIGNATURES:
        if data.startswith(signature):
            raise _unsupported(description)
    if data[128:132] == b"DICM":
        raise _unsupported("a DICOM image")
    if data[-18:-2] == b"TRUEVISION-XFILE":
        raise _unsupported("a Targa image")
    if data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3].isspace():
        raise _unsupported("a Netpbm image")
    raise BadImage(RejectReason.NOT_AN_IMAGE, f"it looks like {_describe(data)}")


def _is_bmp(data: bytes) -> bool:
    # "BM" alone begins many a text; the size of the DIB header that follows tells.
    return int.from_bytes(data[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124)


def _sniff_iso_media(data: bytes) -> str:
    size = min(int.from_bytes(data[:4], "big"), 512)
    major = data[8:12]
    brands = {major} | {data[at : at + 4] for at in range(16, size - 3, 4)}
    if major in _AVIF_BRANDS or (major in (b"mif1", b"msf1") and brands & _AVIF_BRANDS):
        return "avif"
    if major in _HEIC_BRANDS or brands & {b"heic", b"heix"}:
        return "heic"
    if major == b"crx ":
        raise _unsupported("a Canon raw file")
    raise BadImage(RejectReason.NOT_AN_IMAGE, f"it looks like a video (brand {major.decode('latin-1')!r})")


def _unsupported(description: str) -> BadImage:
    return BadImage(
        RejectReason.UNSUPPORTED_FORMAT, f"it is {description}; decoded are {', '.join(ALLOWED)}: convert it to one"
    )


def _describe(data: bytes) -> str:
    for signature, description in _NO_IMAGE_SIGNATURES:
        if data.startswith(signature):
            return description
    if not any(data[:512]):
        return "nothing but zero bytes"
    start = _text(data[:512])
    if start is None:
        return f"unknown binary data beginning {data[:8].hex(' ')}"
    if start.startswith("<") and "<svg" in start:
        raise _unsupported("SVG")
    return _Markup(start).looks_like


def _text(data: bytes) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").strip().lower()
    if any(byte < 9 or 13 < byte < 27 for byte in data):
        return None
    return data.decode("utf-8-sig", "replace").strip().lower()
