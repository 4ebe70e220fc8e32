"""The tokenizer of a model of open_clip: built in for CLIP, files on the hub or beside the weights for SigLIP."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import open_clip
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer
from torch import Tensor

from encoders import hub_cache
from encoders.encoder import TakesNoWords
from encoders.weights import Source

FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.txt", "sentencepiece.bpe.model")
"""Any one of these is a tokenizer, or leads to one."""

Tokenizer = Callable[[Sequence[str]], Tensor]
"""Texts to token ids of shape (n, up to the context length)."""


def load_tokenizer(name: str, source: Source) -> Tokenizer:
    """The tokenizer for a model. Raises `TakesNoWords`: what is missing, where it was sought, the remedy."""
    text = (open_clip.get_model_config(source.architecture) or {}).get("text_cfg", {})
    repository = text.get("hf_tokenizer_name")
    try:
        if repository:
            return _from_files(name, source, repository, text)
        tokenizer: Tokenizer = open_clip.get_tokenizer(source.architecture)
        return tokenizer
    except TakesNoWords:
        raise
    except Exception as error:
        cause = " ".join(str(error).split())[:300]
        raise _no_words(name, f"its tokenizer cannot be loaded ({cause})", "download the model again") from error


def _from_files(name: str, source: Source, repository: str, text: dict[str, Any]) -> Tokenizer:
    if importlib.util.find_spec("transformers") is None:
        raise _no_words(name, "its tokenizer needs the package transformers", "install 'sightline[transformers]'")
    beside = source.checkpoint.parent if source.checkpoint is not None else None
    if beside is not None and any((beside / file).is_file() for file in FILES):
        origin = str(beside)
    else:
        cached = hub_cache.find_cached(repository, FILES)
        origin = str(cached.parent) if cached is not None else _on_hub(name, repository, beside)
    mode, options = text.get("tokenizer_mode"), text.get("tokenizer_kwargs", {})
    # Descriptions with a text tower from the hub give no length; open_clip cuts their texts at its default.
    length = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
    made: Tokenizer = HFTokenizer(origin, length, tokenizer_mode=mode, **options)
    return made


def _on_hub(name: str, repository: str, beside: Path | None) -> str:
    obstacle = hub_cache.obstacle()
    if obstacle is None:
        return repository
    places = [str(place) for place in (beside, hub_cache.cache_of(repository)) if place is not None]
    fetch = hub_cache.download_command(repository, "*token*")
    raise _no_words(
        name,
        f"its tokenizer is missing: looked for {' or '.join(FILES)} in {' and in '.join(places)}, and {obstacle}",
        f"run `{fetch}` where there is a network" + ("" if beside is None else f", or put these files into {beside}"),
    )


def _no_words(name: str, cause: str, remedy: str) -> TakesNoWords:
    return TakesNoWords(f"{name} can embed images but no words: {cause}. To search by words {remedy}")
