"""Who wrote the difference between languages: embeddings, attention or MLPs, along the direct path.

A state is a sum: the embedding output and what every attention and every MLP before has added. The sum is exact. Norms
on its way (after the last block, or in every block of a BERT) are taken as linear, each token's own deviation held
fixed, which is exact for the sum; what a component does through later attentions and MLPs counts as theirs.
"""

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from helpers.common import stats
from helpers.embeddings import retrieval
from helpers.embeddings.activations import Activations, checked, passes
from helpers.embeddings.batching import POOLS, described, limit, tokenised
from helpers.models.loading import LanguageModel
from helpers.models.parts import blocks, sites

COMPONENTS = ("embeddings", "attention", "MLPs", "norms")  # norms: their biases


def headroom(lm: LanguageModel, table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """table[layer, component, share, before, after, change, low, high]: what could be gained at a component.

    share: of the variance of the language means at a layer, the part that lies in the component's language means
    (covariance over variance; shares sum to 1, and one below 0 works against the rest). before, after: top-1 by cosine
    untouched and without the component's differences of language means, with the interval of the change over sentences.
    `all` takes all of them away. ValueError: blocks whose parts do not add up to their output.
    """
    states, parts = components(lm, table)
    rows = []
    for layer in states.layers:
        means = torch.stack([Activations(part, states.table, states.layers).parallel(layer).mean(1) for part in parts])
        means = torch.cat([means, means.sum(0)[None]]).double()
        means = means - means.mean(1, keepdim=True)
        shares = ((means * means[-1]).sum((1, 2)) / means[-1].square().sum()).tolist()
        moves = torch.cat([torch.zeros_like(means[:1]), -means])
        before, *after = retrieval.moved(states.parallel(layer), moves)
        for name, share, now in zip((*COMPONENTS, "all"), shares, after):
            change = stats.mean_interval(now - before, seed=seed)
            rows.append((layer, name, share, before.mean(), now.mean(), *change))
    columns = ["layer", "component", "share", "before", "after", "change", "low", "high"]
    found = pd.DataFrame(rows, columns=columns)
    silent = found.groupby("component").share.transform(lambda share: (share.abs() < 1e-9).all())
    return found[~silent].reset_index(drop=True)


@torch.no_grad()
def components(lm: LanguageModel, table: pd.DataFrame) -> tuple[Activations, Tensor]:
    """The states of all layers as `embed` gives them, and their summands [component, sentence, layer, hidden]."""
    text, every = tokenised(lm, checked(table, ["language", "sentence"])["text"], limit(lm)), sites(lm)
    modules, paths, taps = dict(lm.model.named_modules()), list(blocks(lm)), {}
    norms = {path: part for path, part in modules.items() if "Norm" in type(part).__name__}
    for number, (path, block) in enumerate(blocks(lm).items()):
        linears = [name for name, part in block.named_modules(prefix=path) if isinstance(part, nn.Linear | Conv1D)]
        writers = [[name for name in linears if (name in every) == mlp][-1] for mlp in (False, True)]
        ends = zip(("in", "out", "attention", "MLP"), (block, block, *map(modules.get, writers)))
        taps |= {(number, end): (part, end == "in") for end, part in ends}
    taps["last"] = lm.model.base_model, False
    inside = [[part for name, part in norms.items() if name.startswith(f"{path}.")] for path in paths]
    later = [*modules][[*modules].index(paths[-1]) :]
    final = [norms[name] for name in later if name in norms and not name.startswith(f"{paths[-1]}.")][:1]
    held = torch.zeros(len(COMPONENTS), len(table), len(paths) + 1, lm.model.config.get_text_config().hidden_size)
    with passes(lm, taps, text, lambda batch: lambda states: states.float()) as batches:
        for batch, seen in batches:
            for layer, parts in enumerate(_sums(lm.name, seen, inside, final)):
                held[:, batch.rows, layer] = torch.stack([POOLS["mean"](part, batch).cpu() for part in parts])
    return Activations(held.sum(0), described(table, text), list(range(len(paths) + 1))), held


def _sums(name: str, seen: dict, inside: list, final: list) -> Iterator[Tensor]:
    """The summands [component, sentence, token, hidden] of every layer of a batch, in order."""
    parts = torch.zeros(len(COMPONENTS), *seen[0, "in"].shape, device=seen[0, "in"].device)
    parts[0] = seen[0, "in"]
    for number, norms in enumerate(inside):
        yield parts
        attention, mlp, out = (seen[number, end].to(parts.device) for end in ("attention", "MLP", "out"))
        written = torch.zeros_like(parts)
        written[1], written[2] = attention, mlp
        after = parts + written
        if not _near(after.sum(0), out) and len(norms) == 2:  # a norm after each sum, as in BERT
            written[2] = 0
            after = _normed(norms[0], parts + written)
            after[2] += mlp
            after = _normed(norms[1], after)
        parts = _matching(f"block {number} of {name}", after, out)
    last = seen["last"].to(parts.device)
    parts = parts if _near(parts.sum(0), last) or not final else _normed(final[0], parts)
    yield _matching(f"the last layer of {name}", parts, last)


def _normed(norm: nn.Module, parts: Tensor) -> Tensor:
    """What a norm makes of each summand, each token's deviation held as it is; its bias joins the last of them.

    The norm is asked for its scale: what it makes of a vector of mean 0 and deviation 1, and of that vector moved.
    """
    whole, size = parts.sum(0), parts.shape[-1]
    ones = torch.tensor([1.0, -1.0], device=parts.device).repeat((size + 1) // 2)[:size]
    kind = next((weight.dtype for weight in norm.parameters()), parts.dtype)
    bias, flat, moved = (norm(x.to(kind)).float() for x in (0 * ones, ones, ones + 3))
    centres = _near(flat, moved)
    deviation = whole.std(-1, unbiased=False) if centres else whole.square().mean(-1).sqrt()
    eps = getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", 0.0)
    parts = parts - parts.mean(-1, keepdim=True) * centres
    parts = parts * ((flat - bias) * ones) / (deviation**2 + eps).sqrt()[..., None]
    parts[-1] += bias
    return parts


def _near(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).norm() <= 0.01 * expected.norm())


def _matching(where: str, parts: Tensor, expected: Tensor) -> Tensor:
    """The summands, if they add up to what the model has there."""
    if not _near(parts.sum(0), expected):
        off = ((parts.sum(0) - expected).norm() / expected.norm()).item()
        raise ValueError(f"the parts of {where} miss its output by {off:.0%}; it adds more than attention and an MLP")
    return parts
