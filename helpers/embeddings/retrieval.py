"""Where the languages lie: cosine distances, retrieval of translations, hubness, and centring or projecting afterwards.

Embeddings are arrays or tensors [language, sentence, hidden] in which row i of every language has the same meaning.
Every score for every ordered pair of languages comes from one Gram matrix, walked in blocks of bounded size; both
directions of a pair are read from the same block.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from helpers.common import stats

CENTRES = ("none", "global", "language")
SUBSPACES = ("means", "random", "variance")
_BLOCK = {
    "cpu": 2**20,
    "cuda": 2**24,
}  # cosines held at a time; more than a CPU's cache holds takes three times as long


class Subspace(NamedTuple):
    """An affine subspace: a mean [hidden] and orthonormal columns [hidden, rank]."""

    mean: torch.Tensor
    basis: torch.Tensor


def top1(query, candidates) -> float:
    """Share of queries whose own row is the nearest candidate by cosine; both [sentence, hidden].

    An m-way tie counts 1/m. Cosines within rounding of each other (1e-6, or 1e-12 in float64) are tied.
    """
    query, candidates = _sides(query, candidates, axes=2)
    return float(_hits((query @ candidates.T)[:, None], _tolerance(query)).mean())


def correct(embeddings, *, candidates=None, margin: int | None = None) -> np.ndarray:
    """Whether each sentence of each query language finds its translation: [query, candidate, sentence], ties 1/m.

    `candidates` (default: the embeddings themselves) may come from another model: *mixed* retrieval. With `margin` = k
    the k nearest candidates are compared by cosine over the mean of the two sides' average cosine to their k nearest
    (ratio margin of Artetxe and Schwenk 2019), which corrects for hubs.
    """
    queries, others = _sides(embeddings, candidates)
    languages, sentences, _ = queries.shape
    _check_neighbours(margin, sentences)
    result = torch.zeros(languages, languages, sentences, dtype=torch.float64)
    for p, q, block in _blocks(queries, others, candidates is None):
        result[p, q] = _found(block, margin).T
        if candidates is None:
            result[q, p] = _found(block.permute(2, 1, 0), margin).T
    return result.numpy()


def retrieval(embeddings, languages: Sequence, *, candidates=None, margin: int | None = None) -> pd.DataFrame:
    """table[query, candidate, top1], and margin where asked for (4 is usual), for all ordered pairs; see `correct`."""
    _check_names(embeddings, languages)
    columns = {"top1": correct(embeddings, candidates=candidates).mean(-1)}
    if margin is not None:
        columns["margin"] = correct(embeddings, candidates=candidates, margin=margin).mean(-1)
    return _pairs(languages, ("query", "candidate"), columns)


def per_sentence(correct: np.ndarray) -> np.ndarray:
    """Top-1 of each sentence [sentence], mean over all ordered pairs of different languages.

    `stats.mean_interval` of it, or of the difference of two, resamples sentences with all languages at once.
    """
    return correct[~np.eye(len(correct), dtype=bool)].mean(axis=0)


def intervals(
    correct: np.ndarray, languages: Sequence, *, n: int = 1000, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """table[query, candidate, top1, low, high]: queries resampled alike in all pairs, candidates kept."""
    _check_names(correct, languages)
    found = stats.mean_interval(np.moveaxis(correct, 2, 0), n=n, level=level, seed=seed)
    return _pairs(languages, ("query", "candidate"), dict(zip(("top1", "low", "high"), found)))


def hubness(embeddings, languages: Sequence, *, candidates=None, k: int = 10) -> pd.DataFrame:
    """table[query, candidate, skewness, antihubs] of the k-occurrence: how many queries have a candidate among their k.

    Skewness is 0 without hubs; antihubs is the share of candidates that are nobody's neighbour.
    """
    _check_names(embeddings, languages)
    queries, others = _sides(embeddings, candidates)
    size, sentences, _ = queries.shape
    _check_neighbours(k, sentences)
    columns = {"skewness": np.zeros((size, size)), "antihubs": np.zeros((size, size))}
    for p, group, block in _blocks(queries, others, False):
        nearest = block.topk(k, dim=-1).indices.transpose(0, 1).flatten(1)
        count = torch.zeros(len(nearest), sentences, device=nearest.device, dtype=torch.float64)
        count.scatter_add_(1, nearest, torch.ones_like(nearest, dtype=count.dtype))
        skewness = (count - k).pow(3).mean(1) / count.std(1, correction=0).pow(3)  # the mean count is k
        columns["skewness"][p, group] = skewness.nan_to_num(0.0).cpu()
        columns["antihubs"][p, group] = (count == 0).double().mean(1).cpu()
    return _pairs(languages, ("query", "candidate"), columns)


def distances(embeddings, languages: Sequence, *, toward=None) -> pd.DataFrame:
    """table[statistic, language, other, distance], cosine distances in five senses, named by `statistic`.

    pairs_matched: mean over matched translations; pairs_all: mean over all pairs of a sentence of the one and one of
    the other; medoid: from a language's mean to the medoid, the language mean whose distances to the others have the
    least sum (`other` names it); toward_matched, toward_all: the pairs whose other is the language `toward`.
    """
    _check_names(embeddings, languages)
    values = _tensor(embeddings).double()
    unit, middle = _unit(values), _unit(values.mean(1), "language means")
    matched = torch.einsum("psh,qsh->pq", unit, unit) / unit.shape[1]
    every, apart = unit.mean(1) @ unit.mean(1).T, _apart(middle @ middle.T)
    tables = {"pairs_matched": _apart(matched), "pairs_all": _apart(every)}
    parts = [_pairs(languages, ("language", "other"), {"distance": table}) for table in tables.values()]
    table = pd.concat(parts, keys=tables, names=["statistic"]).reset_index("statistic")
    medoid = int(apart.sum(1).argmin())
    names = {"statistic": "medoid", "language": list(languages), "other": languages[medoid]}
    parts = [table, pd.DataFrame(names | {"distance": apart[:, medoid]})]
    if toward is not None:
        if toward not in list(languages):
            raise LookupError(f"no language {toward!r} to measure toward; the embeddings hold {list(languages)}")
        near = table[table["other"] == toward]
        parts.append(near.assign(statistic=near["statistic"].str.replace("pairs", "toward")))
    return pd.concat(parts, ignore_index=True)


def centre(embeddings, how: str = "language", *, fit=None):
    """The embeddings less a mean: of all (`global`), of each language (`language`), or none; same type and shape.

    Means come from `fit`, embeddings [language, sentence, hidden] of other sentences, or else from the input itself.
    """
    if how not in CENTRES:
        raise LookupError(f"unknown centring {how!r}; choose among {', '.join(CENTRES)}")
    values = _tensor(embeddings)
    source = values if fit is None else _tensor(fit)
    if how == "language" and len(source) != len(values):
        raise ValueError(f"{len(values)} languages but {len(source)} in `fit`; fit the same, in the same order")
    if how == "none":
        return embeddings
    mean = source.double().mean((0, 1) if how == "global" else 1, keepdim=True)
    return _like(values.double() - mean, embeddings)


def subspace(fit, *, rank: int | None = None, kind: str = "means", seed: int = 0) -> Subspace:
    """The subspace to project out, from `fit` [language, sentence, hidden], with the mean of all its sentences.

    means: the span of the language means, its `rank` strongest directions (default all: languages - 1); controls of the
    same rank: random directions, or those in which single sentences vary most.
    """
    if kind not in SUBSPACES:
        raise LookupError(f"unknown subspace {kind!r}; choose among {', '.join(SUBSPACES)}")
    fit = _tensor(fit).double()
    mean, limit = fit.mean((0, 1)), {"means": min(len(fit) - 1, fit.shape[2])}.get(kind, fit.shape[2])
    rank = min(len(fit) - 1, fit.shape[2]) if rank is None else rank
    if not 1 <= rank <= limit:
        raise ValueError(f"rank {rank} but {len(fit)} languages of width {fit.shape[2]} span 1 to {limit}")
    if kind == "random":
        gauss = torch.randn(fit.shape[2], rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return Subspace(mean, torch.linalg.qr(gauss.to(fit.device)).Q)
    rows = (fit.mean(1) if kind == "means" else fit.flatten(0, 1)) - mean
    if len(rows) < fit.shape[2]:
        return Subspace(mean, torch.linalg.svd(rows, full_matrices=False).Vh[:rank].T.contiguous())
    return Subspace(mean, torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :rank].contiguous())


def project(embeddings, subspace: Subspace):
    """The embeddings without what lies in the subspace: h - (h - mean) B B'; any [..., hidden], same type back."""
    values = _tensor(embeddings).double()
    mean, basis = subspace.mean.to(values), subspace.basis.to(values)
    return _like(values - (values - mean) @ basis @ basis.T, embeddings)


def _tensor(embeddings):
    """A detached floating tensor of the values, half precision widened."""
    values = torch.as_tensor(embeddings).detach()
    return values if values.dtype == torch.float64 else values.float()


def _like(values, model):
    """A tensor as the type, precision and place of `model`."""
    if torch.is_tensor(model):
        return values.to(model.dtype if model.dtype.is_floating_point else values.dtype)
    model = np.asarray(model)
    return values.cpu().numpy().astype(model.dtype if model.dtype.kind == "f" else float)


def _unit(embeddings, what="sentences"):
    """Vectors of length one; a zero vector or NaN raises, naming the rows."""
    values = _tensor(embeddings)
    length = values.norm(dim=-1, keepdim=True)
    for fault, bad in (("NaN or infinite values", ~length.isfinite()), ("a zero vector", length == 0)):
        rows = bad[..., 0].nonzero().tolist()
        if rows:
            names = ", ".join("/".join(map(str, row)) for row in rows[:8]) + (", ..." if len(rows) > 8 else "")
            where = f"language/sentence {names}" if values.ndim == 3 else names
            raise ValueError(f"{len(rows)} of {bad.numel()} {what} hold {fault} ({where}); drop them with .where()")
    return values / length


def _apart(cosines):
    """Cosine distances, rounding below zero removed."""
    return (1 - cosines).clamp(min=0).cpu().numpy()


def _sides(embeddings, candidates, axes=3):
    """Queries and candidates of length one, of one shape and type; the queries twice where candidates are None."""
    queries = _unit(embeddings)
    others = queries if candidates is None else _unit(candidates)
    if queries.shape != others.shape:
        raise ValueError(f"{tuple(queries.shape)} queries but {tuple(others.shape)} candidates; row i translates row i")
    if queries.ndim != axes:
        raise ValueError(f"{queries.ndim} axes but {axes} are needed: {'language, ' * (axes == 3)}sentence, hidden")
    kind = torch.promote_types(queries.dtype, others.dtype)
    return queries.to(kind), others.to(kind)


def _check_names(embeddings, languages):
    if len(embeddings) != len(languages):
        raise ValueError(f"{len(embeddings)} languages in the array but {len(languages)} names; give one for each")


def _check_neighbours(k, sentences):
    if k is not None and not 1 <= k <= sentences:
        raise ValueError(f"{k} nearest neighbours of {sentences} sentences; take 1 to {sentences}")


def _blocks(queries, others, symmetric):
    """(p, slice of languages, cosines [query, language, candidate]) of bounded size; upper half only if symmetric."""
    languages, sentences, _ = queries.shape
    width = max(1, _BLOCK.get(queries.device.type, 2**24) // sentences**2)
    for p in range(languages):
        for start in range(p if symmetric else 0, languages, width):
            group = slice(start, min(start + width, languages))
            flat = others[group].flatten(0, 1)
            yield p, group, (queries[p] @ flat.T).unflatten(1, (-1, sentences))


def _tolerance(values):
    """Cosines closer than this differ by rounding alone."""
    return 1e-12 if values.dtype == torch.float64 else 1e-6


def _hits(scores, tolerance):
    """[query, language]: 1/m where the own candidate is among the m best of scores [query, language, candidate]."""
    diagonal = torch.diagonal(scores, dim1=0, dim2=2)
    own = diagonal.clone()
    diagonal.fill_(-torch.inf)  # one maximum over the others decides all but the ties
    rest, own_rows = scores.amax(-1), own.T
    hits = (own_rows > rest + tolerance).double()
    tied = ((own_rows - rest).abs() <= tolerance).nonzero(as_tuple=True)
    floor = torch.maximum(own_rows[tied], rest[tied]) - tolerance
    hits[tied] = 1 / (1 + (scores[tied] >= floor[:, None]).sum(-1).double())
    diagonal.copy_(own)
    return hits


def _found(block, margin):
    """`_hits` of a block of cosines, by themselves or as ratio margins among the k nearest."""
    if margin is None:
        return _hits(block, _tolerance(block))
    near, around = block.topk(margin, dim=-1).values, block.topk(margin, dim=0).values.mean(0)
    ratio = 2 * block / (near.mean(-1)[..., None] + around)
    return _hits(ratio.masked_fill(block < near[..., -1:] - _tolerance(block), -torch.inf), _tolerance(block))


def _pairs(languages, keys, columns):
    """A long table of matrices [first, second] over all ordered pairs of different languages."""
    index = pd.MultiIndex.from_product([list(languages)] * 2, names=keys)
    table = pd.DataFrame({name: np.asarray(matrix).ravel() for name, matrix in columns.items()}, index)
    return table[~np.eye(len(languages), dtype=bool).ravel()].reset_index()
