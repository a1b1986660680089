import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from helpers.embeddings import projection

pytestmark = pytest.mark.slow

LABELS = pd.DataFrame({"language": np.repeat(["A1", "A2", "B1"], 12), "sentence": list(range(12)) * 3})


def _states(strengths=(0, 0.5, 1), hidden: int = 8) -> dict[float, np.ndarray]:
    """Three languages far apart, which each strength brings nearer to one another."""
    rng = np.random.default_rng(0)
    centres = 5 * np.repeat(np.eye(3, hidden), 12, 0)
    noise = rng.normal(size=(36, hidden))
    return {strength: (1 - 0.5 * strength) * centres + noise + 1 for strength in strengths}


@pytest.fixture(scope="module")
def umap_map():
    return projection.maps(_states(), LABELS, neighbours=6, epochs=60)


def test_a_map_is_a_long_table_with_unique_keys(umap_map):
    assert list(umap_map) == ["strength", "language", "sentence", "x", "y"] and len(umap_map) == 3 * 36
    assert not umap_map.duplicated(["strength", "language", "sentence"]).any()
    assert umap_map["strength"].unique().tolist() == [0, 0.5, 1] and np.isfinite(umap_map[["x", "y"]]).all(axis=None)


def test_umap_keeps_languages_apart_and_repeats_with_its_seed(umap_map):
    start = umap_map.query("strength == 0")
    middles = start.groupby("language")[["x", "y"]].transform("mean")
    within = np.linalg.norm(start[["x", "y"]] - middles, axis=1).mean()
    between = np.linalg.norm(middles - start[["x", "y"]].mean(), axis=1).mean()
    assert between > 2 * within
    pd.testing.assert_frame_equal(umap_map, projection.maps(_states(), LABELS, neighbours=6, epochs=60))


def test_all_strengths_share_one_layout():
    same = _states((0,))[0]
    table = projection.maps({0: same, 1: same.copy()}, LABELS, method="pca")
    start, end = (table.query("strength == @s")[["x", "y"]].to_numpy() for s in (0, 1))
    np.testing.assert_allclose(start, end, atol=1e-5)


def test_pca_is_that_of_the_stack():
    states = _states()
    stack = np.concatenate(list(states.values()))
    flat = projection.maps(states, LABELS, method="pca")[["x", "y"]].to_numpy()
    np.testing.assert_allclose(flat, PCA(2, svd_solver="full").fit_transform(stack), atol=1e-3)


def test_equal_and_few_dimensional_states_still_make_a_map():
    flat = projection.maps({0: np.ones((36, 1))}, LABELS, method="pca")
    assert (flat[["x", "y"]] == 0).all(axis=None)
    assert np.isfinite(projection.maps({0: np.ones((36, 4))}, LABELS, neighbours=4, epochs=10)["x"]).all()


def test_a_graph_counts_each_other_row_once_and_ties_a_row_to_itself():
    states = np.stack([*_states((0, 0.01, 0.02)).values()])
    states /= np.linalg.norm(states, axis=2, keepdims=True)
    found, distances = projection._others(states, 1, 6)
    assert (found[:, 0] == np.arange(36, 72)).all() and (np.diff(distances, axis=1) >= 0).all()
    assert all(len({place % 36 for place in row}) == 6 for row in found)
    every = (1 - np.einsum("rh,gsh->grs", states[1], states)).min(0)
    nearest = np.sort(np.where(np.eye(36, dtype=bool), 0, every), axis=1)[:, :6]
    np.testing.assert_allclose(distances, nearest, atol=1e-6)
    graph = projection._graph(states, 6, 0).toarray()
    assert (graph == graph.T).all() and graph[np.arange(72), np.arange(36, 108)] == pytest.approx(projection._TIE)


def test_states_are_not_touched():
    states = _states()
    projection.maps(states, LABELS, method="pca")
    np.testing.assert_array_equal(states[1], _states()[1])


def test_a_faithful_map_is_trusted_and_a_shuffled_one_is_not():
    around = {strength: np.random.default_rng(strength).uniform(0, 2 * np.pi, 36) for strength in (0, 1)}
    states = {strength: np.stack([np.cos(a), np.sin(a)], 1) for strength, a in around.items()}
    faithful = projection.maps(states, LABELS, method="pca")
    shuffled = faithful.assign(x=np.random.default_rng(0).permutation(faithful["x"]))
    values = projection.trustworthiness(states, faithful)
    assert values["strength"].tolist() == [0, 1] and (values["trustworthiness"] > 0.999).all()
    assert (projection.trustworthiness(states, shuffled)["trustworthiness"] < 0.9).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda states: states | {2: states[1][:9]}, "36 rows of the table but states"),
        (lambda states: {}, "36 rows"),
        (lambda states: states | {2: states[1] * np.inf}, r"NaN or infinite states at 1 of 4 strengths: \[2.0\]"),
        (lambda states: states | {2: states[1] * 0}, "36 zero vectors"),
    ],
)
def test_states_that_make_no_map_are_refused(change, message):
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        projection.maps(change(_states()), LABELS)


def test_too_few_rows_and_unknown_methods_are_named():
    with pytest.raises(ValueError, match="3 rows for 15 neighbours"):
        projection.maps({0: np.ones((3, 4))}, LABELS.head(3))
    with pytest.raises(LookupError, match="'umpa'; did you mean umap"):
        projection.maps(_states(), LABELS, method="umpa")


@settings(max_examples=25, deadline=None)
@given(st.floats(-1, 2))
def test_a_point_moves_on_a_line_between_grid_points(strength):
    grid = [-1.0, 0.0, 0.5, 2.0]
    table = pd.DataFrame({"strength": np.repeat(grid, 2), "sentence": [0, 1] * 4})
    table["x"], table["y"] = 3 * table["strength"] + table["sentence"], table["strength"].abs()
    found = projection.interpolated(table, strength)
    np.testing.assert_allclose(found["x"], 3 * strength + np.array([0, 1]), atol=1e-12)
    np.testing.assert_allclose(found["y"], np.interp(strength, grid, np.abs(grid)), atol=1e-12)
    assert (found["strength"] == strength).all() and list(found) == list(table)


def test_a_strength_of_the_grid_gives_its_rows(umap_map):
    for strength in (0, 0.5, 1):
        there = umap_map.query("strength == @strength").reset_index(drop=True)
        pd.testing.assert_frame_equal(projection.interpolated(umap_map, strength), there)


def test_strengths_outside_and_rows_that_differ_are_refused(umap_map):
    for strength in (1.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1; stay inside"):
            projection.interpolated(umap_map, strength)
    with pytest.raises(ValueError, match="36 rows at 0 are not the 35 at 0.5"):
        projection.interpolated(umap_map.drop(40), 0.2)


def test_a_map_leaves_the_threads_of_torch_as_they_were():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        rows = np.random.default_rng(0).normal(size=(40, 8))
        projection.maps({0.0: rows, 1.0: rows + 1}, pd.DataFrame({"row": range(40)}), epochs=5)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
