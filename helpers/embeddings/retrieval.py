"""Where the languages lie: retrieval of translations, cosine distances, and centring or projecting afterwards.

Embeddings are arrays or tensors [language, sentence, hidden] in which row i of every language has the same meaning.
All ordered pairs of languages are scored from one Gram matrix, walked in blocks of bounded size; both directions of a
pair are read from the same block.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.common.lookup import known

SUBSPACES = ("means", "random", "variance")
_BLOCK = {"cpu": 2**20}  # cosines held at a time: more than a CPU's cache holds takes three times as long


class Subspace(NamedTuple):
    """An affine subspace: a mean [hidden] and orthonormal columns [hidden, rank]."""

    mean: Tensor
    basis: Tensor


def top1(query, candidates) -> float:
    """Share of queries whose own row is the nearest candidate by cosine; both [sentence, hidden]; see `correct`."""
    return float(correct(_tensor(query)[None], candidates=_tensor(candidates)[None]).mean())


def correct(embeddings, *, candidates=None) -> np.ndarray:
    """Whether each sentence of each query language finds its translation by cosine: [query, candidate, sentence].

    An m-way tie counts 1/m; cosines within rounding of each other (1e-6, or 1e-12 in float64) are tied. `candidates`
    (default: the embeddings themselves) may come from another model: *mixed* retrieval.
    """
    queries = _unit(_tensor(embeddings))
    others = queries if candidates is None else _unit(_tensor(candidates))
    if queries.shape != others.shape:
        raise ValueError(f"{tuple(queries.shape)} queries but {tuple(others.shape)} candidates; row i translates row i")
    if queries.ndim != 3:
        raise ValueError(f"{queries.ndim} axes but 3 are needed: language, sentence, hidden")
    kind = torch.promote_types(queries.dtype, others.dtype)
    result = torch.zeros(len(queries), *queries.shape[:2], dtype=torch.float64)
    for p, q, block in _blocks(queries.to(kind), others.to(kind), candidates is None):
        result[p, q] = _hits(block).T
        if candidates is None:
            result[q, p] = _hits(block.permute(2, 1, 0)).T
    return result.numpy()


def per_sentence(correct: np.ndarray) -> np.ndarray:
    """Top-1 of each sentence [sentence], mean over all ordered pairs of different languages.

    `stats.mean_interval` of it, or of the difference of two, resamples sentences with all languages at once.
    """
    return correct[~np.eye(len(correct), dtype=bool)].mean(axis=0)


def distances(embeddings, languages: Sequence, *, medoid: str | None = None) -> pd.DataFrame:
    """table[statistic, language, other, distance], cosine distances in three senses, named by `statistic`.

    pairs_matched: mean over matched translations; pairs_all: mean over all pairs of a sentence of the one and one of
    the other; medoid: from a language's mean to that of the medoid (`other`), by default the language whose distances
    to the others have the least sum. Two states compare only with one medoid: give the second that of the first.
    """
    values, names = _tensor(embeddings).double(), list(languages)
    if len(values) != len(names):
        raise ValueError(f"{len(values)} languages in the array but {len(names)} names; give one for each")
    unit, middle = _unit(values), _unit(values.mean(1), "language means")
    matched = torch.einsum("psh,qsh->pq", unit, unit) / unit.shape[1]
    cosines = {"pairs_matched": matched, "pairs_all": unit.mean(1) @ unit.mean(1).T, "medoid": middle @ middle.T}
    tables = {name: pd.DataFrame((1 - c).clamp(min=0).cpu().numpy(), names, names) for name, c in cosines.items()}
    medoid = tables["medoid"].sum(axis=1).idxmin() if medoid is None else known(medoid, names, "language")
    table = pd.concat(tables, names=["statistic", "language"]).rename_axis(columns="other").stack()
    table = table.rename("distance").reset_index()
    kept = np.where(table["statistic"] == "medoid", table["other"] == medoid, table["other"] != table["language"])
    return table[kept].reset_index(drop=True)


def centre(embeddings: Tensor) -> Tensor:
    """The embeddings less each language's mean, same shape and type."""
    values = embeddings.double()
    return (values - values.mean(1, keepdim=True)).to(embeddings.dtype)


def subspace(fit, *, rank: int | None = None, kind: str = "means", seed: int = 0) -> Subspace:
    """The subspace to project out, from `fit` [language, sentence, hidden], with the mean of all its sentences.

    means: the span of the language means, its `rank` strongest directions (default all: languages - 1); controls of the
    same rank: random directions, or those in which single sentences vary most (variance).
    """
    known(kind, SUBSPACES, "subspace")
    fit = _tensor(fit).double()
    width, full = fit.shape[2], min(len(fit) - 1, fit.shape[2])
    rank, most = full if rank is None else rank, full if kind == "means" else width
    if not 1 <= rank <= most:
        raise ValueError(f"rank {rank} but {len(fit)} languages of width {width} span 1 to {most}")
    mean = fit.mean((0, 1))
    if kind == "random":
        gauss = torch.randn(width, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return Subspace(mean, torch.linalg.qr(gauss.to(fit.device)).Q)
    rows = (fit.mean(1) if kind == "means" else fit.flatten(0, 1)) - mean
    if len(rows) < width:
        return Subspace(mean, torch.linalg.svd(rows, full_matrices=False).Vh[:rank].T.contiguous())
    return Subspace(mean, torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :rank].contiguous())


def project(embeddings: Tensor, subspace: Subspace) -> Tensor:
    """The embeddings [..., hidden] without what lies in the subspace: h - (h - mean) B B', same shape and type."""
    values = embeddings.double()
    mean, basis = subspace.mean.to(values), subspace.basis.to(values)
    return (values - (values - mean) @ basis @ basis.T).to(embeddings.dtype)


def _tensor(embeddings) -> Tensor:
    """A detached floating tensor of the values, half precision widened."""
    values = torch.as_tensor(embeddings).detach()
    return values if values.dtype == torch.float64 else values.float()


def _unit(values: Tensor, what: str = "sentences") -> Tensor:
    """Vectors of length one; ValueError naming those that are zero, NaN or infinite."""
    length = values.norm(dim=-1, keepdim=True)
    rows = (~(length.isfinite() & (length > 0)))[..., 0].nonzero().tolist()
    if rows:
        fact = f"{len(rows)} of {length.numel()} {what} are zero, NaN or infinite"
        raise ValueError(f"{fact}: [language, sentence] {str(rows[:8])[1:-1]}; drop them with .where()")
    return values / length


def _blocks(queries: Tensor, others: Tensor, symmetric: bool) -> Iterator[tuple]:
    """(p, slice of languages, cosines [query, language, candidate]) of bounded size; upper half only if symmetric."""
    languages, sentences, _ = queries.shape
    width = max(1, _BLOCK.get(queries.device.type, 2**24) // sentences**2)
    for p in range(languages):
        for start in range(p if symmetric else 0, languages, width):
            group = slice(start, min(start + width, languages))
            flat = others[group].flatten(0, 1)
            yield p, group, (queries[p] @ flat.T).unflatten(1, (-1, sentences))


def _hits(scores: Tensor) -> Tensor:
    """[query, language]: 1/m where the own candidate is among the m best of scores [query, language, candidate]."""
    tolerance = 1e-12 if scores.dtype == torch.float64 else 1e-6
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
