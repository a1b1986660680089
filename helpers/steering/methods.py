"""Methods: sentences of known languages in, lists of edits out.

A method is one function of a `Fitting` and of the language to steer toward. Controls take any method's edits to other
units or to another subspace, or fit it under shuffled labels, so that every method meets the same ones.
"""

from collections.abc import Callable
from functools import partial
from inspect import signature

import numpy as np
import pandas as pd
import torch
from concept_erasure import LeaceFitter

from helpers.common.lookup import known
from helpers.embeddings import retrieval
from helpers.steering import experts, units
from helpers.steering.edits import Edit, LowRank
from helpers.steering.fitting import Fitting

CONTROLS = {  # and what each rules out, where a method gains no more than it does
    "none": "nothing: the method itself",
    "random": "that the experts matter, beside the values written (not neutral: most units are far from such values)",
    "matched": "that the experts matter, beside their sites and the size of the change",
    "random_own": "that language matters, beside the variance that as many constants take away",
    "matched_own": "the same at the experts' sites",
    "shuffled": "that the languages of the sentences fitted on matter, beside the fit itself",
    "topvariance": "that directions of language matter, beside directions of much variance",
    "constant": "that anything matters beside a shift of all states (`measuring.steps`; it edits no model)",
}
OF_UNITS = ("random", "matched", "random_own", "matched_own", "shuffled")
OF_DIRECTIONS = ("random", "topvariance", "shuffled")
VALUES = ("mean", "mean_token", "median", "p90", "zero")
SCORES = ("auroc", "average_precision")


def fit(
    name: str, fitting: Fitting, toward: str | None = None, *, control: str = "none", seed: int = 0, **options
) -> list[Edit | LowRank]:
    """The edits of a method of `METHODS` with its options, or of one of its `CONTROLS`.

    random: the same values on units drawn from the whole model; a random subspace, or direction of the same length.
    matched: units of the same sites, each moved as far in its own deviations (`units.elsewhere`). random_own,
    matched_own: such units set to their own means. topvariance: the directions in which sentences vary most. shuffled:
    fitted on sentences whose languages are dealt by chance. ValueError: an option that the method does not have, or too
    few other units; LookupError: no such method, no such control of it, or no sentences in the language.
    """
    method = METHODS[known(name, METHODS, "method")]
    known(control, CONTROLS, "control")
    taken = list(signature(method).parameters)[2:]
    if not {*options} <= {*taken}:
        raise ValueError(f"{name} takes no {', '.join(sorted({*options} - {*taken}))}; it takes {', '.join(taken)}")
    edits = method(fitting.shuffled(seed) if control == "shuffled" else fitting, toward, **options)
    return edits if control in ("none", "shuffled") else _elsewhere(edits, fitting, control, seed)


# --- units ------------------------------------------------------------------------------------------------------------


def overwrite(
    fitting: Fitting,
    toward: str,
    *,
    k: float = 20,
    value: str = "mean",
    pool: str = "max",
    score: str = "auroc",
    inside: int | None = None,
) -> list[Edit]:
    """The k best experts of the language, set to what they answer to its sentences, or to zero.

    k below 1 is a share of all units. Experts are chosen by `score`, in all blocks or `inside` one, from responses
    pooled over tokens by `pool`; `value` is the mean, median or p90 of these over sentences, or mean_token, the mean
    over tokens first: with the maximum as pool the mean lies far above what a unit answers to most tokens.
    """
    known(value, VALUES, "value")
    chosen = _chosen(fitting, toward, partial(experts.top, score=known(score, SCORES, "score")), k, pool, inside)
    pool = "mean" if value == "mean_token" else pool
    answers = experts.values(fitting.responses(pool), fitting.labels, chosen).assign(value_zero=0.0)
    return units.edits(chosen.assign(scale=0.0, shift=answers[f"value_{value.removesuffix('_token')}"]))


def damp(fitting: Fitting, toward: str, *, k: int = 20) -> list[Edit]:
    """The k best experts of the language, halved."""
    return units.edits(_chosen(fitting, toward, experts.top, k, "max").assign(scale=0.5, shift=0.0))


def aura(fitting: Fitting, toward: str) -> list[Edit]:
    """Every unit with AUROC above 0.5 for the language, multiplied by 1 - 2 (AUROC - 0.5) (Suau et al. 2024)."""
    fitting.own(toward)
    sites = fitting.responses("max").items()
    tables = fitting.once(("auroc",), lambda: {site: experts.auroc(x, fitting.labels) for site, x in sites})
    found = pd.concat({site: table.loc[toward] for site, table in tables.items()}, names=["site", "unit"])
    found = found[found > 0.5]
    return units.edits((2 - 2 * found).rename("scale").reset_index().assign(shift=0.0))


def mean_transport(fitting: Fitting, toward: str, *, k: int | None = None) -> list[Edit]:
    """Every unit, or the k best experts, shifted by the mean of the language less that of the others (Mean-AcT)."""
    return _transport(fitting, toward, k, units.shifted)


def gaussian_transport(fitting: Fitting, toward: str, *, k: int | None = None) -> list[Edit]:
    """Every unit, or the k best experts, given mean and deviation of the language for those of the others."""
    return _transport(fitting, toward, k, units.gaussian)


def linear_transport(fitting: Fitting, toward: str, *, k: int | None = None) -> list[Edit]:
    """Every unit, or the k best experts, mapped by the regression of the language's sorted responses on the others'.

    Linear-AcT, fitted without clipping to the range seen, and in all layers on the untouched model.
    """
    return _transport(fitting, toward, k, units.regression)


def lape(fitting: Fitting, toward: str, *, k: int | None = None) -> list[Edit]:
    """The language's units of low activation probability entropy, set to their mean over its sentences.

    Chosen by `units.entropy`: the published share of the model or, with k, as many as other methods take.
    """
    chosen = _chosen(fitting, toward, units.entropy, k, "positive")
    if len(chosen) < (k or 1):
        raise ValueError(f"{len(chosen)} units fire for {toward} but k = {k}; take another k, or another language")
    answers = experts.values(fitting.responses("mean"), fitting.labels, chosen)
    return units.edits(chosen.assign(scale=0.0, shift=answers["value_mean"]))


# --- directions; those without `toward` favour no language ------------------------------------------------------------


def diffmean(fitting: Fitting, toward: str, *, block: int | None = None) -> list[LowRank]:
    """The output of a block, moved by the mean of the language less the mean of the others."""
    path, own = fitting.path(block), fitting.own(toward)
    states = fitting.outputs(path).astype(np.float64)
    return [_direction(path, states[own].mean(0) - states[~own].mean(0))]


def erase(fitting: Fitting, _: str | None, *, block: int | None = None, rank: int | None = None) -> list[LowRank]:
    """The output of a block without the span of the language means, or its `rank` strongest directions."""
    path = fitting.path(block)
    return [_projection(path, retrieval.subspace(fitting.parallel(path), rank=rank))]


def leace(fitting: Fitting, _: str | None, *, block: int | None = None) -> list[LowRank]:
    """The output of a block after the least change from which no linear probe can tell the language (LEACE).

    Belrose et al. 2023; an oblique projection.
    """
    path = fitting.path(block)
    states = torch.from_numpy(fitting.outputs(path).astype(np.float64))
    codes = torch.from_numpy(pd.factorize(fitting.labels)[0])
    eraser = LeaceFitter.fit(states, torch.nn.functional.one_hot(codes).double()).eraser
    kept = eraser.proj_left.norm(dim=0) > 0  # it zeroes the columns that it drops
    return [LowRank(path, -eraser.proj_right[kept].T, eraser.proj_left[:, kept], eraser.bias)]


_UNITS = (overwrite, damp, aura, mean_transport, gaussian_transport, linear_transport, lape)
METHODS: dict[str, Callable[..., list]] = {method.__name__: method for method in (*_UNITS, diffmean, erase, leace)}


def _elsewhere(edits: list[Edit | LowRank], fitting: Fitting, control: str, seed: int) -> list[Edit | LowRank]:
    """The same edits on as many other units, or in as many other dimensions."""
    if isinstance(edits[0], LowRank):
        known(control, OF_DIRECTIONS, "control of directions")
        return [_instead(edit, fitting, control, seed) for edit in edits]
    known(control, OF_UNITS, "control of units")
    kind, _, own = control.partition("_")
    model = fitting.once(("moments",), lambda: units.moments(fitting.responses("mean")))
    return units.elsewhere(edits, model, matched=kind == "matched", own=bool(own), seed=seed)


def _instead(edit: LowRank, fitting: Fitting, control: str, seed: int) -> LowRank:
    """A projection of the same rank, or a direction of the same length, that knows no language."""
    rank, kind = edit.A.shape[1], "random" if control == "random" else "variance"
    space = retrieval.subspace(fitting.outputs(edit.site)[None], rank=rank or 1, kind=kind, seed=seed)
    if rank:
        return _projection(edit.site, space)
    new = space.basis[:, 0] * edit.v.norm()
    return _direction(edit.site, -new if new @ edit.v < 0 else new)


def _chosen(
    fitting: Fitting, toward: str, choose: Callable, k: float | None, pool: str, block: int | None = None
) -> pd.DataFrame:
    """The language's rows of what `choose(k, responses, labels)` returns for all languages, asked once."""
    fitting.own(toward)
    inside = "" if block is None else f"{fitting.path(block)}."
    answers = {site: array for site, array in fitting.responses(pool).items() if site.startswith(inside)}
    if k and k < 1:
        k = max(1, round(k * sum(array.shape[1] for array in fitting.responses(pool).values())))
    found = fitting.once((*_name(choose), k, pool, block), lambda: choose(k, answers, fitting.labels))
    return found[found["language"] == toward].reset_index(drop=True)


def _name(choose: Callable) -> tuple:
    """What tells one way of choosing from another; two partials are never equal."""
    return getattr(choose, "func", choose), *getattr(choose, "keywords", {}).values()


def _transport(fitting: Fitting, toward: str, k: int | None, fitted: Callable) -> list[Edit]:
    """Each unit's map from its responses to the other languages to those to this one; still units are left alone."""
    own, parts = fitting.own(toward), []
    chosen = None if k is None else _chosen(fitting, toward, experts.top, k, "mean")
    for site, numbers, values in units.pieces(fitting.responses("mean"), chosen):
        x, y = values[~own], values[own]
        alive = (x.std(0) > units.STILL) & (y.std(0) > units.STILL)
        scale, shift = fitted(x[:, alive], y[:, alive])
        parts.append(pd.DataFrame({"site": site, "unit": numbers[alive], "scale": scale, "shift": shift}))
    return units.edits(pd.concat(parts))


def _direction(path: str, v: np.ndarray | torch.Tensor) -> LowRank:
    none = np.zeros((len(v), 0))
    return LowRank(path, none, none, 0.0, v)


def _projection(path: str, space: retrieval.Subspace) -> LowRank:
    return LowRank(path, -space.basis, space.basis, space.mean)
