"""A typed client of Sightline's HTTP API, for synchronous and asynchronous programs.

    from sightline_client import Sightline, where

    with Sightline("http://127.0.0.1:8080") as sightline:
        for result in sightline.search("a red bicycle", only=where(tag="city") & ~where(camera="Scanner")):
            print(result.score, result.key)

It needs httpx and pydantic, and imports nothing else of Sightline.
"""

from sightline_client.answers import (
    DuplicateGroup,
    Embedding,
    Embeddings,
    FacetValue,
    Image,
    ImageInfo,
    Journey,
    Location,
    Near,
    Now,
    Result,
    SearchPage,
    Status,
    Tag,
    TagCount,
    Timeline,
    TimelineStep,
)
from sightline_client.asynchronous import AsyncSightline
from sightline_client.errors import ProblemError, SightlineUnreachable
from sightline_client.filters import Filter, where
from sightline_client.questions import Indexed, Picture, Question, Url, Words
from sightline_client.synchronous import Sightline

__all__ = [
    "AsyncSightline",
    "DuplicateGroup",
    "Embedding",
    "Embeddings",
    "FacetValue",
    "Filter",
    "Image",
    "ImageInfo",
    "Indexed",
    "Journey",
    "Location",
    "Near",
    "Now",
    "Picture",
    "ProblemError",
    "Question",
    "Result",
    "SearchPage",
    "Sightline",
    "SightlineUnreachable",
    "Status",
    "Tag",
    "TagCount",
    "Timeline",
    "TimelineStep",
    "Url",
    "Words",
    "where",
]
