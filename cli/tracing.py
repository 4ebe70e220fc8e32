"""Whether this process traces, by its settings and by the variables that OpenTelemetry itself has for it."""

from collections.abc import Mapping

from runtime.settings import Settings
from runtime.tracing import Tracing, Untraced
from schemas.errors import ConfigurationError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def make_tracing(settings: Settings, environment: Mapping[str, str]) -> Tracing:
    """Tracing where there is somewhere to send spans to, else nothing, of which nothing is loaded.

    Raises `ConfigurationError` where it is wanted and its libraries are missing, or by another protocol than HTTP.
    """
    if not settings.tracing.endpoint and not any(environment.get(name) for name in ENDPOINTS):
        return Untraced()
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or environment.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return Untraced()
    protocol = next((environment[name] for name in PROTOCOLS if environment.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        raise ConfigurationError(
            f"traces are sent by http/protobuf, and {' or '.join(PROTOCOLS)} says {protocol}; leave it out and name "
            "the collector's port for HTTP, usually 4318"
        )
    try:
        from runtime.otel import OpenTelemetry
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"traces are to be sent, and {error.name} is not installed: install `sightline[tracing]`, or unset "
            f"SIGHTLINE_TRACING__ENDPOINT and {' and '.join(ENDPOINTS)}"
        ) from None
    system = "kafka" if settings.kafka.bootstrap_servers else "in_process"
    return OpenTelemetry(settings.tracing, environment, system=system)
