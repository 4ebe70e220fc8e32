"""What `POST /v1/search` may be sent: one thing to look for, or several with weights, and a filter."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.search.base64_images import decode_base64
from services.search.body import Form, too_large_image
from services.search.filters.filter_json import FILTER_EXAMPLE
from services.search.limits import SearchLimits
from services.search.problems import bad_parameter
from services.search.ranking.examples import Example, IndexedImage, LinkedImage, Subject, Words, sent_image

SUBJECTS = ("text", "id", "url", "image_base64")

MAX_WEIGHT = 100.0

_EXAMPLE_ID = "5d3bb3a4-6f0a-5d5e-9a52-1f5a3c0f1b52"


class SubjectBody(BaseModel):
    """One thing that results should be like, or unlike."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(None, description="Words.")
    id: UUID | None = Field(None, description="An indexed image; it is left out of the results itself.")
    url: str | None = Field(None, min_length=1, max_length=4096, description="An image on the internet.")
    image_base64: str | None = Field(None, description="The bytes of an image in base64, or a `data:` URL.")

    def given(self) -> list[str]:
        """Which of the subjects are given."""
        return [name for name in SUBJECTS if getattr(self, name) is not None]

    async def subject(self, path: str, limits: SearchLimits) -> Subject:
        """The one subject. Raises `Problem` 413 or 422 naming the field beneath `path`."""
        if self.id is not None:
            return IndexedImage(self.id)
        if self.url is not None:
            return LinkedImage(self.url)
        if self.image_base64 is not None:
            data = await decode_base64(self.image_base64, f"{path}image_base64")
            if len(data) > limits.image_bytes:
                raise too_large_image(limits)
            return await sent_image(data)
        return words(f"{path}text", self.text or "", limits)


class ExampleBody(SubjectBody):
    """One example among several."""

    weight: float = Field(1.0, gt=0, le=MAX_WEIGHT, allow_inf_nan=False, description="How much it counts.")

    @model_validator(mode="after")
    def _one_subject(self) -> "ExampleBody":
        if len(self.given()) != 1:
            raise ValueError('send one of "text", "id", "url" and "image_base64", with a "weight" if you like')
        return self


class SearchBody(SubjectBody):
    """What to search for. Exactly one of `text`, `id`, `url`, `image_base64` and `like`."""

    like: list[ExampleBody] | None = Field(None, min_length=1, description="Several things to look for at once.")
    unlike: list[ExampleBody] = Field(default_factory=list, description="What results should not be like.")
    filter: Any = Field(
        None,
        description='Which images: an object of conditions, or `{"all": [...]}`, `{"any": [...]}`, `{"not": {...}}`.',
        json_schema_extra={"type": "object", "examples": [FILTER_EXAMPLE]},
    )

    @model_validator(mode="after")
    def _something(self) -> "SearchBody":
        given = self.given() + ([] if self.like is None else ["like"])
        if len(given) != 1:
            sent = " and ".join(given) if given else "none of them"
            raise ValueError(
                'send exactly one of "text", "id", "url", "image_base64" and "like" '
                f"({sent} was sent); several go together as "
                '{"like": [{"text": "words"}, {"id": "an image\'s id"}]}'
            )
        return self

    async def examples(self, limits: SearchLimits) -> list[Example]:
        """All that the search is made of. Raises `Problem` 413 or 422 naming the field."""
        if len(self.like or []) + len(self.unlike) > limits.examples:
            raise bad_parameter("like", f"at most {limits.examples} examples, unlike ones counted, make up a search")
        liked = (
            [Example(await self.subject("", limits), path=self.given()[0])]
            if self.like is None
            else await _examples("like", self.like, limits)
        )
        return liked + await _examples("unlike", self.unlike, limits, sign=-1)


async def examples_of_form(form: Form, limits: SearchLimits) -> list[Example]:
    """An uploaded image, and the words beside it; both count alike. Raises `Problem` 413 or 422."""
    if len(form.file.data) > limits.image_bytes:
        raise too_large_image(limits)
    image = Example(await sent_image(form.file.data, form.file.name), path="image")
    text = form.texts.get("text")
    return [image] if text is None else [image, Example(words("text", text, limits), path="text")]


def words(field: str, text: str, limits: SearchLimits) -> Words:
    """A text to search for, without white space around it. Raises `Problem` 422."""
    stripped = text.strip()
    if not stripped:
        raise bad_parameter(field, "it is empty; write what to look for, in words")
    if len(stripped) > limits.text_characters:
        raise bad_parameter(field, f"it has {len(stripped)} characters; at most {limits.text_characters} are read")
    return Words(stripped)


async def _examples(name: str, bodies: list[ExampleBody], limits: SearchLimits, *, sign: int = 1) -> list[Example]:
    return [
        Example(
            await body.subject(f"{name}.{number}.", limits), sign * body.weight, f"{name}.{number}.{body.given()[0]}"
        )
        for number, body in enumerate(bodies)
    ]


SEARCH_BODY_EXAMPLES: dict[str, dict[str, Any]] = {
    "words": {"text": "a red bicycle in the rain"},
    "more like this": {"id": _EXAMPLE_ID},
    "an image by its URL": {"url": "https://example.org/photo.jpg"},
    "like these, not like those": {
        "like": [{"text": "beach", "weight": 2.0}, {"id": _EXAMPLE_ID}],
        "unlike": [{"text": "people"}],
    },
    "with a filter": {"text": "sunset", "filter": FILTER_EXAMPLE},
}
