"""Permutations of languages that keep their tree: families, and branches of one shape in them, change places whole."""

import math
from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csgraph

Tree = Mapping[str, str | Sequence[str]]  # language -> family, or the path to it from the family down; "" unknown


def family(names: Sequence[str], tree: Tree | None) -> np.ndarray:
    """The family of each language [language]; one that the tree does not know is a family of its own."""
    return np.array([_path(name, tree or {})[0] for name in names], dtype=object)


def arrangements(names: Sequence[str], tree: Tree) -> int:
    """In how many ways the labels of these languages can be permuted so that the tree stays what it is."""

    def ways(node: _Node) -> int:
        return math.prod(math.factorial(len(same)) * math.prod(map(ways, same)) for same in node.alike)

    return ways(_grown([(_path(name, tree), "", i) for i, name in enumerate(names)]))


def families_needed(size: int) -> int:
    """The fewest families of so many languages each whose arrangements can bring a p-value to 5 %."""
    return next(n for n in count(1) if math.factorial(n) * math.factorial(size) ** n >= 20)


class _Node(NamedTuple):
    """A branching of a tree: its shape as text, its children in classes of one shape, and the place of a leaf."""

    shape: str
    alike: tuple[tuple["_Node", ...], ...] = ()
    place: int = -1


def _path(name: str, tree: Tree) -> tuple[str, ...]:
    found = tree.get(name) or name
    return (found,) if isinstance(found, str) else tuple(found)


def _grown(leaves: list[tuple[Sequence[str], str, int]]) -> _Node:
    """The tree of leaves (path, kind, place), single branches left out; leaves of one kind and branch are alike."""
    if len(leaves) == 1:
        return _Node(leaves[0][1], (), leaves[0][2])
    branches: dict = {}
    for path, kind, place in leaves:
        branches.setdefault(path[0] if path else place, []).append((path[1:], kind, place))
    children = [_grown(branch) for branch in branches.values()]
    if len(children) == 1:
        return children[0]
    shapes = sorted(child.shape for child in children)
    alike = tuple(tuple(child for child in children if child.shape == shape) for shape in dict.fromkeys(shapes))
    return _Node(f"({' '.join(shapes)})", alike)


def _turned(node: _Node, draws: int, rng: np.random.Generator) -> np.ndarray:
    """The places of the leaves [draw, leaf] when branches of one shape are exchanged; the first moves nothing."""
    if not node.alike:
        return np.full((draws, 1), node.place)
    parts = []
    for same in node.alike:
        moved = np.stack([_turned(child, draws, rng) for child in same], axis=1)  # [draw, child, leaf]
        order = np.tile(np.arange(len(same)), (draws, 1))
        order[1:] = rng.permuted(order[1:], axis=1)
        parts.append(np.take_along_axis(moved, order[..., None], axis=1).reshape(draws, -1))
    return np.concatenate(parts, axis=1)


def shuffled(S: pd.DataFrame, permutations: int, seed: int, tree: Tree | None = None) -> list[np.ndarray]:
    """Where each permutation, the first of which moves nothing, takes rows [draw, target], columns [draw, source].

    Languages are exchanged with those of their role (source, target or both) in the same block of known pairs.
    """
    names = S.index.union(S.columns, sort=False)
    known = S.reindex(index=names, columns=names).notna().to_numpy()
    blocks, role = csgraph.connected_components(known)[1], 2 * names.isin(S.index) + names.isin(S.columns)
    kinds = [f"{block}-{kind}" for block, kind in zip(blocks, role)]
    leaves = [(_path(name, tree) if tree else (), kind, i) for i, (name, kind) in enumerate(zip(names, kinds))]
    moved = _turned(_grown(leaves), permutations + 1, np.random.default_rng(seed))
    order = np.empty_like(moved)
    order[:, moved[0]] = moved
    return [labels.get_indexer(names)[order[:, names.get_indexer(labels)]] for labels in (S.index, S.columns)]
