"""`/`: the page on which people search. Static files, read once, compressed once, served from memory.

Every file lies under a folder named after the content of all of them, so that a browser keeps it for good and a
new release is never mixed with an old one. All addresses are relative: the page works behind any path prefix.
"""

import gzip
import hashlib
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

from services.search.problems import Problem, ProblemKind

PAGE = Path(__file__).parent / "page"
"""The files of the page."""

SECURITY_HEADERS: Mapping[str, str] = {
    # Blobs: pictures that a person chose, and thumbnails fetched with an API key.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
FOR_GOOD = "public, max-age=31536000, immutable"
ASK_EACH_TIME = "no-cache"

_CONTENT_TYPES = {".js": "text/javascript", ".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml"}
_IMPORTED = re.compile(r'^(?:import|export) [^;]*?from "\./([\w-]+\.js)";$', re.MULTILINE)
_SMALLEST_WORTH_COMPRESSING = 400


@dataclass(frozen=True)
class PageFile:
    """A file of the page as it is sent."""

    body: bytes
    compressed: bytes
    content_type: str
    etag: str

    @classmethod
    def of(cls, name: str, body: bytes) -> "PageFile":
        """The file of a name and its bytes."""
        kind = _CONTENT_TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        # mtime 0: the same bytes, whichever process compressed them.
        return cls(body, gzip.compress(body, 9, mtime=0), kind, f'"{hashlib.sha256(body).hexdigest()[:20]}"')

    def answer(self, request: Request, cache: str) -> Response:
        """The file, compressed where the client takes that; 304 where it has it already."""
        headers = {**SECURITY_HEADERS, "Cache-Control": cache, "ETag": self.etag, "Vary": "Accept-Encoding"}
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if self.etag in known:
            return Response(status_code=304, headers=headers)
        body = self.body
        if len(body) >= _SMALLEST_WORTH_COMPRESSING and _takes_gzip(request.headers.get("accept-encoding", "")):
            body, headers["Content-Encoding"] = self.compressed, "gzip"
        charset = "; charset=utf-8" if self.content_type.startswith("text/") else ""
        return Response(body, headers=headers | {"Content-Type": self.content_type + charset})


@dataclass(frozen=True)
class Page:
    """The whole page: `index` is what `/` answers, `files` the rest by name, `release` names their content."""

    index: PageFile
    files: Mapping[str, PageFile]
    release: str

    @classmethod
    def read(cls, folder: Path) -> "Page":
        """The page in a folder. Raises `FileNotFoundError` where it has no index.html."""
        bodies = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }
        index = (folder / "index.html").read_text(encoding="utf-8")
        bodies.pop("index.html")
        digest = hashlib.sha256(index.encode())
        for name, body in bodies.items():
            digest.update(f"\0{name}\0{len(body)}\0".encode() + body)
        release = digest.hexdigest()[:16]
        modules = "\n".join(f'<link rel="modulepreload" href="page/{release}/{name}">' for name in _at_once(bodies))
        languages = " ".join(Path(name).stem for name in bodies if name.startswith("texts/"))
        filled = (
            index.replace("{{modules}}", modules).replace("{{languages}}", languages).replace("{{release}}", release)
        )
        return cls(
            PageFile.of("index.html", filled.encode()),
            {name: PageFile.of(name, body) for name, body in bodies.items()},
            release,
        )


def page_router(folder: Path = PAGE) -> APIRouter:
    """The routes of the page; they need neither index nor model, so an app that is still starting may have them."""
    page = Page.read(folder)
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return page.index.answer(request, ASK_EACH_TIME)

    @router.api_route("/page/{release}/{name:path}", methods=["GET", "HEAD"])
    async def file(release: str, name: str, request: Request) -> Response:
        found = page.files.get(name)
        if found is None:
            # Answered, not raised: an app that is still starting has no handler for problems.
            return Problem(
                404,
                ProblemKind.NO_SUCH_PAGE,
                f"The page has no file {name[:100]}.",
                "Load / again; a new release may have been installed.",
            ).response()
        # While a fleet changes its release, one replica's page asks another for files: those must not be kept.
        return found.answer(request, FOR_GOOD if release == page.release else ASK_EACH_TIME)

    return router


def _at_once(bodies: Mapping[str, bytes], start: str = "app/main.js") -> list[str]:
    """The modules that the first view needs: fetched side by side, rather than each when another one names it."""
    found = [start] if start in bodies else []
    for name in found:
        named = [f"app/{module}" for module in _IMPORTED.findall(bodies[name].decode())]
        found += [module for module in dict.fromkeys(named) if module not in found and module in bodies]
    return found


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "*") and weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            return True
    return False
