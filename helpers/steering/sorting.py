"""One sort, all languages: the rank sums and precisions of every language from a single sort of a unit's responses.

A key is 64 bits: above, the response, mapped so that a greater response is a smaller integer; below, its row. Sorting
plain integers, which numpy does with vector instructions, then carries the rows along. Sums of ranks are kept doubled,
so that they are whole numbers, ties included.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import float64, int64, njit, types, uint8, uint16, uint32, uint64, void
from scipy.stats import rankdata

_CHUNK = 2**18  # responses sorted at a time: their keys stay in a core's cache
_SIGN, _EXPONENT, _LOW = uint32(0x80000000), uint32(0x7F800000), uint64(0xFFFFFFFF)


def sums(responses, codes: np.ndarray, count: int) -> tuple:
    """Twice the summed ranks and the summed precisions at own rows, each [unit, language].

    `responses` are [sentence, unit], `codes` the number of each row's language, below `count`. Rank 1 is the greatest
    response; ties share their mean rank and their last precision. ValueError naming units with NaN or infinity. Units
    are taken in chunks, on as many threads as torch uses.
    """
    by_unit, codes = np.asarray(responses).T, codes.astype(np.uint16)
    step = max(1, _CHUNK // max(1, by_unit.shape[1]))

    def part(start: int) -> tuple:
        block = np.ascontiguousarray(_exact(by_unit[start : start + step]))
        keys, bad = np.empty(block.shape, np.uint64), np.empty(len(block), np.uint8)
        _pack(block.view(np.uint32), keys, bad)
        keys.sort(axis=1)
        return *_walk(keys, codes, count), bad

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        ranks, precision, bad = map(np.concatenate, zip(*pool.map(part, range(0, len(by_unit), step))))
    wrong = np.flatnonzero(bad).tolist()
    if wrong:
        fact = f"{len(wrong)} of {len(by_unit)} units hold NaN or infinite responses (units {str(wrong[:8])[1:-1]})"
        raise ValueError(f"{fact}; drop the sentences that cause them, or run the model in float32")
    return ranks, precision


def area(ranks, size, rows: int):
    """AUROC from doubled rank sums over `size` of the `rows`; exact until the one division."""
    rest = rows - size
    return (2 * size * rest + size * (size + 1) - ranks) / (2 * size * rest)


def _exact(block: np.ndarray) -> np.ndarray:
    """Float32 of the same order and the same ties: the numbers themselves or, of wider types, their ranks."""
    if block.dtype == np.float32 or block.dtype.itemsize <= 2:
        return block.astype(np.float32, copy=False)
    return rankdata(np.where(np.isfinite(block), block, np.nan), "dense", axis=1).astype(np.float32)


@njit(void(types.Array(uint32, 2, "C", readonly=True), uint64[:, ::1], uint8[::1]), nogil=True, cache=True)
def _pack(bits, keys, bad):
    """Unsorted keys of float32 responses, seen as integers, and which units are not finite."""
    for unit in range(bits.shape[0]):
        row, key, wrong = bits[unit], keys[unit], uint8(0)
        for i in range(row.size):
            value = uint32(0) if row[i] == _SIGN else row[i]  # -0.0 equals 0.0
            wrong |= (value & _EXPONENT) == _EXPONENT
            falling = value if value & _SIGN else value ^ uint32(0x7FFFFFFF)
            key[i] = (uint64(falling) << uint64(32)) | uint64(i)
        bad[unit] = wrong


@njit(types.UniTuple(float64[:, ::1], 2)(uint64[:, ::1], uint16[::1], int64), nogil=True, cache=True)
def _walk(keys, codes, count):
    """The two sums of each language, [unit, language], from one walk down each unit's sorted keys."""
    units, n = keys.shape
    ranks, precision = np.zeros((units, count)), np.zeros((units, count))
    for unit in range(units):
        row, twice, total, seen = keys[unit], ranks[unit], precision[unit], np.zeros(count, np.int64)
        start = 0
        for end in range(1, n + 1):
            seen[codes[row[end - 1] & _LOW]] += 1
            if end < n and (row[end] ^ row[end - 1]) <= _LOW:
                continue
            for i in range(start, end):  # rows start to end - 1 are tied
                code = codes[row[i] & _LOW]
                twice[code] += start + end + 1
                total[code] += seen[code] / end
            start = end
    return ranks, precision
