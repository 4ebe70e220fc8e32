"""The parts that both ways to run are made of, built from settings."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from encoders.engine import EncoderEngine
from encoders.registry import make_encoder
from runtime.batch import Publisher
from runtime.dead_letters import BudgetPolicy, DeadLetterBudget, DeadLetterSink
from runtime.log import Log
from runtime.metrics import BUILD_INFO, MetricSet, StageMetrics
from runtime.release import RELEASE
from runtime.retry import Retry, RetryPolicy
from runtime.settings import Settings
from runtime.stage import Stage
from runtime.worker import Decode, Worker
from schemas.collection import CollectionMetadata, collection_name
from services.embedder.metrics import EmbedderMetrics
from stores.edge import EdgeIndex
from stores.qdrant_server import QdrantIndex
from stores.vectors import VectorIndex


@dataclass
class Parts:
    """What every component of a process shares: settings, log, and one metrics registry."""

    settings: Settings
    log: Log
    metrics: MetricSet
    budget_stops: bool = True

    @classmethod
    def make(cls, settings: Settings, *, budget_stops: bool = True) -> "Parts":
        """Fresh parts with a registry of their own."""
        registry = CollectorRegistry()
        BUILD_INFO.gauge(registry).labels(RELEASE).set(1)
        return cls(settings, Log("sightline"), MetricSet.make(registry), budget_stops)

    @property
    def registry(self) -> CollectorRegistry:
        """Where every metric of this process is registered."""
        return self.metrics.registry

    def worker(
        self,
        stage: Stage[Any],
        decode: Decode[Any],
        publisher: Publisher | None,
        dead_letters: DeadLetterSink,
        metrics: StageMetrics,
    ) -> Worker[Any]:
        """A worker around a stage, with the retry and the budget that the settings ask for."""
        letters = self.settings.dead_letters
        return Worker(
            stage,
            decode,
            publisher,
            dead_letters,
            metrics=metrics,
            retry=Retry(RetryPolicy(), stage=stage.name, metrics=metrics, log=self.log),
            budget=DeadLetterBudget(
                BudgetPolicy(share=letters.share, window=letters.window, least=letters.least, stop=self.budget_stops),
                self.log,
            ),
            log=self.log,
        )

    def engine(self, metrics: EmbedderMetrics | None = None) -> EncoderEngine:
        """The engine for the model that the settings name; not loaded yet. Raises `ConfigurationError`."""
        encoder = self.settings.encoder
        return EncoderEngine(
            make_encoder(encoder.model, device=encoder.device),
            batch_size=encoder.batch_size,
            max_wait_seconds=encoder.max_wait_ms / 1000,
            decode_threads=encoder.decode_threads or None,
            max_pixels=self.settings.limits.pixels,
            on_batch=metrics.forward if metrics else None,
        )

    def index(self) -> VectorIndex:
        """The collection of the model that the settings name; not opened yet."""
        collection = collection_name(self.settings.encoder.model)
        qdrant = self.settings.qdrant
        if qdrant.url:
            return QdrantIndex(
                collection,
                url=qdrant.url,
                api_key=qdrant.api_key.get_secret_value(),
                grpc_port=qdrant.grpc_port,
                timeout=qdrant.timeout,
            )
        return EdgeIndex(index_folder(self.settings.data_dir), collection)


def index_folder(data_dir: Path) -> Path:
    """Where Qdrant Edge keeps its shards."""
    return data_dir / "index"


async def ensure_collection(index: VectorIndex, engine: EncoderEngine) -> CollectionMetadata:
    """The collection of an entered engine, made where it is missing. Raises `ForeignCollection`."""
    return await index.ensure(CollectionMetadata(encoder=engine.encoder.identity, created_at=datetime.now(UTC)))
