"""Flat maps of embeddings over a grid of strengths, and how far to trust them.

The untouched states and the steered ones are laid out together in one map, each row tied to itself at the next
strength, so that its way is movement and not another layout; between the strengths of the grid it goes in a straight
line. A map shows neighbourhoods: its distances and its axes have no unit.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness as trust

from helpers.common.lookup import known

METHODS = ("umap", "pca")
_TIE = 0.3  # of a row to itself at the next strength: enough to keep its place, too little to tear it from the others


def maps(
    states: Mapping[float, np.ndarray],
    table: pd.DataFrame,
    *,
    method: str = "umap",
    neighbours: int = 15,
    min_dist: float = 0.1,
    epochs: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """table[strength, (the columns of `table`), x, y]: one map of the states of all strengths, strengths ascending.

    `states` gives [sentence, hidden] for each strength, a row for each row of `table`. "pca" keeps the two directions
    of most variance. "umap" starts from it and keeps each point near its `neighbours` nearest by cosine; `min_dist`
    is how closely UMAP may pack points. The same seed gives the same map on one machine, not on every one.
    ValueError: shapes that differ, too few rows, values that are not finite, or, for "umap", a zero vector.
    """
    known(method, METHODS, "method of projection")
    strengths, stack = _stacked(states, len(table))
    flat = _pca(stack.reshape(-1, stack.shape[2]), seed)
    if method == "umap":
        flat = _umap(stack, flat, neighbours, min_dist, epochs, seed)
    rows = pd.concat(dict.fromkeys(strengths, table), names=["strength"]).reset_index("strength")
    return rows.reset_index(drop=True).assign(x=flat[:, 0], y=flat[:, 1])


def trustworthiness(states: Mapping[float, np.ndarray], points: pd.DataFrame) -> pd.DataFrame:
    """table[strength, trustworthiness] of the map `points` that `maps` made of `states`, each strength by itself.

    1 when every one of 15 neighbours on the map (fewer of few points) was one among the states by cosine; the farther
    away the false ones were, the less. About 0.5 for points laid out by chance. Definition: Venna and Kaski 2001, as in
    scikit-learn.
    """
    rows = []
    for strength, part in points.groupby("strength"):
        near = min(15, (len(part) - 1) // 2)
        value = trust(states[strength], part[["x", "y"]].to_numpy(), n_neighbors=near, metric="cosine")
        rows.append((strength, value))
    return pd.DataFrame(rows, columns=["strength", "trustworthiness"])


def interpolated(table: pd.DataFrame, strength: float) -> pd.DataFrame:
    """The rows of one strength, x and y taken on the line between the two strengths of the table around it.

    `table` has the same rows in the same order for every strength. ValueError: a strength outside the table's, or rows
    that differ.
    """
    grid = np.unique(table["strength"])
    if not grid[0] <= strength <= grid[-1]:
        raise ValueError(f"strength {strength} but the table goes from {grid[0]:g} to {grid[-1]:g}; stay inside")
    low, high = grid[grid <= strength].max(), grid[grid >= strength].min()
    below, above = (table[table["strength"] == end].reset_index(drop=True) for end in (low, high))
    moved = ["strength", "x", "y"]
    if not below.drop(columns=moved).equals(above.drop(columns=moved)):
        raise ValueError(f"the {len(below)} rows at {low:g} are not the {len(above)} at {high:g}; sort them alike")
    share = (strength - low) / ((high - low) or 1)
    return below.assign(strength=float(strength), **((1 - share) * below[moved[1:]] + share * above[moved[1:]]))


def _stacked(states: Mapping[float, np.ndarray], rows: int) -> tuple:
    """The strengths in order, and their states, float32 [strength, sentence, hidden]."""
    strengths = sorted(map(float, states))
    shapes = {strength: np.shape(states[strength]) for strength in strengths}
    if len({*shapes.values()}) != 1 or shapes[strengths[0]][0] != rows:
        raise ValueError(f"{rows} rows of the table but states {shapes}; embed the same rows at every strength")
    stack = np.stack([states[strength] for strength in strengths]).astype(np.float32)
    bad = [strength for strength, part in zip(strengths, stack) if not np.isfinite(part).all()]
    if bad:
        raise ValueError(f"NaN or infinite states at {len(bad)} of {len(stack)} strengths: {bad}; lower the strength")
    return strengths, stack


def _pca(stack: np.ndarray, seed: int) -> np.ndarray:
    """[row, 2]; a dimension that the states do not have is zero."""
    kept = min(2, *stack.shape)
    with np.errstate(invalid="ignore"):  # shares of no variance, where all states are equal
        flat = PCA(kept, svd_solver="randomized", random_state=seed).fit_transform(stack)
    return np.pad(flat, ((0, 0), (0, 2 - kept)))


def _umap(states: np.ndarray, flat: np.ndarray, neighbours: int, min_dist: float, epochs: int, seed: int):
    """[row, 2] of states [strength, row, hidden], begun from the flat map scaled to the size that UMAP begins with."""
    length = np.linalg.norm(states, axis=2, keepdims=True)
    if not length.all() or states.shape[1] <= neighbours:
        fact = f"{(length == 0).sum()} zero vectors and {states.shape[1]} rows for {neighbours} neighbours"
        raise ValueError(f"{fact}; drop the zeros, which have no cosine, and ask for fewer neighbours than rows")
    from umap import umap_  # compiles for some seconds, so only when a map is asked for

    noise = np.random.default_rng(seed).normal(scale=1e-4, size=flat.shape)  # equal rows must part
    begin = (10 * flat / max(np.abs(flat).max(), 1e-12) + noise).astype(np.float32)
    threads, chance = torch.get_num_threads(), np.random.RandomState(seed)
    shape = dict(zip(("a", "b"), umap_.find_ab_params(1.0, min_dist)))
    steps = dict(n_components=2, initial_alpha=1.0, gamma=1.0, negative_sample_rate=5, n_epochs=epochs, init=begin)
    plain = dict(metric="cosine", metric_kwds={}, densmap=False, densmap_kwds={}, output_dens=False)
    try:
        graph = _graph(states / length, neighbours, seed)
        return umap_.simplicial_set_embedding(
            states.reshape(len(flat), -1), graph, random_state=chance, parallel=False, **shape, **steps, **plain
        )[0]
    finally:
        torch.set_num_threads(threads)  # numba has set those of torch as well, to all cores


def _graph(states: np.ndarray, neighbours: int, seed: int) -> sparse.coo_matrix:
    """UMAP's graph over all strengths, of unit vectors [strength, row, hidden]: other rows, and ties to the own next.

    In a plain stack a row's neighbours would be little but the copies of three or four others, one per strength, and
    the map falls to pieces. So each other row counts once, at the strength where it is nearest; a row is tied to itself
    at the next strength by UMAP's own rule for that distance, times `_TIE`, and wanders where it really moved.
    """
    from umap.umap_ import fuzzy_simplicial_set

    grid, rows = states.shape[:2]
    flat = states.reshape(grid * rows, -1)
    found, distances = (np.concatenate(part) for part in zip(*(_others(states, i, neighbours) for i in range(grid))))
    near = dict(knn_indices=found, knn_dists=distances)
    graph, widths, nearest = fuzzy_simplicial_set(flat, neighbours, np.random.RandomState(seed), "cosine", **near)[:3]
    here, next_ = np.arange((grid - 1) * rows), np.arange(rows, grid * rows)
    beyond = 1 - np.einsum("rh,rh->r", flat[here], flat[next_]) - nearest[here]
    weights = _TIE * np.exp(-np.maximum(beyond, 0) / np.maximum(widths[here], 1e-9))
    tie = sparse.coo_matrix((weights, (here, next_)), shape=graph.shape)
    return graph.maximum(tie + tie.T).tocoo()


def _others(states: np.ndarray, place: int, count: int) -> tuple:
    """Places in the stack and cosine distances [row, neighbour] of a strength's rows: the row, then the nearest others.

    Exact, and at this size quicker than UMAP's own approximate search, which first compiles for a minute.
    """
    grid, rows = states.shape[:2]
    apart, where = np.full((rows, rows), np.inf, np.float32), np.zeros((rows, rows), np.int64)
    for other in sorted(range(grid), key=lambda other: abs(other - place)):  # of equals, the own
        distance = (1 - states[place] @ states[other].T).clip(0)
        where[distance < apart] = other
        apart = np.minimum(apart, distance)
    apart[np.diag_indices(rows)], where[np.diag_indices(rows)] = -1, place  # so that each row stands before its others
    nearest = apart.argsort(1, kind="stable")[:, :count]
    return np.take_along_axis(where, nearest, 1) * rows + nearest, np.take_along_axis(apart, nearest, 1).clip(0)
