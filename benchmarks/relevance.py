"""Whether a cut at a relevance of 0.5 finds the right images, against the best cut at any one cosine.

    python -m benchmarks.relevance [--model sightline-small | filename-tags] [--seed 21] [--images 6000] [--fit]

The small model is asked about scenes whose truth is known, drawn with a seed that its training did not have, a third
of them on patterns that no training image has: names, counts, colours and images of things that are shown often,
seldom and never. `filename-tags` is asked for words that many, few and no names have. `--fit` prints the constants of
`services.search.ranking.relevance` that fit these questions best; it was run with seed 11, all figures with others.
"""

import argparse
import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.relevance_questions import Questions, Truth, drawn_questions, named_questions
from encoders.filename_tags import FilenameTagsEncoder
from encoders.registry import make_encoder
from services.search.ranking.relevance import ABSOLUTE, CUT, SAMPLE, WIDTH, Background

CERTAIN = 20
"""Results of each question that the meaning of a relevance is measured on."""


@dataclass(frozen=True)
class Figures:
    """Of questions with right answers the mean precision, recall and F1; of the others the share that got none."""

    precision: float
    recall: float
    f1: float
    silent: float
    overall: float

    def __str__(self) -> str:
        """Cells of a table."""
        return " | ".join(f"{one:.3f}" for one in (self.precision, self.recall, self.f1, self.silent, self.overall))


def f1_of(found: Truth, right: Truth) -> NDArray[np.float64]:
    """F1 of each question; 1 where nothing is right and nothing was found."""
    both, sizes = (found & right).sum(axis=1), found.sum(axis=1) + right.sum(axis=1)
    scores: NDArray[np.float64] = np.where(sizes > 0, 2 * both / np.maximum(1, sizes), 1.0)
    return scores


def figures(found: Truth, asked: Questions) -> Figures:
    """How well the images that were found are those that are right."""
    some, f1 = asked.answerable, f1_of(found, asked.right)
    both = (found & asked.right).sum(axis=1)
    precision, recall = both / np.maximum(1, found.sum(axis=1)), both / np.maximum(1, asked.right.sum(axis=1))
    silent = f1[~some].mean() if (~some).any() else float("nan")
    return Figures(precision[some].mean(), recall[some].mean(), f1[some].mean(), silent, float(f1 @ asked.weights))


def best_cut(scores: NDArray[np.floating], asked: Questions) -> float:
    """The one cut for all questions with the best weighted F1 on these very questions."""
    cuts = np.quantile(scores, np.concatenate([np.linspace(0.5, 0.99, 50), 1 - np.geomspace(0.01, 1e-5, 120)]))
    return float(max(cuts, key=lambda cut: f1_of(scores >= cut, asked.right) @ asked.weights))


def best_width(steps: NDArray[np.float64], asked: Questions, cut: float) -> float:
    """The width whose relevance is most nearly the chance of being right, by the log-loss of the best results."""
    best = np.argsort(-steps, axis=1)[:, :CERTAIN]
    found, truth = np.take_along_axis(steps, best, 1), np.take_along_axis(asked.right, best, 1)

    def loss(width: float) -> float:
        chance = np.clip(1 / (1 + np.exp(-(found - cut) / width)), 1e-6, 1 - 1e-6)
        return float(-(np.where(truth, np.log(chance), np.log(1 - chance)).mean(axis=1) @ asked.weights))

    return float(min(np.linspace(0.02, 1, 99), key=loss))


def steps_of(asked: Questions) -> NDArray[np.float64]:
    """The u of each score (see `services.search.ranking.relevance`), shape (questions, images)."""
    sample = asked.collection[np.random.default_rng(1).permutation(len(asked.collection))[:SAMPLE]]
    background = Background.of(sample, asked.words)
    absolute = ABSOLUTE.get(asked.model)
    rows = []
    for vector, image in zip(asked.vectors, asked.from_images.tolist(), strict=True):
        scale = absolute or background.scale(vector, 1.0 if image else 0.0)
        assert scale is not None
        rows.append((asked.collection @ vector - scale.location) / scale.spread)
    return np.array(rows, dtype=np.float64)


def cut_of_recall(steps: NDArray[np.float64], asked: Questions, recall: float) -> float:
    """The cut whose mean recall is at least this."""
    low, high = float(steps.min()), float(steps.max())
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if figures(steps >= middle, asked).recall >= recall else (low, middle)
    return low


def relevance_of(step: float) -> float:
    """The relevance of a u."""
    return 1 / (1 + float(np.exp(-(step - CUT) / WIDTH)))


def meaning(steps: NDArray[np.float64], asked: Questions) -> list[tuple[str, int, float]]:
    """For tenths of relevance: how many of the best results have it, and which share of these is right."""
    best = np.argsort(-steps, axis=1)[:, :CERTAIN]
    relevance = 1 / (1 + np.exp(-(np.take_along_axis(steps, best, 1) - CUT) / WIDTH))
    truth = np.take_along_axis(asked.right, best, 1)
    weights = np.broadcast_to(asked.weights[:, None], truth.shape)
    rows = []
    for least in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9):
        most = {0.0: 0.1, 0.9: 1.01}.get(least, least + 0.2)
        of = (relevance >= least) & (relevance < most)
        share = float((truth * weights)[of].sum() / weights[of].sum()) if of.any() else float("nan")
        rows.append((f"{least:.1f} to {min(most, 1.0):.1f}", int(of.sum()), share))
    return rows


def report(asked: Questions) -> None:
    """Print the cuts side by side, whole and by kind of question, and what a relevance means."""
    scores, steps = asked.vectors @ asked.collection.T, steps_of(asked)
    best = best_cut(scores, asked)
    cuts = [("relevance 0.5", steps >= CUT), (f"best cosine, {best:.3f}", scores >= best)]
    lower = cut_of_recall(steps, asked, figures(scores >= best, asked).recall)
    cuts.append((f"relevance {relevance_of(lower):.3f}, of the same recall", steps >= lower))
    for kind, of in (("words alone", ~asked.from_images), ("images alone", asked.from_images)):
        some = part(asked, of)
        own = best_cut(scores[of], some)
        print(f"best cosine for {kind}: {own:.3f}, there {figures(scores[of] >= own, some)}")
        print(f"relevance 0.5 for {kind}: {figures(steps[of] >= CUT, some)}")
    print("\n| cut | precision | recall | F1 | none where nothing is right | all |\n|---|---|---|---|---|---|")
    for name, found in cuts:
        print(f"| {name} | {figures(found, asked)} |")
    print("\n| F1 of | " + " | ".join(name for name, _ in cuts) + " |\n|" + "---|" * (len(cuts) + 1))
    for kind in dict.fromkeys(asked.kinds):
        of = np.array([one == kind for one in asked.kinds])
        shares = [f"{f1_of(found[of], asked.right[of]).mean():.3f}" for _, found in cuts]
        print(f"| {kind} | " + " | ".join(shares) + " |")
    print("\n| relevance | results | share that is right |\n|---|---|---|")
    for band, count, share in meaning(steps, asked):
        print(f"| {band} | {count} | {share:.2f} |")


def part(asked: Questions, of: Truth) -> Questions:
    """Some of the questions."""
    kinds = [kind for kind, taken in zip(asked.kinds, of.tolist(), strict=True) if taken]
    return replace(
        asked, kinds=kinds, vectors=asked.vectors[of], from_images=asked.from_images[of], right=asked.right[of]
    )


def main() -> None:
    """Read the command line, ask and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sightline-small", choices=("sightline-small", "filename-tags"))
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    if arguments.model == "filename-tags":
        asked = named_questions(FilenameTagsEncoder(), arguments.seed, arguments.images)
    else:
        encoder = make_encoder(arguments.model)
        encoder.load()
        asked = drawn_questions(encoder, arguments.seed, arguments.images)
    if arguments.fit:
        steps = steps_of(asked)
        cut = best_cut(steps, asked)
        print(f"CUT {cut:.2f}  WIDTH {best_width(steps, asked, cut):.2f}")
    report(asked)


if __name__ == "__main__":
    main()
