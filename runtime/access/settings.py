"""What can be set of access: `SIGHTLINE_ACCESS__...`."""

from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from runtime.setting_values import Words


class AccessSettings(BaseModel):
    """Who may ask over HTTP, and how much. See docs/security.md.

    Without numbers, each key may ask 50 times a second, 200 times at once after a rest, and 64 at a time; nobody is
    limited where no keys are asked for. 0 is no limit.
    """

    required: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether API keys are asked for; auto: unless only this machine can connect; never: behind a "
        "gateway that authenticates",
    )
    keys_file: Path | None = Field(None, description="None: api-keys.json in the data folder")
    allowed_hosts: Words = Field((), description="Names by which this service may be asked, besides those of loopback")
    trusted_proxies: Words = Field((), description="Addresses and networks whose X-Forwarded-For is believed")
    requests_per_second: float | None = Field(None, ge=0, description="Of each key; of each address without a key")
    burst: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=0, description="Requests of each at a time")
    body_bytes: int = Field(
        512 * 1024 * 1024, ge=1024, description="Of all requests under way together; beyond it: 429"
    )
    waiting: int = Field(256, ge=1, description="Images of searchers that may wait for the model; beyond it: 429")

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            try:
                ip_network(one, strict=False)
            except ValueError:
                raise ValueError(f"{one!r} is no address; write for example '10.0.0.0/8,fd00::/8'") from None
        return value
