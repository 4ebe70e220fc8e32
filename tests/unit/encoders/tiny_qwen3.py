"""A Qwen3 model with random weights and a tokenizer made on the spot, in the layout in which both are published."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LIBRARY: Any = transformers
VOCABULARY = 400
END = "<|endoftext|>"
TINY = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
}
REAL_WIDTH = {
    "hidden_size": 2560,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 9728,
    "num_hidden_layers": 2,
}


def write_qwen3(folder: Path, shape: dict[str, int] = TINY, *, dtype: torch.dtype = torch.float32, **save: Any) -> Path:
    """Write weights and tokenizer into a folder; `save` goes to transformers' `save_pretrained`."""
    config = LIBRARY.Qwen3Config(vocab_size=VOCABULARY, tie_word_embeddings=True, rope_theta=1_000_000, **shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LIBRARY.Qwen3ForCausalLM(config)
        for layer in model.model.layers:
            # As made, layers hardly move what passes through them, and it would not matter which one was taken.
            for weight in layer.parameters():
                weight.data.normal_(1.0 if weight.dim() == 1 else 0.0, 2.0 / weight.shape[-1] ** 0.5)
    model.to(dtype).save_pretrained(folder, **save)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """A byte-level BPE as Qwen's is, with a vocabulary of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["two red apples on a blue table, a boat at sea"] * 3, trainer)
    fast = LIBRARY.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    fast.save_pretrained(folder)
