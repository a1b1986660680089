"""ABX discrimination of meaning and form: is X nearer to A than to B, over every triple of parallel sentences?

A tie counts one half and chance is 0.5. p is the language of A and B or, where these differ, of A and X (in `conflict`
of B and X); q is the other one. With (i, p) for sentence i in language p:

    meaning             A (i, p)   B (j, p)   X (i, q)   is a translation nearer than another sentence?
    form                A (i, p)   B (i, q)   X (j, p)   is the own language nearer, at equal meaning?
    form_all            A (i, p)   B (k, q)   X (j, p)   the same for any k
    form_all_different  A (i, p)   B (k, q)   X (j, p)   the same for i, j, k all different
    conflict            A (i, q)   B (j, p)   X (i, p)   is a translation nearer than the own language?

Embeddings are [language, sentence, hidden] in float32 or float64, a tensor on any device or an array. Accuracies are
[..., p, q], NaN where p = q.
"""

import numpy as np
import pandas as pd
import torch

from helpers.abx import counting
from helpers.abx.counting import PAIRWISE, Array, Names, full_precision
from helpers.common.lookup import known

BOTH = ("meaning", "form")
VARIANTS = (*PAIRWISE, "form_all", "form_all_different")
Shares = dict[str, np.ndarray]  # variant -> accuracies


def meaning(embeddings: Array, languages: Names, *, distance: str = "cosine") -> pd.DataFrame:
    """Accuracy [p x q] of `meaning`: (N - mean rank of the translation) / (N - 1), which does not fall with N."""
    return _matrix(embeddings, languages, "meaning", distance)


def form(embeddings: Array, languages: Names, *, distance: str = "cosine") -> pd.DataFrame:
    """Accuracy [p x q] of `form`: A, X in p, B in q."""
    return _matrix(embeddings, languages, "form", distance)


def scores(
    embeddings: Array, languages: Names, variants: Names = BOTH, distance: str = "cosine", centre: str = "none"
) -> pd.DataFrame:
    """Table[variant, distance, centre, p, q, accuracy] over ordered pairs of languages, every variant from one pass.

    ValueError for other types, NaN and infinity, and for a vector without direction unless Euclidean.
    """
    found = accuracies(embeddings, languages, variants, distance, centre)
    labels = {"distance": distance, "centre": centre}
    return pd.concat([tabulated(found[name], languages, variant=name, **labels) for name in found], ignore_index=True)


def tabulated(values: np.ndarray, languages: Names, **labels: str) -> pd.DataFrame:
    """table[*labels, p, q, accuracy] of accuracies [p, q], without p = q."""
    p, q = np.nonzero(~np.eye(len(values), dtype=bool))
    names = np.array(languages, dtype=object)
    return pd.DataFrame({**labels, "p": names[p], "q": names[q], "accuracy": values[p, q]})


@full_precision()
def accuracies(
    embeddings: Array, languages: Names, variants: Names, distance: str = "cosine", centre: str = "none"
) -> Shares:
    """Variant -> accuracies [p, q]; see `scores`."""
    variants = [known(variant, VARIANTS, "variant") for variant in variants]
    points = counting.points(embeddings, languages, distance, centre)
    counts = counting.counts(points, every=any(variant.startswith("form_all") for variant in variants))
    return {variant: _open(_share(counts, variant, points.sentences)) for variant in variants}


@full_precision()
def bootstrap(
    embeddings: Array, languages: Names, weights: np.ndarray, distance: str = "cosine", alike: np.ndarray | None = None
) -> Shares:
    """Accuracies [replicate, p, q] of PAIRWISE: sentences resampled, in all languages together.

    Weights [replicate, sentence] count the draws (`stats.weights`); two copies of one sentence are no comparison.
    With `alike` [language, sentence, sentence], meaning alone, over triples whose A and B are alike; NaN without any.
    """
    points = counting.points(embeddings, languages, distance)
    weights = torch.from_numpy(np.asarray(weights, np.int64)).to(points.units.device)
    if weights.shape[1] != points.sentences or (weights > 0).sum(1).min() < 2:
        fact = f"weights {list(weights.shape)} for {points.sentences} sentences"
        raise ValueError(f"{fact}; each replicate must draw 2 of them at least, add sentences")
    drawn = weights.to(points.units.dtype)  # exact even in float32: sums over a row of wins stay below 2 ** 24
    pairs = torch.ones((1, *[points.sentences] * 2), dtype=bool) if alike is None else torch.from_numpy(alike)
    pairs = (pairs & ~torch.eye(points.sentences, dtype=bool)).to(drawn.device, drawn.dtype)
    compared = 2 * torch.stack([((drawn @ of) * drawn).sum(1, dtype=torch.float64) for of in pairs], 1).cpu().numpy()
    shape, variants = (len(weights), *[points.languages] * 2), PAIRWISE if alike is None else PAIRWISE[:1]
    sums = {variant: np.zeros(shape) for variant in variants}
    for x, start, block in counting.blocks(points, width=3 + 4 * len(weights) / points.sentences):
        own, kept = drawn[:, start : start + len(block)].T[:, None], pairs[:, start : start + len(block)].swapaxes(0, 1)
        for variant, total in sums.items():
            wins = counting.wins(block, x, start, variant).to(drawn.dtype)
            wins = (wins if alike is None else wins * kept) @ drawn.T  # [row, language, replicate]
            total[:, x] += (wins * own).sum(0, dtype=torch.float64).T.cpu().numpy()
    with np.errstate(invalid="ignore"):  # 0 / 0 where a language has no two sentences that are alike
        return {variant: _open(_oriented(variant, total) / compared[..., None]) for variant, total in sums.items()}


def null(embeddings: Array, languages: Names, n: int, *, seed: int = 0) -> np.ndarray:
    """Accuracies [replicate, p, q] of `meaning` by cosine when each language's sentences are shuffled on their own."""
    size, count = embeddings.shape[:2]
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(count), (n, size, 1)), axis=2)
    shuffled = (embeddings[np.arange(size)[:, None], rows] for rows in order)
    return np.stack([accuracies(values, languages, ["meaning"])["meaning"] for values in shuffled])


def surface(table: pd.DataFrame) -> dict[str, tuple[str, np.ndarray]]:
    """Baseline -> (distance, embeddings) that see only the characters of the texts: their number, and 3-grams of them.

    The texts are parallel; languages and sentences come in order of appearance. 3-grams have 4,096 hashed columns.
    """
    texts = table.pivot(index="language", columns="sentence", values="text")
    texts = texts.reindex(index=table["language"].unique(), columns=table["sentence"].unique())
    from sklearn.feature_extraction.text import HashingVectorizer  # slow to import, and only needed here

    hashed = HashingVectorizer(
        analyzer="char", ngram_range=(3, 3), n_features=4096, lowercase=False, alternate_sign=False, norm=None
    ).transform(f" {text} " for text in texts.to_numpy().ravel())  # so that one character already has a 3-gram
    return {
        "length of the text": ("euclidean", texts.map(len).to_numpy(np.float32)[..., None]),
        "3-grams of characters": ("cosine", hashed.astype(np.float32).toarray().reshape(*texts.shape, -1)),
    }


def _share(counts: Shares, variant: str, n: int) -> np.ndarray:
    """Accuracy [p, q] from counts of n sentences: one division, at the end."""
    if variant == "form_all":
        return counts[variant] / (2 * n * n * (n - 1))
    if variant == "form_all_different":
        if n < 3:
            raise ValueError(f"form_all_different compares 3 sentences but there are {n}; leave it out")
        same_as_x = 2 * n * (n - 1) - counts["conflict"]  # k = j: the conflict, lost
        return (counts["form_all"] - counts["form"] - same_as_x) / (2 * n * (n - 1) * (n - 2))
    return _oriented(variant, counts[variant]) / (2 * n * (n - 1))


def _oriented(variant: str, values: np.ndarray) -> np.ndarray:
    """[..., language of X, other language] as [..., p, q]: in `meaning` alone X is in q."""
    return values.swapaxes(-1, -2) if variant == "meaning" else values


def _open(values: np.ndarray) -> np.ndarray:
    """The values [..., p, q] with a NaN diagonal."""
    return np.where(np.eye(values.shape[-1], dtype=bool), np.nan, values)


def _matrix(embeddings: Array, languages: Names, variant: str, distance: str) -> pd.DataFrame:
    values = accuracies(embeddings, languages, [variant], distance)[variant]
    return pd.DataFrame(values, pd.Index(languages, name="p"), pd.Index(languages, name="q"))
