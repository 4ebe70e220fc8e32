"""How the search service shows the pictures themselves: originals and thumbnails."""

from typing import Literal

from pydantic import BaseModel, Field


class OriginalSettings(BaseModel):
    """How an original reaches whoever asks for it."""

    delivery: Literal["auto", "link", "stream"] = Field(
        "auto",
        description="Of buckets: a presigned link, or the bytes through this service; auto: a link unless "
        "SIGHTLINE_S3__ENDPOINT_URL is an address that only inner machines know. Files are streamed always",
    )
    link_seconds: int = Field(300, ge=10, le=86_400, description="How long such a link works")
    buckets: int = Field(64, ge=1, le=4096, description="So many are open at a time")


class ThumbnailSettings(BaseModel):
    """Thumbnails are made when they are asked for, and kept in the data folder."""

    cache_bytes: int = Field(512 * 1024 * 1024, ge=0, description="Of all that are kept; 0 keeps none")
    at_once: int = Field(2, ge=1, le=64, description="So many are made at a time")
