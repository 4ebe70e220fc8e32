"""The gate as a client meets it: who is let through, who is not, and what each hears."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from runtime.access.api_keys import keys_to_change, make_key
from runtime.access.browsers import networks
from runtime.access.gate import MOST_OF_A_BODY, Gate, Policy
from runtime.access.key_ring import KeyRing
from runtime.access.rates import Allowance, Buckets
from runtime.access.scopes import Scope
from runtime.log import Log

KEYS = Policy(required=True, on_loopback=False)
LOOPBACK = Policy(required=False, on_loopback=True)
GATEWAY = Policy(required=False, on_loopback=False)


class App:
    """Answers 200 with who asks; holds requests back while it is not open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.entered = asyncio.Condition()
        self.inside = 0
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        async with self.entered:
            self.inside += 1
            self.entered.notify_all()
        await self.open.wait()
        caller = scope.get("state", {}).get("caller")
        told = {} if caller is None else {"name": caller.name, "scopes": sorted(caller.scopes)}
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    async def holds(self, requests: int) -> None:
        async with self.entered:
            await self.entered.wait_for(lambda: self.inside >= requests)


class Made:
    """A gate with a key for each scope, named after it, and one that has expired."""

    def __init__(self, folder: Path, policy: Policy, **more: Any) -> None:
        self.file = folder / "keys.json"
        self.texts: dict[str, str] = {}
        with keys_to_change(self.file) as keys:
            for scope in Scope:
                self.texts[scope], key = make_key(scope, [scope])
                keys.append(key)
            past = datetime.now(UTC) - timedelta(seconds=1)
            self.texts["old"], key = make_key("old", [Scope.SEARCH], expires=past)
            keys.append(key)
        self.app = App()
        self.registry = CollectorRegistry()
        self.gate = Gate(self.app, policy, KeyRing(self.file, Log("test")), self.registry, **more)

    def refused(self, reason: str) -> float:
        return self.registry.get_sample_value("sightline_http_refused_total", {"reason": reason}) or 0.0

    def key(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.texts[name]}"}

    @asynccontextmanager
    async def client(
        self, host: str = "127.0.0.1:8080", peer: str = "127.0.0.1", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.gate, client=(peer, 4000))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers) as client:
            yield client


async def test_without_a_key_nothing_but_probes_and_pages_is_answered(tmp_path: Path) -> None:
    made = Made(tmp_path, KEYS)
    async with made.client("search.example") as client:
        for path in ("/livez", "/readyz", "/health", "/metrics", "/", "/docs", "/openapi.json", "/page/1/app/a.js"):
            assert (await client.get(path)).status_code == 200, path
        for method, path in (
            ("GET", "/v1/search?q=x"),
            ("POST", "/v1/search"),
            ("GET", "/v1/status"),
            ("POST", "/embed"),
            ("POST", "/embed/text"),
            ("POST", "/tag/image"),
            ("POST", "/api/search-by-image"),
            ("POST", "/events"),
            ("POST", "/v1/retag"),
            ("POST", "/livez"),
            ("POST", "/"),
            ("OPTIONS", "/v1/search"),
            ("GET", "/nothing"),
            ("GET", "/metrics/v1/search"),
            ("GET", "/docs2"),
            ("GET", "//v1/search"),
            ("GET", "/docs/../v1/search"),
            ("GET", "/v1/access/../search"),
        ):
            answer = await client.request(method, path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == 'Bearer realm="sightline"'
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            assert problem["type"] == "urn:sightline:problem:unauthorized"
            assert problem["status"] == 401
            assert "X-Api-Key" in problem["remedy"]
            assert "sightline keys new" in problem["remedy"]
    assert made.refused("no_key") == 18
    assert made.app.inside == 8


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/search", Scope.SEARCH),
        ("GET", "/v1/images/5/original", Scope.SEARCH),
        ("POST", "/v1/search", Scope.SEARCH),
        ("POST", "/api/search-by-image", Scope.SEARCH),
        ("POST", "/embed", Scope.EMBED),
        ("POST", "/embed/image/base64", Scope.EMBED),
        ("POST", "/tag/directory", Scope.EMBED),
        ("POST", "/events", Scope.INGEST),
        ("POST", "/v1/retag", Scope.ADMIN),
        ("GET", "/v1/retag", Scope.ADMIN),
        ("POST", "/v1/retag/preview", Scope.ADMIN),
        ("POST", "/v1/images/5/retry", Scope.ADMIN),
        ("DELETE", "/v1/images/5", Scope.ADMIN),
        ("GET", "/v2/anything", Scope.ADMIN),
        ("POST", "/v1/unheard-of", Scope.ADMIN),
    ],
)
async def test_each_path_lets_its_scope_through_and_no_other(
    tmp_path: Path, method: str, path: str, scope: Scope
) -> None:
    made = Made(tmp_path, KEYS)
    async with made.client("search.example") as client:
        for name in Scope:
            answer = await client.request(method, path, headers=made.key(name))
            assert answer.status_code == (200 if name is scope else 403), name
            if name is not scope:
                assert f'scope="{scope}"' in answer.headers["www-authenticate"]
                problem = answer.json()
                assert problem["scope"] == scope
                assert f"The key {name} lacks the scope {scope}" in problem["detail"]
                assert f"--scope {scope}" in problem["remedy"]


async def test_a_shops_client_finds_its_own_field_in_every_refusal_and_nobody_else_does(tmp_path: Path) -> None:
    made = Made(tmp_path, replace(KEYS, each_key=Allowance(per_second=0.01, burst=1, at_a_time=1)))
    for path, scope, expected in (("/api/search-by-image", "search", [False] * 3), ("/embed", "embed", [None] * 3)):
        async with made.client("search.example") as client:
            answers = [await client.post(path)]
            answers += [await client.post(path, headers=made.key("ingest"))]
            answers += [await client.post(path, headers=made.key(scope)) for _ in range(2)][1:]
        assert [answer.status_code for answer in answers] == [401, 403, 429]
        assert [answer.json().get("success") for answer in answers] == expected


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "Bearer  {} "])
async def test_a_key_comes_as_bearer_or_in_a_header_of_its_own(tmp_path: Path, form: str) -> None:
    made = Made(tmp_path, KEYS)
    text = made.texts["search"]
    async with made.client("search.example") as client:
        for headers in ({"Authorization": form.format(text)}, {"X-Api-Key": text}):
            answer = await client.get("/v1/search", headers=headers)
            assert answer.json() == {"name": "search", "scopes": ["search"]}


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-1], lambda t: t + "x", lambda t: t.upper(), lambda t: "x", lambda t: "ä"]
)
async def test_a_key_that_is_not_quite_one_is_none(tmp_path: Path, spoil: Any) -> None:
    made = Made(tmp_path, KEYS)
    async with made.client("search.example") as client:
        sent = spoil(made.texts["search"]).encode("latin-1")
        answer = await client.get("/v1/search", headers={"X-Api-Key": sent})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert made.texts["search"] not in answer.text
    assert made.refused("unknown_key") == 1


async def test_the_hash_of_a_key_is_no_key(tmp_path: Path) -> None:
    made = Made(tmp_path, KEYS)
    stolen = [key["hash"] for key in json.loads(made.file.read_text())["keys"]]
    async with made.client("search.example") as client:
        for one in stolen:
            assert (await client.get("/v1/search", headers={"X-Api-Key": one})).status_code == 401


async def test_an_expired_key_is_told_so_and_a_page_does_not_mind(tmp_path: Path) -> None:
    made = Made(tmp_path, KEYS)
    async with made.client("search.example") as client:
        answer = await client.get("/v1/search", headers=made.key("old"))
        assert answer.status_code == 401
        assert answer.json()["detail"] == "The API key old has expired."
        assert (await client.get("/v1/access", headers=made.key("old"))).json() == {"name": None, "scopes": []}
    assert made.refused("expired_key") == 1


async def test_stores_may_send_their_key_as_they_can_and_only_to_events(tmp_path: Path) -> None:
    made = Made(tmp_path, KEYS)
    key = made.texts["ingest"]
    basic = base64.b64encode(f"any:{key}".encode()).decode()
    async with made.client("ingest.example") as client:
        for header in (key, f"Basic {basic}", f"Bearer {key}"):
            assert (await client.post("/events", headers={"Authorization": header})).status_code == 200, header
        assert (await client.post("/events", headers={"Authorization": "Basic !"})).status_code == 401
        of_search = base64.b64encode(f"any:{made.texts['search']}".encode()).decode()
        assert (await client.get("/v1/search", headers={"Authorization": f"Basic {of_search}"})).status_code == 401


async def test_events_with_a_token_of_their_own_go_to_the_receiver_as_nobody(tmp_path: Path) -> None:
    made = Made(tmp_path, replace(KEYS, events_have_token=True))
    async with made.client("ingest.example") as client:
        own = await client.post("/events", headers={"Authorization": "Bearer the receiver's token"})
        assert own.json() == {"name": None, "scopes": []}
        assert (await client.post("/events", headers=made.key("ingest"))).json()["name"] == "ingest"
        assert (await client.post("/events", headers=made.key("search"))).status_code == 403
        assert (await client.post("/v1/retag")).status_code == 401


async def test_a_web_socket_is_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    gate = Gate(App(), KEYS, KeyRing(Path("none"), Log("test")), CollectorRegistry())
    await gate({"type": "websocket", "path": "/v1/search"}, None, send)  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


# On loopback, without keys


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "LOCALHOST", "127.0.0.1", "127.1.2.3:9", "[::1]:8080"])
async def test_on_loopback_this_machine_may_do_everything(tmp_path: Path, host: str) -> None:
    made = Made(tmp_path, LOOPBACK)
    async with made.client(host) as client:
        assert (await client.get("/v1/search")).status_code == 200
        answer = await client.post("/v1/retag")
        assert answer.json() == {"name": None, "scopes": sorted(Scope)}
        assert (await client.get("/v1/search", headers={"X-Api-Key": "of another service"})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "0.0.0.0",
        "10.0.0.1",
        "",
    ],
)
async def test_on_loopback_no_other_name_is_answered(tmp_path: Path, host: str) -> None:
    made = Made(tmp_path, LOOPBACK)
    async with made.client() as client:
        for path in ("/v1/search", "/", "/openapi.json"):
            answer = await client.get(path, headers={"Host": host})
            assert answer.status_code == 421
            assert "SIGHTLINE_ACCESS__ALLOWED_HOSTS" in answer.json()["remedy"]
        assert (await client.get("/readyz", headers={"Host": host})).status_code == 200
    assert made.app.inside == 1


async def test_names_may_be_added(tmp_path: Path) -> None:
    made = Made(tmp_path, replace(LOOPBACK, allowed_hosts=frozenset({"photos.local"})))
    async with made.client("photos.local:8080") as client:
        assert (await client.get("/v1/search")).status_code == 200
        assert (await client.get("/v1/search", headers={"Host": "127.0.0.1"})).status_code == 200
        assert (await client.get("/v1/search", headers={"Host": "other.local"})).status_code == 421


async def test_behind_a_gateway_names_matter_once_some_are_given(tmp_path: Path) -> None:
    async with Made(tmp_path, GATEWAY).client("anything") as client:
        assert (await client.get("/v1/search")).status_code == 200
    made = Made(tmp_path / "named", replace(GATEWAY, allowed_hosts=frozenset({"search"})))
    async with made.client("search:8080") as client:
        assert (await client.get("/v1/search")).status_code == 200
        assert (await client.get("/v1/search", headers={"Host": "127.0.0.1"})).status_code == 421


@pytest.mark.parametrize("policy", [LOOPBACK, GATEWAY], ids=["loopback", "gateway"])
@pytest.mark.parametrize(
    ("method", "headers", "passes"),
    [
        ("POST", {}, True),
        ("POST", {"Origin": "http://127.0.0.1:8080"}, True),
        ("POST", {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}, True),
        ("POST", {"Origin": "https://evil.example"}, False),
        ("POST", {"Origin": "http://127.0.0.1:3000"}, False),
        ("POST", {"Origin": "null"}, False),
        ("POST", {"Origin": ""}, False),
        ("POST", {"Sec-Fetch-Site": "cross-site"}, False),
        ("POST", {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"}, False),
        ("DELETE", {"Origin": "https://evil.example"}, False),
        ("OPTIONS", {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}, False),
        ("GET", {}, True),
        ("GET", {"Sec-Fetch-Site": "same-origin"}, True),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, False),
    ],
)
async def test_without_keys_a_page_of_another_origin_is_kept_out(
    tmp_path: Path, policy: Policy, method: str, headers: dict[str, str], passes: bool
) -> None:
    made = Made(tmp_path, policy)
    async with made.client() as client:
        answer = await client.request(method, "/v1/search", headers=headers)
    assert answer.status_code == (200 if passes else 403)
    assert made.refused("origin") == (0 if passes else 1)


async def test_with_keys_a_page_elsewhere_needs_one_and_so_has_been_let_in(tmp_path: Path) -> None:
    made = Made(tmp_path, KEYS)
    async with made.client("search.example", headers={"Origin": "https://evil.example"}) as client:
        assert (await client.post("/v1/search")).status_code == 401
        assert (await client.post("/v1/search", headers=made.key("search"))).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
async def test_a_proxy_in_front_of_loopback_is_noticed(tmp_path: Path, header: str) -> None:
    made = Made(tmp_path, LOOPBACK)
    async with made.client() as client:
        answer = await client.get("/v1/search", headers={header: "for=203.0.113.9"})
    assert answer.status_code == 403
    assert "SIGHTLINE_ACCESS__REQUIRED=always" in answer.json()["remedy"]


# How much


async def test_a_key_is_slowed_down_and_told_for_how_long_and_another_is_not(tmp_path: Path) -> None:
    now = 1000.0
    made = Made(
        tmp_path, replace(KEYS, each_key=Allowance(per_second=0.25, burst=2)), buckets=Buckets(clock=lambda: now)
    )
    async with made.client("search.example") as client:
        for expected in (200, 200, 429):
            answer = await client.get("/v1/search", headers=made.key("search"))
            assert answer.status_code == expected
        assert answer.headers["retry-after"] == "4"
        assert answer.json()["type"] == "urn:sightline:problem:too-many-requests"
        assert (await client.post("/embed", headers=made.key("embed"))).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        now += 4
        assert (await client.get("/v1/search", headers=made.key("search"))).status_code == 200
    assert made.refused("rate") == 1


async def test_without_a_key_the_address_is_counted_by_what_trusted_proxies_say(tmp_path: Path) -> None:
    policy = replace(
        GATEWAY, each_address=Allowance(per_second=1e-9, burst=1), trusted_proxies=networks(["10.0.0.0/8"])
    )
    made = Made(tmp_path, policy)

    async def ask(peer: str, forwarded: str | None = None) -> int:
        async with made.client("gateway", peer) as client:
            headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
            return (await client.get("/v1/search", headers=headers)).status_code

    assert [await ask("192.0.2.1"), await ask("192.0.2.1")] == [200, 429]
    assert await ask("192.0.2.1", "198.51.100.7") == 429, "nobody is believed who is not trusted"
    assert [await ask("10.0.0.1", "198.51.100.7"), await ask("10.0.0.2", "198.51.100.7")] == [200, 429]
    assert await ask("10.0.0.1", "1.1.1.1, 198.51.100.7, 10.9.9.9") == 429, (
        "what the client wrote itself is not believed"
    )
    assert [await ask("2001:db8::1"), await ask("2001:db8::ffff"), await ask("2001:db8:0:1::1")] == [200, 429, 200]


async def test_only_so_many_requests_of_one_key_are_under_way_and_each_that_ends_makes_room(tmp_path: Path) -> None:
    made = Made(tmp_path, replace(KEYS, each_key=Allowance(at_a_time=2)))
    made.app.open.clear()
    async with made.client("search.example") as client:
        held = [asyncio.create_task(client.get("/v1/search", headers=made.key("search"))) for _ in range(2)]
        await made.app.holds(2)
        refused = await client.get("/v1/search", headers=made.key("search"))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        held[0].cancel()
        await asyncio.gather(held[0], return_exceptions=True)
        made.app.open.set()
        assert (await client.get("/v1/search", headers=made.key("search"))).status_code == 200
        assert (await held[1]).status_code == 200
    assert made.refused("concurrency") == 1


async def test_the_bodies_under_way_fit_in_memory(tmp_path: Path) -> None:
    made = Made(tmp_path, replace(KEYS, body_bytes=1000))
    made.app.open.clear()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    async with made.client("search.example", headers=made.key("search")) as client:
        large = asyncio.create_task(client.post("/v1/search", content=b"x" * 2000))
        await made.app.holds(1)
        assert (await client.post("/v1/search", content=b"x")).status_code == 429
        made.app.open.set()
        assert (await large).status_code == 200
        assert (await client.get("/v1/search")).status_code == 200
        assert (await client.post("/v1/search", content=chunks())).status_code == 200
    assert made.refused("bodies") == 1
    assert MOST_OF_A_BODY > 1000


async def test_notifications_are_never_told_to_slow_down(tmp_path: Path) -> None:
    made = Made(tmp_path, replace(KEYS, each_key=Allowance(per_second=1e-9, burst=1, at_a_time=1)))
    async with made.client("ingest.example", headers=made.key("ingest")) as client:
        answers = await asyncio.gather(*(client.post("/events") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}


async def test_what_the_app_refuses_for_its_load_is_counted_too(tmp_path: Path) -> None:
    made = Made(tmp_path, LOOPBACK)
    made.app.status = 429
    async with made.client() as client:
        await client.get("/v1/search")
    assert made.refused("busy") == 1


async def test_no_answer_may_be_sniffed_embedded_or_framed_elsewhere(tmp_path: Path) -> None:
    made = Made(tmp_path, LOOPBACK)
    made.app.headers = [(b"x-frame-options", b"SAMEORIGIN"), (b"content-type", b"image/jpeg")]
    async with made.client() as client:
        answer = await client.get("/v1/images/1/original")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers.get_list("x-frame-options") == ["SAMEORIGIN"], "what the app says stands"
