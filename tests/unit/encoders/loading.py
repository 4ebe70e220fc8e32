"""Loads a model of open_clip, or tells why that was refused."""

from pathlib import Path

import pytest

from encoders.clip import OpenClipEncoder
from encoders.registry import make_encoder
from schemas.errors import ConfigurationError


def loaded(name: str | Path) -> OpenClipEncoder:
    encoder = make_encoder(str(name), device="cpu")
    assert isinstance(encoder, OpenClipEncoder)
    encoder.load()
    return encoder


def refusal(name: str | Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(name)
    return str(caught.value)
