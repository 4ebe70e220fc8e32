"""Any model of open_clip as an `Encoder`."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as functional
from open_clip.transform import PreprocessCfg
from PIL import Image
from torch import Tensor, nn

from encoders.devices import choose_device, choose_dtype, divide, guarded, threads_on
from encoders.encoder import Modality, Prepared, Scoring, TakesNoWords, Vectors
from encoders.open_clip_model import create_model
from encoders.preprocessing import Preprocessing
from encoders.short_texts import ShortTexts, can_be_short
from encoders.short_tokens import ShortTokens, can_be_unpadded
from encoders.tokenizer import Tokenizer, load_tokenizer
from encoders.vision_transformer import FastVisionTransformer, can_be_fast
from encoders.weights import Source, find_weights
from schemas.events import EncoderIdentity

USUAL_BATCH = 16
"""Images; what weight layouts on a CPU are chosen for."""
FAITHFUL = 0.9999
"""The least cosine with open_clip's own forward pass at which the faster one is used."""


class OpenClipEncoder:
    """A model of open_clip, by any name that `encoders.weights` understands.

    `device` is "auto" (CUDA, else MPS, else CPU) or what torch calls it. Computes in float32 on CPU and MPS, in
    bfloat16 on CUDA (float16 on cards older than Ampere); vectors are normalised in float32 everywhere.
    """

    modality = Modality.IMAGES_AND_WORDS

    def __init__(self, name: str, *, device: str = "auto") -> None:
        self.name = name
        self.scoring: Scoring | None = None
        self._device = choose_device(device)
        self._dtype = choose_dtype(self._device)
        self._identity: EncoderIdentity | None = None
        self._tokenizer: Tokenizer | None = None
        self._tokenizer_obstacle = ""

    @property
    def identity(self) -> EncoderIdentity:
        """Known after `load`, since the fingerprint contains a hash of the weights."""
        if self._identity is None:
            raise RuntimeError(f"{self.name} has no identity before load()")
        return self._identity

    @property
    def target_size(self) -> int | None:
        """The longer side of the model's input; known after `load`."""
        return max(self._preprocessing.height, self._preprocessing.width)

    @property
    def preprocessing(self) -> str:
        """How an image becomes the model's input, for a person; known after `load`."""
        return self._preprocessing.description

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
        """Find and load the weights, and make a forward pass. Raises `ConfigurationError`."""
        source = find_weights(self.name)
        model = create_model(source)
        self._preprocessing = Preprocessing(PreprocessCfg(**model.visual.preprocess_cfg))
        weights = _digest(model, open_clip.get_model_config(source.architecture), source)
        self.scoring = _scoring(model)
        self._model = model.to(device=self._device, dtype=self._dtype)
        self._features = self._choose_features()
        self._words = self._choose_words()
        # Images can be embedded without it, so its lack stops only those who ask with words.
        try:
            self._tokenizer = load_tokenizer(self.name, source)
        except TakesNoWords as error:
            self._tokenizer_obstacle = str(error)
        if isinstance(self._words, ShortTexts) and can_be_unpadded(self._tokenizer):
            self._tokenizer = ShortTokens(self._tokenizer)
        blank = np.zeros((self._preprocessing.height, self._preprocessing.width, 3), dtype=np.uint8)
        dimension = int(self._embed([blank]).shape[1])
        dtype = str(self._dtype).removeprefix("torch.")
        self._identity = EncoderIdentity(
            model=source.label, fingerprint=f"{weights}-{self._preprocessing.digest}-{dtype}", dimension=dimension
        )

    def prepare(self, image: Image.Image) -> Prepared:
        """The model's view of an image, exactly as open_clip's transform resizes and crops it: height x width x 3."""
        return self._preprocessing.pixels(image)

    def forward(self, batch: Sequence[Prepared]) -> Vectors:
        """Unit vectors of shape (n, dimension). Raises `OutOfMemory`."""
        if not batch:
            return np.zeros((0, self.identity.dimension), dtype=np.float32)
        return self._embed(batch)

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of shape (n, dimension). Raises `TakesNoWords` where the tokenizer is missing."""
        if not texts:
            return np.zeros((0, self.identity.dimension), dtype=np.float32)
        if self._tokenizer is None:
            raise TakesNoWords(self._tokenizer_obstacle)
        with torch.inference_mode():
            tokens = self._tokenizer(list(texts)).to(self._device)
            return _unit(guarded(lambda: self._words(tokens)))

    def _embed(self, batch: Sequence[Prepared]) -> Vectors:
        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(batch))
            if self._device.type == "cuda":
                pixels = pixels.pin_memory()
            return _unit(guarded(lambda: self._features(pixels.to(self._device, non_blocking=True))))

    def _plain_features(self, pixels: Tensor) -> Tensor:
        features: Tensor = self._model.encode_image(self._preprocessing.normalise(pixels).to(self._dtype))
        return features

    def _choose_features(self) -> Callable[[Tensor], Tensor]:
        """open_clip's own forward pass, or a faster one that has shown on this machine that it computes the same."""
        visual = self._model.visual
        if self._device.type != "cpu" or not can_be_fast(visual):
            return self._plain_features
        mean, std = self._preprocessing.mean, self._preprocessing.std
        with torch.inference_mode():
            fast = FastVisionTransformer(visual, mean=mean, std=std, batch=USUAL_BATCH)
            shape = (2, self._preprocessing.height, self._preprocessing.width, 3)
            noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            pixels = torch.from_numpy(noise)
            cosine = functional.cosine_similarity(fast(pixels), self._plain_features(pixels)).min().item()
        if not cosine >= FAITHFUL:
            return self._plain_features
        # The fast one has laid out the weights anew; a second copy would serve nobody.
        self._model.visual = nn.Identity()
        return fast

    def _choose_words(self) -> Callable[[Tensor], Tensor]:
        """open_clip's own function, or one that leaves out the padding and has shown that it computes the same."""
        model = self._model
        if not can_be_short(model):
            return model.encode_text  # type: ignore[no-any-return]
        last = model.vocab_size - 1
        tokens = torch.zeros((2, model.context_length), dtype=torch.long, device=self._device)
        tokens[0, :6] = torch.tensor([last - 1, 320, 1125, 539, 320, last])
        tokens[1, :2] = torch.tensor([last - 1, last])
        with torch.inference_mode():
            words = ShortTexts(model)
            short, whole = words(tokens), model.encode_text(tokens)
            cosine = functional.cosine_similarity(short.float(), whole.float()).min().item()
        return words if cosine >= FAITHFUL else model.encode_text


def _digest(model: nn.Module, config: dict[str, Any] | None, source: Source) -> str:
    """A hash of what decides the vectors besides preprocessing: every weight, and the configuration of the function."""
    digest = hashlib.sha256()
    options = {key: value for key, value in source.options.items() if key != "force_preprocess_cfg"}
    digest.update(json.dumps([config, options], sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]


def _scoring(model: Any) -> Scoring:
    scale = float(model.logit_scale.exp())
    if model.logit_bias is None:
        return Scoring("softmax", scale)
    return Scoring("sigmoid", scale, float(model.logit_bias))


def _unit(features: Tensor) -> Vectors:
    # `functional.normalize` does the same by way of more functions, which takes longer than the vector of one text.
    whole = features.float()
    vectors: Vectors = (whole / torch.linalg.vector_norm(whole, dim=-1, keepdim=True).clamp_min(1e-12)).cpu().numpy()
    return vectors
