"""How much of the variance of embeddings is language, how much meaning, and how much neither.

ABX asks which of two is nearer, so a small steady difference already gives it all; a share says how large it is.
"""

import numpy as np

from helpers.abx.counting import Array

SHARES = ("by language", "by meaning", "rest")


def shares(embeddings: Array, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Shares of variance [replicate] of embeddings [language, sentence, hidden], by the names of SHARES; they sum to 1.

    The variance components of a two-way table without repeats (Searle et al., 1992), summed over dimensions: unbiased,
    so that noise has 0 by language and 0 by meaning for any number of either (a sum of squares would give meaning
    about 1 / languages). A share may fall below 0 by chance; NaN where all embeddings are equal. Weights [replicate,
    sentence] count how often a sentence is drawn; two copies of one sentence are no pair.
    """
    values = np.asarray(embeddings, np.float64)
    size, count, _ = values.shape
    weights = np.ones((1, count)) if weights is None else np.asarray(weights, np.float64)
    values = values - values.mean((0, 1))  # large means would cancel in rounded sums of squares
    total, copies = weights.sum(1), weights**2
    distinct = total**2 - copies.sum(1)
    lengths, summed = np.square(values).sum((0, 2)), values.sum(0)
    sums = np.square(summed).sum(1)
    # Mean inner products of two embeddings that share ...
    own = sum(np.square(weights @ rows).sum(1) for rows in values) - copies @ lengths
    both = np.square(weights @ summed).sum(1) - copies @ sums
    language = own / (size * distinct)  # ... the language alone,
    neither = (both - own) / (size * (size - 1) * distinct)  # ... neither,
    meaning = weights @ (sums - lengths) / (size * (size - 1) * total)  # ... the meaning alone,
    variance = weights @ lengths / (size * total) - neither  # ... or both, above those that share neither
    with np.errstate(invalid="ignore"):  # 0 / 0 where all embeddings are equal
        found = [(part - neither) / variance for part in (language, meaning)]
    return dict(zip(SHARES, [*found, 1 - sum(found)]))
