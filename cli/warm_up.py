"""What a person and a log are told of a loaded model: a first look at where the time goes."""

from cli.parts import Parts
from encoders.engine import EncoderEngine


def tell_model(engine: EncoderEngine, parts: Parts) -> None:
    """The log line about an entered engine. Times are milliseconds: `prepare` of one image, the others of a batch."""
    identity, warm = engine.identity, engine.warm_up
    times: dict[str, object] = {}
    if warm is not None:
        times = {
            "warm_up_images": warm.images,
            "prepare_ms": round(1000 * warm.prepare, 3),
            "forward_ms": round(1000 * warm.forward, 3),
            "finish_ms": round(1000 * warm.finish, 3),
            "images_per_second": round(warm.images_per_second, 1),
        }
    parts.log.info(
        "model_ready",
        model_line(engine),
        model=identity.model,
        device=engine.encoder.device,
        fingerprint=identity.fingerprint,
        dimension=identity.dimension,
        **times,
    )


def model_line(engine: EncoderEngine) -> str:
    """One line for a terminal about an entered engine, without a word of speed where it made no warm-up."""
    name, warm = f"{engine.identity.model} on {engine.encoder.device}", engine.warm_up
    if warm is None:
        return f"{name} is ready"
    return (
        f"{name} is ready: prepare {1000 * warm.prepare:.1f} ms an image; forward {1000 * warm.forward:.1f} ms and "
        f"finish {1000 * warm.finish:.2f} ms for {warm.images}; {warm.images_per_second:,.0f} images/s without decoding"
    )
