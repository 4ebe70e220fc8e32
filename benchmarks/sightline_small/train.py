"""Train `sightline-small` and write it where Sightline looks for it.

    python -m benchmarks.sightline_small.train [--steps 5000] [--until 5000] [--seed 1] [--to encoders/small]

Every image is drawn for the step that sees it, so nothing can be learnt by heart but the pictures themselves. Three
things are asked: which caption belongs to which image, against captions with one word wrong (Radford et al. 2021, with
hard negatives); which of several hundred names are true of an image (cross-entropy with equal shares, as in Yang et al.
2022); which images a name or a keyword is true of.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as functional
from open_clip import CLIP
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader

from benchmarks.sightline_small.architecture import CONFIGURATION, encode_short_texts, make_model
from benchmarks.sightline_small.batches import Batch, Batches
from benchmarks.sightline_small.concepts import read_concepts, read_sprite
from imaging.scenes import Sprite

IMAGES, NAMES = 192, 512
"""Per step."""
RATE, WARM_UP, DECAY = 1.5e-3, 200, 0.05
AVERAGE = 0.999
"""Weights are averaged over about 1,000 steps, which does what a slower last phase would."""


def train(steps: int, until: int, seed: int, to: Path, device: torch.device) -> None:
    """Train from nothing; a checkpoint is written every 500 steps, and the one at step `until` is the model."""
    torch.manual_seed(seed)
    concepts = read_concepts()
    sprites = [Sprite(read_sprite(concept)) for concept in concepts]
    batches = Batches(concepts, sprites, seed=seed, steps=until, images=IMAGES, names=NAMES)
    model = make_model().to(device, memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(_groups(model), lr=RATE, betas=(0.9, 0.98))
    seen = torch.zeros(model.vocab_size, dtype=torch.bool)
    began, losses = time.perf_counter(), 0.0
    for step, batch in enumerate(DataLoader(batches, batch_size=None, num_workers=2, prefetch_factor=4)):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            loss = loss_of(model, batch, device)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        _average(averaged, model, min(AVERAGE, (step + 1) / (step + 10)))
        for tokens in (batch.captions, batch.mistakes, batch.names, batch.abroad, batch.keywords):
            seen[tokens.reshape(-1)] = True
        losses += loss.item()
        if (step + 1) % 100 == 0:
            pace = (step + 1) * IMAGES / (time.perf_counter() - began)
            print(f"step {step + 1}: loss {losses / 100:.3f}, {pace:.0f} images/s", flush=True)
            losses = 0.0
        if (step + 1) % 500 == 0 or step + 1 == until:
            write(averaged, seen, to)


def loss_of(model: CLIP, batch: Batch, device: torch.device) -> Tensor:
    """The sum of the three questions' losses."""
    pixels = (batch.images.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(
        memory_format=torch.channels_last
    )
    images = functional.normalize(model.visual(pixels).float(), dim=-1)
    captions, mistakes, names, abroad, keywords = (
        functional.normalize(encode_short_texts(model, tokens.to(device)).float(), dim=-1)
        for tokens in (batch.captions, batch.mistakes, batch.names, batch.abroad, batch.keywords)
    )
    scale = model.logit_scale.exp()
    own = torch.arange(len(images), device=device)
    to_captions = scale * images @ torch.cat([captions, mistakes]).T
    right, wrong = to_captions[own, own], to_captions[own, own + len(own)]
    by_caption = (
        functional.cross_entropy(to_captions, own)
        + functional.cross_entropy(to_captions[:, : len(own)].T, own)
        + functional.softplus(wrong - right).mean()
    )
    to_names = scale * images @ names.T
    to_keywords = scale * images @ keywords.T
    present, described = batch.present.to(device), batch.described.to(device)
    # The same question with some of the names in other languages.
    mixed = scale * images @ torch.cat([abroad, names[len(abroad) :]]).T
    by_name = _shared(to_names, present) + 0.3 * _shared(mixed, present)
    by_image = _shared(torch.cat([to_names, to_keywords], dim=1).T, torch.cat([present, described], dim=1).T)
    return 0.5 * by_caption + by_name + 0.5 * by_image


def _shared(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy where all that is true has an equal share, over the rows where anything is."""
    count = truth.sum(dim=1)
    rows = count > 0
    shares = truth[rows] / count[rows, None]
    return -(shares * logits[rows].log_softmax(dim=1)).sum(dim=1).mean()


def _groups(model: CLIP) -> list[dict[str, object]]:
    """Only matrices decay; a token's row would fade while it is not used."""
    matrices = [one for name, one in model.named_parameters() if one.ndim > 1 and "embedding" not in name]
    others = [one for name, one in model.named_parameters() if one.ndim < 2 or "embedding" in name]
    return [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]


@torch.no_grad()
def _average(averaged: CLIP, model: CLIP, share: float) -> None:
    current = model.state_dict()
    for name, one in averaged.state_dict().items():
        if one.is_floating_point():
            one.lerp_(current[name], 1 - share)
        else:
            one.copy_(current[name])


def write(model: CLIP, seen: Tensor, to: Path) -> None:
    """The model as open_clip's `local-dir:` reads it, in float16.

    The rows of tokens that no caption had are zeros, so that an unknown word adds nothing rather than noise.
    """
    to.mkdir(parents=True, exist_ok=True)
    state = {
        name: one.detach().cpu().half().contiguous() if one.is_floating_point() else one.cpu()
        for name, one in model.state_dict().items()
    }
    state["token_embedding.weight"][~seen] = 0
    state.pop("attn_mask", None)
    save_file(state, to / "open_clip_model.safetensors")
    (to / "open_clip_config.json").write_text(json.dumps(CONFIGURATION, indent=2) + "\n")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=5000, help="what the learning rate's schedule is made for")
    parser.add_argument("--until", type=int, help="stop after this step, although the schedule goes on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--to", type=Path, default=Path("encoders/small"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    until = min(arguments.steps, arguments.until or arguments.steps)
    train(arguments.steps, until, arguments.seed, arguments.to, torch.device(arguments.device))


if __name__ == "__main__":
    main()
