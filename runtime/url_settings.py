"""What can be set of images that clients name by URLs: `SIGHTLINE_URLS__...`."""

from ipaddress import ip_network

from pydantic import BaseModel, Field, field_validator

from runtime.setting_values import Numbers, Words


class UrlSettings(BaseModel):
    """How far a URL in a request may lead. No setting lets one lead to an address that is not public."""

    enabled: bool = Field(True, description="Whether images are fetched by URLs at all")
    seconds: float = Field(30.0, gt=0, le=300, description="For one image, with its redirects")
    max_bytes: int = Field(20 * 1024 * 1024, ge=1024, description="Of one image")
    concurrency: int = Field(16, ge=1, le=256, description="Images fetched at a time")
    ports: Numbers = Field((80, 443), min_length=1, description="Only these ports are asked")
    hosts: Words = Field((), description="Only these hosts; one that begins with a dot stands for all below it")
    refused_networks: Words = Field((), description="Public addresses of your own that no URL may lead to")

    @field_validator("ports")
    @classmethod
    def _exist(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        for one in value:
            if not 1 <= one <= 65535:
                raise ValueError(f"{one} is no port; write for example '80,443'")
        return value

    @field_validator("hosts")
    @classmethod
    def _bare(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not one.isascii() or set(one) & set("/:*@ "):
                raise ValueError(f"{one!r} is no host; write for example 'photos.example.com,.cdn.example.com'")
        return tuple(one.lower() for one in value)

    @field_validator("refused_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            try:
                ip_network(one)
            except ValueError:
                raise ValueError(f"{one!r} is no network; write for example '198.51.0.0/16,2001:db8::/32'") from None
        return value
