"""A model of open_clip that is small enough to be made anew in every test run, with its weights on disk."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

VISION = {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}


def write_tiny_model(
    folder: Path, *, preprocessing: dict[str, Any] | None = None, vision: dict[str, Any] | None = None, seed: int = 0
) -> Path:
    """Write `open_clip_config.json` and `open_clip_model.safetensors` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shape: dict[str, Any] = VISION | (vision or {})
    model = {"embed_dim": 48, "vision_cfg": shape, "text_cfg": TEXT}
    config = {"model_cfg": model, "preprocess_cfg": preprocessing or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = open_clip.CLIP(48, open_clip.CLIPVisionCfg(**shape), open_clip.CLIPTextCfg(**TEXT))
    save_file(made.state_dict(), folder / "open_clip_model.safetensors")
    return folder
