"""A model of open_clip with its weights, or the sentence that says what is wrong with them."""

import importlib.util
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import load_state_dict

from encoders.checkpoints import misfit, shapes
from encoders.hub_weights import HubFiles, text_tower
from encoders.torchscript import is_torchscript, load_torchscript, torchscript_shapes, weights_come_later
from encoders.weights import Source
from schemas.errors import ConfigurationError


def create_model(source: Source) -> Any:
    """The model in float32 on the processor, with its weights. Raises `ConfigurationError`."""
    script = source.checkpoint if source.checkpoint is not None and is_torchscript(source.checkpoint) else None
    options, wanted = source.options, [source.hub]
    try:
        config = open_clip.get_model_config(source.architecture)
        wanted.append(text_tower(config))
        options = options | _tower_options(source, config, wanted[-1])
        # Seeded, without moving the process's own stream of random numbers.
        with torch.random.fork_rng(devices=[]), nullcontext() if script is None else weights_come_later():
            torch.manual_seed(0)
            model = open_clip.create_model(
                source.architecture,
                source.pretrained,
                precision="fp32",
                device="cpu",
                load_weights=script is None,
                require_pretrained=script is None and not source.random,
                pretrained_text=False,
                **options,
            )
        if script is not None:
            load_torchscript(model, script)
    except ConfigurationError:
        raise
    except Exception as error:
        absent = next((one for one in wanted if one is not None and one.cached() is None), None)
        if absent is not None:
            raise absent.not_downloaded(source.label, error) from error
        place = source.checkpoint or source.pretrained or source.architecture
        reason = _misfit(source, options) if source.checkpoint is not None else ""
        if reason:
            raise ConfigurationError(
                f"the weights in {place} are not made for {source.label}: {reason}. Name the architecture that they "
                "were made for, or take other weights: `sightline models` lists both"
            ) from error
        cause = " ".join(str(error).split())[:300]
        raise ConfigurationError(
            f"the model {source.label} cannot be loaded from {place}: {cause}. Check that the weights are complete and "
            "made for this architecture"
        ) from error
    return model.eval().requires_grad_(False)


def _tower_options(source: Source, config: dict[str, Any] | None, tower: HubFiles | None) -> dict[str, Any]:
    """How open_clip is told where in the cache the text tower's description is, if it lies in another repository."""
    if config is None or tower is None:
        return {}
    if importlib.util.find_spec("transformers") is None:
        raise ConfigurationError(
            f"the text tower of {source.label} needs transformers, which is not installed; install "
            "'sightline[transformers]'"
        )
    found = tower.find(source.label)
    if found is None:
        return {}
    # By its path, since by the repository's name transformers would ask the hub whether there is a newer one.
    return {"text_cfg": {**config["text_cfg"], "hf_model_name": str(found.parent), "hf_model_pretrained": False}}


def _misfit(source: Source, options: dict[str, Any]) -> str:
    """How the file's tensors differ from the architecture's; empty where that cannot be told."""
    try:
        path = str(source.checkpoint)
        if path.endswith(".safetensors"):
            there = shapes(Path(path))
        elif is_torchscript(Path(path)):
            there = torchscript_shapes(Path(path))
        else:
            there = {name: tuple(one.shape) for name, one in load_state_dict(path, device="meta").items()}
        with torch.device("meta"):
            made = open_clip.create_model(
                source.architecture, load_weights=False, pretrained_text=False, device="meta", **options
            )
    except Exception:
        # The first error says more than that its explanation failed.
        return ""
    return misfit(there, {name: tuple(one.shape) for name, one in made.state_dict().items()})
