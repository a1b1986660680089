"""Trees are the highest ones, and the parser learns what a toy grammar says."""

import networkx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers.transfer import parsing


def _by_networkx(scores):
    """Weight of the highest tree with one root: networkx's arborescence, one try for each root."""
    n, best = len(scores), -np.inf
    for root in range(n):
        graph = networkx.DiGraph()
        graph.add_edge(-1, root, weight=scores[root, 0])
        edges = [(h, d, scores[d, 1 + h]) for d in range(n) for h in range(n) if h != d and d != root]
        graph.add_weighted_edges_from(edges)
        tree = networkx.maximum_spanning_arborescence(graph)
        best = max(best, sum(data["weight"] for _, _, data in tree.edges(data=True)))
    return best


def _weight(scores, heads):
    return scores[np.arange(len(scores)), heads].sum()


def _is_tree(heads):
    above = np.concatenate([[0], heads])
    for _ in heads:
        above = above[above]
    return not above.any() and (heads == 0).sum() == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7).flatmap(lambda n: arrays(float, (n, n + 1), elements=st.integers(-9, 9).map(float))))
def test_the_tree_is_as_high_as_networkx_finds(scores):
    heads = parsing.maximum_tree(scores)
    assert _is_tree(heads)
    assert _weight(scores, heads) == pytest.approx(_by_networkx(scores))


def test_long_sentences_get_trees_no_lower_than_networkx_s():
    scores = np.random.default_rng(0).normal(size=(12, 13))
    assert _weight(scores, parsing.maximum_tree(scores)) == pytest.approx(_by_networkx(scores))


def test_a_batch_is_decoded_sentence_by_sentence_whatever_the_padding_holds():
    rng = np.random.default_rng(1)
    lengths = np.array([5, 1, 3, 5])
    scores = rng.normal(size=(4, 5, 6))
    for heads, n, table in zip(parsing.decode(scores, lengths), lengths, scores):
        assert _is_tree(heads)
        assert _weight(table[:n, : n + 1], heads) == pytest.approx(_by_networkx(table[:n, : n + 1]))


def _toy(sentences, seed):
    """Verb last or not, by chance; nouns depend on the verb: the last one before it is obj, the others nsubj:first."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(sentences):
        n = int(rng.integers(2, 5))
        rows += [("x", i, t + 1, f"n{rng.integers(9)}", "NOUN", n + 1, "obj" if t == n - 1 else "nsubj:first")
                 for t in range(n)] + [("x", i, n + 1, f"v{rng.integers(9)}", "VERB", 0, "root")]  # fmt: skip
    return pd.DataFrame(rows, columns=["language", "sentence", "token", "form", "upos", "head", "deprel"])


SMALL = parsing.Settings(word=16, tag=8, state=16, arc=16, relation=8, epochs=12, rate=2e-2)


@pytest.mark.parametrize("tags", [True, False])
def test_a_toy_grammar_is_learnt(tags):
    train, test = _toy(80, 0), _toy(30, 1)
    made = [np.random.default_rng(5).normal(size=(256, 20)).astype(np.float32)[t.form.map(lambda f: hash(f[0]) % 256)]
            for t in (train, test)]  # fmt: skip
    parser = parsing.fit(made[0], train, tags=tags, settings=SMALL)
    heads, relations = parsing.predict(parser, made[1], test)
    assert (heads == test["head"]).mean() > 0.95
    assert set(relations) <= {"nsubj", "obj", "root"}
    assert (relations == parsing.universal(test["deprel"])).mean() > 0.9


def test_the_same_seed_gives_the_same_parser_and_leaves_the_global_state():
    import torch

    train = _toy(10, 0)
    words = np.eye(len(train), 12, dtype=np.float32)
    before = torch.random.get_rng_state()
    quick = parsing.Settings(word=4, tag=4, state=4, arc=4, relation=4, epochs=1)
    one, two = (parsing.fit(words, train, seed=3, settings=quick) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one.state_dict().values(), two.state_dict().values()))
    assert (before == torch.random.get_rng_state()).all()


def test_words_and_rows_must_be_as_many():
    with pytest.raises(ValueError, match="3 word vectors but"):
        parsing.fit(np.zeros((3, 2), np.float32), _toy(2, 0), settings=SMALL)
