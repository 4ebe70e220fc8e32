"""Texts as vectors by a Qwen3 language model, as the image generator Z-Image reads its prompts: no images.

A text's vector is the mean, over its tokens, of the hidden states after the second-to-last layer
(`hidden_states[-2]`), in float32, of unit length. The text is read as it is, without a chat template, up to
`MAX_TOKENS` tokens; what follows is not read. docs/decisions/0017-how-qwen3-reads-a-text.md says why, and what is not
known.

The last layer and the final norm are not loaded, since nothing of them reaches the vector. Qwen3-4B takes 8 GB in
bfloat16 on CUDA, and 16 GB in float32 elsewhere.
"""

import hashlib
import importlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from PIL import Image
from torch import Tensor, nn

from encoders.devices import choose_device, divide, guarded, threads_on
from encoders.encoder import Modality, Prepared, Vectors
from encoders.qwen3_files import Qwen3Files, find_files
from schemas.errors import ConfigurationError
from schemas.events import EncoderIdentity

MAX_TOKENS = 512
"""As many as Z-Image reads of a prompt."""
TOKENS_AT_ONCE = 8192
"""In one forward pass, padding counted: about 1 GB of activations of Qwen3-4B in float32."""

_READING = f"mean of the tokens' states after the second-to-last layer, no template, {MAX_TOKENS} tokens, revision 1"
_FUNCTION = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("intermediate_size", "hidden_act", "rms_norm_eps", "attention_bias", "rope_theta", "rope_scaling"),
    *("rope_parameters", "use_sliding_window", "sliding_window"),
)
"""What decides the model's function besides its weights, as config.json names it."""


class Qwen3Encoder:
    """A Qwen3 model by a name that `encoders.qwen3_files` understands. See the module.

    `device` is as for open_clip's models. Computes in bfloat16 on CUDA, where float16 would overflow, else in float32.
    """

    modality = Modality.WORDS
    scoring = None
    target_size = None

    def __init__(self, name: str, *, device: str = "auto") -> None:
        self.name = name
        self._device = choose_device(device)
        self._dtype = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        self._identity: EncoderIdentity | None = None

    @property
    def identity(self) -> EncoderIdentity:
        """Known after `load`, since the fingerprint contains a hash of the weights."""
        if self._identity is None:
            raise RuntimeError(f"{self.name} has no identity before load()")
        return self._identity

    @property
    def device(self) -> str:
        """As torch names it."""
        return str(self._device)

    @property
    def threads(self) -> int:
        """Among how many a pass is divided unless told otherwise."""
        return threads_on(self._device)

    def divide(self, threads: int) -> None:
        """Divide what the calling thread computes among so many."""
        divide(self._device, threads)

    def load(self) -> None:
        """Find and load weights and tokenizer. Raises `ConfigurationError`."""
        files = find_files(self.name)
        with _quiet_transformers():
            model = _load_model(files)
            self._tokenizer = _load_tokenizer(files)
        dimension = int(model.config.hidden_size)
        reading = hashlib.sha256(_READING.encode())
        for file in files.vocabulary:
            reading.update(file.read_bytes())
        dtype = str(self._dtype).removeprefix("torch.")
        self._identity = EncoderIdentity(
            model=files.label,
            fingerprint=f"{_digest(model, files)}-{reading.hexdigest()[:12]}-{dtype}",
            dimension=dimension,
        )
        self._model = model.to(device=self._device, dtype=self._dtype)
        self.encode_text(["a forward pass"])

    def prepare(self, image: Image.Image) -> Prepared:
        """Raises `ConfigurationError`: this model takes words only."""
        raise ConfigurationError(f"{self.name} takes words only")

    def forward(self, batch: Sequence[Prepared]) -> Vectors:
        """No images, no vectors: shape (0, dimension). Raises `ConfigurationError` for any image."""
        if batch:
            raise ConfigurationError(f"{self.name} takes words only")
        return np.zeros((0, self.identity.dimension), dtype=np.float32)

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of shape (n, dimension); a vector does not depend on its neighbours. Raises `OutOfMemory`."""
        vectors = np.zeros((len(texts), self.identity.dimension), dtype=np.float32)
        tokens = [self._tokens(text) for text in texts]
        for rows in _together([len(one) for one in tokens]):
            vectors[rows] = guarded(partial(self._encode, [tokens[row] for row in rows])).numpy()
        return vectors

    def _tokens(self, text: str) -> list[int]:
        # A lone surrogate is no text that a tokenizer takes.
        text = text.encode("utf-8", "replace").decode("utf-8")
        tokens: list[int] = self._tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        # An empty text has no token to take a state from: it is the end of text alone.
        return tokens or [self._tokenizer.eos_token_id or 0]

    def _encode(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        longest = max(map(len, tokens))
        # Padding follows the text, where a causal model cannot see it.
        padded = torch.tensor([[*one, *[0] * (longest - len(one))] for one in tokens])
        there = torch.arange(longest) < torch.tensor([[len(one)] for one in tokens])
        with torch.inference_mode():
            padded, there = padded.to(self._device), there.to(self._device)
            states = self._model(input_ids=padded, attention_mask=there.long(), use_cache=False).last_hidden_state
            sums = states.float().masked_fill(~there[:, :, None], 0.0).sum(dim=1)
            return functional.normalize(sums, dim=-1).cpu()


def _together(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions whose texts go through the model together: of like length, at most `TOKENS_AT_ONCE` with padding."""
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if rows and (len(rows) + 1) * lengths[row] > TOKENS_AT_ONCE:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _transformers() -> Any:
    # Its import takes seconds, and most of the package is imported at first use only.
    return importlib.import_module("transformers")


def _load_model(files: Qwen3Files) -> Any:
    """All layers but the last, in the number type of the file, without the norm that follows the last."""
    library = _transformers()
    try:
        config = library.Qwen3Config.from_pretrained(files.weights, local_files_only=True)
        config.num_hidden_layers -= 1
        config.layer_types = config.layer_types[: config.num_hidden_layers]
        model, report = library.Qwen3Model.from_pretrained(
            files.weights,
            config=config,
            dtype="auto",
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:
        cause = " ".join(str(error).split())[:300]
        raise ConfigurationError(
            f"{files.label} cannot be loaded from {files.weights}: {cause}. Check that the folder is a whole "
            "Qwen3 model"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ConfigurationError(
            f"{files.label} cannot be loaded: the weights in {files.weights} lack {missing[0]} and {len(missing) - 1} "
            "others; download them again"
        )
    model.norm = nn.Identity()
    return model.eval().requires_grad_(False)


def _load_tokenizer(files: Qwen3Files) -> Any:
    try:
        return _transformers().AutoTokenizer.from_pretrained(files.tokenizer, local_files_only=True)
    except Exception as error:
        cause = " ".join(str(error).split())[:300]
        raise ConfigurationError(
            f"the tokenizer of {files.label} cannot be loaded from {files.tokenizer}: {cause}. Copy tokenizer.json and "
            "tokenizer_config.json there"
        ) from error


def _digest(model: nn.Module, files: Qwen3Files) -> str:
    config = json.loads(files.config.read_text(encoding="utf-8"))
    digest = hashlib.sha256(json.dumps({key: config.get(key) for key in _FUNCTION}, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers from reporting the layer that is left out on purpose, and from drawing bars."""
    logging = _transformers().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
