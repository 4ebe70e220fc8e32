"""Settings that compose: each service's settings contain these. Read from `SIGHTLINE_*`, `__` between levels.

Nothing is read at import; the command line builds them once and hands them down. A value that cannot
work stops the start with a sentence that says what to change.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from runtime.access.settings import AccessSettings
from runtime.encoder_settings import EncoderSettings, RemoteSettings
from runtime.observation_settings import CostSettings, FreshnessSettings, ProbeSettings, TracingSettings
from runtime.picture_settings import OriginalSettings, ThumbnailSettings
from runtime.setting_values import Sentences, Words
from runtime.url_settings import UrlSettings
from schemas.errors import ConfigurationError


class KafkaSettings(BaseModel):
    """Where Kafka is and how to speak to it. Without bootstrap servers everything runs embedded."""

    bootstrap_servers: str = ""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ssl_ca_file: Path | None = None
    topic_prefix: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,60}$")
    group_prefix: str = Field("sightline-", pattern=r"^[A-Za-z0-9._-]{0,60}$")
    create_topics: bool = True
    partitions: int = Field(12, ge=1, le=1024)
    replication_factor: int = Field(1, ge=1, le=15)
    batch_records: int = Field(64, ge=1, le=1000)
    batch_wait_ms: int = Field(50, ge=1, le=10_000)
    session_timeout_ms: int = Field(30_000, ge=6_000, le=300_000)
    rebalance_timeout_ms: int = Field(120_000, ge=5_000, le=1_800_000)
    request_timeout_ms: int = Field(30_000, ge=1_000, le=300_000)

    @field_validator("bootstrap_servers")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        for one in filter(None, value.split(",")):
            host, _, port = one.strip().rpartition(":")
            if not host or not port.isdigit():
                raise ValueError(f"{one.strip()!r} is no host:port; write for example 'kafka-1:9092,kafka-2:9092'")
        return value


class S3Settings(BaseModel):
    """How to reach object storage. Credentials come from boto3's own chain (AWS_* variables, profiles, roles)."""

    endpoint_url: str | None = None
    region: str | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    connect_timeout: float = Field(5.0, gt=0)
    read_timeout: float = Field(30.0, gt=0)
    max_connections: int = Field(64, ge=1, le=1024)


class LimitSettings(BaseModel):
    """What is too much. Sizes in bytes, pixels in number."""

    object_bytes: int = Field(256 * 1024 * 1024, ge=1024)
    in_hand_bytes: int = Field(256 * 1024 * 1024, ge=1024, description="Of all objects in memory together")
    pixels: int = Field(100_000_000, ge=1)
    notification_bytes: int = Field(1024 * 1024, ge=1024)
    notification_depth: int = Field(3, ge=1, le=10)


class QdrantSettings(BaseModel):
    """A Qdrant server. Without a URL the index is Qdrant Edge under the data folder."""

    url: str = ""
    api_key: SecretStr = SecretStr("")
    grpc_port: int = Field(6334, ge=1, le=65535)
    timeout: float = Field(30.0, gt=0)
    shard_number: int = Field(0, ge=0, le=1024, description="Of a collection that is made; 0: as the server says")
    replication_factor: int = Field(0, ge=0, le=16, description="Copies of each shard; 0: as the server says")

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is no URL; write for example 'http://qdrant:6333'")
        return value


class EdgeSettings(BaseModel):
    """Qdrant Edge, the index where there is no Qdrant server."""

    shards: int = Field(
        0,
        ge=0,
        le=64,
        description="Of a collection that is made, a process each; 0: as many as processors, at most 4. Set it where a "
        "quota gives fewer",
    )


class TagSettings(BaseModel):
    """Tags at index time: the default ones, those of a file, and your own. See `encoders.vocabulary` for the form."""

    enabled: bool = True
    defaults: bool = Field(True, description="Keep the default tags beside your own")
    vocabulary: Words = ()
    vocabulary_file: Path | None = None
    templates: Sentences = Field((), description="`{}` stands for the tag; empty: the default ones")
    top_k: int = Field(4, ge=1, description="At most so many tags an image")
    least_score: float = Field(0.0, ge=0, le=1, description="A tag below is left out")
    roots: Words = Field((), description="Folders whose photos may be named by path at /tag/image and /tag/directory")


class PayloadSettings(BaseModel):
    """What of a picture's metadata is kept in the index."""

    gps: bool = Field(False, description="Keep where it was taken; otherwise coordinates never leave the embedder")


class DeadLetterSettings(BaseModel):
    """When rejections look like an outage rather than bad data."""

    share: float = Field(0.5, gt=0, le=1)
    window: int = Field(500, ge=1)
    least: int = Field(50, ge=1)


class WebhookSettings(BaseModel):
    """The receiver for stores that post their notifications."""

    token: SecretStr = SecretStr("")


class SqsSettings(BaseModel):
    """The receiver for AWS: a queue that S3, SNS or EventBridge writes to."""

    queue_url: str = ""
    wait_seconds: int = Field(20, ge=0, le=20)


class IngestSettings(BaseModel):
    """What is taken in. Patterns are shell globs on the whole key (`*` crosses slashes), without regard to case."""

    buckets: Words = Field((), description="Only these buckets are read; empty: any")
    include: Words = ()
    exclude: Words = ()
    webhook: WebhookSettings = WebhookSettings()
    sqs: SqsSettings = SqsSettings()


class ReconcileSettings(BaseModel):
    """How far one reconcile may go without being told. Both bounds must be exceeded for it to refuse."""

    interval: float | None = Field(None, gt=0, description="Seconds; none: 600 for a folder, 60 for a bucket")
    max_gone_share: float = Field(0.10, ge=0, le=1)
    max_gone: int = Field(100, ge=0)
    pushgateway: str = Field("", description="A Prometheus Pushgateway that `sightline reconcile` pushes its counts to")

    @field_validator("pushgateway")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is no URL; write for example 'http://pushgateway:9091'")
        return value


class Settings(BaseSettings):
    """Everything that can be set. Environment: SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS, SIGHTLINE_ENCODER__MODEL, ..."""

    model_config = SettingsConfigDict(env_prefix="SIGHTLINE_", env_nested_delimiter="__", extra="ignore")

    data_dir: Path = Path("~/.local/share/sightline")
    host: str = "127.0.0.1"
    port: int | None = Field(
        None, ge=0, le=65535, description="None: 8080 for search and up, 8081 ingest, 8082 embedder, 8083 indexer"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    drain_seconds: float = Field(30.0, gt=0)
    health_status: Literal["healthy", "ok"] = Field("healthy", description="What `status` of GET /health says")
    kafka: KafkaSettings = KafkaSettings()
    s3: S3Settings = S3Settings()
    limits: LimitSettings = LimitSettings()
    qdrant: QdrantSettings = QdrantSettings()
    edge: EdgeSettings = EdgeSettings()
    encoder: EncoderSettings = EncoderSettings()
    tags: TagSettings = TagSettings()
    payload: PayloadSettings = PayloadSettings()
    remote: RemoteSettings = RemoteSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    ingest: IngestSettings = IngestSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    originals: OriginalSettings = OriginalSettings()
    thumbnails: ThumbnailSettings = ThumbnailSettings()
    access: AccessSettings = AccessSettings()
    urls: UrlSettings = UrlSettings()
    freshness: FreshnessSettings = FreshnessSettings()
    cost: CostSettings = CostSettings()
    tracing: TracingSettings = TracingSettings()
    probes: ProbeSettings = ProbeSettings()
    api_key: SecretStr = Field(SecretStr(""), description="What the commands send to a running process that asks")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: `load_settings` reads the environment that its caller hands down."""
        return (init_settings,)

    def masked(self) -> dict[str, Any]:
        """The effective values with secrets masked, ready for JSON."""
        return self.model_dump(mode="json")


NOT_SETTINGS = frozenset({"SIGHTLINE_CACHE", "SIGHTLINE_STACK_DIR", "SIGHTLINE_TEST_S3_ENDPOINT"})
"""Variables of the developers' tools, which may stand in the same environment."""


class _Environment(EnvSettingsSource):
    """Variables from a mapping instead of the process's own environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environment.items() if value}


def load_settings(environment: Mapping[str, str], **options: Any) -> Settings:
    """Settings from the environment, then `options` that are not None, `__` between levels (`encoder__model`).

    `PORT` and `LOG_LEVEL` are honoured where the longer names are absent; an empty variable is no variable.
    Raises `ConfigurationError` with one sentence for each value that cannot work, by the name under
    which it was given, and for each `SIGHTLINE_` name that is none.
    """
    unknown = sorted(set(_unknown_names(environment)))
    if unknown:
        raise ConfigurationError(
            f"{', '.join(unknown)}: no such setting. `sightline config` lists the names that exist"
        )
    values = _Environment(environment)()
    given: dict[tuple[str, ...], str] = {}
    for short in ("PORT", "LOG_LEVEL"):
        if environment.get(short) and not environment.get(f"SIGHTLINE_{short}"):
            value = environment[short]
            _place(values, (short.lower(),), value.upper() if short == "LOG_LEVEL" else value)
            given[(short.lower(),)] = short
    for name, value in options.items():
        if value is not None:
            path = tuple(name.split("__"))
            _place(values, path, value)
            given[path] = "--" + path[-1].replace("_", "-")
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"{_name_of(e['loc'], given)}: {e['msg'].removeprefix('Value error, ')} (it is {str(e['input'])[:60]!r})"
            for e in error.errors()
        )
        raise ConfigurationError(f"{problems}. Change it and start again") from None
    return settings.model_copy(update={"data_dir": settings.data_dir.expanduser().absolute()})


def _place(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
    values[path[-1]] = value


def _name_of(location: tuple[int | str, ...], given: Mapping[tuple[str, ...], str]) -> str:
    parts = tuple(str(part) for part in location if not isinstance(part, int))
    return given.get(parts) or "SIGHTLINE_" + "__".join(part.upper() for part in parts)


def setting_names(model: type[BaseModel] = Settings, prefix: str = "SIGHTLINE_") -> list[str]:
    """The environment variable of every setting."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += setting_names(field.annotation, f"{variable}__")
        else:
            names.append(variable)
    return names


def _unknown_names(environment: Mapping[str, str]) -> list[str]:
    known = NOT_SETTINGS.union(setting_names())
    return [name for name in environment if name.startswith("SIGHTLINE_") and name.upper() not in known]
