"""The counting behind `scoring`: similarities block by block, and who wins each comparison.

The block `X_language @ everything.T` has all similarities that any variant compares. Both sides of a comparison are
read from one row of one block, so that an exact tie stays a tie; wins are whole numbers, 2 for a win and 1 for a tie.
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
CENTRES = ("none", "language")
Array = torch.Tensor | np.ndarray
Names = Sequence[str]


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
    languages: int
    sentences: int


def points(embeddings: Array, languages: Names, distance: str = "cosine", centre: str = "none") -> Points:
    """The embeddings, checked and centred, as the points that the distance compares; see `Points`."""
    values = centred = _checked(embeddings, languages)
    if known(centre, CENTRES, "centring") == "language":
        centred = values - values.mean(1, keepdim=True, dtype=torch.float64).to(values.dtype)
    if known(distance, DISTANCES, "distance") == "euclidean":
        # Whole numbers stay whole when their rounded mean goes, so their ties stay exact; far-off clouds come near.
        units = (centred.double() - centred.double().mean((0, 1)).round()).flatten(0, 1)
        bias = units.square().sum(-1) / -2  # x.a - a.a / 2 orders as -|x - a|
    else:
        units, bias = _directions(values, centred, languages), None
    return Points(units, bias, *_copies(units), *values.shape[:2])


def _checked(embeddings: Array, languages: Names) -> torch.Tensor:
    """Embeddings as a tensor that nothing below writes to, or a ValueError that says what is wrong with them."""
    if isinstance(embeddings, np.ndarray):
        embeddings = torch.from_numpy(np.require(embeddings, requirements="CW"))
    if embeddings.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"embeddings are {embeddings.dtype}, too coarse to compare; pool in float32, or pass .float()")
    if embeddings.ndim != 3 or len(embeddings) != len(set(languages)) or min(embeddings.shape[:2]) < 2:
        fact = f"{len(set(languages))} distinct languages but embeddings of shape {list(embeddings.shape)}"
        raise ValueError(f"{fact}; pass [language, sentence, hidden], two languages and two sentences at least")
    if (bad := ~embeddings.isfinite()).any():
        fact = f"{bad.sum()} of {bad.numel()} values are NaN or infinite, {_first(bad, languages)}"
        raise ValueError(f"{fact}; look for empty texts or overflow in half precision")
    return embeddings.detach()


def _directions(values: torch.Tensor, centred: torch.Tensor, languages: Names) -> torch.Tensor:
    """Unit rows; centring leaves rounding noise of equal vectors, which is no direction either."""
    if values.shape[2] == 1:
        raise ValueError('1 hidden dimension has no angles; pass distance="euclidean"')
    lengths = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    noise = 64 * torch.finfo(values.dtype).eps * torch.linalg.vector_norm(values, dim=-1, keepdim=True)
    if (flat := ~((lengths > noise) & lengths.isfinite())).any():
        fact = f"{flat.sum()} of {flat.numel()} vectors have no direction, {_first(flat, languages)}"
        raise ValueError(f'{fact}; drop it or pass distance="euclidean"')
    return (centred / lengths).flatten(0, 1)


def _first(bad: torch.Tensor, languages: Names) -> str:
    language, sentence, _ = bad.nonzero()[0].tolist()
    return f"first in language {languages[language]!r}, row {sentence}"


def _copies(units: torch.Tensor) -> tuple[list[int], list[int]]:
    """Rows that repeat an earlier row, and that row."""
    first: dict[bytes, int] = {}  # by digest: sorting the rows would copy all of them twice
    rows = (units.cpu().numpy() + 0.0).view(np.uint8)  # -0.0 + 0.0 is 0.0: equal numbers, equal bytes
    originals = [first.setdefault(hashlib.blake2b(row).digest(), n) for n, row in enumerate(rows)]
    copies = [n for n, original in enumerate(originals) if n != original]
    return copies, [originals[n] for n in copies]


def blocks(points: Points, width: float = 1) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Yields X's language, its first sentence and similarities [row, language, sentence], valid until the next.

    Rows per block follow from a fixed memory, `width` numbers per similarity, so it does not grow with the corpus.
    """
    units, limit = points.units, 2**25 if points.units.device.type == "cpu" else 2**29  # bytes
    rows = int(min(points.sentences, max(1, limit / (len(units) * units.element_size() * width))))
    memory = units.new_empty((rows, len(units)))
    for x, own in enumerate(units.split(points.sentences)):
        for place, queries in enumerate(own.split(rows)):
            block = torch.mm(queries, units.T, out=memory[: len(queries)])
            if points.bias is not None:
                block += points.bias
            # A product may add up in another order at its edges, and equal columns then differ in the last bit.
            block[:, points.copies] = block[:, points.originals]
            yield x, place * rows, block.view(len(block), points.languages, points.sentences)


def counts(points: Points, every: bool) -> dict:
    """Twice the wins plus the ties of each counted variant, [language of X, other language]; threads share rows."""
    counts, threads = np.zeros((4, points.languages, points.languages), np.int64), torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:  # not numba's own threads: those may not be entered twice
        for x, start, block in blocks(points):
            values = block.cpu().numpy()
            ordered = np.sort(values[:, x]) if every else values[:, x, :0]
            edges = pairwise(np.linspace(0, len(values), threads + 1).astype(int))
            work = [pool.submit(_count, values[a:b], ordered[a:b], x, start + a) for a, b in edges]
            counts[:, x] += sum(job.result() for job in work)
    return dict(zip((*PAIRWISE, "form_all"), counts))


@numba.njit(nogil=True, cache=True)
def _win(a, b):
    return np.int64(a > b) + np.int64(a >= b)


@numba.njit(nogil=True, cache=True)
def _count(block, ordered, x, start):
    """Counts [variant, language] of a block, each similarity read once while it is in cache."""
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
    """Wins of all ordered values but one over all others."""
    total, size = 0, len(ordered)
    for value in other:
        left = np.searchsorted(ordered, value)
        tied = left < size and ordered[left] == value
        right = np.searchsorted(ordered, value, "right") if tied else left
        total += 2 * size - left - right - _win(left_out, value)
    return total


def wins(block: torch.Tensor, x: int, start: int, variant: str) -> torch.Tensor:
    """Each row and language against sentence j in a variant of PAIRWISE: 2 a win, 1 a tie, 0 a loss or j = i; int8."""
    rows = torch.arange(len(block), device=block.device)
    mate, own = block[rows, :, start + rows][..., None], block[:, x : x + 1]
    left, right = {"meaning": (mate, block), "form": (own, block), "conflict": (mate, own)}[variant]
    wins = (left > right).to(torch.int8) + (left >= right)
    wins[rows, :, start + rows] = 0
    return wins
