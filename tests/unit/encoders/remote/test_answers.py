from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.remote.answers import unit_vector
from encoders.remote.failures import Unexpected


@pytest.mark.parametrize(
    "answer",
    [
        [3, 4],
        [[3, 4]],
        [[[3, 4]]],
        {"embedding": [3, 4]},
        {"embedding": [[3.0, 4.0]], "dimension": 2},
        [{"input": "image", "embedding": [3, 4]}],
        {"embeddings": [[3, 4]]},
    ],
)
def test_the_shapes_of_the_services_are_understood(answer: Any) -> None:
    assert np.allclose(unit_vector(answer), [0.6, 0.8])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([[1, 2], [3, 4], [5, 6]], "3 x 2 numbers, one vector for each token"),
        ([[[1, 2], [3, 4]]], "2 x 2 numbers"),
        ([{"embedding": [1]}, {"embedding": [2]}], "2 numbers"),
        ({"text_embeds": [1, 2]}, "no 'embedding', only 'text_embeds'"),
        ({"error": "no"}, "'error'"),
        ({}, "{}"),
        ([], r"\[\]"),
        (None, "None"),
        ("0.1, 0.2", "a str"),
        (0.5, "a float"),
        ([1, None, 2], "None where a number belongs"),
        ([1, True], "a bool"),
        ([1, "2"], "a str"),
        ([1, [2]], "a list"),
        ([1, float("nan")], "nan at position 1"),
        ([float("inf"), 1], "inf at position 0"),
        ([0, 0, 0], "no direction"),
        ([1e308, 1e308], "no direction"),
        ([1, 10**400], "too large"),
    ],
)
def test_anything_else_is_named(answer: Any, says: str) -> None:
    with pytest.raises(Unexpected, match=says):
        unit_vector(answer)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["embedding", "x"]), inner, max_size=2),
    max_leaves=20,
)


@given(json_values)
def test_whatever_a_service_sends_gives_a_unit_vector_or_a_sentence(answer: Any) -> None:
    with suppress(Unexpected):
        vector = unit_vector(answer)
        assert vector.ndim == 1
        assert np.isclose(np.linalg.norm(vector), 1)
