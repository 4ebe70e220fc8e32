"""The engine for the model that the settings name."""

import os

from cli.parts import Parts
from encoders.encoder import Modality
from encoders.engine import EncoderEngine
from encoders.registry import make_encoder
from encoders.remote.options import HF_TOKEN, REPLICATE_API_TOKEN, SELF_HOSTED_TOKEN, RemoteOptions
from encoders.remote.token import Token
from schemas.errors import ConfigurationError
from services.embedder.metrics import DeviceMetrics, EmbedderMetrics


def make_engine(parts: Parts, metrics: EmbedderMetrics | DeviceMetrics | None = None) -> EncoderEngine:
    """The engine; not loaded yet.

    `metrics` are the embedder's where images are indexed, and the device's where they are embedded for others. Raises
    `ConfigurationError` for a model that nobody knows, and with the embedder's for one that takes words only.
    """
    encoder = parts.settings.encoder
    made = make_encoder(encoder.model, device=encoder.device, remote=remote_options(parts))
    if isinstance(metrics, EmbedderMetrics) and made.modality is Modality.WORDS:
        raise ConfigurationError(
            f"the model {encoder.model} takes words only, so no image can be indexed with it: choose one that takes "
            "images (`sightline models` lists them), or serve vectors of texts with it by `sightline run search`"
        )
    return EncoderEngine(
        made,
        batch_size=encoder.batch_size,
        max_wait_seconds=encoder.max_wait_ms / 1000,
        decode_threads=encoder.decode_threads,
        max_pixels=parts.settings.limits.pixels,
        on_batch=metrics.forward if metrics else None,
    )


def remote_options(parts: Parts) -> RemoteOptions:
    """How models that run elsewhere are asked. Tokens come from the environment and are kept out of the settings."""
    settings = parts.settings.remote
    tokens = {name: Token(name, os.environ.get(name, "")) for name in (HF_TOKEN, REPLICATE_API_TOKEN)}
    tokens[SELF_HOSTED_TOKEN] = Token(SELF_HOSTED_TOKEN, settings.token.get_secret_value())
    return RemoteOptions(
        **settings.model_dump(exclude={"token", "model"}),
        tokens=tokens,
        ledger=parts.settings.data_dir / "remote-spent.json",
        notice=lambda sentence: parts.log.warning("remote_model", sentence),
    )
