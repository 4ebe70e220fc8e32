"""What the page talks to, made up: as many images as a test wants, and every trouble that a service may have."""

import asyncio
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from pydantic import ValidationError

from imaging.sample_scenes import Pictures
from imaging.scenes import Background
from runtime.http import HttpServer
from services.search.filters.options import Filters, ListOptions, SearchOptions, WordSearchOptions, refuse_repeated
from services.search.listing.facet_routes import FacetOptions, StatisticsOptions, TagOptions
from services.search.page_routes import page_router
from services.search.problems import Problem, bad_parameters, validation_errors

TAGS = ("fox", "red apple", "cat", "sailboat", "tulip", "octopus", "lemon", "castle")
SIZES = ((320, 240), (240, 320), (400, 300), (320, 320))
COLOURS = ("blue", "green", "yellow", "grey")
CAMERAS = ("Canon EOS R6", "Pixel 9", None)
T = TypeVar("T")
FIRST = datetime(2021, 3, 1, 9, 30, tzinfo=UTC)


def made_up(number: int) -> dict[str, Any]:
    """The image of a number: its tag, camera, bucket and dates follow from it."""
    width, height = SIZES[number % len(SIZES)]
    tag = TAGS[number % len(TAGS)]
    taken = FIRST + timedelta(days=number * 1777 // 10 % 1200)
    payload = {
        "source": "folder",
        "bucket": ("photos", "archive")[number % 5 == 0],
        "key": f"{taken:%Y}/IMG_{number:05}.jpg",
        "status": "indexed",
        "version": 1000 + number,
        "model": "made-up",
        "fingerprint": "abc",
        "indexed_at": (FIRST + timedelta(days=1300, seconds=number)).isoformat(),
        "uploaded_at": (taken + timedelta(days=2)).isoformat(),
        "taken_at": taken.isoformat(),
        "width": width,
        "height": height,
        "size": 20_000 + number,
        "format": ("JPEG", "PNG")[number % 3 == 0],
        "tags": [{"tag": tag, "score": 0.8}, {"tag": "drawing", "score": 0.15}],
    }
    if camera := CAMERAS[number % len(CAMERAS)]:
        payload["camera"] = camera
    return {
        "id": str(uuid5(NAMESPACE_URL, f"image {number}")),
        "bucket": payload["bucket"],
        "key": payload["key"],
        "etag": "e",
        "version": payload["version"],
        "payload": payload,
    }


OPTIONS: Mapping[tuple[str, str], type[Filters]] = {
    ("GET", "/v1/search"): WordSearchOptions,
    ("POST", "/v1/search"): SearchOptions,
    ("GET", "/v1/images"): ListOptions,
    ("GET", "/v1/tags"): TagOptions,
    ("GET", "/v1/facets"): FacetOptions,
    ("GET", "/v1/statistics"): StatisticsOptions,
}
"""What the real service reads the parameters of a request with."""


def problem(status: int, kind: str, detail: str, remedy: str, retry_after: int | None = None) -> Response:
    body = {
        "type": f"urn:sightline:problem:{kind}",
        "title": kind,
        "status": status,
        "detail": detail,
        "remedy": remedy,
    }
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse(body, status, headers, "application/problem+json")


class FakeService:
    """The service; its attributes may be changed while it answers."""

    def __init__(self, images: int = 40) -> None:
        self.images = [made_up(number) for number in range(images)]
        self.rejected: list[dict[str, Any]] = []
        self.key: str | None = None
        self.scopes: tuple[str, ...] = ("search", "admin")
        self.trouble: Response | None = None
        """What every request for data is answered with instead."""
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        """Method, path, parameters and body of each request for data, thumbnails aside."""
        self.retried: list[str] = []
        self.no_thumbnails = False
        self.since = datetime.now(UTC)
        self.runs = ["ingest", "embedder", "indexer", "search"]
        self.waiting: int | None = 12
        self.waiting_for = ["s3: the endpoint does not answer"]
        self.store: str | None = None
        """The address of a bucket that originals are linked to; None where they are streamed from here."""
        self._pictures = Pictures()
        self._drawn: dict[int, bytes] = {}
        self._numbers: dict[str, int] = {}

    def app(self) -> FastAPI:
        """The ASGI app."""
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.include_router(page_router())

        @app.middleware("http")
        async def troubled(request: Request, call_next: Callable[[Request], Any]) -> Response:
            path = request.url.path
            if not path.startswith("/v1") or path == "/v1/access":
                answer: Response = await call_next(request)
                return answer
            if self.trouble is not None:
                return self.trouble
            if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
                return problem(401, "no-key", "This service asks for an API key.", "Send one that it knows.")
            if not path.endswith("/thumbnail"):
                body = None
                if request.headers.get("content-type") == "application/json":
                    body = await request.json()
                elif request.method == "POST":
                    body = await request.body()
                self.asked.append((request.method, path, dict(request.query_params), body))
            if (refused := _refused(request)) is not None:
                return refused
            answered: Response = await call_next(request)
            return answered

        @app.get("/v1/access")
        async def access() -> Any:
            return {"required": self.key is not None, "key": None, "scopes": list(self.scopes)}

        @app.get("/v1/status")
        async def status() -> Any:
            return {
                "release": "0.0.1",
                "runs": self.runs,
                "since": self.since.isoformat(),
                "model": "made-up",
                "fingerprint": "abc",
                "device": "cpu",
                "indexed": len(self.images),
                "rejected": len(self.rejected),
                "gone": 3,
                "waiting": self.waiting,
                "waiting_for": self.waiting_for,
            }

        @app.api_route("/v1/search", methods=["GET", "POST"])
        async def search(request: Request) -> Any:
            options = request.query_params
            words = options.get("q", "")
            found = [one for one in self._passing(options) if words != "nothing at all"]
            if options.get("good_only") == "true":
                found = found[: len(found) // 4]
            page, cursor = _page(list(enumerate(found)), options)
            results = [
                one | {"score": 0.4 - at / 1e5, "relevance": max(0.0, 0.98 - at / 50), "duplicates": (at % 7 == 3) * 2}
                for at, one in page
            ]
            return {"results": results, "next_cursor": cursor, "took_ms": 3.21, "steps_ms": {"embed": 1, "search": 2}}

        @app.get("/v1/images")
        async def images(request: Request) -> Any:
            options = request.query_params
            known = self.rejected if options.get("status") == "rejected" else self._passing(options)
            if options.get("sort") == "newest_indexed":
                known = sorted(known, key=lambda one: str(one["payload"]["indexed_at"]), reverse=True)
            page, cursor = _page(known, options)
            return {"images": page, "next_cursor": cursor}

        @app.get("/v1/tags")
        async def tags(request: Request) -> Any:
            passing = self._passing(request.query_params)
            counts = Counter(tag["tag"] for one in passing for tag in one["payload"]["tags"])
            return {"tags": [{"tag": tag, "count": n} for tag, n in counts.most_common()], "images": len(passing)}

        @app.get("/v1/facets")
        async def facets(request: Request) -> Any:
            field = request.query_params["field"]
            among = self.rejected if field == "reason" else self._passing(request.query_params)
            counts = Counter(one["payload"][field] for one in among if field in one["payload"])
            return {"field": field, "values": [{"value": value, "count": n} for value, n in counts.most_common()]}

        @app.get("/v1/statistics")
        async def statistics(request: Request) -> Any:
            per, date = request.query_params["per"], request.query_params.get("date", "taken")
            rows = Counter(_start(per, one["payload"][f"{date}_at"]) for one in self._passing(request.query_params))
            return {"per": per, "date": date, "rows": [{"from": at, "count": n} for at, n in sorted(rows.items())]}

        @app.get("/v1/images/{image_id}/thumbnail")
        async def thumbnail(image_id: str) -> Response:
            number = self._number(image_id)
            if number is None or self.no_thumbnails:
                return problem(404, "no-thumbnail", "There is no thumbnail.", "Nothing can be done.")
            return Response(self._picture(number), media_type="image/webp")

        @app.get("/v1/images/{image_id}/original")
        async def original(image_id: str, link: bool = False) -> Response:
            there = None if self.store is None else f"{self.store}{image_id}.jpg?X-Amz-Signature=abc"
            if link:
                return JSONResponse({"link": there, "seconds": there and 300})
            if there is not None:
                return RedirectResponse(there, 302)
            return StreamingResponse(iter([b"the bytes of " + image_id.encode()]), media_type="image/jpeg")

        @app.get("/v1/images/{image_id}/timeline")
        async def timeline(image_id: str) -> Response:
            steps = [{"step": "looked_at", "at": FIRST.isoformat(), "approximate": True, "detail": "It was read."}]
            return JSONResponse({"steps": steps, "outcome": "found", "conclusion": "It is found.", "remedy": "None."})

        @app.post("/v1/failures/retry")
        async def retry_failures() -> Any:
            self.retried += [str(one["id"]) for one in self.rejected]
            return {"sent": len(self.rejected), "next_cursor": None}

        @app.post("/v1/images/{image_id}/retry")
        async def retry(image_id: str) -> Response:
            self.retried.append(image_id)
            return JSONResponse({"accepted": True}, 202)

        @app.get("/v1/images/{image_id}")
        async def image(image_id: str) -> Response:
            known = next((one for one in self.images + self.rejected if one["id"] == image_id), None)
            if known is None:
                return problem(404, "no-such-image", f"No image has the id {image_id}.", "Ask for another one.")
            return JSONResponse(known)

        return app

    def reject(self, key: str, reason: str, detail: str) -> str:
        """Add a rejected file; answers its id."""
        one = made_up(len(self.images) + len(self.rejected))
        one["key"] = one["payload"]["key"] = key
        one["payload"] |= {"status": "rejected", "reason": reason, "detail": detail}
        self.rejected.append(one)
        return str(one["id"])

    def _passing(self, options: Mapping[str, str]) -> list[dict[str, Any]]:
        leaves: list[dict[str, Any]] = [
            {name: options[name]}
            for name in ("tag", "bucket", "camera", "format", "taken_after", "taken_before", "uploaded_after")
            if name in options
        ]
        if "filter" in options:
            leaves.append(json.loads(options["filter"]))
        return [one for one in self.images if all(_fits(one["payload"], leaf) for leaf in leaves)]

    def _number(self, image_id: str) -> int | None:
        if len(self._numbers) != len(self.images):
            self._numbers = {str(one["id"]): at for at, one in enumerate(self.images)}
        return self._numbers.get(image_id)

    def _picture(self, number: int) -> bytes:
        kind = number % (len(TAGS) * len(SIZES))
        if kind not in self._drawn:
            name = TAGS[kind % len(TAGS)]
            name = name if name in self._pictures.names else "red apple"
            background = Background(COLOURS[kind % len(COLOURS)], "plain")
            drawn = self._pictures.draw([(name, 1 + kind % 3)], background, SIZES[number % len(SIZES)], seed=kind)
            written = io.BytesIO()
            drawn.save(written, "WEBP", quality=70)
            self._drawn[kind] = written.getvalue()
        return self._drawn[kind]


def _refused(request: Request) -> Response | None:
    """The answer to parameters that the real service refuses."""
    options = OPTIONS.get((request.method, request.url.path))
    if options is None:
        return None
    try:
        refuse_repeated(request)
        options.model_validate(dict(request.query_params)).where()
    except Problem as error:
        return error.response()
    except ValidationError as error:
        return bad_parameters(validation_errors(error.errors())).response()
    return None


def _fits(payload: Mapping[str, Any], leaf: Mapping[str, Any]) -> bool:
    if "all" in leaf:
        return all(_fits(payload, one) for one in leaf["all"])
    if "any" in leaf:
        return any(_fits(payload, one) for one in leaf["any"])
    for name, wanted in leaf.items():
        if name == "tag":
            holds = any(tag["tag"] == wanted for tag in payload["tags"])
        elif name.endswith("_after"):
            holds = payload[name.replace("after", "at")] >= wanted
        elif name.endswith("_before"):
            holds = payload[name.replace("before", "at")] < wanted
        else:
            holds = payload.get(name) == wanted
        if not holds:
            return False
    return True


def _page(found: Sequence[T], options: Mapping[str, str]) -> tuple[list[T], str | None]:
    start, limit = int(options.get("cursor", 0)), int(options.get("limit", 20))
    return list(found[start : start + limit]), str(start + limit) if start + limit < len(found) else None


def _start(per: str, at: str) -> str:
    return {"year": f"{at[:4]}-01-01", "month": f"{at[:7]}-01", "day": at[:10]}[per] + "T00:00:00Z"


def bucket() -> FastAPI:
    """A store of another origin: like S3 it answers a link alone, refuses one that comes with a key besides, and lets
    no script of another page read anything."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/{key}")
    async def item(key: str, request: Request) -> Response:
        if "authorization" in request.headers or "X-Amz-Signature" not in request.query_params:
            return Response("<Error><Code>InvalidArgument</Code></Error>", 400, media_type="application/xml")
        return Response(f"the store's bytes of {key}", media_type="text/plain")

    return app


class Served:
    """An app on a port of its own, which may go away and come back."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.port = 0
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        listening = threading.Event()

        async def serve() -> None:
            stop = asyncio.Event()
            self._stop = (asyncio.get_running_loop(), stop)
            async with HttpServer(self.app, "127.0.0.1", self.port, drain_seconds=0.1) as server:
                self.port = server.port
                listening.set()
                await stop.wait()

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
        self._thread.start()
        assert listening.wait(20), "the fake service did not start"

    def stop(self) -> None:
        assert self._stop is not None
        assert self._thread is not None
        loop, stop = self._stop
        loop.call_soon_threadsafe(stop.set)
        self._thread.join(20)


@contextmanager
def served(app: Any) -> Iterator[Served]:
    """An app, served from a thread until the end."""
    server = Served(app)
    server.start()
    try:
        yield server
    finally:
        server.stop()
