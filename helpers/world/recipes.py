"""Recipes of mini models: world, architecture and schedule under a name (`mini-encoder`, `mini-twins-w2-seed1`).

No torch in here, so that a name is checked at once.
"""

import re
from dataclasses import dataclass, replace

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


def world_of(made: Recipe) -> worlds.World:
    """The world that a recipe trains on, its twins included; all trainings of a recipe share one world.

    The originals of twins are of different families, and of other ones in the next world.
    """
    grown = worlds.build(made.world)
    families = list(dict.fromkeys(grown.languages.family))
    for place in range(made.twinned):
        language = f"{families[(made.twinned * grown.seed + place) % len(families)]}1"
        for change in worlds.CHANGES:
            grown = grown.twin(language, change)
    return grown.balanced() if made.twinned else grown


def schedule(made: Recipe) -> list[int]:
    """The steps that are kept: 0, then evenly spaced on a log scale up to the last."""
    spaced = np.geomspace(20, made.steps, made.checkpoints - 1) if made.steps > 20 else [made.steps]
    return sorted({0, *(int(float(f"{step:.2g}")) for step in spaced[:-1]), made.steps})
