"""`/health`: the fields of three services in one answer."""

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from runtime.probes import Probes
from services.search.api import create_app
from services.search.health_routes import HealthyWord, starting_health_router
from services.search.service_app import embedding_app
from stores.vectors import VectorIndex
from tests.unit.search.conftest import client_of
from tests.unit.search.fakes import DIMENSION, FakeEngine

HEALTHY = {
    "status": "healthy",
    "model_loaded": True,
    "model": "tiny",
    "version": "1.0",
    "dimension": DIMENSION,
    "device": "cpu",
}


async def test_health_has_the_fields_of_all(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (200, HEALTHY)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("word", ["healthy", "ok"])
async def test_the_word_for_well_is_a_matter_of_choice(
    index: VectorIndex, engine: FakeEngine, word: HealthyWord
) -> None:
    whole = create_app(index, engine, probes=Probes(), registry=CollectorRegistry(), healthy=word)
    alone = embedding_app(engine, probes=Probes(), registry=CollectorRegistry(), healthy=word)
    for app in (whole, alone):
        async with client_of(app) as client:
            assert (await client.get("/health")).json() == HEALTHY | {"status": word}


async def test_a_process_that_starts_names_the_model_that_it_loads() -> None:
    app = FastAPI()
    app.include_router(starting_health_router("ViT-B-32"))
    async with client_of(app) as client:
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "starting",
        "model_loaded": False,
        "model": "ViT-B-32",
        "version": "1.0",
        "dimension": None,
        "device": None,
    }
