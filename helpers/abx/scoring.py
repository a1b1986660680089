"""ABX discrimination of meaning and form: is X nearer to A than to B, over every triple of parallel sentences?

A tie counts one half and chance is 0.5. p is the language of A and B or, where these differ, of A and X (in `conflict`
of B and X); q is the other one. With (i, p) for sentence i in language p:

    meaning             A (i, p)   B (j, p)   X (i, q)   is a translation nearer than another sentence?
    form                A (i, p)   B (i, q)   X (j, p)   is the own language nearer, at equal meaning?
    form_all            A (i, p)   B (k, q)   X (j, p)   the same for any k
    form_all_different  A (i, p)   B (k, q)   X (j, p)   the same for i, j, k all different
    conflict            A (i, q)   B (j, p)   X (i, p)   is a translation nearer than the own language?

The fast counting is in `triples`: every variant comes from one matrix product per language.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from helpers.abx import counting
from helpers.abx.counting import PAIRWISE, Array, Points, full_precision
from helpers.common.lookup import known

VARIANTS = (*PAIRWISE, "form_all", "form_all_different")


def meaning(embeddings: Array, languages: Sequence[str], *, distance: str = "cosine") -> pd.DataFrame:
    """Accuracy [p x q] of `meaning`: A, B in p, X in q; the diagonal is NaN. Embeddings [language, sentence, hidden].

    It equals (N - mean rank of the translation) / (N - 1), so unlike top-1 retrieval it does not fall with N.
    """
    return _matrix(scores(embeddings, languages, ("meaning",), distance=distance), languages)


def form(embeddings: Array, languages: Sequence[str], *, distance: str = "cosine") -> pd.DataFrame:
    """Accuracy [p x q] of `form`: A, X in p, B in q; the diagonal is NaN. Embeddings [language, sentence, hidden]."""
    return _matrix(scores(embeddings, languages, ("form",), distance=distance), languages)


@full_precision()
def scores(
    embeddings: Array,
    languages: Sequence[str],
    variants: Sequence[str] = ("meaning", "form"),
    *,
    distance: str = "cosine",
    centre: str = "none",
) -> pd.DataFrame:
    """Table[variant, distance, centre, p, q, accuracy] over ordered pairs of languages, every variant from one pass.

    Embeddings are [language, sentence, hidden] in float32 or float64, a tensor on any device or an array.
    ValueError for other types, for NaN and infinity, and for a vector without direction unless Euclidean.
    """
    variants = [known(variant, VARIANTS, "variant") for variant in variants]
    points = counting.points(embeddings, languages, distance, centre)
    counts = counting.counts(points, every=any(variant.startswith("form_all") for variant in variants))
    shares = {variant: _share(counts, variant, points.sentences)[None] for variant in variants}
    return _table(shares, points, distance, centre).drop(columns="replicate")


def symmetrised(table: pd.DataFrame) -> pd.DataFrame:
    """The table with (p, q) and (q, p) averaged into one row; p is the language that comes first in the table."""
    order = {language: n for n, language in enumerate(pd.unique(table[["p", "q"]].to_numpy().ravel()))}
    swap = table["p"].map(order) > table["q"].map(order)
    table = table.assign(p=table["p"].mask(swap, table["q"]), q=table["q"].mask(swap, table["p"]))
    keys = [column for column in table.columns if column != "accuracy"]
    return table.groupby(keys, sort=False, as_index=False)["accuracy"].mean()


@full_precision()
def bootstrap(
    embeddings: Array,
    languages: Sequence[str],
    weights: np.ndarray,
    variants: Sequence[str] = ("meaning", "form"),
    *,
    distance: str = "cosine",
    centre: str = "none",
    groups: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Table[variant, distance, centre, p, q, replicate, accuracy]: sentences resampled, in all languages together.

    Weights [replicate, sentence] say how often each replicate drew a sentence (`stats.weights`); two copies of one
    sentence are no comparison. With `groups`, language -> family for one, pairs are averaged and the column `pairs`
    (all, within, across) stands for p and q. Pairwise variants only; the means that `centre` removes are not redrawn.
    """
    variants = [known(variant, PAIRWISE, "pairwise variant") for variant in variants]
    points = counting.points(embeddings, languages, distance, centre)
    weights = _weights(weights, points)
    drawn = weights.to(points.units.dtype)  # exact even in float32: sums over a row of wins stay below 2 ** 24
    sums = {variant: np.zeros((len(weights), *[len(points.languages)] * 2)) for variant in variants}
    for x, start, block in counting.blocks(points, width=3 + 4 * len(weights) / points.sentences):
        own = drawn[:, start : start + len(block)].T[:, None]
        for variant in variants:
            wins = counting.wins(block, x, start, variant).to(drawn.dtype) @ drawn.T  # [row, language, replicate]
            sums[variant][:, x] += (wins * own).sum(0, dtype=torch.float64).T.cpu().numpy()
    compared = (weights.sum(1) ** 2 - (weights**2).sum(1)).cpu().numpy()[:, None, None]
    shares = {variant: _oriented(variant, value) / (2 * compared) for variant, value in sums.items()}
    return _table(shares, points, distance, centre, groups)


@full_precision()
def null(
    embeddings: Array,
    languages: Sequence[str],
    n: int = 200,
    *,
    seed: int = 0,
    distance: str = "cosine",
    centre: str = "none",
) -> pd.DataFrame:
    """Table[variant, distance, centre, p, q, replicate, accuracy] of `meaning` when translations are paired at random.

    Every replicate shuffles the sentences of each language on its own: that re-indexes similarities and needs no new.
    """
    points = counting.points(embeddings, languages, distance, centre)
    size, count = len(points.languages), points.sentences
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(count), (n, size, 1)), axis=2)
    order, place = torch.from_numpy(order), torch.from_numpy(order.argsort(2))
    sums = np.zeros((n, size, size), np.int64)
    for x, start, block in counting.blocks(points, width=8 + 4 * n / count):
        ordered = block.sort(-1).values
        ranks = counting.below(ordered, block) - 1  # what each sentence of the row would score as the translation
        meant = place[:, x, start : start + len(block)]  # [replicate, row]: the meaning this row stands for
        mates = order.gather(2, meant[:, None].expand(-1, size, -1)).permute(2, 1, 0)
        sums[:, x] += ranks.gather(2, mates.to(ranks.device)).sum(0).T.cpu().numpy()
    shares = {"meaning": _oriented("meaning", sums) / (2 * count * (count - 1))}
    return _table(shares, points, distance, centre)


def surface(table: pd.DataFrame, kind: str = "ngrams", *, n: int = 3, width: int = 4096) -> np.ndarray:
    """Embeddings [language, sentence, hidden] that see only the surface of texts: the baseline for every score.

    `ngrams`: counts of n characters in a row, hashed into `width` columns. `length`: the number of characters, for
    distance="euclidean". Languages and sentences in order of appearance; ValueError where a text is missing.
    """
    known(kind, ("ngrams", "length"), "kind")
    texts = table.set_index(["language", "sentence"])["text"].unstack()
    texts = texts.reindex(index=table["language"].unique(), columns=table["sentence"].unique())
    if len(gaps := np.argwhere(texts.isna().to_numpy())):
        language, sentence = texts.index[gaps[0, 0]], texts.columns[gaps[0, 1]]
        raise ValueError(
            f"{len(gaps)} of {texts.size} texts are missing, first sentence {sentence} of language {language}; "
            "keep the sentences that all languages have"
        )
    if kind == "length":
        return texts.map(len).to_numpy(np.float32)[..., None]
    from sklearn.feature_extraction.text import HashingVectorizer  # slow to import, and only needed here

    pad = " " * (n // 2)  # so that one character already has an n-gram
    counts = HashingVectorizer(
        analyzer="char", ngram_range=(n, n), n_features=width, lowercase=False, alternate_sign=False, norm=None
    ).transform(pad + text + pad for text in texts.to_numpy().ravel())
    return counts.astype(np.float32).toarray().reshape(*texts.shape, width)


def _share(counts: Mapping[str, np.ndarray], variant: str, n: int) -> np.ndarray:
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


def _weights(weights: np.ndarray, points: Points) -> torch.Tensor:
    weights = np.asarray(weights)
    if weights.ndim != 2 or weights.shape[1] != points.sentences or weights.dtype.kind not in "iu":
        raise ValueError(
            f"weights are {weights.dtype} of shape {list(weights.shape)} for {points.sentences} sentences; "
            "pass whole numbers [replicate, sentence]"
        )
    if (weights < 0).any() or ((weights > 0).sum(1) < 2).any():
        raise ValueError("a replicate has a negative weight or fewer than 2 distinct sentences; draw more sentences")
    return torch.from_numpy(weights.astype(np.int64)).to(points.units.device)


def _table(shares: dict, points: Points, distance: str, centre: str, groups: Mapping | None = None) -> pd.DataFrame:
    """The long table of shares[variant], [replicate, p, q], without p = q."""
    names = np.array(points.languages, dtype=object)
    p, q = np.nonzero(~np.eye(len(names), dtype=bool))
    tables = []
    for variant, share in shares.items():
        keys, values = {"p": names[p], "q": names[q]}, share[:, p, q]
        if groups is not None:
            keys, values = _grouped(keys, values, groups)
        keys = {name: np.tile(column, len(values)) for name, column in keys.items()}
        replicate = np.repeat(np.arange(len(values)), values.shape[1])
        labels = {"variant": variant, "distance": distance, "centre": centre}
        tables.append(pd.DataFrame({**labels, **keys, "replicate": replicate, "accuracy": values.ravel()}))
    return pd.concat(tables, ignore_index=True)


def _grouped(keys: dict, values: np.ndarray, groups: Mapping) -> tuple[dict, np.ndarray]:
    """Means over all pairs, and over those within and across groups where there are any."""
    if missing := sorted(set(keys["p"]) - set(groups)):
        raise LookupError(f"{len(missing)} languages have no group: {missing}; name one for each")
    within = np.array([groups[p] == groups[q] for p, q in zip(keys["p"], keys["q"])])
    masks = {"all": within | True, "within": within, "across": ~within}
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    return {"pairs": np.array(list(masks))}, np.stack([values[:, mask].mean(1) for mask in masks.values()], axis=1)


def _matrix(table: pd.DataFrame, languages: Sequence[str]) -> pd.DataFrame:
    return table.pivot(index="p", columns="q", values="accuracy").reindex(index=languages, columns=languages)
