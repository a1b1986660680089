"""Recipes of mini models: world, architecture and schedule under a name (`mini-encoder`, `mini-switched-seed3`).

No torch in here, so that a name is checked at once.
"""

import re
from dataclasses import dataclass, replace

import numpy as np

from helpers.common.lookup import known
from helpers.world import worlds

DOSES = (0.25, 0.5, 1.0)  # of the twins of `mini-twins`: shares of letters, words, choices or endings changed


@dataclass(frozen=True)
class Recipe:
    """How a mini model is made."""

    world: str = "default"
    seed: int = 0
    encoder: bool = False  # XLM-R style with masked language modelling; otherwise Llama style
    steps: int = 3400
    checkpoints: int = 14  # log-spaced, the untrained model and the last step among them
    batch: int = 64  # sentences
    rate: float = 8e-3  # peak learning rate of AdamW
    decay: float = 0.3  # weight decay of AdamW
    warmup: int = 200  # steps
    hidden: int = 64
    layers: int = 4
    heads: int = 4
    mlp: int = 192
    vocabulary: int = 3000  # byte-pair tokens, from all languages
    twins: tuple[tuple[str, str, float], ...] = ()  # (language, change, dose) trained beside the world's languages


RECIPES = {
    "mini": Recipe(),
    "mini-encoder": Recipe(encoder=True, steps=6000),
    "mini-switched": Recipe(world="switched", rate=1e-3, steps=2000),
    "mini-translated": Recipe(world="translated"),
    # One language of three families, each of another script, with its twins: 36 beside the 24 languages, hence more
    # steps and more tokens, so that most words are one token still.
    "mini-twins": Recipe(
        steps=5000,
        checkpoints=12,
        vocabulary=5000,
        twins=tuple((name, change, dose) for name in ("A1", "C1", "E1") for change in worlds.CHANGES for dose in DOSES),
    ),
}


def recipe(name: str) -> Recipe:
    """The recipe of a mini model; `-seedN` at the end of a name sets the seed. Unknown names raise LookupError."""
    base, seed = re.fullmatch(r"(.*?)(?:-seed(\d+))?", name).groups()
    return replace(RECIPES[known(base, RECIPES, "recipe", "Add -seedN for another seed.")], seed=int(seed or 0))


def world_of(made: Recipe) -> worlds.World:
    """The world that a recipe trains on, its twins included; all seeds of a recipe share one world."""
    grown = worlds.build(made.world)
    for language, change, dose in made.twins:
        grown = grown.twin(language, change, dose)
    return grown


def schedule(made: Recipe) -> list[int]:
    """The steps that are kept: 0, then evenly spaced on a log scale up to the last."""
    spaced = np.geomspace(20, made.steps, made.checkpoints - 1) if made.steps > 20 else [made.steps]
    return sorted({0, *(int(float(f"{step:.2g}")) for step in spaced[:-1]), made.steps})
