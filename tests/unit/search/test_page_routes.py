"""The page as bytes over HTTP: small, kept by browsers, and unable to run anything of anybody else."""

import gzip
import json
import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from runtime.probe_routes import probe_app
from runtime.probes import Probes
from services.search.page_routes import PAGE, Page, page_router
from tests.unit.search.conftest import client_of

MOST_BYTES = 60_000
SCRIPTS = sorted((PAGE / "app").glob("*.js"))
ENGLISH: dict[str, str | dict[str, str]] = json.loads((PAGE / "texts" / "en.json").read_text(encoding="utf-8"))


async def references(client: httpx.AsyncClient) -> list[str]:
    """What the page names in src and href, of its own files."""
    html = (await client.get("/")).text
    return [one for one in re.findall(r'(?:src|href)="([^"#]+)"', html) if one.startswith("page/")]


async def test_the_page_and_all_its_files_are_served(client: httpx.AsyncClient) -> None:
    named = await references(client)
    assert len(named) > 20
    for one in named:
        answer = await client.get(f"/{one}")
        assert answer.status_code == 200, one
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "{{" not in (await client.get("/")).text


async def test_every_module_that_is_imported_is_there_and_fetched_ahead(client: httpx.AsyncClient) -> None:
    ahead = {one.rpartition("/")[2] for one in await references(client) if "/app/" in one}
    later = set()
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        imported = set(re.findall(r'from "\./([^"]+)"', text))
        later |= set(re.findall(r'import\("\./([^"]+)"\)', text))
        assert all((PAGE / "app" / one).is_file() for one in imported | later), script.name
        if script.name in ahead:
            assert imported <= ahead, script.name
    assert later == {"details.js", "operations.js"}
    assert not later & ahead, "the first view does not wait for what it does not show"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("app/main.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("texts/en.json", "application/json"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_files_have_the_types_that_browsers_insist_on(client: httpx.AsyncClient, name: str, kind: str) -> None:
    release = Page.read(PAGE).release
    assert (await client.get(f"/page/{release}/{name}")).headers["content-type"] == kind


async def test_nothing_but_own_files_may_run(client: httpx.AsyncClient) -> None:
    policy = (await client.get("/")).headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    for word in ("unsafe", "http:", "https:", "*", "data:"):
        assert word not in policy
    html = (await client.get("/")).text
    assert re.findall(r"<script(?![^>]* src=)", html) == []
    assert re.findall(r"""\s(?:on\w+|style)=["']""", html) == []


async def test_all_addresses_are_relative_so_that_a_prefix_needs_no_setting(client: httpx.AsyncClient) -> None:
    html = (await client.get("/")).text
    assert re.findall(r'(?:src|href)="(?:/|https?:)[^"]*"', html) == []
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        assert re.findall(r'["`]/v1', text) == [], script.name
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == [], script.name
        assert "innerHTML" not in text, script.name


async def test_a_browser_that_has_the_page_is_told_so(client: httpx.AsyncClient) -> None:
    first = await client.get("/")
    assert first.headers["cache-control"] == "no-cache"
    for tag in (first.headers["etag"], f"W/{first.headers['etag']}", f'"x", {first.headers["etag"]}'):
        again = await client.get("/", headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["content-security-policy"]
    assert (await client.get("/", headers={"If-None-Match": '"other"'})).status_code == 200


async def test_other_content_has_another_address(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<link href='page/{{release}}/a.css'>")
    (tmp_path / "a.css").write_text("a {}")
    before = Page.read(tmp_path)
    (tmp_path / "a.css").write_text("b {}")
    after = Page.read(tmp_path)
    assert before.release != after.release
    assert after.release.encode() in after.index.body
    assert before.index.etag != after.index.etag


async def test_files_of_another_release_are_not_kept(client: httpx.AsyncClient) -> None:
    answer = await client.get("/page/0123456789abcdef/style.css")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    "path", ["/page/x/", "/page/x/nothing.js", "/page/x/..%2Fpage_routes.py", "/page/x/index.html"]
)
async def test_what_is_no_file_of_the_page_is_not_served(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:sightline:problem:no-such-page"


async def test_the_page_is_small(client: httpx.AsyncClient) -> None:
    page = Page.read(PAGE)
    total = len(page.index.compressed) + sum(len(file.compressed) for file in page.files.values())
    assert total < MOST_BYTES
    assert gzip.decompress(page.index.compressed) == page.index.body


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, br", "gzip"),
        ("*", "gzip"),
        ("identity", None),
        ("gzip;q=0", None),
        ("br, gzip; q=0.0", None),
        ("", None),
    ],
)
async def test_it_is_compressed_for_those_who_take_that(
    client: httpx.AsyncClient, accepted: str, coding: str | None
) -> None:
    release = Page.read(PAGE).release
    for path in ("/", f"/page/{release}/style.css"):
        answer = await client.get(path, headers={"Accept-Encoding": accepted})
        assert answer.headers.get("content-encoding") == coding
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.text


async def test_head_answers_the_same_without_a_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


async def test_the_page_is_there_while_the_service_starts() -> None:
    probes = Probes()
    probes.component("pipeline", why="the model is being loaded")
    starting = probe_app(probes, CollectorRegistry())
    starting.include_router(page_router())
    async with client_of(starting) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/page/x/nothing")).status_code == 404
        refused = await client.get("/v1/images")
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:sightline:problem:starting")
        assert refused.headers["retry-after"] == "5"


async def test_the_page_is_no_part_of_the_apis_description(app: FastAPI) -> None:
    assert not [path for path in app.openapi()["paths"] if path == "/" or path.startswith("/page")]


def test_every_text_that_is_asked_for_exists_and_none_lies_idle() -> None:
    asked: set[str] = set()
    families: list[re.Pattern[str]] = []
    for path in [*SCRIPTS, PAGE / "index.html"]:
        text = path.read_text(encoding="utf-8")
        asked |= set(re.findall(r'data-(?:text|label|placeholder)="([^"]+)"', text))
        literals = set(re.findall(r'"([a-z][\w.]*)"', text))
        asked |= {one for one in literals if one in ENGLISH}
        asked |= set(re.findall(r'\bt\("([^"]+)"', text))
        for made in re.findall(r"`([\w.]*\$\{[^`]+)`", text):
            pieces = re.split(r"\$\{(?:[^{}]|\{[^{}]*\})*\}", made)
            if any("." in piece for piece in pieces):
                families.append(re.compile(r"[\w.]+".join(map(re.escape, pieces))))
    assert asked - set(ENGLISH) == set()
    idle = {key for key in set(ENGLISH) - asked if not any(family.fullmatch(key) for family in families)}
    assert idle == set()


def test_plural_texts_have_both_forms_of_english() -> None:
    plural = {key: text for key, text in ENGLISH.items() if isinstance(text, dict)}
    assert plural
    assert all(set(forms) == {"one", "other"} for forms in plural.values())
