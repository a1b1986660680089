"""The counting behind `abx`: similarities block by block, and who wins each comparison.

One matrix product per language holds everything: the block `X_language @ everything.T` has all similarities that any
variant compares. Both sides of a comparison are read from one row of one block, so that an exact tie stays a tie, and
wins are counted as integers: 2 for a win, 1 for a tie.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
import torch

from helpers.common.lookup import known

PAIRWISE = ("meaning", "form", "conflict")  # over two sentences, i and j
DISTANCES = ("cosine", "angular", "euclidean")  # angular orders as cosine does
CENTRES = ("none", "global", "language")

Array = torch.Tensor | np.ndarray


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32 and no bfloat16 inside products: their rounding alone decides comparisons."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


class Points(NamedTuple):
    """Embeddings made ready: `units @ units.T + bias` orders as the distance does, nearest largest."""

    units: torch.Tensor  # [language * sentence, hidden]
    bias: torch.Tensor | None  # one number per column
    copies: list[int]  # rows of units that equal an earlier row
    originals: list[int]  # that earlier row
    languages: list[str]
    sentences: int


def points(embeddings: Array, languages: Sequence[str], distance: str, centre: str) -> Points:
    """The embeddings, checked and centred, as the points that the distance compares; see `Points`."""
    known(distance, DISTANCES, "distance")
    known(centre, CENTRES, "centring")
    values = _checked(embeddings, languages)
    centred = values
    if centre != "none":
        means = torch.stack([value.mean(0, dtype=torch.float64) for value in values])
        means = means.mean(0, keepdim=True) if centre == "global" else means
        centred = values - means.to(values.dtype)[:, None]
    if distance == "euclidean":
        # Whole numbers stay whole when their rounded mean goes, so their ties stay exact; far-off clouds come near.
        units = (centred.double() - centred.double().mean((0, 1)).round()).flatten(0, 1)
        bias = units.square().sum(-1) / -2  # x.a - a.a / 2 orders as -|x - a|
    else:
        units, bias = _directions(values, centred, languages), None
    return Points(units, bias, *_copies(units), list(languages), values.shape[1])


def _checked(embeddings: Array, languages: Sequence[str]) -> torch.Tensor:
    """Embeddings as a tensor that nothing below writes to, or a ValueError that says what is wrong with them."""
    if isinstance(embeddings, np.ndarray):
        embeddings = torch.from_numpy(np.require(embeddings, requirements="CW"))
    if embeddings.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"embeddings are {embeddings.dtype}, too coarse to compare; pool in float32, or pass .float()")
    if embeddings.ndim != 3 or len(embeddings) != len(languages):
        raise ValueError(
            f"embeddings have shape {list(embeddings.shape)} but there are {len(languages)} languages; "
            "pass [language, sentence, hidden]"
        )
    if min(embeddings.shape[:2]) < 2 or len(set(languages)) < len(languages):
        raise ValueError(
            f"{len(set(languages))} distinct of {len(languages)} languages and {embeddings.shape[1]} sentences; "
            "ABX needs two of each, all distinct"
        )
    if bad := (~embeddings.isfinite()).sum().item():
        language, sentence, _ = (~embeddings.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"{bad} of {embeddings.numel()} values are NaN or infinite, first in language {languages[language]!r}, "
            f"row {sentence}; look for empty texts or overflow in half precision"
        )
    return embeddings.detach()


def _directions(values: torch.Tensor, centred: torch.Tensor, languages: Sequence[str]) -> torch.Tensor:
    """Unit rows; centring leaves rounding noise of equal vectors, which is no direction either."""
    if values.shape[2] == 1:
        raise ValueError('1 hidden dimension has no angles; pass distance="euclidean"')
    lengths = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    noise = 64 * torch.finfo(values.dtype).eps * torch.linalg.vector_norm(values, dim=-1, keepdim=True)
    if (flat := ~((lengths > noise) & lengths.isfinite())).any():
        language, sentence, _ = flat.nonzero()[0].tolist()
        raise ValueError(
            f"{flat.sum()} of {flat.numel()} vectors have no direction, first in language {languages[language]!r}, "
            f'row {sentence} (length {lengths[language, sentence].item():.3g}); drop it or pass distance="euclidean"'
        )
    return (centred / lengths).flatten(0, 1)


def _copies(units: torch.Tensor) -> tuple[list[int], list[int]]:
    """Rows that repeat an earlier row, and that row."""
    first: dict[bytes, int] = {}
    rows = (units.cpu().numpy() + 0.0).view(np.uint8)  # -0.0 + 0.0 is 0.0: equal numbers, equal bytes
    originals = [first.setdefault(hashlib.blake2b(row).digest(), n) for n, row in enumerate(rows)]
    copies = [n for n, original in enumerate(originals) if n != original]
    return copies, [originals[n] for n in copies]


def blocks(points: Points, width: float = 1) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Yields X's language, its first sentence and similarities [row, language, sentence], valid until the next.

    Rows per block follow from a fixed memory, `width` numbers per similarity, so it does not grow with the corpus.
    """
    units, size = points.units, len(points.languages)
    limit = 2**25 if units.device.type == "cpu" else 2**29  # bytes
    rows = int(min(points.sentences, max(1, limit / (len(units) * units.element_size() * width))))
    memory = units.new_empty((rows, len(units)))
    for x in range(size):
        for start in range(0, points.sentences, rows):
            here = x * points.sentences + start
            block = memory[: min(rows, points.sentences - start)]
            queries = units[here : here + len(block)]
            if points.bias is None:
                torch.mm(queries, units.T, out=block)
            else:
                torch.addmm(points.bias, queries, units.T, out=block)
            # A product may add up in another order at its edges, and equal columns then differ in the last bit.
            block[:, points.copies] = block[:, points.originals]
            yield x, start, block.view(len(block), size, points.sentences)


def counts(points: Points, every: bool) -> dict[str, np.ndarray]:
    """Twice the wins plus the ties of each counted variant, [language of X, other language]."""
    size = len(points.languages)
    counts = np.zeros((4, size, size), np.int64)
    on_cpu = points.units.device.type == "cpu"
    for x, start, block in blocks(points, width=1 if on_cpu else 3 + 6 * every):
        counts[:, x] += (_tally_fused if on_cpu else _tally)(block, x, start, every)
    return dict(zip((*PAIRWISE, "form_all"), counts))


def _tally_fused(block: torch.Tensor, x: int, start: int, every: bool) -> np.ndarray:
    """Counts [variant, language] of a block, each similarity read once while it is in cache; threads share rows."""
    values = block.numpy()
    ordered = np.sort(values[:, x]) if every else values[:, x, :0]
    edges = np.linspace(0, len(values), torch.get_num_threads() + 1).astype(int)
    with ThreadPoolExecutor(len(edges) - 1) as pool:  # not numba's own threads: those may not be entered twice
        work = [pool.submit(_count, values[a:b], ordered[a:b], x, start + a) for a, b in pairwise(edges)]
        return sum(job.result() for job in work)


@numba.njit(nogil=True, cache=True)
def _win(a, b):
    return np.int64(a > b) + np.int64(a >= b)


@numba.njit(nogil=True, cache=True)
def _count(block, ordered, x, start):
    counts = np.zeros((4, block.shape[1]), np.int64)
    for row in range(block.shape[0]):
        own, i = block[row, x], start + row
        for language in range(block.shape[1]):
            other = block[row, language]
            mate = other[i]
            meaning, form, conflict = -1, -_win(own[i], mate), -_win(mate, own[i])  # takes j = i out
            for j in range(len(other)):
                meaning += _win(mate, other[j])
                form += _win(own[j], other[j])
                conflict += _win(mate, own[j])
            counts[0, language] += meaning
            counts[1, language] += form
            counts[2, language] += conflict
            if ordered.shape[1]:
                counts[3, language] += _count_above(ordered[row], other, own[i])
    return counts


@numba.njit(nogil=True, cache=True)
def _count_above(ordered, other, left_out):
    """Wins of all ordered values but one over all others, by binary search."""
    total, size = 0, len(ordered)
    for value in other:
        left = np.searchsorted(ordered, value)
        tied = left < size and ordered[left] == value
        right = np.searchsorted(ordered, value, "right") if tied else left
        total += 2 * size - left - right - _win(left_out, value)
    return total


def _tally(block: torch.Tensor, x: int, start: int, every: bool) -> np.ndarray:
    """As `_tally_fused`, in torch for other devices."""
    counts = [wins(block, x, start, variant).sum((0, 2), dtype=torch.int64) for variant in PAIRWISE]
    counts.append(torch.zeros_like(counts[0]))
    if every:
        own, i = block[:, x], range(start, start + len(block))
        left_out = own[range(len(block)), i][:, None, None]
        above = 2 * own.shape[1] - below(own.sort(-1).values, block.flatten(1)).view(block.shape)
        counts[3] = (above - (left_out > block).long() - (left_out >= block).long()).sum((0, 2))
    return torch.stack(counts).cpu().numpy()


def wins(block: torch.Tensor, x: int, start: int, variant: str) -> torch.Tensor:
    """Of each row and language against sentence j: 2 a win, 1 a tie, 0 a loss or j = i, as int8."""
    rows = torch.arange(len(block), device=block.device)
    mate, own = block[rows, :, start + rows][..., None], block[:, x : x + 1]
    left, right = {"meaning": (mate, block), "form": (own, block), "conflict": (mate, own)}[variant]
    wins = (left > right).to(torch.int8) + (left >= right)
    wins[rows, :, start + rows] = 0
    return wins


def below(ordered: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """How many of the ordered numbers lie below each value: 2 for each, 1 where equal."""
    return sum(torch.searchsorted(ordered, values, side=side) for side in ("left", "right"))
