"""The engine for the model that the settings name."""

from cli.parts import Parts
from encoders.engine import EncoderEngine
from encoders.registry import make_encoder
from services.embedder.metrics import EmbedderMetrics


def make_engine(parts: Parts, metrics: EmbedderMetrics | None = None) -> EncoderEngine:
    """The engine; not loaded yet. Raises `ConfigurationError` for a model that nobody knows."""
    encoder = parts.settings.encoder
    return EncoderEngine(
        make_encoder(encoder.model, device=encoder.device),
        batch_size=encoder.batch_size,
        max_wait_seconds=encoder.max_wait_ms / 1000,
        decode_threads=encoder.decode_threads,
        max_pixels=parts.settings.limits.pixels,
        on_batch=metrics.forward if metrics else None,
    )
