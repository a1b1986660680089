from functools import cache

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.embeddings import activations, retrieval
from helpers.steering import experts, hooks, methods, units
from helpers.steering.edits import Edit
from helpers.steering.fitting import Fitting
from helpers.steering.hooks import steered

LETTERS = {"A1": "abcdefgh", "A2": "ijklmnop", "B1": "αβγδεζηθ", "C1": "абвгдежз"}
DIRECTIONS = ("none", *methods.OF_DIRECTIONS)


def corpus(sentences=12, seed=0):
    """Parallel sentences of short words, each language in letters of its own."""
    rng, rows = np.random.default_rng(seed), []
    for sentence in range(sentences):
        meaning = rng.integers(0, 8, (rng.integers(2, 5), 3))
        for language, letters in LETTERS.items():
            text = " ".join("".join(letters[i] for i in word) for word in meaning)
            rows.append({"language": language, "sentence": sentence, "text": text})
    return pd.DataFrame(rows)


@cache
def fitting(family="llama"):
    return Fitting(tiny.language_model(family), corpus())


def flat(edits):
    return units.table(edits).sort_values(["site", "unit"]).reset_index(drop=True)


def same(first, second):
    pairs = zip(first, second, strict=True)
    return all(
        a.site == b.site
        and all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values()) if x is not a.site)
        for a, b in pairs
    )


# --- the planted case -------------------------------------------------------------------------------------------------


def planted():
    """A llama in which one unit of the first block's up_proj alone carries the language into the last layer.

    Coordinate 0 of the embeddings is +1 in one language and -1 in the other, coordinate 1 is always 1, the rest is the
    meaning. The unit reads coordinate 0; the final norm hides it; attention and the other MLPs write nothing.
    """
    lm = tiny.language_model("llama", tie_word_embeddings=False)
    body, unit = lm.model.model, 7
    pairs = [lm.tokenizer.convert_tokens_to_ids(list(word)) for word in ("qxzvw", "χωψφυ")]
    with torch.no_grad():
        embeddings = body.embed_tokens.weight
        embeddings.copy_(torch.nn.functional.normalize(embeddings))
        embeddings[:, :2] = torch.tensor([0.0, 1.0])
        embeddings[pairs[1]] = embeddings[pairs[0]]
        embeddings[pairs[0], 0], embeddings[pairs[1], 0] = 1.0, -1.0
        body.norm.weight[0] = 0.0
        for number, block in enumerate(body.layers):
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight[0] = 0.0  # nothing but the embedding is written there
            block.mlp.gate_proj.weight[:, 0] = block.mlp.up_proj.weight[:, 0] = 0.0
            if number:
                for part in block.mlp.parameters():
                    part.zero_()
        body.layers[0].mlp.up_proj.weight[unit] = 4.0 * torch.eye(tiny.HIDDEN)[0]
        body.layers[0].mlp.gate_proj.weight[unit] = 4.0 * torch.eye(tiny.HIDDEN)[1]
    rng = np.random.default_rng(0)
    meanings = [rng.permutation(5)[: 2 + number % 3] for number in range(8)]
    texts = {"A1": "qxzvw", "B1": "χωψφυ"}
    rows = [(name, n, "".join(word[i] for i in m)) for n, m in enumerate(meanings) for name, word in texts.items()]
    return lm, "model.layers.0.mlp.up_proj", unit, pd.DataFrame(rows, columns=["language", "sentence", "text"])


def apart(lm, table):
    states = activations.embed(lm, table, [-1]).parallel(-1 % (tiny.LAYERS + 1))
    return float((states[0] - states[1]).abs().max())


@pytest.mark.parametrize("value", methods.VALUES)
def test_overwriting_the_one_unit_that_carries_language_makes_embeddings_language_independent(value):
    lm, site, unit, table = planted()
    edits = methods.fit("overwrite", Fitting(lm, table), "A1", k=1, value=value)
    assert [(edit.site, edit.units.tolist()) for edit in edits] == [(site, [unit])]
    before = apart(lm, table)
    with steered(lm, edits):
        assert before > 0.1 and apart(lm, table) < 1e-6
    for control in ("random", "matched"):
        with steered(lm, methods.fit("overwrite", Fitting(lm, table), "A1", k=1, value=value, control=control)):
            assert apart(lm, table) > 0.1


# --- at the edited layer, in-model erasure is post-hoc projection -----------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "xlm_roberta"])
@pytest.mark.parametrize("block", [0, -1])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_erasure_in_the_model_equals_projection_of_the_pooled_outputs(family, block, strength):
    source = fitting(family)
    path, test = source.path(block), corpus(seed=1)
    plain = torch.tensor(activations.outputs(source.lm, test, [path])[path])
    projected = retrieval.project(plain, retrieval.subspace(source.parallel(path), rank=2))
    with steered(source.lm, methods.fit("erase", source, block=block, rank=2), strength):
        inside = activations.outputs(source.lm, test, [path])[path]
    np.testing.assert_allclose(inside, plain + strength * (projected - plain), rtol=1e-4, atol=1e-4)


def test_erasing_all_rank_makes_the_language_means_equal_and_less_rank_does_not():
    source = fitting()
    for rank, equal in ((None, True), (3, True), (1, False)):
        with steered(source.lm, methods.fit("erase", source, block=0, rank=rank)):
            means = Fitting(source.lm, source.table).parallel(source.path(0)).mean(1)
        assert np.allclose(means, means[0], atol=1e-4) == equal


def test_leace_makes_the_language_means_equal_by_an_oblique_map():
    source = fitting()
    (edit,) = methods.fit("leace", source, block=0)
    assert edit.A.shape[1] == len(LETTERS) - 1 and not torch.allclose(edit.A, -edit.B, atol=0.01)
    with steered(source.lm, [edit]):
        means = Fitting(source.lm, source.table).parallel(edit.site).mean(1)
    np.testing.assert_allclose(means, np.broadcast_to(means[0], means.shape), atol=1e-4)


def test_diffmean_moves_the_others_mean_onto_the_languages():
    source = fitting()
    (edit,) = methods.fit("diffmean", source, "B1", block=1)
    own, states = source.own("B1"), source.outputs(edit.site)
    with steered(source.lm, [edit]):
        moved = activations.outputs(source.lm, source.table, [edit.site])[edit.site]
    np.testing.assert_allclose(moved[~own].mean(0), states[own].mean(0), atol=1e-4)


# --- units ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", methods.VALUES)
def test_overwrite_takes_the_best_experts_and_their_values(value):
    source, labels = fitting(), corpus()["language"]
    chosen = experts.top(7, source.responses("max"), labels).query("language == 'B1'")
    found = flat(methods.fit("overwrite", source, "B1", k=7, value=value))
    assert set(zip(found["site"], found["unit"])) == set(zip(chosen["site"], chosen["unit"]))
    own = (labels == "B1").to_numpy()
    summary = {"median": np.median, "p90": lambda x: np.percentile(x, 90), "zero": lambda x: 0.0}.get(value, np.mean)
    answers = source.responses("mean" if value == "mean_token" else "max")
    wanted = [summary(answers[row.site][own, row.unit].astype(float)) for row in found.itertuples()]
    np.testing.assert_allclose(found["shift"], wanted, rtol=1e-6)
    assert (found["scale"] == 0).all()


@pytest.mark.parametrize("score", methods.SCORES)
@pytest.mark.parametrize("pool", ["max", "mean", "last"])
def test_factors_of_the_choice_are_passed_on(score, pool):
    """Chosen by the score, from responses of that pool, in one block; k is a share of all units of the model."""
    source, labels = fitting(), corpus()["language"]
    inside = {site: array for site, array in source.responses(pool).items() if ".1." in site}
    count = round(0.02 * sum(array.shape[1] for array in source.responses(pool).values()))
    chosen = experts.top(count, inside, labels, score=score).query("language == 'B1'")
    found = flat(methods.fit("overwrite", source, "B1", k=0.02, pool=pool, score=score, inside=1, value="p90"))
    assert set(zip(found["site"], found["unit"])) == set(zip(chosen["site"], chosen["unit"]))
    own = (labels == "B1").to_numpy()
    wanted = [np.percentile(inside[row.site][own, row.unit].astype(float), 90) for row in found.itertuples()]
    np.testing.assert_allclose(found["shift"], wanted, rtol=1e-6)
    (best,) = methods.fit("overwrite", source, "B1", k=1e-6, pool=pool, score=score)
    assert len(best.units) == 1, "a share of next to nothing is one unit"


def test_units_at_their_own_means_are_the_drawn_ones_and_stay_where_they_are():
    source, model = fitting(), units.moments(fitting().responses("mean"))
    for kind in ("random", "matched"):
        new = flat(methods.fit("overwrite", source, "A1", k=30, control=f"{kind}_own", seed=1))
        drawn = flat(methods.fit("overwrite", source, "A1", k=30, control=kind, seed=1))
        assert new[units.KEYS].equals(drawn[units.KEYS]) and (new["scale"] == 0).all()
        np.testing.assert_allclose(new["shift"], new.merge(model, on=units.KEYS)["mean"])


def test_every_control_says_what_it_rules_out():
    assert {*methods.OF_UNITS, *methods.OF_DIRECTIONS} == {*methods.CONTROLS} - {"none", "constant"}
    assert all(len(said.split()) >= 4 for said in methods.CONTROLS.values())
    with pytest.raises(LookupError, match="no control of units 'constant'"):
        methods.fit("damp", fitting(), "A1", control="constant")


def test_damp_and_aura_scale_only():
    source = fitting()
    assert (flat(methods.fit("damp", source, "A1", k=9))["scale"] == 0.5).all()
    found = flat(methods.fit("aura", source, "A1"))
    for site, part in found.groupby("site"):
        area = experts.auroc(source.responses("max")[site], source.labels).loc["A1"]
        assert part["unit"].tolist() == np.flatnonzero(area > 0.5).tolist()
        np.testing.assert_allclose(part["scale"], 1 - 2 * (area[area > 0.5] - 0.5))
    assert (found["shift"] == 0).all()


def test_transports_fit_what_their_formulas_say():
    source = fitting()
    own, responses = source.own("C1"), source.responses("mean")
    for name in ("mean_transport", "gaussian_transport", "linear_transport"):
        for edit in methods.fit(name, source, "C1"):
            x, y = (responses[edit.site][rows][:, edit.units].astype(float) for rows in (~own, own))
            moved = edit.scale.numpy() * x + edit.shift.numpy()
            np.testing.assert_allclose(moved.mean(0), y.mean(0), atol=0.1 if name == "linear_transport" else 1e-6)
            if name == "gaussian_transport":
                np.testing.assert_allclose(moved.std(0, ddof=1), y.std(0, ddof=1), rtol=1e-6)
    assert sum(len(edit.units) for edit in methods.fit("linear_transport", source, "C1", k=5)) == 5


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(1, 3), st.floats(0.1, 4), st.floats(-3, 3))
def test_linear_transport_recovers_an_increasing_affine_map(n, times, scale, shift):
    x = np.random.default_rng(n).normal(size=(n, 5))
    y = np.random.default_rng(0).permutation(scale * x + shift)
    found = units.regression(np.repeat(x, times, axis=0), y)
    np.testing.assert_allclose(found[0], scale, rtol=1e-6 if times == 1 else 0.5)
    if times == 1:
        np.testing.assert_allclose(found[1], shift, atol=1e-6)


def test_still_units_are_left_alone_by_transports():
    still = {"s": np.c_[np.ones(8), np.arange(8.0)].astype(np.float32)}
    found = [numbers for _, numbers, _ in units.pieces(still)]
    assert found[0].tolist() == [0, 1] and units.moments(still)["std"].tolist() == [0.0, np.arange(8).std()]


def test_lape_takes_units_of_few_languages_first(monkeypatch):
    labels = np.repeat(["A1", "B1", "C1"], 4)
    positive = {name: np.random.default_rng(0).uniform(0.2, 0.4, (12, 50)) for name in ("s", "t")}
    positive["t"][:, 3] = np.where(labels == "B1", 0.9, 0.0)  # B1 only
    positive["s"][:, 8] = np.where(labels == "C1", 0.0, 0.8)  # two of three
    monkeypatch.setattr(units, "_SHARE", 0.02)
    found = units.entropy(None, positive, labels)
    assert [tuple(row) for row in found[["language", "site", "unit"]].to_numpy()] == [
        ("A1", "s", 8),
        ("B1", "t", 3),
        ("B1", "s", 8),
    ]
    np.testing.assert_allclose(found["entropy"], [np.log(2), 0.0, np.log(2)], atol=1e-12)
    assert units.entropy(1, positive, labels).query("language == 'B1'")["unit"].tolist() == [3]


# --- every method and control -----------------------------------------------------------------------------------------


def kinds(name):
    return DIRECTIONS if name in ("diffmean", "erase", "leace") else ("none", *methods.OF_UNITS)


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_and_control_runs_repeats_by_seed_and_changes_no_input(name):
    source = Fitting(tiny.language_model("gpt2"), corpus())
    before = source.table.copy()
    arrays = {pool: {s: a.copy() for s, a in source.responses(pool).items()} for pool in ("max", "mean", "positive")}
    k = {"k": 2} if name not in ("aura", "diffmean", "erase", "leace") else {}
    for control in kinds(name):
        if name == "aura" and control not in ("none", "shuffled"):
            continue
        edits = methods.fit(name, source, "A1", **k, control=control, seed=3)
        assert edits and same(edits, methods.fit(name, source, "A1", **k, control=control, seed=3))
        with steered(source.lm, edits):
            assert np.isfinite(activations.embed(source.lm, source.table.head(4)).values).all()
    assert source.table.equals(before)
    assert all((source.responses(pool)[s] == a).all() for pool, sites in arrays.items() for s, a in sites.items())


@pytest.mark.parametrize("name", ["overwrite", "damp", "mean_transport"])
def test_random_and_matched_units_are_others_as_many_and_of_equal_effect(name):
    source = fitting()
    k = 40
    old = flat(methods.fit(name, source, "A1", k=k))
    model = units.moments(source.responses("mean"))
    for control in ("random", "matched"):
        new = flat(methods.fit(name, source, "A1", k=k, control=control, seed=1))
        other = flat(methods.fit(name, source, "A1", k=k, control=control, seed=2))
        assert len(new) == k and not new.equals(other)
        assert not set(zip(old["site"], old["unit"])) & set(zip(new["site"], new["unit"]))
        assert sorted(new["scale"]) == sorted(old["scale"])
        effects = []
        for rows in (old, new):
            rows = rows.merge(model, on=["site", "unit"])
            effects.append(np.sort(((rows["scale"] - 1) * rows["mean"] + rows["shift"]) / rows["std"]))
        if control == "matched":
            assert new["site"].value_counts().to_dict() == old["site"].value_counts().to_dict()
            np.testing.assert_allclose(*effects, rtol=1e-6)
        else:
            assert sorted(new["shift"]) == sorted(old["shift"])


def test_matched_units_spill_over_when_a_site_is_used_up():
    model = pd.DataFrame({"site": list("sssttttt"), "unit": [0, 1, 2, 0, 1, 2, 3, 4], "mean": 0.0, "std": 1.0})
    new = units.elsewhere([Edit("s", [0, 1], 0.0, 1.0)], model, matched=True)
    assert [(edit.site, len(edit.units)) for edit in new] == [("s", 1), ("t", 1)] and new[0].units.tolist() == [2]
    with pytest.raises(ValueError, match="5 units are edited but only 3 others vary"):
        units.elsewhere([Edit("t", range(5), 0.0, 1.0)], model, matched=False)
    with pytest.raises(ValueError, match="only 0 of the edited units are among the 8"):
        units.elsewhere([Edit("attention", [0], 0.0, 1.0)], model, matched=False)


@pytest.mark.parametrize("control", ["random", "topvariance", "shuffled"])
def test_control_subspaces_have_equal_rank_and_directions_equal_length(control):
    source = fitting()
    (plain,), (other,) = (methods.fit("erase", source, block=1, rank=2, control=c, seed=1) for c in ("none", control))
    assert other.A.shape == plain.A.shape and not torch.allclose(other.A @ other.B.T, plain.A @ plain.B.T)
    torch.testing.assert_close(other.B.T @ other.B, torch.eye(2, dtype=torch.float64))
    (plain,), (other,) = (methods.fit("diffmean", source, "A1", block=1, control=c, seed=1) for c in ("none", control))
    if control != "shuffled":
        torch.testing.assert_close(other.v.norm(), plain.v.norm())
    assert not torch.allclose(other.v, plain.v)


def test_edits_of_methods_save_fold_and_load(tmp_path):
    source = fitting("gpt2")
    edits = {name: methods.fit(name, source, "A1") for name in ("overwrite", "leace", "diffmean")}
    loaded = hooks.load(hooks.save(edits, tmp_path / "edits.safetensors"))
    assert all(same(edits[name], loaded[name]) for name in edits)
    batch = source.lm.tokenizer(["abc def"], return_tensors="pt", return_token_type_ids=False)
    with steered(source.lm, edits["overwrite"]), torch.no_grad():
        expected = source.lm.model(**batch).logits
    with torch.no_grad():
        logits = hooks.folded(source.lm, edits["overwrite"]).model(**batch).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_bad_requests_name_the_fact_and_the_next_move():
    source, alone = fitting(), Fitting(tiny.language_model("llama"), corpus().query("language == 'A1'"))
    for error, message, call in (
        (LookupError, "did you mean overwrite", lambda: methods.fit("overwite", source, "A1")),
        (LookupError, "did you mean matched", lambda: methods.fit("damp", source, "A1", control="match")),
        (LookupError, "no sentences in 'A9'; did you mean", lambda: methods.fit("damp", source, "A9")),
        (LookupError, "no sentences in None", lambda: methods.fit("mean_transport", source)),
        (
            LookupError,
            "no score 'auc'; did you mean auroc",
            lambda: methods.fit("overwrite", source, "A1", score="auc"),
        ),
        (LookupError, "no value 'avg'", lambda: methods.fit("overwrite", source, "A1", value="avg")),
        (LookupError, r"no block 3; did you mean .*tiny-llama has 3", lambda: methods.fit("erase", source, block=3)),
        (ValueError, "erase takes no k; it takes block, rank", lambda: methods.fit("erase", source, k=3)),
        (ValueError, r"k = 5000 but the 9 sites hold 480 units", lambda: methods.fit("damp", source, "A1", k=5000)),
        (ValueError, "rank 4 but 4 languages", lambda: methods.fit("erase", source, rank=4)),
        (
            LookupError,
            "no control of units 'topvariance'; did you mean .*random",
            lambda: methods.fit("damp", source, "A1", control="topvariance"),
        ),
        (
            LookupError,
            "no control of directions 'matched'; did you mean .*random",
            lambda: methods.fit("erase", source, control="matched"),
        ),
        (ValueError, "480 units are edited", lambda: methods.fit("mean_transport", source, "A1", control="random")),
        (ValueError, "12 sentences, all in A1", lambda: methods.fit("damp", alone, "A1")),
        (ValueError, "units fire for A1 but k = 400", lambda: methods.fit("lape", source, "A1", k=400)),
        (ValueError, "11 sentences in A1 but 12 in A2", lambda: methods.fit("erase", Fitting(source.lm, corpus()[1:]))),
    ):
        with pytest.raises(error, match=message):
            call()
