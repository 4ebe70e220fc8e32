"""Files of the size and shape of Qwen3-4B with numbers at random, for machines that have not got the 8 GB of its own.

Only the time and the memory of the model are those of the real one. The tokenizer makes one token of a word, as Qwen's
does of most English ones.
"""

import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

SHAPE = {
    "vocab_size": 151_936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
"""As Qwen3-4B's config.json has it."""
_END = "<|endoftext|>"


def write_files(folder: Path, words: Sequence[str]) -> Path:
    """Write config.json, one safetensors file a layer, and a tokenizer that knows these words; answer the folder."""
    transformers: Any = importlib.import_module("transformers")
    config = transformers.Qwen3Config(**SHAPE, tie_word_embeddings=True, rope_theta=1_000_000, dtype="bfloat16")
    config.save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    named: dict[str, str] = {}
    for number, shapes in enumerate(_files()):
        file = f"model-{number:05}.safetensors"
        save_file({name: _numbers(shape, generator) for name, shape in shapes.items()}, folder / file)
        named |= dict.fromkeys(shapes, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": named}))
    _write_tokenizer(folder, words)
    return folder


def _files() -> Iterator[dict[str, tuple[int, ...]]]:
    width, inner, head = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["head_dim"]
    asking, answering = head * SHAPE["num_attention_heads"], head * SHAPE["num_key_value_heads"]
    yield {"model.embed_tokens.weight": (SHAPE["vocab_size"], width), "model.norm.weight": (width,)}
    for layer in range(SHAPE["num_hidden_layers"]):
        shapes = {
            "input_layernorm": (width,),
            "mlp.down_proj": (width, inner),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "post_attention_layernorm": (width,),
            "self_attn.k_norm": (head,),
            "self_attn.k_proj": (answering, width),
            "self_attn.o_proj": (width, asking),
            "self_attn.q_norm": (head,),
            "self_attn.q_proj": (asking, width),
            "self_attn.v_proj": (answering, width),
        }
        yield {f"model.layers.{layer}.{name}.weight": shape for name, shape in shapes.items()}


def _numbers(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    # Numbers that neither vanish nor grow from layer to layer: such ones would be slower or faster than real ones.
    most = (3 / shape[-1]) ** 0.5
    return torch.empty(shape, dtype=torch.bfloat16).uniform_(-most, most, generator=generator)


def _write_tokenizer(folder: Path, words: Sequence[str]) -> None:
    tokenizers: Any = importlib.import_module("tokenizers")
    transformers: Any = importlib.import_module("transformers")
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([_END, *words]))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=_END))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=_END, pad_token=_END).save_pretrained(folder)
