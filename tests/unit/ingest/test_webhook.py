"""What a store hears when it posts a notification."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from runtime.access.api_keys import keys_to_change, make_key
from runtime.access.gate import Gate, Policy
from runtime.access.key_ring import KeyRing
from runtime.access.scopes import Scope
from runtime.dead_letters import BudgetPolicy, DeadLetterBudgetExceeded
from runtime.log import Log
from schemas.errors import ConfigurationError, DependencyUnavailable
from services.ingest.webhook import WebhookReceiver, authorized
from tests.unit.ingest.receiving import Ingest, Kafka, ingest
from tests.unit.ingest.stores import BUCKET, aws, in_sqs, minio

TOKEN = "a long random text"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def receiver(made: Ingest, *, token: str = TOKEN, loopback: bool = False, **more: Any) -> WebhookReceiver:
    return WebhookReceiver(made.worker, token=token, loopback=loopback, **({"max_bytes": 10_000} | more))


def client(webhook: WebhookReceiver) -> httpx.AsyncClient:
    application = FastAPI()
    application.include_router(webhook.router)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(application), base_url="http://ingest", headers=BEARER, timeout=20
    )


async def test_a_notification_is_answered_when_kafka_has_acknowledged_its_hints() -> None:
    acknowledged = asyncio.Event()
    made = ingest(Kafka(before=acknowledged.wait))
    async with client(receiver(made)) as http:
        answer = asyncio.create_task(http.post("/events", json=minio("a b.jpg")))
        done, _ = await asyncio.wait([answer], timeout=0.1)
        assert not done
        acknowledged.set()
        response = await answer
    assert response.status_code == 200
    assert response.json() == {"hints": 1, "ignored": 0, "unwanted": 0, "refused": 0}
    assert made.kafka.keys == ["a b.jpg"]


async def test_what_was_refused_is_dead_lettered_and_told_in_an_answer_that_no_store_repeats() -> None:
    made = ingest(allowed=[BUCKET])
    foreign = aws("secret.jpg")
    foreign["Records"][0]["s3"]["bucket"]["name"] = "payroll"
    async with client(receiver(made)) as http:
        response = await http.post("/events", json=in_sqs(aws("a.jpg"), foreign, aws("a.txt")))
        nonsense = await http.post("/events", content=b"\xff")
    assert response.status_code == 200
    answer = response.json()
    assert (answer["hints"], answer["unwanted"], answer["refused"]) == (1, 1, 1)
    assert "payroll" in answer["reasons"][0]
    assert nonsense.status_code == 200
    assert nonsense.json()["refused"] == 1
    assert made.kafka.keys == ["a.jpg"]
    assert [letter.origin.topic for letter in made.kafka.letters] == ["webhook", "webhook"]
    assert made.kafka.letters[1].original == b"\xff"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Basic !",
        f"Basic {base64.b64encode(b'any:wrong').decode()}",
        f"Basic {base64.b64encode(TOKEN.encode()).decode()}",
    ],
)
async def test_without_the_token_nothing_is_read_and_nothing_explained(header: str | None) -> None:
    made = ingest()
    async with client(receiver(made)) as http:
        del http.headers["Authorization"]
        response = await http.post(
            "/events", json=aws("a.jpg"), headers={} if header is None else {"Authorization": header}
        )
    assert response.status_code == 401
    assert response.content == b""
    assert not made.kafka.events


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {TOKEN}",
        f"bearer {TOKEN}",
        TOKEN,
        f"Basic {base64.b64encode(f'any:{TOKEN}'.encode()).decode()}",
    ],
)
async def test_every_form_in_which_a_store_can_send_the_token_is_accepted(header: str) -> None:
    assert authorized(header, TOKEN)


async def test_a_token_with_a_colon_survives_basic() -> None:
    assert authorized("Basic " + base64.b64encode(b"any:to:ken").decode(), "to:ken")


@pytest.mark.parametrize("token", ["", "  "])
def test_an_open_door_is_refused_unless_only_this_machine_can_reach_it(token: str) -> None:
    with pytest.raises(ConfigurationError, match="SIGHTLINE_INGEST__WEBHOOK__TOKEN"):
        receiver(ingest(), token=token)
    receiver(ingest(), token=token, loopback=True)


async def test_on_loopback_without_a_token_a_web_page_is_kept_out() -> None:
    made = ingest()
    async with client(receiver(made, token="", loopback=True)) as http:
        del http.headers["Authorization"]
        page = await http.post("/events", json=aws("a.jpg"), headers={"Origin": "https://example.com"})
        store = await http.post("/events", json=aws("b.jpg"))
    assert (page.status_code, store.status_code) == (401, 200)
    assert made.kafka.keys == ["b.jpg"]


@pytest.mark.parametrize("token", ["", TOKEN])
async def test_where_keys_are_asked_for_one_for_ingest_does_as_well_as_the_token(tmp_path: Path, token: str) -> None:
    made = ingest()
    application = FastAPI()
    application.include_router(receiver(made, token=token, with_keys=True).router)
    texts = {}
    with keys_to_change(tmp_path / "keys.json") as keys:
        for scope in (Scope.INGEST, Scope.SEARCH):
            texts[scope], key = make_key(scope, [scope])
            keys.append(key)
    policy = Policy(required=True, on_loopback=False, events_have_token=bool(token))
    gate = Gate(application, policy, KeyRing(tmp_path / "keys.json", Log("test")), CollectorRegistry())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://ingest") as http:

        async def post(name: str, **headers: str) -> int:
            return (await http.post("/events", json=aws(name), headers=headers)).status_code

        assert await post("key.jpg", authorization=f"Bearer {texts[Scope.INGEST]}") == 200
        assert await post("token.jpg", authorization=f"Bearer {TOKEN}") == (200 if token else 401)
        assert await post("search.jpg", authorization=f"Bearer {texts[Scope.SEARCH]}") == 403
        assert await post("nobody.jpg") == 401
        assert await post("wrong.jpg", authorization="Bearer wrong") == 401
        assert await post("empty.jpg", authorization="Bearer ") == 401
    assert made.kafka.keys == (["key.jpg", "token.jpg"] if token else ["key.jpg"])


async def test_where_no_keys_are_asked_for_the_token_is() -> None:
    made = ingest()
    application = FastAPI()
    application.include_router(receiver(made, loopback=True).router)
    keys = KeyRing(Path("none"), Log("test"))
    gate = Gate(application, Policy(required=False, on_loopback=True), keys, CollectorRegistry())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://127.0.0.1") as http:
        assert (await http.post("/events", json=aws("a.jpg"))).status_code == 401
        assert (await http.post("/events", json=aws("b.jpg"), headers=BEARER)).status_code == 200
    assert made.kafka.keys == ["b.jpg"]


async def test_keys_that_are_asked_for_without_a_gate_let_nobody_in() -> None:
    made = ingest()
    async with client(receiver(made, token="", with_keys=True)) as http:
        assert (await http.post("/events", json=aws("a.jpg"))).status_code == 401
        assert (await http.post("/events", json=aws("a.jpg"), headers={"Authorization": ""})).status_code == 401
    assert not made.kafka.keys


async def test_a_body_above_the_limit_is_refused_while_it_streams() -> None:
    made = ingest()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield b" " * 1000

    async with client(receiver(made, max_bytes=5000)) as http:
        response = await http.post("/events", content=endless())
    assert response.status_code == 413
    assert sent <= 7000
    assert not made.kafka.letters


async def test_a_body_that_never_ends_is_given_up() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with client(receiver(ingest(), deadline=0.05)) as http:
        response = await http.post("/events", content=slow())
    assert response.status_code == 408


async def test_an_empty_body_asks_whether_anybody_listens() -> None:
    made = ingest()
    async with client(receiver(made)) as http:
        response = await http.post("/events")
    assert response.status_code == 200
    assert not made.kafka.letters


async def test_while_kafka_is_away_the_store_is_asked_to_come_again() -> None:
    away = True

    def before() -> None:
        if away:
            raise DependencyUnavailable("kafka", "no broker answers", "Start it")

    made = ingest(Kafka(before=before))
    async with client(receiver(made, deadline=0.1)) as http:
        response = await http.post("/events", json=aws("a.jpg"))
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    away = False
    # However slow the machine is, Kafka is there now.
    async with client(receiver(made)) as http:
        assert (await http.post("/events", json=aws("a.jpg"))).status_code == 200
    assert made.kafka.keys == ["a.jpg"]
    assert not made.kafka.letters


async def test_more_than_can_be_held_in_hand_is_sent_away() -> None:
    acknowledged = asyncio.Event()
    arrived = asyncio.Event()

    async def before() -> None:
        arrived.set()
        await acknowledged.wait()

    made = ingest(Kafka(before=before))
    async with client(receiver(made, most_in_hand=1)) as http:
        first = asyncio.create_task(http.post("/events", json=aws("a.jpg")))
        await arrived.wait()
        second = await http.post("/events", json=aws("b.jpg"))
        acknowledged.set()
        assert (await first).status_code == 200
    assert second.status_code == 503
    assert "Retry-After" in second.headers


async def test_stopping_answers_what_is_in_hand_and_takes_no_more() -> None:
    acknowledged = asyncio.Event()
    arrived = asyncio.Event()

    async def before() -> None:
        arrived.set()
        await acknowledged.wait()

    made = ingest(Kafka(before=before))
    webhook = receiver(made)
    stop = asyncio.Event()
    running = asyncio.create_task(webhook.run(stop))
    async with client(webhook) as http:
        first = asyncio.create_task(http.post("/events", json=aws("a.jpg")))
        await arrived.wait()
        stop.set()
        done, _ = await asyncio.wait([running], timeout=0.05)
        assert not done
        assert (await http.post("/events", json=aws("b.jpg"))).status_code == 503
        acknowledged.set()
        assert (await first).status_code == 200
        await running
    assert made.kafka.keys == ["a.jpg"]


async def test_a_bug_stops_the_process_and_loses_nothing() -> None:
    def before() -> None:
        raise TimeoutError("a bug, and no deadline")

    webhook = receiver(ingest(Kafka(before=before)))
    running = asyncio.create_task(webhook.run(asyncio.Event()))
    async with client(webhook) as http:
        assert (await http.post("/events", json=aws("a.jpg"))).status_code == 503
        with pytest.raises(TimeoutError, match="a bug"):
            await running


async def test_a_spent_dead_letter_budget_stops_the_process_before_the_letter_is_written() -> None:
    made = ingest(budget=BudgetPolicy(share=0.5, window=2, least=1))
    webhook = receiver(made)
    running = asyncio.create_task(webhook.run(asyncio.Event()))
    async with client(webhook) as http:
        assert (await http.post("/events", json={"no": "notification"})).status_code == 503
        with pytest.raises(DeadLetterBudgetExceeded):
            await running
    assert not made.kafka.letters


def test_the_route_is_documented() -> None:
    application = FastAPI()
    application.include_router(receiver(ingest()).router)
    assert json.dumps(application.openapi()["paths"]["/events"]["post"]["summary"])
