"""What an operator decides about watching: how fresh is fresh enough, what a device costs, where traces go."""

from pydantic import BaseModel, Field, field_validator


class FreshnessSettings(BaseModel):
    """The objective: so large a share of changes is searchable within so many seconds of the change in the store."""

    objective_seconds: float = Field(10.0, gt=0, le=86_400)
    objective_ratio: float = Field(0.99, gt=0, lt=1)


class CostSettings(BaseModel):
    """What the device of the model costs; from it and the seconds of forward passes follow dollars by image."""

    device_dollars_per_hour: float = Field(0.0, ge=0, description="0: not told")


class TracingSettings(BaseModel):
    """Traces by OpenTelemetry, over OTLP/HTTP. The standard OTEL_* variables are honoured and do as well.

    Without an address, here or in OTEL_EXPORTER_OTLP_ENDPOINT, nothing is traced and nothing of it is loaded.
    """

    endpoint: str = Field("", description="The collector, such as http://collector:4318")
    sample_ratio: float | None = Field(
        None, ge=0, le=1, description="Share of new traces that are kept; none: OTEL_TRACES_SAMPLER, else all"
    )

    @field_validator("endpoint")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is no URL; write for example 'http://collector:4318'")
        return value.rstrip("/")


class ProbeSettings(BaseModel):
    """When /livez says that a restart would help."""

    stall_seconds: float = Field(
        300.0,
        ge=1,
        description="A batch, an image or a forward pass without any progress; must exceed the pass of a full batch: "
        "where the warm-up says that it would not, twice the seconds of that pass are used",
    )
    heartbeat_seconds: float = Field(30.0, ge=1, description="The event loop without a beat")
