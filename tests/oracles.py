"""Slow, obvious versions of what `helpers` computes fast: the other side of the equality tests."""

import numpy as np


def abx_distance(x, a, distance):
    """Distance of two vectors; cosine and Euclidean so written that exact numbers stay exact."""
    if distance == "euclidean":
        return float(((x - a) ** 2).sum())
    return -float((x / np.sqrt((x**2).sum())) @ (a / np.sqrt((a**2).sum())))


def abx_triples(variant, n):
    """All (A, B, X) of one ordered pair (p, q), each as (sentence, 0 for p or 1 for q)."""
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            if variant == "meaning":
                yield (i, 0), (j, 0), (i, 1)
            if variant == "form":
                yield (i, 0), (i, 1), (j, 0)
            if variant == "conflict":
                yield (i, 1), (j, 0), (i, 0)
            for k in range(n):
                if variant == "form_all" or (variant == "form_all_different" and k not in (i, j)):
                    yield (i, 0), (k, 1), (j, 0)


def abx_accuracy(embeddings, variant, distance="cosine", weights=None):
    """ABX accuracy [p, q] by a loop over triples; a triple of sentences i and j weighs weights[i] * weights[j]."""
    size, n, _ = embeddings.shape
    weights = np.ones(n) if weights is None else weights
    result = np.full((size, size), np.nan)
    for p in range(size):
        for q in range(size):
            won, total = 0.0, 0.0
            for a, b, x in abx_triples(variant, n) if p != q else ():
                vector_a, vector_b, vector_x = (embeddings[(p, q)[side], item] for item, side in (a, b, x))
                to_a, to_b = (abx_distance(vector_x, other, distance) for other in (vector_a, vector_b))
                weight = np.prod([weights[item] for item in {a[0], b[0], x[0]}])
                won += weight * ((to_a < to_b) + 0.5 * (to_a == to_b))
                total += weight
            if total:
                result[p, q] = won / total
    return result


def meaning_wins(embeddings):
    """Wins [p, q, i, j] by cosine of meaning with A = (i, p), B = (j, p), X = (i, q): 1, or one half for a tie."""
    units = embeddings / np.linalg.norm(embeddings, axis=2, keepdims=True)
    near = np.einsum("qih,pjh->pqij", units, units)  # X in q to what lies in p
    own = np.diagonal(near, axis1=2, axis2=3)[..., None]
    return (own > near) + (own == near) / 2


def variance_components(x):
    """Components [language, meaning, rest] of a two-way table [language, sentence, hidden] from its mean squares."""
    languages, sentences, _ = x.shape
    mean, rows, columns = x.mean((0, 1)), x.mean(1), x.mean(0)
    by_row = sentences * ((rows - mean) ** 2).sum() / (languages - 1)
    by_column = languages * ((columns - mean) ** 2).sum() / (sentences - 1)
    left = ((x - rows[:, None] - columns + mean) ** 2).sum() / ((languages - 1) * (sentences - 1))
    return np.array([(by_row - left) / sentences, (by_column - left) / languages, left])


def auroc(response, own):
    """Share of (own, other) pairs of rows that a response orders rightly, a tie counting half."""
    pairs = [(a > b) + (a == b) / 2 for a in response[own] for b in response[~own]]
    return float(sum(pairs)) / len(pairs)


def average_precision(response, own):
    """Precision at each distinct threshold, weighted by the share of own rows that it adds."""
    total = 0.0
    for threshold in np.unique(response):
        above = response >= threshold
        total += own[response == threshold].sum() / own.sum() * own[above].sum() / above.sum()
    return total


def cosine(a, b):
    """Cosine of two vectors."""
    return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))


def top1(query, candidates):
    """Per query, 1/m if the own row is among the m best candidates by cosine."""
    table, hits = np.array([[cosine(a, b) for b in candidates] for a in query]), []
    for i, row in enumerate(table):
        best = row >= row.max() - 1e-12
        hits.append(best[i] / best.sum())
    return np.array(hits)


def mean_distance(first, second, matched):
    """Mean cosine distance over matched rows, or over all pairs of rows."""
    pairs = [(i, j) for i in range(len(first)) for j in range(len(second)) if i == j or not matched]
    return float(np.mean([1 - cosine(first[i], second[j]) for i, j in pairs]))


def resampled_means(values, clusters, n, seed):
    """Means of `n` resamples of whole clusters, drawn one by one; same law as the fast version, other draws."""
    rng, names, means = np.random.default_rng(seed), np.unique(clusters), []
    for _ in range(n):
        drawn = rng.choice(names, len(names))
        means.append(np.concatenate([values[clusters == name] for name in drawn]).mean())
    return np.array(means)


def shared_cosine(a, b):
    """Cosine of two feature vectors over what both know, and the share of features that both know."""
    both = [(x, y) for x, y in zip(a, b) if not np.isnan(x) and not np.isnan(y)]
    lengths = np.sqrt(sum(x * x for x, _ in both) * sum(y * y for _, y in both))
    return (sum(x * y for x, y in both) / lengths if lengths else np.nan), len(both) / len(a)


def every_order(values):
    """All orders of the known values, highest first, that ties allow, unknown ones last."""
    from itertools import permutations

    for order in permutations(range(len(values))):
        ranked = [-np.inf if np.isnan(values[i]) else values[i] for i in order]
        if ranked == sorted(ranked, reverse=True):
            yield [i for i in order if not np.isnan(values[i])]


def regret(scores, values, k):
    """Best score less the best among the first k sources, averaged over all orders of equal values."""
    return np.mean([max(scores) - max(scores[i] for i in order[:k]) for order in every_order(values)])


def ndcg(scores, values, k):
    """LangRank's NDCG of one target, averaged over all orders of equal values; equal scores share their mean rank."""
    rank = [1 + sum(y > x for y in scores) + (sum(y == x for y in scores) - 1) / 2 for x in scores]
    gain = [2 ** max(0, 11 - r) - 1 for r in rank]
    ideal = sum(g / np.log2(i + 2) for i, g in enumerate(sorted(gain, reverse=True)[:k]))
    found = [sum(gain[j] / np.log2(i + 2) for i, j in enumerate(order[:k])) for order in every_order(values)]
    return np.mean(found) / ideal


def two_way_residuals(x):
    """What least squares on indicators of rows and columns leaves of the known cells."""
    known = np.argwhere(~np.isnan(x))
    design = np.zeros((len(known), sum(x.shape)))
    for cell, (row, column) in enumerate(known):
        design[cell, row] = design[cell, x.shape[0] + column] = 1
    y = x[tuple(known.T)]
    left = np.full(x.shape, np.nan)
    left[tuple(known.T)] = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return left


def levenshtein(a, b):
    """The fewest sounds inserted, deleted or replaced, by the recursion that defines it."""
    if not a or not b:
        return len(a) + len(b)
    return min(levenshtein(a[1:], b) + 1, levenshtein(a, b[1:]) + 1, levenshtein(a[1:], b[1:]) + (a[0] != b[0]))


def ldnd(first, second):
    """LDND of two lists {meaning: words}, pair of meanings by pair of meanings."""
    same, other = [], []
    for m, words in first.items():
        for n, others in second.items():
            pairs = [levenshtein(a, b) / max(len(a), len(b)) for a in words for b in others]
            (same if m == n else other).append(np.mean(pairs))
    return np.mean(same) / np.mean(other)


def five_scores(embeddings):
    """Hits [query, candidate, sentence] of each score of retrieval, on centred copies, pair by pair."""
    copies = {"top1": embeddings, "global": embeddings - embeddings.mean((0, 1))}
    copies["centred"] = embeddings - embeddings.mean(1, keepdims=True)
    tables = {name: [[cosines(p, q) for q in copy] for p in copy] for name, copy in copies.items()}
    plain = tables["top1"]
    tables["euclidean"] = [[-np.array([[((a - b) ** 2).sum() for b in q] for a in p]) for q in embeddings]
                           for p in embeddings]  # fmt: skip
    near = [[np.sort(table, 1)[:, -10:].mean(1) for table in row] for row in plain]
    tables["margin"] = [[table - near[p][q][:, None] / 2 - near[q][p] / 2 for q, table in enumerate(row)]
                        for p, row in enumerate(plain)]  # fmt: skip
    return {name: np.array([[best_own(table) for table in row] for row in rows]) for name, rows in tables.items()}


def cosines(queries, candidates):
    """Every cosine, [query, candidate]."""
    return np.array([[cosine(a, b) for b in candidates] for a in queries])


def best_own(table):
    """Per row, 1/m if the diagonal is among the m best."""
    best = table >= table.max(1, keepdims=True) - 1e-12
    return np.diag(best) / best.sum(1)
