"""A tokenizer's files as those of SigLIP 2 lie on the hub, for a vocabulary of letters."""

import json

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

LETTERS = "abcdefghijklmnopqrstuvwxyz "


def tokenizer_files(step: int = 9000) -> dict[str, bytes]:
    """The content of each file by its name; letters have ids `step` apart, so that they lie all over the vocabulary."""
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 3} | {letter: 1000 + step * n for n, letter in enumerate(LETTERS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    made.add_special_tokens(["<pad>", "<eos>", "<unk>"])
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "padding_side": "right",
    }
    return {"tokenizer.json": made.to_str().encode(), "tokenizer_config.json": json.dumps(config).encode()}
