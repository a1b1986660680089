"""The highest dependency tree that scores allow, found exactly (Chu and Liu 1965, Edmonds 1967), with one root.

One idea: most sentences need no search, because every word's best head already makes a tree; the others are solved by
contracting cycles in compiled loops.
"""

import numpy as np
from numba import njit


def decode(scores: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """For each sentence the heads [word] of its highest tree with one root; scores [sentence, dependent, head].

    Most sentences need no search: where every word's best head already makes a tree, no tree is higher.
    """
    best = scores.argmax(2)
    word = np.arange(scores.shape[1])[None] < lengths[:, None]
    best = np.where(word, best, 0)
    above = np.concatenate([np.zeros((len(best), 1), int), best], 1)
    for _ in range(int(np.ceil(np.log2(above.shape[1])))):
        above = np.take_along_axis(above, above, 1)
    tree = (above == 0).all(1) & ((best == 0) & word).sum(1).__eq__(1)
    return [
        heads[:n] if fine else maximum_tree(table[:n, : n + 1])
        for heads, n, fine, table in zip(best, lengths, tree, scores)
    ]


def maximum_tree(scores: np.ndarray) -> np.ndarray:
    """Heads [word] of the highest spanning tree with one root (Chu and Liu, Edmonds); scores [word, 1 + word].

    Column 0 is the root, column 1 + i the i-th word. A penalty that outweighs all other scores keeps a second root out.
    """
    n = len(scores)
    square = np.full((n + 1, n + 1), -np.inf)
    square[1:] = scores
    square[1:, 0] -= 1 + n * (scores.max() - scores.min())
    np.fill_diagonal(square, -np.inf)
    return _arborescence(square)[1:]


@njit(nogil=True, cache=True)
def _arborescence(scores: np.ndarray) -> np.ndarray:
    """Heads of the highest tree out of node 0; scores [node, head], overwritten.

    Every node takes its best head; a cycle becomes one node, which pays for the edge that it gives up, and so on until
    no cycle is left. `ends` keeps the two words that an edge between such nodes stands for.
    """
    size = len(scores)
    ends = np.empty((2, size, size), np.int64)
    for i in range(size):
        ends[0, i], ends[1, :, i] = i, i
    node = np.arange(size)  # the node that each word is part of
    nodes, inside = np.empty((size, size), np.int64), np.zeros((size, size), np.bool_)
    given = np.empty((size, 2, size), np.int64)
    level = 0
    while True:
        best = _best(scores, node)
        cycle = _cycle(best, node)
        nodes[level], inside[level] = node, cycle
        for v in range(size):
            given[level, 0, v], given[level, 1, v] = ends[0, v, best[v]], ends[1, v, best[v]]
        if not cycle.any():
            break
        _contract(scores, ends, node, best, cycle)
        level += 1
    return _unfolded(nodes[: level + 1], inside, given)


@njit(nogil=True, cache=True)
def _best(scores: np.ndarray, node: np.ndarray) -> np.ndarray:
    """The best head of every node that is left, 0 for all others."""
    best = np.zeros(len(node), np.int64)
    for v in range(1, len(node)):
        if node[v] == v:
            for h in range(len(node)):
                if node[h] == h and h != v and (best[v] == v or scores[v, h] > scores[v, best[v]]):
                    best[v] = h
    return best


@njit(nogil=True, cache=True)
def _cycle(best: np.ndarray, node: np.ndarray) -> np.ndarray:
    """Which nodes make up one cycle of best heads; none where all lead to node 0."""
    seen, cycle = np.zeros(len(best), np.int64), np.zeros(len(best), np.bool_)
    for start in range(1, len(best)):
        v = start
        while v and not seen[v] and node[v] == v:
            seen[v], v = start, best[v]
        if v and node[v] == v and seen[v] == start:
            while not cycle[v]:
                cycle[v], v = True, best[v]
            return cycle
    return cycle


@njit(nogil=True, cache=True)
def _contract(scores: np.ndarray, ends: np.ndarray, node: np.ndarray, best: np.ndarray, cycle: np.ndarray) -> None:
    """The cycle becomes its first node, in place: edges into it and out of it keep their best ends."""
    first = np.argmax(cycle)
    for v in range(len(node)):
        if node[v] != v or cycle[v]:
            continue
        into, out, entering, leaving = -np.inf, -np.inf, first, first
        for u in range(len(node)):
            if cycle[u]:
                if scores[u, v] - scores[u, best[u]] > into:
                    into, entering = scores[u, v] - scores[u, best[u]], u
                if scores[v, u] > out:
                    out, leaving = scores[v, u], u
        ends[:, first, v], ends[:, v, first] = ends[:, entering, v], ends[:, v, leaving]
        scores[first, v], scores[v, first] = into, out
    for w in range(len(node)):
        if cycle[node[w]]:
            node[w] = first


@njit(nogil=True, cache=True)
def _unfolded(nodes: np.ndarray, inside: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Heads of all words: a cycle keeps the edges of its nodes, but for the one where it is entered."""
    size, last = nodes.shape[1], len(nodes) - 1
    heads = np.full(size, -1, np.int64)
    for v in range(1, size):
        if nodes[last, v] == v:
            heads[given[last, 0, v]] = given[last, 1, v]
    for level in range(last - 1, -1, -1):
        entry = -1
        for w in range(1, size):
            if heads[w] >= 0 and inside[level, nodes[level, w]]:
                entry = nodes[level, w]
        for v in range(size):
            if inside[level, v] and v != entry:
                heads[given[level, 0, v]] = given[level, 1, v]
    heads[0] = 0
    return heads
