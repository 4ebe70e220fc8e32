"""Train `sightline-small` and write it where Sightline looks for it.

    python -m benchmarks.sightline_small.train [--seed 1] [--to encoders/small]

Each lesson starts from the file that the one before has written, so a training that was stopped goes on with `--lesson`
and `--start` to the same weights.

Every image is drawn for the step that sees it, so nothing can be learnt by heart but the pictures themselves. Three
things are asked: which caption belongs to which image, against captions with one word wrong (Radford et al. 2021, with
hard negatives); which of several hundred names are true of an image (cross-entropy with equal shares, as in Yang et al.
2022); which images a name or a keyword is true of. Two shorter lessons also show the same things before another
background, and ask which image is the other view: first among any others, then among such as look alike.
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as functional
from open_clip import CLIP
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader

from benchmarks.sightline_small.architecture import CONFIGURATION, encode_short_texts, make_model
from benchmarks.sightline_small.batches import Batch, Batches
from benchmarks.sightline_small.concepts import read_concepts, read_sprite
from imaging.scenes import Sprite

IMAGES, NAMES = 192, 512
"""Per step."""
DECAY = 0.05
AVERAGE = 0.999
"""Weights are averaged over about 1,000 steps, which does what a slower last phase would."""


@dataclass(frozen=True)
class Lesson:
    """One part of the training. `rate` is the highest learning rate, reached after `warm_up` steps."""

    name: str
    steps: int
    until: int
    rate: float
    warm_up: int
    view_scale: float = 0.0
    """How sharply an image is asked to be nearer to its other view than to all others; 0: it has none. Low, also easy
    ones count; high, those that look alike."""
    alike: bool = False
    """Whether many of a batch's concepts look alike."""

    def shortened(self, share: float) -> "Lesson":
        """The same lesson in a share of its steps, at least one."""
        if share == 1:
            return self
        steps, until, warm_up = (max(1, round(share * of)) for of in (self.steps, self.until, self.warm_up))
        return replace(self, steps=steps, until=until, warm_up=warm_up)


LESSONS = (
    # Stopped while the rate is a third of its highest, 5e-4, near those at which the next lessons start: they ask for
    # names too and bring the rate down, so falling to nothing before them would spend 2,000 steps on what they do.
    Lesson("names", steps=5000, until=3000, rate=1.5e-3, warm_up=200),
    Lesson("views", steps=1000, until=1000, rate=7e-4, warm_up=50, view_scale=20.0),
    Lesson("alike", steps=1200, until=1200, rate=5e-4, warm_up=50, view_scale=40.0, alike=True),
)


def train(lessons: Sequence[Lesson], seed: int, start: Path | None, to: Path, device: torch.device) -> None:
    """Train from nothing, or from what an earlier lesson wrote; a checkpoint is written every 500 steps.

    A lesson's successor reads the lesson's file: weights rounded to float16, rows of unseen tokens zero.
    """
    torch.manual_seed(seed)
    concepts = read_concepts()
    sprites = [Sprite(read_sprite(concept)) for concept in concepts]
    for lesson in lessons:
        print(f"lesson {lesson.name}: {lesson.until} steps", flush=True)
        model = make_model()
        seen = torch.zeros(model.vocab_size, dtype=torch.bool) if start is None else read(model, start)
        batches = Batches(
            concepts,
            sprites,
            seed=seed,
            steps=lesson.until,
            images=IMAGES,
            names=NAMES,
            views=lesson.view_scale > 0,
            alike=lesson.alike,
        )
        _teach(model.to(device, memory_format=torch.channels_last), batches, lesson, seen, to, device)
        start = to


def _teach(model: CLIP, batches: Batches, lesson: Lesson, seen: Tensor, to: Path, device: torch.device) -> None:
    """One lesson, whose averaged weights are written. `seen` collects the tokens of all captions."""
    model.train()
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(_groups(model), lr=lesson.rate, betas=(0.9, 0.98))
    halved = quicker_in_bfloat16(device)
    began, losses = time.perf_counter(), 0.0
    for step, batch in enumerate(DataLoader(batches, batch_size=None, num_workers=2, prefetch_factor=4)):
        for group in optimizer.param_groups:
            falling = 0.5 + 0.5 * math.cos(math.pi * step / lesson.steps)
            group["lr"] = lesson.rate * min((step + 1) / lesson.warm_up, falling)
        with torch.autocast(device.type, torch.bfloat16, enabled=halved), sdpa_kernel(SDPBackend.MATH):
            loss = loss_of(model, batch, lesson.view_scale, device)
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
        if (step + 1) % 500 == 0 or step + 1 == lesson.until:
            write(averaged, seen, to)


def quicker_in_bfloat16(device: torch.device) -> bool:
    """Whether products take less time there in bfloat16 than in float32.

    A processor without instructions for it makes do with others: without AVX-512 a step took 19 s in place of 2.3.
    """

    def seconds(kind: torch.dtype) -> float:
        matrix = torch.ones(256, 256, dtype=kind, device=device)
        took = []
        for _ in range(3):
            began = time.perf_counter()
            (matrix @ matrix).sum().item()
            took.append(time.perf_counter() - began)
        return min(took)

    return device.type != "cpu" or seconds(torch.bfloat16) < seconds(torch.float32)


def loss_of(model: CLIP, batch: Batch, view_scale: float, device: torch.device) -> Tensor:
    """The sum of the questions' losses."""
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
    # A caption without a background is true of the other view as well.
    others = (own[: batch.views], own[: batch.views] + batch.views)
    to_captions[others] = to_captions[others[::-1]] = -math.inf
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
    loss = 0.5 * by_caption + by_name + 0.5 * by_image
    return loss + _by_view(images, batch.views, view_scale) if batch.views else loss


def _by_view(images: Tensor, views: int, scale: float) -> Tensor:
    """Each view's other view among all images (Chen et al. 2020), one of which has the same background."""
    alike = scale * images @ images.T
    alike.fill_diagonal_(-math.inf)
    own = torch.arange(views, device=images.device)
    return functional.cross_entropy(alike[: 2 * views], torch.cat([own + views, own]))


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


def read(model: CLIP, folder: Path) -> Tensor:
    """Load what `write` wrote, and tell which tokens had been seen, (vocabulary,) bool."""
    state = {name: one.float() for name, one in load_file(folder / "open_clip_model.safetensors").items()}
    model.load_state_dict(state)
    return state["token_embedding.weight"].abs().sum(dim=1) > 0


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
    parser.add_argument("--lesson", choices=[lesson.name for lesson in LESSONS], help="only this one")
    parser.add_argument("--start", type=Path, help="folder with the weights to start from; none: random ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--to", type=Path, default=Path("encoders/small"))
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the steps, to try the script: 0.005 takes a minute"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    lessons = [lesson.shortened(arguments.share) for lesson in LESSONS if arguments.lesson in (None, lesson.name)]
    train(lessons, arguments.seed, arguments.start, arguments.to, torch.device(arguments.device))


if __name__ == "__main__":
    main()
