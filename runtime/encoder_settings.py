"""Which model makes the vectors, here or elsewhere, and how it is asked."""

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator


class EncoderSettings(BaseModel):
    """Which model, where, and how it batches. `max_wait_ms` is the longest that a lone image waits for company."""

    model: str = "sightline-small"
    device: str = "auto"
    batch_size: int = Field(32, ge=1, le=4096)
    max_wait_ms: float = Field(10.0, ge=0, le=10_000)
    decode_threads: int = Field(0, ge=0, le=256, description="0: one for each processor")
    consumers: int = Field(4, ge=1, le=64)
    cache_entries: int = Field(10_000, ge=0)


class RemoteSettings(BaseModel):
    """How models that run elsewhere are asked: huggingface:OWNER/NAME, replicate:OWNER/NAME, self-hosted:NAME.

    The tokens of the first two are in HF_TOKEN and REPLICATE_API_TOKEN. `side` and `max_bytes` decide what is sent,
    hence the vectors: changing them asks for a new index.
    """

    url: str = Field("", description="Another address than the service's own; self-hosted: where images are posted")
    model: str = Field(
        "", description="Self-hosted, where only searches are served: the model behind it, whose index is searched"
    )
    text_url: str = Field("", description='Self-hosted: where {"text": ".."} is posted; empty: it takes no words')
    image_field: str = Field("image", min_length=1, description="What self-hosted and Replicate call the image")
    token: SecretStr = Field(SecretStr(""), description="For self-hosted; empty: none is sent")
    side: int = Field(512, ge=32, le=4096, description="Pixels of the shorter side of what is sent, at most")
    max_bytes: int = Field(180_000, ge=8192, le=20_000_000, description="Of the JPEG that is sent")
    concurrency: int = Field(4, ge=1, le=64, description="Requests at a time")
    timeout: float = Field(60.0, ge=1, le=600, description="Seconds until a request is given up")
    patience: float = Field(15.0, ge=0, le=300, description="Seconds until the stage says that it waits; it goes on")
    start_patience: float = Field(300.0, ge=0, description="Seconds that a start waits for a cold model")
    dollars_per_image: float = Field(0.0, ge=0, description="The price of a request, of images and of texts")
    budget_images: int | None = Field(
        None, ge=0, description="Requests in a calendar month (UTC), counted in this data folder; beyond it, stop"
    )
    budget_dollars: float | None = Field(
        None, ge=0, description="The same in dollars, at dollars_per_image; other machines and data folders count alone"
    )

    @field_validator("url", "text_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("that is no address; write for example 'http://clip:8000/embed'")
        return value

    @field_validator("budget_dollars")
    @classmethod
    def _has_a_price(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and not info.data.get("dollars_per_image"):
            raise ValueError("dollars cannot be counted without a price; set SIGHTLINE_REMOTE__DOLLARS_PER_IMAGE too")
        return value
