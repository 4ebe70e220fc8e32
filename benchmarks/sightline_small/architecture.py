"""The shape of `sightline-small`, as open_clip's configuration writes it."""

from typing import Any

import torch
from open_clip import CLIP
from torch import Tensor

SIDE = 96
"""Pixels per side of the model's input."""
CONTEXT = 32
"""Tokens; names in Russian are the longest."""

MODEL: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": SIDE, "layers": [1, 1, 2, 1], "width": 16, "patch_size": None},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 80, "heads": 5, "layers": 3},
}
PREPROCESSING: dict[str, Any] = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}
CONFIGURATION: dict[str, Any] = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESSING}


def make_model() -> CLIP:
    """The model with random weights, from torch's current seed."""
    return CLIP(MODEL["embed_dim"], MODEL["vision_cfg"], MODEL["text_cfg"])


def encode_short_texts(model: CLIP, tokens: Tensor) -> Tensor:
    """What `CLIP.encode_text` computes, for tokens (n, length) with a length below the context's, not normalised.

    Attention looks backwards only, so padding after the end of text changes nothing and need not be computed.
    """
    length = tokens.shape[1]
    features = model.token_embedding(tokens) + model.positional_embedding[:length]
    features = model.transformer(features, attn_mask=model.attn_mask[:length, :length])
    last = model.ln_final(features)[torch.arange(len(tokens)), tokens.argmax(dim=-1)]
    encoded: Tensor = last @ model.text_projection
    return encoded
