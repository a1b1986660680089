"""Forward passes of a steered and of a folded model beside the untouched model on the same batches.

Run it alone on the machine: `python tests/bench/bench_interventions.py`. The passes are interleaved; every ratio is the
median over rounds of a round's own two times.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny

from helpers import models
from helpers.models import parts
from helpers.steering import hooks

ROUNDS, BATCH, TOKENS, UNITS, RANK = 60, 16, 32, 100, 8
SHAPE = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 8}
SAME = {"n_embd": 256, "n_inner": 1056, "n_layer": 6, "n_head": 8}


def overwritten(lm, generator: np.random.Generator) -> list[hooks.Edit]:
    """UNITS units drawn from all sites, overwritten."""
    units = [(path, unit) for path, part in models.sites(lm).items() for unit in range(parts.width(part))]
    drawn = sorted(generator.choice(len(units), UNITS, replace=False))
    found: dict[str, list] = {}
    for number in drawn:
        found.setdefault(units[number][0], []).append(units[number][1])
    return [hooks.Edit(path, numbers, 0.0, 1.0) for path, numbers in found.items()]


def erased(lm, generator: np.random.Generator) -> list[hooks.LowRank]:
    """A subspace of RANK dimensions projected out of the middle block."""
    paths, hidden = list(models.blocks(lm)), SHAPE["hidden_size"]
    basis = np.linalg.qr(generator.normal(size=(hidden, RANK)))[0]
    return [hooks.LowRank(paths[len(paths) // 2], -basis, basis, generator.normal(size=hidden))]


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lm, biased = tiny.language_model("llama", **SHAPE), tiny.language_model("gpt2", **SAME)
    for loaded in (lm, biased):
        loaded.model.to(device)
    generator = np.random.default_rng(0)
    units, others, subspace = overwritten(lm, generator), overwritten(biased, generator), erased(lm, generator)
    every = [hooks.Edit(path, range(parts.width(part)), 0.9, 0.1) for path, part in models.sites(lm).items()]
    batch = torch.from_numpy(generator.integers(5, 200, (BATCH, TOKENS))).to(device)
    ways = {
        f"llama steered, {UNITS} units of {len(units)} sites": (lm, lm, units),
        f"llama steered, every unit of {len(every)} sites": (lm, lm, every),
        f"llama steered, rank {RANK} after one block": (lm, lm, subspace),
        f"llama folded, {UNITS} units, which adds biases": (lm, hooks.folded(lm, units), []),
        f"gpt2 folded, {UNITS} units, which has biases": (biased, hooks.folded(biased, others), []),
    }
    seconds = {way: [] for way in ways}
    for turn in range(ROUNDS + 3):  # the first three warm up
        for way, (untouched, edited, edits) in ways.items():
            pair = []
            for model, given in [(untouched, []), (edited, edits)][:: 1 if turn % 2 else -1]:
                with hooks.steered(model, given), torch.no_grad():
                    _timed(model.model.base_model, batch[:1, :2])  # the first pass readies the edits
                    pair.append(_timed(model.model.base_model, batch))
            seconds[way] += [pair[:: 1 if turn % 2 else -1]] if turn > 2 else []
    for way, pairs in seconds.items():
        untouched, taken = (np.median(side) * 1000 for side in zip(*pairs))
        ratio = np.median([after / before for before, after in pairs])
        print(f"{way:44} {taken:7.2f} ms, untouched {untouched:7.2f} ms: {ratio:.3f} x")


def _timed(model: torch.nn.Module, batch: torch.Tensor) -> float:
    start = time.perf_counter()
    model(input_ids=batch, use_cache=False)
    if batch.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
