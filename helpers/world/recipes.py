"""Recipes of mini models: world, architecture and schedule under a name (`mini-encoder`, `mini-twins-w2-seed1`).

No torch in here, so that a name is checked at once.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from helpers.common.lookup import known
from helpers.world import worlds


@dataclass(frozen=True)
class Recipe:
    """How a mini model is made."""

    world: str = "default"
    seed: int = 0
    encoder: bool = False  # XLM-R style with masked language modelling; otherwise Llama style
    steps: int = 14_000
    checkpoints: int = 12  # log-spaced, the untrained model and the last step among them
    batch: int = 64  # sentences
    rate: float = 0.015  # peak learning rate of AdamW
    inner_rate: float = 0.02  # that of Muon, which trains the matrices of the blocks
    decay: float = 0.03  # weight decay of AdamW; Muon's is a tenth of it
    warmup: int = 300  # steps
    hidden: int = 64
    layers: int = 4
    heads: int = 4
    mlp: int = 192
    vocabulary: int = 3000  # byte-pair tokens, from all languages
    spread: float = 0.02  # standard deviation of the initial weights
    twinned: int = 0  # languages whose twins are trained beside the world's languages
    changes: tuple[tuple[str, float], ...] = tuple((change, 1.0) for change in worlds.CHANGES)  # of each, with doses


RECIPES = {
    "mini": Recipe(),
    "mini-encoder": Recipe(encoder=True, steps=18_000),
    # Three languages of a world with all their twins, balanced: two and a half times as much text as without.
    "mini-twins": Recipe(steps=12_000, checkpoints=8, vocabulary=4000, twinned=3),
}


def recipe(name: str) -> Recipe:
    """The recipe of a mini model; `-wN` and `-seedN` at the end of a name, in this order, set the seeds of its world
    and of its training. Unknown names raise LookupError."""
    base, number, seed = re.fullmatch(r"(.*?)(?:-w(\d+))?(?:-seed(\d+))?", name).groups()
    made = RECIPES[known(base, RECIPES, "recipe", "Add -wN for another world, -seedN for another training.")]
    world = f"{made.world}-w{number}" if number else made.world
    return replace(made, world=world, seed=int(seed or 0))


@lru_cache(maxsize=16)
def world_of(made: Recipe) -> worlds.World:
    """The world that a recipe trains on, its twins included; all trainings of a recipe share one world."""
    grown = worlds.build(made.world)
    for language, change, dose in twins_of(made):
        grown = grown.twin(language, change, dose)
    return grown.balanced() if made.twinned else grown


def twins_of(made: Recipe) -> list[tuple[str, str, float]]:
    """(original, change, dose) of every twin; the originals of a world are of other families than the next world's."""
    grown = worlds.build(made.world)
    families = list(dict.fromkeys(grown.languages["family"]))
    places = range(made.twinned * grown.seed, made.twinned * (grown.seed + 1))
    return [(f"{families[place % len(families)]}1", *change) for place in places for change in made.changes]


def schedule(made: Recipe) -> list[int]:
    """The steps that are kept: 0, then evenly spaced on a log scale up to the last."""
    spaced = np.geomspace(20, made.steps, made.checkpoints - 1) if made.steps > 20 else [made.steps]
    return sorted({0, *(int(float(f"{step:.2g}")) for step in spaced[:-1]), made.steps})
