import math
from pathlib import Path

import hypothesis.extra.numpy as arrays
import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.abx import counting, scoring

DATA = Path(__file__).parent / "data"
KEYS = ["variant", "distance", "centre", "p", "q"]


def names(embeddings):
    return [f"A{n}" for n in range(1, len(embeddings) + 1)]


def gaussian(languages=3, sentences=7, hidden=5, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(languages, sentences, hidden)).astype(dtype)


def matrix(embeddings, variant, **options):
    table = scoring.scores(embeddings, names(embeddings), [variant], **options)
    wide = table.pivot(index="p", columns="q", values="accuracy")
    return wide.reindex(index=names(embeddings), columns=names(embeddings)).to_numpy()


def phi(z):
    return 0.5 + 0.5 * math.erf(z / math.sqrt(2))


@pytest.mark.parametrize("variant", scoring.VARIANTS)
@pytest.mark.parametrize("distance", counting.DISTANCES)
def test_every_variant_equals_the_loop_over_triples(variant, distance):
    embeddings = gaussian()
    expected = oracles.abx_accuracy(embeddings, variant, distance)
    np.testing.assert_allclose(matrix(embeddings, variant, distance=distance), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", scoring.VARIANTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_ties_count_one_half(variant, dtype):
    signs = np.sign(gaussian(3, 6, 16)).astype(dtype)  # length 4: products are exact in binary
    signs[:, 4], signs[1, 2], signs[2, 3] = signs[:, 1], signs[0, 2], signs[0, 0]
    expected = oracles.abx_accuracy(signs.astype(float), variant)
    np.testing.assert_allclose(matrix(signs, variant), expected, rtol=0, atol=1e-12)
    expected = oracles.abx_accuracy(signs.astype(float), variant, "euclidean")
    np.testing.assert_allclose(matrix(signs, variant, distance="euclidean"), expected, rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(2, 3), st.integers(3, 5), st.integers(1, 3)),
        elements=st.integers(-2, 2).map(float),
    )
)
def test_whole_numbers_tie_exactly_in_every_variant(embeddings):
    for variant in scoring.VARIANTS:
        expected = oracles.abx_accuracy(embeddings, variant, "euclidean")
        np.testing.assert_allclose(matrix(embeddings, variant, distance="euclidean"), expected, rtol=0, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(scoring.VARIANTS), st.sampled_from(counting.DISTANCES))
def test_order_scale_and_rotation_change_nothing(seed, variant, distance):
    embeddings, rng = gaussian(3, 6, 4, seed), np.random.default_rng(seed + 1)
    before = matrix(embeddings, variant, distance=distance)
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    moved = 3.7 * embeddings[:, rng.permutation(6)] @ rotation
    np.testing.assert_allclose(matrix(moved, variant, distance=distance), before, atol=1e-12)
    order = rng.permutation(3)
    np.testing.assert_allclose(matrix(embeddings[order], variant, distance=distance), before[order][:, order])
    if distance == "euclidean":
        np.testing.assert_allclose(matrix(embeddings + 1e4, variant, distance=distance), before, atol=1e-12)


def test_equal_columns_tie_even_where_a_product_is_uneven_at_its_edge(monkeypatch):
    product = torch.mm

    def uneven(a, b, out):
        product(a, b, out=out)
        out[:, -3:] += 1e-6
        return out

    monkeypatch.setattr(torch, "mm", uneven)
    embeddings = np.repeat(gaussian(2, 1, 5, dtype=np.float32), 9, axis=1)  # each language says one thing only
    assert np.nanmin(matrix(embeddings, "meaning")) == np.nanmax(matrix(embeddings, "meaning")) == 0.5
    embeddings[1] = embeddings[0]
    table = scoring.scores(embeddings, ["A1", "A2"], scoring.VARIANTS)
    assert (table["accuracy"] == 0.5).all()


def test_blocks_of_a_few_rows_count_the_same(monkeypatch):
    embeddings = gaussian(3, 11, 4)
    whole = scoring.scores(embeddings, names(embeddings), scoring.VARIANTS)
    blocks = counting.blocks
    monkeypatch.setattr(counting, "blocks", lambda points, width=1: blocks(points, width=2**25 / (33 * 8 * 4)))
    pd.testing.assert_frame_equal(scoring.scores(embeddings, names(embeddings), scoring.VARIANTS), whole)


def test_fastabx_gave_the_same_numbers():
    features = pd.read_csv(DATA / "fastabx-features.csv").set_index(["language", "sentence"])
    embeddings = features.to_numpy(np.float32).reshape(4, 10, 6)
    expected = pd.read_csv(DATA / "fastabx-0.9.0.csv", comment="#")
    for (variant, distance), table in expected.groupby(["variant", "distance"]):
        wide = table.pivot(index="p", columns="q", values="accuracy")
        np.testing.assert_allclose(matrix(embeddings, variant, distance=distance), wide, rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant, on, across", [("meaning", "sentence", "language"), ("form", "language", "sentence")])
def test_fastabx_gives_the_same_mean(variant, on, across):
    fastabx = pytest.importorskip("fastabx", reason="fastabx needs Python 3.12")
    embeddings = gaussian(3, 6, 5, dtype=np.float32)
    language, sentence = np.indices((3, 6)).reshape(2, -1)
    labels = {"language": language.tolist(), "sentence": sentence.tolist()}
    dataset = fastabx.Dataset.from_numpy(embeddings.reshape(18, 5).copy(), labels)
    score = fastabx.Score(fastabx.Task(dataset, on=on, across=[across]), "angular")
    ours = scoring.scores(embeddings, names(embeddings), [variant], distance="angular")["accuracy"].mean()
    assert 1 - score.collapse(levels=[across]) == pytest.approx(ours, abs=1e-6)


def test_meaning_of_gaussians_has_its_closed_form():
    """Sentence m ~ N(0, 1), noise ~ N(0, s^2), on a line: the two distances are jointly normal (arcsine law)."""
    rng, s = np.random.default_rng(0), 0.5
    embeddings = rng.normal(size=(1, 1500, 1)) + s * rng.normal(size=(4, 1500, 1))
    correlation = 1 / math.sqrt((1 + s**2) * (1 + 3 * s**2))
    values = scoring.meaning(embeddings, list("pqrs"), distance="euclidean").to_numpy()
    assert np.nanmean(values) == pytest.approx(0.5 + math.asin(correlation) / math.pi, abs=0.01)


def test_form_of_gaussians_has_its_closed_form():
    """The same line with the languages set apart by delta: then b - a and a + b - 2x are independent."""
    rng, s, delta = np.random.default_rng(0), 0.5, 0.8
    embeddings = rng.normal(size=(1, 1500, 1)) + s * rng.normal(size=(2, 1500, 1))
    embeddings[1] += delta
    near, far = phi(delta / math.sqrt(2 * s**2)), phi(delta / math.sqrt(8 + 6 * s**2))
    values = scoring.form(embeddings, ["p", "q"], distance="euclidean").to_numpy()
    assert np.nanmean(values) == pytest.approx(near * far + (1 - near) * (1 - far), abs=0.015)


def test_form_all_of_gaussians_has_its_closed_form():
    rng, delta = np.random.default_rng(0), 1.5
    embeddings = rng.normal(size=(2, 800, 1))
    embeddings[1] += delta
    expected = 0.5 + 0.5 * math.erf(delta / 2) * math.erf(delta / (2 * math.sqrt(3)))
    table = scoring.scores(embeddings, ["p", "q"], ["form_all", "form_all_different"], distance="euclidean")
    means = table.groupby("variant")["accuracy"].mean()
    assert len(means) == 2 and means.to_numpy() == pytest.approx(expected, abs=0.02)


def test_perfect_separation_inversion_and_chance():
    sentences, languages = np.eye(8), np.eye(3)
    told_by_meaning = np.stack([np.hstack([sentences, 0.1 * np.tile(row, (8, 1))]) for row in languages])
    assert np.nanmin(matrix(told_by_meaning, "meaning")) == np.nanmin(matrix(told_by_meaning, "conflict")) == 1
    told_by_form = np.stack([np.hstack([0.1 * sentences, np.tile(row, (8, 1))]) for row in languages])
    assert np.nanmin(matrix(told_by_form, "form")) == 1 and np.nanmax(matrix(told_by_form, "conflict")) == 0
    crossed = np.array([[[1.0, 0], [-1, 0]], [[-1, 0], [1, 0]]])  # every translation is the opposite
    assert np.nanmax(matrix(crossed, "meaning")) == np.nanmax(matrix(crossed, "form")) == 0
    noise = scoring.scores(gaussian(4, 150, 20), list("pqrs"), scoring.VARIANTS).groupby("variant")["accuracy"].mean()
    assert noise.between(0.47, 0.53).all()


def test_meaning_is_the_mean_rank_of_the_translation():
    p, q = gaussian(2, 30, 6)
    near = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (p / np.linalg.norm(p, axis=1, keepdims=True)).T
    ranks = (near >= near.diagonal()[:, None]).sum(1)
    assert scoring.meaning(np.stack([p, q]), ["p", "q"]).loc["p", "q"] == pytest.approx((30 - ranks.mean()) / 29)


def test_matrices_are_oriented_as_documented_and_leave_the_diagonal_open():
    embeddings = gaussian()
    for variant, function in (("meaning", scoring.meaning), ("form", scoring.form)):
        table = function(embeddings, ["x", "a", "m"])
        assert list(table.index) == list(table.columns) == ["x", "a", "m"]
        np.testing.assert_allclose(table, oracles.abx_accuracy(embeddings, variant), atol=1e-12)


def test_centring_is_named_and_is_what_it_says():
    embeddings = gaussian() + 3
    options = {"none": embeddings, "language": embeddings - embeddings.mean(1, keepdims=True)}
    for centre, values in options.items():
        table = scoring.scores(embeddings, names(embeddings), ["form"], centre=centre)
        assert set(table["centre"]) == {centre} and list(table.columns) == [*KEYS, "accuracy"]
        np.testing.assert_allclose(matrix(values, "form"), matrix(embeddings, "form", centre=centre), atol=1e-12)


def test_keys_are_unique():
    table = scoring.scores(gaussian(4), list("dacb"), scoring.VARIANTS)
    assert len(table) == 5 * 12 and not table.duplicated(KEYS).any()


def test_bootstrap_with_every_weight_one_is_the_score_itself():
    embeddings = gaussian(3, 9)
    once = scoring.bootstrap(embeddings, list("pqr"), np.ones((1, 9), int))
    assert list(once) == ["meaning", "form", "conflict"]
    for variant, values in once.items():
        np.testing.assert_array_equal(values[0], matrix(embeddings, variant))


@pytest.mark.parametrize("variant", ["meaning", "form", "conflict"])
def test_bootstrap_equals_weighted_triples(variant):
    embeddings = gaussian(2, 6, dtype=np.float32)
    weights = np.random.default_rng(1).multinomial(6, [1 / 6] * 6, size=3)
    drawn = scoring.bootstrap(embeddings, ["A1", "A2"], weights)[variant]
    for values, weight in zip(drawn, weights, strict=True):
        expected = oracles.abx_accuracy(embeddings.astype(float), variant, weights=weight)
        np.testing.assert_allclose(values, expected, atol=1e-12)


def test_null_equals_scores_of_shuffled_sentences_and_lies_around_chance():
    embeddings = gaussian(3, 20, 4)
    order = np.random.default_rng(5).permuted(np.tile(np.arange(20), (3, 3, 1)), axis=2)
    drawn = scoring.null(embeddings, names(embeddings), 3, seed=5)
    for values, rows in zip(drawn, order, strict=True):
        shuffled = np.stack([values[row] for values, row in zip(embeddings, rows)])
        np.testing.assert_allclose(values, matrix(shuffled, "meaning"), atol=1e-12)
    told = np.repeat(gaussian(1, 20, 8), 3, axis=0)
    assert np.nanmin(matrix(told, "meaning")) == 1
    assert abs(np.nanmean(scoring.null(told, list("pqr"), 50)) - 0.5) < 0.02


def test_input_is_never_changed_and_precision_is_given_back():
    embeddings = torch.tensor(gaussian(dtype=np.float32))
    before = embeddings.clone()
    exact = scoring.scores(embeddings, names(embeddings), scoring.VARIANTS)
    torch.set_float32_matmul_precision("medium")
    try:
        coarse = scoring.scores(embeddings, names(embeddings), scoring.VARIANTS)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    pd.testing.assert_frame_equal(coarse, exact)
    for distance in counting.DISTANCES:
        scoring.scores(embeddings, names(embeddings), distance=distance, centre="language")
        scoring.bootstrap(embeddings, names(embeddings), np.ones((1, 7), int), distance=distance)
    scoring.null(embeddings, names(embeddings), 2)
    assert torch.equal(embeddings, before)


def test_a_read_only_array_and_a_tensor_with_a_gradient_are_welcome():
    embeddings = gaussian()
    expected = matrix(embeddings, "form")
    embeddings.setflags(write=False)
    np.testing.assert_array_equal(matrix(embeddings, "form"), expected)
    np.testing.assert_array_equal(matrix(torch.tensor(embeddings).requires_grad_(), "form"), expected)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda e: e.astype(np.float16), "float16, too coarse"),
        (lambda e: torch.tensor(e).bfloat16(), "bfloat16, too coarse"),
        (lambda e: e[:2], r"3 distinct languages but embeddings of shape \[2, 7, 5\]"),
        (lambda e: e[:, :1], r"shape \[3, 1, 5\]; .* two sentences at least"),
        (lambda e: np.where(e == e[1, 2, 3], np.nan, e), "1 of 105 values are NaN .* 'A2', row 2"),
        (lambda e: np.where(e == e[1, 2, 3], np.inf, e), "1 of 105 values are NaN or infinite"),
        (lambda e: e * (np.arange(7) != 4)[:, None], r"3 of 21 vectors have no direction, first in .*'A1', row 4"),
        (lambda e: e[..., :1], "1 hidden dimension has no angles"),
    ],
)
def test_bad_embeddings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        scoring.scores(change(gaussian()), ["A1", "A2", "A3"])


def test_equal_vectors_have_no_direction_once_centred():
    embeddings = gaussian(2, 7, 5) + 0.1
    embeddings[1] = embeddings[1, 0]
    with pytest.raises(ValueError, match="7 of 14 vectors have no direction"):
        scoring.scores(embeddings, ["A1", "A2"], centre="language")


def test_bad_names_and_weights_are_refused():
    embeddings = gaussian()
    with pytest.raises(LookupError, match="no variant 'froms'; did you mean form"):
        scoring.scores(embeddings, names(embeddings), ["froms"])
    with pytest.raises(LookupError, match="no distance 'euclid'; did you mean euclidean"):
        scoring.meaning(embeddings, names(embeddings), distance="euclid")
    with pytest.raises(LookupError, match="no centring"):
        scoring.scores(embeddings, names(embeddings), centre="per_language")
    with pytest.raises(ValueError, match=r"2 distinct languages but embeddings of shape \[3, 7, 5\]"):
        scoring.scores(embeddings, ["A1", "A1", "A2"])
    with pytest.raises(ValueError, match=r"weights \[1, 6\] for 7 sentences"):
        scoring.bootstrap(embeddings, names(embeddings), np.ones((1, 6), int))
    with pytest.raises(ValueError, match=r"weights \[1, 7\] for 7 sentences; each replicate must draw 2"):
        scoring.bootstrap(embeddings, names(embeddings), np.array([[7, 0, 0, 0, 0, 0, 0]]))
    with pytest.raises(ValueError, match="compares 3 sentences but there are 2"):
        scoring.scores(embeddings[:, :2], names(embeddings), ["form_all_different"])


def test_surface_sees_shared_characters_and_lengths():
    texts = {"p": ["the red house", "a bird", "we sleep here"], "q": ["the red haus", "an birde", "wee sleep heer"]}
    rows = [(language, n, text) for language in texts for n, text in enumerate(texts[language])]
    table = pd.DataFrame(rows, columns=["language", "sentence", "text"])
    (_, lengths), (_, grams) = scoring.surface(table).values()
    assert grams.shape == (2, 3, 4096) and grams[0, 0].sum() == len(" the red house ") - 2
    assert scoring.meaning(grams, ["p", "q"]).loc["p", "q"] == 1
    assert lengths[:, :, 0].tolist() == [[13, 6, 13], [12, 8, 14]]
    assert scoring.meaning(lengths, ["p", "q"], distance="euclidean").loc["p", "q"] == pytest.approx(5 / 6)
