"""CLIP's text transformer for texts that are shorter than its context, as nearly all are: no padding is computed.

Attention looks backwards only, and the vector is read at the end of the text, so what follows changes nothing. The
words of a search are some ten tokens, CLIP's context is 77.
"""

from typing import Any

import torch
from open_clip import CLIP
from torch import Tensor, nn


def can_be_short(model: Any) -> bool:
    """Whether `encode_short_texts` computes the same as the model; else open_clip's own function is used."""
    if type(model) is not CLIP or model.text_pool_type != "argmax" or model.attn_mask is None:
        return False
    ahead = torch.ones_like(model.attn_mask, dtype=torch.bool).triu(1)
    causal = torch.isneginf(model.attn_mask[ahead]).all() and (model.attn_mask[~ahead] == 0).all()
    return bool(causal) and isinstance(model.text_projection, nn.Parameter)


def encode_short_texts(model: CLIP, tokens: Tensor) -> Tensor:
    """What `CLIP.encode_text` computes for tokens (n, context), or fewer of them: features (n, dimension), any length.

    The end of each text is its highest token, as in CLIP's vocabulary.
    """
    ends = tokens.argmax(dim=-1)
    length = int(ends.max()) + 1
    dtype = model.transformer.get_cast_dtype()
    features = model.token_embedding(tokens[:, :length]).to(dtype) + model.positional_embedding[:length].to(dtype)
    features = model.transformer(features, attn_mask=model.attn_mask[:length, :length])
    last = model.ln_final(features[torch.arange(len(tokens), device=tokens.device), ends])
    encoded: Tensor = last @ model.text_projection
    return encoded
