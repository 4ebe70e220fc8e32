"""Which encoders there are, by name."""

from dataclasses import dataclass

from encoders.encoder import Encoder, Modality
from encoders.hashing import DIMENSION, HashingEncoder
from encoders.spelling import did_you_mean
from schemas.errors import ConfigurationError


@dataclass(frozen=True)
class Description:
    """An encoder as a person chooses it. `licence` is that of the weights, an SPDX identifier where there is one."""

    name: str
    modality: Modality
    dimension: int
    licence: str
    about: str


KNOWN: tuple[Description, ...] = (
    Description(
        "hashing", Modality.IMAGES, DIMENSION, "Apache-2.0", "Colours and layout; no weights. For a first look."
    ),
    Description(
        "ViT-B-32/laion2b_s34b_b79k",
        Modality.IMAGES_AND_WORDS,
        512,
        "MIT",
        "Small and quick: 15 to 25 a second on 2 cores.",
    ),
    Description("ViT-B-32/openai", Modality.IMAGES_AND_WORDS, 512, "MIT", "The first CLIP."),
    Description(
        "ViT-L-14/datacomp_xl_s13b_b90k", Modality.IMAGES_AND_WORDS, 768, "MIT", "Better; needs an accelerator."
    ),
    Description(
        "ViT-B-16-SigLIP2-256/webli",
        Modality.IMAGES_AND_WORDS,
        768,
        "Apache-2.0",
        "Many languages; needs transformers.",
    ),
    Description(
        "ViT-SO400M-16-SigLIP2-384/webli",
        Modality.IMAGES_AND_WORDS,
        1152,
        "Apache-2.0",
        "Best here; needs an accelerator.",
    ),
)
"""A choice of the names that `make_encoder` understands; any other model of open_clip works as well."""


def make_encoder(name: str, *, device: str = "auto") -> Encoder:
    """The encoder of that name, not loaded yet. Raises `ConfigurationError` for a name that is nobody's.

    Names other than those in `KNOWN` have the forms that `encoders.weights` describes. torch is imported only when
    a model of open_clip is asked for.
    """
    if name == "hashing":
        return HashingEncoder()
    try:
        from encoders.clip import OpenClipEncoder
        from encoders.weights import check_name
    except ImportError as error:
        raise ConfigurationError(
            f"the model {name!r} needs open_clip and torch, and {error.name or error} is not installed; install "
            "'sightline[embedder]', or choose the model 'hashing'"
        ) from error
    try:
        check_name(name)
    except ConfigurationError as error:
        usual = [one.name for one in KNOWN]
        raise ConfigurationError(
            f"there is no model {name!r}{did_you_mean(name, usual)} ({error}). The usual ones are {', '.join(usual)}"
        ) from error
    return OpenClipEncoder(name, device=device)
