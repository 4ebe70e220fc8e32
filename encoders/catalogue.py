"""The models that users name, as a person chooses among them. Reads nothing and imports no model's libraries."""

from dataclasses import dataclass
from pathlib import Path

from encoders.encoder import Modality
from encoders.filename_tags import DIMENSION as FILENAME_TAGS_DIMENSION
from encoders.hashing import DIMENSION as HASHING_DIMENSION
from encoders.spelling import did_you_mean
from schemas.errors import ConfigurationError

SMALL = "sightline-small"
SMALL_FOLDER = Path(__file__).with_name("small")
"""Where the model that comes with Sightline lies, in the layout of open_clip's own model folders."""

HUGGINGFACE, REPLICATE, SELF_HOSTED = "huggingface:", "replicate:", "self-hosted:"
"""What the names of models that somebody else runs begin with."""

QWEN3, QWEN3_FOLDER = "qwen3-4b", "qwen3:"
"""The language model in the hub's cache, and what the names of folders with one begin with."""

OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip calls weights on the hub, in the order in which it asks for them."""

OPEN_CLIP_PATTERNS = ("open_clip*", "*token*")
"""What is worth downloading of a repository with such weights."""

TOWER_FILE, TOWER_PATTERNS = "config.json", ("config.json", "*token*")
"""What describes a text tower that lies in another repository, and what is worth downloading there."""


@dataclass(frozen=True)
class Model:
    """A model that can be named.

    `parameters` counts the numbers that were learned, `size` is the bytes of the published weights. None: it depends
    on what is named, or on the files. `licence` is that of the weights, an SPDX identifier where there is one.
    `repository` is where the weights are on the hub: any one of `files` there is enough to load them, `patterns` are
    what is worth downloading. `tower` is another repository, without whose description of a text tower the weights
    cannot be loaded. `also` are names that the same weights have elsewhere. `token` is the environment
    variable for the token of a model that somebody else runs.
    """

    name: str
    modality: Modality
    dimension: int | None
    parameters: int | None
    size: int | None
    licence: str
    about: str
    repository: str = ""
    files: tuple[str, ...] = OPEN_CLIP_FILES
    patterns: tuple[str, ...] = OPEN_CLIP_PATTERNS
    tower: str = ""
    also: tuple[str, ...] = ()
    token: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether somebody else runs it."""
        return self.name.startswith((HUGGINGFACE, REPLICATE, SELF_HOSTED))


def _clip(name: str, parameters: int, dimension: int, about: str, repository: str, *also: str) -> Model:
    """CLIP and SigLIP 2 of open_clip, published as 32-bit floats."""
    licence = "Apache-2.0" if "SigLIP2" in name else "MIT"
    return Model(
        name, Modality.IMAGES_AND_WORDS, dimension, parameters, 4 * parameters, licence, about, repository, also=also
    )


def _remote(name: str, token: str, about: str) -> Model:
    return Model(name, Modality.IMAGES_AND_WORDS, None, None, None, "of the model", about, token=token)


_B32, _B16, _L14 = 151_277_313, 149_620_737, 427_616_513

CATALOGUE: tuple[Model, ...] = (
    Model(
        SMALL,
        Modality.IMAGES_AND_WORDS,
        256,
        None,
        None,
        "Apache-2.0",
        "Comes with Sightline. For trying and testing: it knows drawn things, not photographs.",
    ),
    Model(
        "hashing",
        Modality.IMAGES,
        HASHING_DIMENSION,
        0,
        0,
        "Apache-2.0",
        "Colours and layout, hundreds of images a second. Finds the same picture again; knows no words.",
    ),
    Model(
        "filename-tags",
        Modality.IMAGES_AND_WORDS,
        FILENAME_TAGS_DIMENSION,
        0,
        0,
        "Apache-2.0",
        "Words in names, folders and metadata; looks at no pixels. As good as the names are.",
    ),
    _clip(
        "ViT-B-32/laion2b_s34b_b79k",
        _B32,
        512,
        "Photographs on a machine without an accelerator. The one to begin with.",
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        "clip-ViT-B-32-laion2B-s34B-b79K",
    ),
    _clip(
        "ViT-B-32/laion400m_e32",
        _B32,
        512,
        "For an index that exists: vectors as from services that run ViT-B/32 of LAION-400M.",
        "timm/vit_base_patch32_clip_224.laion400m_e32",
    ),
    _clip(
        "ViT-B-32/openai",
        _B32,
        512,
        "For an index that exists: vectors of the first CLIP.",
        "timm/vit_base_patch32_clip_224.openai",
        "openai/clip-vit-base-patch32",
        "clip-ViT-B-32",
    ),
    _clip(
        "ViT-B-16/laion2b_s34b_b88k",
        _B16,
        512,
        "Sees smaller things than ViT-B-32, at a quarter of its speed.",
        "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
    ),
    _clip(
        "ViT-B-16/openai",
        _B16,
        512,
        "For an index that exists: vectors of the first CLIP, finer patches.",
        "timm/vit_base_patch16_clip_224.openai",
        "openai/clip-vit-base-patch16",
        "clip-ViT-B-16",
    ),
    _clip(
        "ViT-L-14/datacomp_xl_s13b_b90k",
        _L14,
        768,
        "Clearly better on photographs; wants an accelerator.",
        "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
    ),
    _clip(
        "ViT-L-14/laion2b_s32b_b82k",
        _L14,
        768,
        "For an index that exists: vectors of LAION's ViT-L/14.",
        "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
    ),
    _clip(
        "ViT-L-14/openai",
        _L14,
        768,
        "For an index that exists: vectors of the first CLIP's large model.",
        "timm/vit_large_patch14_clip_224.openai",
        "openai/clip-vit-large-patch14",
        "clip-ViT-L-14",
    ),
    _clip(
        "ViT-B-16-SigLIP2-256/webli",
        375_234_050,
        768,
        "Words in many languages, a probability for each tag alone; its words need transformers.",
        "timm/ViT-B-16-SigLIP2-256",
        "google/siglip2-base-patch16-256",
    ),
    _clip(
        "ViT-SO400M-16-SigLIP2-384/webli",
        1_136_039_602,
        1152,
        "The best for most photographs; wants an accelerator; its words need transformers.",
        "timm/ViT-SO400M-16-SigLIP2-384",
        "google/siglip2-so400m-patch16-384",
    ),
    _clip(
        "ViT-SO400M-16-SigLIP2-512/webli",
        1_136_555_698,
        1152,
        "The same at more pixels, for small things and text in pictures.",
        "timm/ViT-SO400M-16-SigLIP2-512",
        "google/siglip2-so400m-patch16-512",
    ),
    Model(
        QWEN3,
        Modality.WORDS,
        2560,
        4_022_468_096,
        8_044_936_192,
        "Apache-2.0",
        "Texts only, for text services; wants an accelerator with 9 GB and the package transformers.",
        "Qwen/Qwen3-4B",
        files=("model.safetensors.index.json",),
    ),
    _remote(f"{HUGGINGFACE}MODEL_ID", "HF_TOKEN", "Any model that the Hugging Face inference API runs."),
    _remote(f"{REPLICATE}OWNER/NAME", "REPLICATE_API_TOKEN", "Any embedding model on Replicate; costs by the image."),
    _remote(
        f"{SELF_HOSTED}NAME",
        "SIGHTLINE_REMOTE__TOKEN",
        "A server of your own; put its address into SIGHTLINE_REMOTE__URL.",
    ),
)
"""The models to choose from; any other model of open_clip works as well, by the names of `encoders.weights`."""


def find_model(name: str) -> Model | None:
    """The entry of that name; for a model that somebody else runs, the entry that stands for all of its kind."""
    for model in CATALOGUE:
        prefix = model.name.partition(":")[0] + ":"
        if model.name == name or (model.is_remote and name.startswith(prefix)):
            return model
    return None


def name_here(name: str) -> str | None:
    """What a model is called here that is called `name` elsewhere; None for a name that nobody is known to use."""
    folded = name.casefold()
    for model in CATALOGUE:
        if folded in {one.casefold() for one in (model.repository, *model.also) if one}:
            return model.name
    return None


def choices_of(architecture: str) -> list[str]:
    """The entries with weights of an architecture, named as open_clip does or as papers do: ViT-B-32, ViT-B/32."""
    wanted = architecture.replace("/", "-").casefold()
    return [model.name for model in CATALOGUE if model.name.partition("/")[0].casefold() == wanted]


def unknown_model(name: str, why: ConfigurationError) -> ConfigurationError:
    """The refusal of a name that is nobody's, with those that are near to it and those that are usual."""
    usual = [one.name for one in CATALOGUE]
    return ConfigurationError(
        f"there is no model {name!r}{did_you_mean(name, usual)} ({why}). The usual ones are {', '.join(usual)}; "
        "`sightline models` says what each is for"
    )
