"""Is everything that was uploaded indexed, found, and nothing else? Asked of the store and of the HTTP API."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.load.fleet import BUCKET, Fleet
from benchmarks.load.uploading import s3_client
from deploy.stack import StackError

SURELY = 0.999
"""The cosine of a picture with itself, rounding allowed."""


@dataclass
class Verdict:
    """What was found. `problems` has a sentence for each thing that is not as it must be."""

    indexed: int
    searched: int
    problems: list[str] = field(default_factory=list)


def images(fleet: Fleet, prefix: str = "", status: str = "indexed") -> dict[str, dict[str, Any]]:
    """Every image of one status by key, as the API tells it. Raises `httpx.HTTPStatusError`."""
    found: dict[str, dict[str, Any]] = {}
    cursor: str | None = None
    while True:
        asked = {"status": status, "bucket": BUCKET, "limit": "1000"} | ({"cursor": cursor} if cursor else {})
        page = fleet.api.get("/v1/images", params=asked).raise_for_status().json()
        found |= {image["key"]: image for image in page["images"] if image["key"].startswith(prefix)}
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def indexed_count(fleet: Fleet) -> int:
    """How many images are indexed, without reading them."""
    return int(fleet.api.get("/v1/status").raise_for_status().json()["indexed"])


def wait_until(true: Callable[[], object], what: str, *, patience: float, every: float = 0.5) -> None:
    """Return once `true` holds. Raises `StackError` saying what did not happen."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise StackError(f"{what} did not happen within {patience:.0f} s")
        time.sleep(every)


def journeys(found: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The Unix times of each image's way into the index, by key: received, looked, judged, indexed."""
    told = {}
    for key, image in found.items():
        payload = image["payload"]
        times = {name.removesuffix("_at"): value for name, value in payload["journey"].items() if name.endswith("_at")}
        times["indexed"] = payload["indexed_at"]
        told[key] = {name: datetime.fromisoformat(value).timestamp() for name, value in times.items()}
    return told


def verify(fleet: Fleet, pictures: Mapping[str, Path], *, every: int) -> Verdict:
    """Compare bucket and index key by key and ETag by ETag, and search for every `every`-th picture by its bytes."""
    store = _listing(fleet)
    index = {key: image["etag"] for key, image in images(fleet).items()}
    searched = list(pictures)[::every]
    verdict = Verdict(len(index), len(searched))
    verdict.problems += _named("uploaded, and not in the bucket", pictures.keys() - store.keys())
    verdict.problems += _named("in the bucket, and not indexed", store.keys() - index.keys())
    verdict.problems += _named("indexed, and not in the bucket", index.keys() - store.keys())
    differing = [key for key in store.keys() & index.keys() if store[key] != index[key]]
    verdict.problems += _named("indexed with another ETag", differing)
    verdict.problems += _named("not found by its own picture", _not_found(fleet, pictures, searched))
    verdict.problems += _named("rejected", images(fleet, status="rejected"))
    return verdict


def _listing(fleet: Fleet) -> dict[str, str]:
    client = s3_client(fleet.s3)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {one["Key"]: one["ETag"].strip('"') for page in pages for one in page.get("Contents", [])}


def _not_found(fleet: Fleet, pictures: Mapping[str, Path], keys: Sequence[str]) -> list[str]:
    missed = []
    for key in keys:
        files = {"image": ("picture.jpg", pictures[key].read_bytes(), "image/jpeg")}
        # Photographs that code drew look much alike to the small model, so nothing is folded.
        asked = {"limit": "10", "bucket": BUCKET, "fold": "false"}
        results = fleet.api.post("/v1/search", params=asked, files=files).raise_for_status().json()["results"]
        if not any(hit["key"] == key and hit["score"] > SURELY for hit in results):
            missed.append(key)
    return missed


def _named(what: str, keys: "Sequence[str] | Mapping[str, Any] | set[str]") -> list[str]:
    some = sorted(keys)
    return [f"{len(some)} {what}: {', '.join(some[:3])}{' ...' if len(some) > 3 else ''}"] if some else []
