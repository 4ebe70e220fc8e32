"""Counts of values of which there are more than Edge is asked for: what few images share is not lost among them."""

from dataclasses import replace
from pathlib import Path

import pytest

from stores.edge import EdgeIndex
from stores.filters import KeywordField
from stores.vectors import Point, Where
from tests.unit.stores.index_points import METADATA, point

IMAGES = 20_000
"""Enough for several segments."""
COPIED = 200


def with_hash(number: int, key: str) -> Point:
    one = point(key)
    return replace(one, payload=one.payload.model_copy(update={"sha256": f"{number:064x}"}))


@pytest.mark.slow
async def test_a_value_that_is_seldom_in_every_segment_is_counted_over_all_of_them(tmp_path: Path) -> None:
    points = [with_hash(number, f"{number}.jpg") for number in range(IMAGES)]
    copies = [with_hash(number, f"copies/{number}.jpg") for number in range(COPIED)]
    async with EdgeIndex(tmp_path, "images__tiny") as index:
        await index.ensure(METADATA)
        for at in range(0, IMAGES, 1000):
            await index.write(points[at : at + 1000])
        await index.write(copies)
        counts = await index.facet(KeywordField.SHA256, Where(), limit=COPIED + 1)
    assert [one.count for one in counts] == [2] * COPIED + [1]
    assert [one.value for one in counts[:COPIED]] == [f"{number:064x}" for number in range(COPIED)]
