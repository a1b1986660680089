"""Where the languages lie: retrieval of translations, cosine distances, and centring or projecting afterwards.

Embeddings are arrays or tensors [language, sentence, hidden] in which row i of every language has the same meaning.
All ordered pairs of languages are scored from one Gram matrix, walked in blocks of bounded size; both directions of a
pair are read from the same block.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numba import njit
from torch import Tensor

from helpers.common.lookup import known

SCORES = ("top1", "global", "centred", "euclidean", "margin")
SUBSPACES = ("means", "random", "variance")
_NEAR = 10  # neighbours of the margin
_HITS = 2**24  # hits of moves held at a time
_LOOSE = {"nnan", "nsz", "contract", "reassoc"}  # order of sums and the sign of zero are left to the compiler
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
    if candidates is None:
        return scores(embeddings, ("top1",))["top1"]
    queries, others = _tensor(embeddings), _tensor(candidates)
    if queries.shape != others.shape:
        raise ValueError(f"{tuple(queries.shape)} queries but {tuple(others.shape)} candidates; row i translates row i")
    both, count = torch.cat([_checked(queries), _checked(others)]), len(queries)
    base = both.double().mean(1)
    return _judged(both, base, base[None], first=count)[0, :count, count:]


def scores(embeddings, kinds: Sequence[str] = SCORES, *, means=None) -> dict[str, np.ndarray]:
    """Kind -> whether each sentence finds its translation, [query, candidate, sentence], from one set of products.

    top1: by cosine. global: by cosine once one mean of all sentences is subtracted, which needs no label. centred: once
    each language's mean is. euclidean: by Euclidean distance. margin: by CSLS, the cosine less half the mean cosine of
    either side to its ten nearest (Conneau et al. 2018). Means are those of the sentences scored unless `means`
    [language, hidden], from others, are given. Ties as in `correct`; a sentence that lies at the mean is tied with all.
    """
    values = _checked(embeddings)
    base = values.double().mean(1)
    means = base if means is None else _tensor(means).to(base)
    moves = {"global": base - means.mean(0), "centred": base - means}
    moves = torch.stack([moves.get(known(kind, SCORES, "score"), base) for kind in kinds])
    return dict(zip(kinds, _judged(values, base, moves, kinds)))


def moved(embeddings, moves) -> np.ndarray:
    """Top-1 by cosine of each sentence, [move, sentence], once a move is added to each language's embeddings.

    `moves` are [move, language, hidden], or [move, 1, hidden] for constants. Means over ordered pairs as in
    `per_sentence`. No embedding is changed: all moves share one set of products.
    """
    values, moves = _checked(embeddings), _tensor(moves).double()
    base = values.double().mean(1)
    step = max(1, _HITS // (len(values) ** 2 * values.shape[1]))
    parts = [_judged(values, base, base + part) for part in moves.split(step)]
    return np.concatenate([[per_sentence(hits) for hits in part] for part in parts])


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


def _checked(embeddings) -> Tensor:
    """Embeddings [language, sentence, hidden] that all have a direction."""
    values = _tensor(embeddings)
    if values.ndim != 3:
        raise ValueError(f"{values.ndim} axes but 3 are needed: language, sentence, hidden")
    _unit(values)
    return values


def _unit(values: Tensor, what: str = "sentences") -> Tensor:
    """Vectors of length one; ValueError naming those that are zero, NaN or infinite."""
    length = values.norm(dim=-1, keepdim=True)
    rows = (~(length.isfinite() & (length > 0)))[..., 0].nonzero().tolist()
    if rows:
        fact = f"{len(rows)} of {length.numel()} {what} are zero, NaN or infinite"
        raise ValueError(f"{fact}: [language, sentence] {str(rows[:8])[1:-1]}; drop them with .where()")
    return values / length


def _judged(values: Tensor, base: Tensor, moves: Tensor, kinds: Sequence[str] = (), first: int = 0) -> np.ndarray:
    """Hits [kind, query, candidate, sentence] once each of `moves` [kind, language, hidden] is added to what is left.

    Products are taken once, of embeddings less their language's mean, where they are most exact. A move then adds a
    number to each row and column of them. From language `first` on stand candidates that the ones before are asked of.
    """
    left = (values.double() - base[:, None]).to(values.dtype)
    count, size, _ = left.shape
    moves = moves.to(left)
    dots = torch.einsum("lnh,kmh->klnm", left, moves).cpu().numpy()
    own = torch.einsum("klh,kmh->klm", moves, moves).cpu().numpy()
    lengths = torch.stack([(left + move[:, None]).norm(dim=-1) for move in moves]).cpu().numpy()
    middle = np.sqrt((lengths.astype(float) ** 2).mean((1, 2), keepdims=True)).clip(1e-30).astype(lengths.dtype)
    tolerance = lengths.dtype.type(1e-12 if lengths.dtype == np.float64 else 1e-6)
    still = lengths <= 10 * tolerance * middle
    unit = np.where(still, 0, 1 / np.where(still, 1, lengths))
    less = np.zeros_like(lengths)
    for kind in [kind for kind, name in enumerate(kinds) if name == "euclidean"]:
        unit[kind], less[kind] = 1 / middle[kind], (lengths[kind] / middle[kind]) ** 2 / 2
    margin = [*kinds].index("margin") if "margin" in kinds else -1
    hits, threads = np.zeros((len(moves), count, count, size)), torch.get_num_threads()
    width, flat = max(1, _BLOCK.get(left.device.type, 2**24) // size**2), left.flatten(0, 1)
    with ThreadPoolExecutor(threads) as pool:
        for p in range(first or count):
            for start in range(first or p, count, width):
                end = min(start + width, count)
                gram = (left[p] @ flat[start * size : end * size].T).cpu().numpy()
                judge = partial(_judge, gram, start, p, dots, own, unit, less, margin, tolerance, hits)
                ends = np.linspace(start, end, min(threads, end - start) + 1).astype(int)
                list(pool.map(judge, ends[:-1], ends[1:]))
    return hits


@njit(nogil=True, cache=True, fastmath=_LOOSE)
def _judge(gram, start, p, dots, own, unit, less, margin, tolerance, hits, low, high):
    """Write the hits between language p and each of `low` to `high`, in both directions, of every kind."""
    kinds, size, kind_of = len(hits), gram.shape[0], gram.dtype
    line, zero, diagonal = np.empty(size, kind_of), np.zeros(size, kind_of), np.empty((kinds, size), kind_of)
    across, down = np.empty((kinds, size), kind_of), np.empty((kinds, size), kind_of)
    for q in range(low, high):
        here, end, columns = (q - start) * size, (q - start + 1) * size, dots[:, q, :, p].copy()
        rows = dots[:, p, :, q] + own[:, p, q].copy().reshape(kinds, 1)
        u, v, minus, minor = unit[:, p].copy(), unit[:, q].copy(), less[:, p].copy(), less[:, q].copy()
        if margin >= 0:
            near = _nearness(gram, here, rows[margin], columns[margin], u[margin], v[margin], line, zero)
            minus[margin], minor[margin] = near
        down[:] = -np.inf
        for i in range(size):
            for kind in range(kinds):
                most = down[kind]
                _fill(
                    line,
                    gram[i][here:end],
                    rows[kind, i],
                    columns[kind],
                    u[kind, i],
                    v[kind],
                    minus[kind, i],
                    minor[kind],
                )
                diagonal[kind, i], line[i] = line[i], -np.inf
                for j in range(size):
                    most[j] = line[j] if line[j] > most[j] else most[j]
                across[kind, i] = _highest(line)
        for kind in range(kinds):
            for i in range(size):
                mine, best, other = diagonal[kind, i], across[kind, i], down[kind, i]
                hits[kind, p, q, i], hits[kind, q, p, i] = mine > best, mine > other
                if abs(mine - best) <= tolerance:
                    row = rows[kind, i], columns[kind], u[kind, i], v[kind], minus[kind, i], minor[kind]
                    _fill(line, gram[i][here:end], *row)
                    hits[kind, p, q, i] = 1 / (line >= max(mine, best) - tolerance).sum()
                if abs(mine - other) <= tolerance:
                    column = columns[kind, i], rows[kind], v[kind, i], u[kind], minor[kind, i], minus[kind]
                    _fill(line, gram[:, here + i].copy(), *column)
                    hits[kind, q, p, i] = 1 / (line >= max(mine, other) - tolerance).sum()


@njit(nogil=True, cache=True, fastmath=_LOOSE)
def _fill(line, products, row, columns, u, v, minus, minor):
    """The scores of one query with all candidates."""
    for j in range(line.size):
        line[j] = (products[j] + row + columns[j]) * u * v[j] - minus - minor[j]


@njit(nogil=True, cache=True, fastmath=_LOOSE)
def _highest(line):
    """The maximum, the line being folded on itself, which the processor does several at a time; it is used up."""
    left = line.size
    while left > 1:
        half = left // 2
        for j in range(half):
            line[j] = line[j] if line[j] > line[left - half + j] else line[left - half + j]
        left -= half
    return line[0]


@njit(nogil=True, cache=True, fastmath=_LOOSE)
def _nearness(gram, here, rows, columns, u, v, line, zero):
    """Half the mean cosine of each row, and of each column, to its nearest `_NEAR`."""
    size, near = len(line), min(_NEAR, len(line))
    across, down = np.full((size, near), -np.inf, line.dtype), np.full((size, near), -np.inf, line.dtype)
    least = np.full(size, -np.inf, line.dtype)  # of each column's nearest
    for i in range(size):
        _fill(line, gram[i][here : here + size], rows[i], columns, u[i], v, zero[0], zero)
        for j in range(size):
            if line[j] > across[i, 0]:
                _keep(across[i], line[j])
            if line[j] > least[j]:
                _keep(down[j], line[j])
                least[j] = down[j, 0]
    half = line.dtype.type(0.5 / near)
    return across.sum(1) * half, down.sum(1) * half


@njit(nogil=True, cache=True)
def _keep(best, value):
    """Put a value into its place among the best, the least of which, the first, is forgotten."""
    place = 1
    while place < len(best) and best[place] < value:
        best[place - 1] = best[place]
        place += 1
    best[place - 1] = value
