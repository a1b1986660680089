import json

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from helpers import models
from helpers.embeddings import activations
from helpers.models import parts
from helpers.running import cli
from helpers.steering import hooks
from helpers.steering.hooks import Edit, LowRank, folded, steered

FAMILIES = ("llama", "gpt2", "bloom", "gpt_neox", "cohere", "gemma", "qwen2", "xlm_roberta")
GENERATOR = np.random.default_rng(0)
TABLE = pd.DataFrame({"language": "A1", "sentence": range(len(tiny.SENTENCES)), "text": tiny.SENTENCES})


def inputs(lm, side="right"):
    lm.tokenizer.padding_side = side
    return lm.tokenizer(tiny.SENTENCES[:4], return_tensors="pt", padding=True, return_token_type_ids=False)


def run(lm, **options):
    with torch.no_grad():
        return lm.model(**inputs(lm), **options).logits


def site(lm, number=1):
    return list(models.sites(lm))[number]


def block_path(lm, number=0):
    return list(models.blocks(lm))[number]


def read(lm, path, batch):
    """The output of one module, as a hook that was there before any steering sees it."""
    seen = []
    handle = lm.model.get_submodule(path).register_forward_hook(lambda _, args, out: seen.append(parts.hidden(out)))
    with torch.no_grad():
        lm.model(**batch)
    handle.remove()
    return seen[0]


def unit_edits(lm, k=3):
    """Overwritten, damped and transported units of several sites, with one site wholly rescaled."""
    sites = list(models.sites(lm))
    few = [Edit(path, range(k), [0.0, 0.5, 1.5], [1.0, 0.0, -0.5]) for path in sites[:-1]]
    return [*few, Edit(sites[-1], range(tiny.HIDDEN), 0.7, 0.1)]


def direction(path, rank=2, hidden=tiny.HIDDEN):
    A, B = GENERATOR.normal(size=(2, hidden, rank)) / 4
    return LowRank(path, A, B, GENERATOR.normal(size=hidden), GENERATOR.normal(size=hidden))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_changed_inside_and_bit_equal_after_leaving(family):
    lm = tiny.language_model(family)
    before = run(lm)
    with steered(lm, [*unit_edits(lm), direction(block_path(lm, 1))]):
        assert not torch.equal(run(lm), before)
    assert torch.equal(run(lm), before)
    with steered(lm, [*unit_edits(lm), direction(block_path(lm, 1))], strength=0.0):
        assert torch.equal(run(lm), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_folded_equals_steered_and_leaves_the_model_alone(family):
    lm = tiny.language_model(family)
    edits = [*unit_edits(lm), direction(site(lm, -1))]
    before, weights = run(lm), models.identity(lm)["weights"]
    with steered(lm, edits, 0.8):
        expected = run(lm)
    fold = folded(lm, edits, 0.8)
    torch.testing.assert_close(run(fold), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(run(lm), before) and models.identity(lm)["weights"] == weights
    shared = {id(p) for p in lm.model.parameters()} & {id(p) for p in fold.model.parameters()}
    assert len(shared) >= len(list(lm.model.parameters())) - 2 * len(models.sites(lm))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_folded_model_reloads_equal_or_saving_is_refused_by_name(family, tmp_path):
    lm = tiny.language_model(family)
    fold = folded(lm, [Edit(site(lm), [0, 5], 0.0, [2.0, -3.0])])
    if family in ("cohere", "gemma", "qwen2"):
        for write in (tiny.save, lambda lm, folder: lm.model.save_pretrained(folder)):
            with pytest.raises(ValueError, match=f"1 biases.*{site(lm)}.bias"):
                write(fold, tmp_path)
    else:
        again = models.load(str(tiny.save(fold, tmp_path)))
        assert torch.equal(run(again), run(fold)) and not torch.equal(run(again), run(lm))
        assert models.identity(again)["weights"] == models.identity(fold)["weights"]


def test_damping_a_linear_without_bias_adds_none_so_it_saves_everywhere(tmp_path):
    lm = tiny.language_model("gemma")
    fold = folded(lm, [Edit(site(lm), [0, 5], 0.5, 0.0)])
    assert set(fold.model.state_dict()) == set(lm.model.state_dict())
    assert torch.equal(run(models.load(str(tiny.save(fold, tmp_path)))), run(fold))


def test_llamas_switch_is_set_in_the_folded_configuration_only():
    lm = tiny.language_model("llama")
    fold = folded(lm, [Edit(site(lm), [0], 0.0, 1.0)])
    assert fold.model.config.mlp_bias and not lm.model.config.mlp_bias and not fold.model.config.attention_bias


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_half_and_folds_to_its_own_accuracy(family, dtype):
    lm = tiny.language_model(family)
    lm.model.to(dtype)
    block = block_path(lm, 0)
    edits = [Edit(site(lm), [1, 2], 0.0, 1.0), Edit(site(lm, 2), range(20), 0.5, 0.25)]
    with steered(lm, [*edits, direction(block)]):
        assert run(lm).dtype == dtype and read(lm, site(lm), inputs(lm))[..., 1].eq(1).all()
    with steered(lm, edits):
        expected = run(lm).float()
    error = (run(folded(lm, edits)).float() - expected).abs().max()
    assert error < 0.1 * expected.abs().max()


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_an_edit_means_what_it_says(family):
    lm = tiny.language_model(family)
    path, block, batch = site(lm), block_path(lm, 1), inputs(lm)
    h, r, edit = read(lm, path, batch), read(lm, block, batch), direction(block_path(lm, 1))
    with steered(lm, [Edit(path, [4, 2], [0.5, 0.0], [1.0, -7.0])], strength=2.0):
        moved = read(lm, path, batch)
    torch.testing.assert_close(moved[..., 4], h[..., 4] + 2 * (0.5 * h[..., 4] + 1 - h[..., 4]))
    torch.testing.assert_close(moved[..., 2], h[..., 2] + 2 * (-7 - h[..., 2]))
    rest = [unit for unit in range(h.shape[-1]) if unit not in (2, 4)]
    assert torch.equal(moved[..., rest], h[..., rest])
    with steered(lm, [edit], strength=-0.5):
        moved = read(lm, block, batch)
    A, B, mean, v = (values.float() for values in (edit.A, edit.B, edit.mean, edit.v))
    torch.testing.assert_close(moved, r - 0.5 * ((r - mean) @ A @ B.T + v), rtol=1e-4, atol=1e-4)


def test_adding_a_direction_is_a_low_rank_edit_of_rank_zero_or_of_zeros():
    lm = tiny.language_model("llama")
    block, batch, v = block_path(lm, 0), inputs(lm), GENERATOR.normal(size=tiny.HIDDEN)
    h = read(lm, block, batch)
    for rank in (0, 1):
        with steered(lm, [LowRank(block, np.zeros((tiny.HIDDEN, rank)), np.zeros((tiny.HIDDEN, rank)), 0.0, v)], 3.0):
            torch.testing.assert_close(read(lm, block, batch), h + torch.from_numpy(3 * v).float())


def test_edits_of_a_site_apply_in_order_and_nested_contexts_the_inner_last():
    lm = tiny.language_model("llama")
    path, batch = site(lm), inputs(lm)
    h = read(lm, path, batch)[..., 3]
    add, double = Edit(path, [3], 1.0, 1.0), Edit(path, [3], 2.0, 0.0)
    for edits, expected in (([add, double], 2 * (h + 1)), ([double, add], 2 * h + 1)):
        with steered(lm, edits):
            torch.testing.assert_close(read(lm, path, batch)[..., 3], expected)
        with steered(lm, edits[:1]), steered(lm, edits[1:]):
            torch.testing.assert_close(read(lm, path, batch)[..., 3], expected)
    with steered(lm, [add]):
        with steered(lm, [double]):
            read(lm, path, batch)
        torch.testing.assert_close(read(lm, path, batch)[..., 3], h + 1)
    assert torch.equal(read(lm, path, batch)[..., 3], h)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 31), max_size=32, unique=True),
    st.floats(-3, 3),
    st.integers(0, 3),
    st.booleans(),
)
def test_strength_interpolates_linearly_for_any_units_and_rank(units, strength, rank, own):
    h = torch.randn(2, 5, 32, dtype=torch.float64)
    for edit in (Edit("s", units, 0.3, 2.0), direction("s", rank)):
        full = hooks.mover(edit, 1.0, h)(h.clone(), own)
        part = hooks.mover(edit, strength, h)(h.clone(), own)
        torch.testing.assert_close(part, h + strength * (full - h))


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_hidden_states_that_the_model_returns_are_the_edited_ones(family):
    lm = tiny.language_model(family)
    run(lm, output_hidden_states=True)  # some models keep hooks of their own from here on
    block, batch = block_path(lm, 0), inputs(lm)
    with steered(lm, [direction(block)]), torch.no_grad():
        states = lm.model(**batch, output_hidden_states=True).hidden_states[1]
        torch.testing.assert_close(states, read(lm, block, batch))


def test_embeddings_and_responses_are_read_under_an_edit():
    lm = tiny.language_model("llama")
    table = TABLE.copy()
    with steered(lm, [Edit(site(lm), [3], 0.0, 9.0)]):
        assert (activations.responses(lm, table, "mean")[site(lm)][:, 3] == 9).all()
        steered_values = activations.embed(lm, table).values
    plain = activations.embed(lm, table).values
    assert not torch.equal(steered_values, plain) and table.equals(TABLE)


def test_gradients_flow_through_an_edit():
    lm = tiny.language_model("llama")
    shift = 2.0
    with steered(lm, [Edit(site(lm), [3], 0.5, shift), direction(block_path(lm, 0))]):
        lm.model(**inputs(lm)).logits.sum().backward()
    assert lm.model.get_submodule(site(lm)).weight.grad.abs().sum() > 0


def test_generation_with_and_without_a_cache_agree_under_an_edit():
    lm = tiny.language_model("llama")
    with steered(lm, [direction(block_path(lm, 0))]):
        options = inputs(lm, "left") | {"max_new_tokens": 6, "do_sample": False}
        assert torch.equal(*(lm.model.generate(**options, use_cache=cache) for cache in (True, False)))


def test_an_exception_passes_through_unchanged_and_leaves_the_model_clean():
    lm = tiny.language_model("bloom")
    before = run(lm)
    with pytest.raises(KeyError, match="mine"), steered(lm, unit_edits(lm)):
        raise KeyError("mine")
    assert torch.equal(run(lm), before)
    with pytest.raises(ValueError, match="unit 40 but it has 32 units"), steered(lm, [Edit(site(lm), [40], 0, 0)]):
        pass
    assert torch.equal(run(lm), before) and not any(part._forward_hooks for part in lm.model.modules())


def test_an_edit_that_never_fired_raises_on_leaving():
    lm = tiny.language_model("llama")
    with pytest.raises(ValueError, match=f"1 of 1 sites never fired .*{site(lm)}"), steered(lm, unit_edits(lm)[1:2]):
        pass


def test_bad_requests_name_the_fact_and_the_next_move():
    lm = tiny.language_model("llama")
    good = Edit(site(lm), [0], 0.0, 1.0)
    for strength in (float("nan"), float("inf"), "1"):
        with pytest.raises(ValueError, match="not a finite number"), steered(lm, [good], strength):
            pass
        with pytest.raises(ValueError, match="not a finite number"):
            folded(lm, [good], strength)
    with pytest.raises(LookupError, match=r"did you mean .*model.layers.0.mlp.up_proj"):
        folded(lm, [Edit("model.layers.0.mlp.up_prj", [0], 0.0, 1.0)])
    with (
        pytest.raises(ValueError, match="width 7 but outputs of width 32"),
        steered(lm, [direction("model.layers.0", 1, 7)]),
    ):
        pass
    for wrong, message in (
        (lambda: Edit("s", [1, 1], 0, 0), "distinct"),
        (lambda: Edit("s", [1, 2], [0.0, 1.0, 2.0], 0), r"scale \(3,\) but \(2,\)"),
        (lambda: Edit("s", [1], 0, float("nan")), "1 of 1 numbers in shift are not finite"),
        (lambda: LowRank("s", np.zeros((4, 1)), np.zeros((4, 2))), r"A \(4, 1\) but B \(4, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_folding_refuses_by_name_what_no_weight_can_hold():
    lm = tiny.language_model("gpt2")
    with pytest.raises(ValueError, match=r"edits of transformer.h.0, a GPT2Block; use steered"):
        folded(lm, [direction("transformer.h.0")])
    with pytest.raises(ValueError, match="lm_head shares its weight"):
        folded(lm, [Edit("lm_head", [0], 0.0, 1.0)])
    with steered(lm, unit_edits(lm)):
        run(lm)
        with pytest.raises(ValueError, match="being steered"):
            folded(lm, unit_edits(lm))


def test_the_numbers_given_are_copied_and_unchanged():
    shift = np.ones(2)
    edit = Edit("s", [0, 1], 0.0, shift)
    shift[0] = 5
    lm = tiny.language_model("llama")
    edit = Edit(site(lm), edit.units, edit.scale, edit.shift)
    with steered(lm, [edit], 3.0):
        run(lm)
    assert edit.shift.tolist() == [1, 1] and edit.scale.tolist() == [0, 0]


def _same(first, second):
    return (
        type(first) is type(second)
        and first.site == second.site
        and all(torch.equal(values, hooks.numbers(second)[name]) for name, values in hooks.numbers(first).items())
    )


def test_edits_come_back_from_a_file_as_they_were_saved(tmp_path):
    edits = [Edit("a.b", [3, 1], [0.1, 2.0], 1e-9), direction("c"), LowRank("d", np.zeros((4, 0)), np.zeros((4, 0)))]
    for saved in ({}, {"z": edits[:2], "none": [], "a": edits[2:]}):
        loaded = hooks.load(hooks.save(saved, tmp_path / "edits.safetensors"))
        assert list(loaded) == list(saved)
        assert all(len(s) == len(t) and all(map(_same, s, t)) for s, t in zip(saved.values(), loaded.values()))
    hooks.store.write_arrays(tmp_path / "other.safetensors", {"x": np.zeros(3)})
    with pytest.raises(ValueError, match="holds no edits"):
        hooks.load(tmp_path / "other.safetensors")


def test_model_outputs_and_models_without_a_head_are_edited_too():
    lm = tiny.language_model("llama")
    bare = models.LanguageModel(lm.model.model, lm.tokenizer, "bare")
    batch = inputs(lm)
    before = bare.model(**batch).last_hidden_state
    with steered(lm, [Edit("model", [3], 0.0, 9.0)]), torch.no_grad():
        after = bare.model(**batch).last_hidden_state
    assert (after[..., 3] == 9).all() and torch.equal(after[..., 4:], before[..., 4:])
    with steered(bare, [Edit("layers.0", [3], 0.0, 9.0)]):
        states = bare.model(batch["input_ids"], output_hidden_states=True).hidden_states[1]
    assert (states[..., 3] == 9).all()


def test_an_edit_of_a_run_becomes_a_model_folder(tmp_path, monkeypatch):
    """The folded model answers as the steered one; what is not there is named, and no folder is written over."""
    lm = tiny.language_model("gpt2")
    source, place = (
        tiny.save(lm, tmp_path / "source"),
        tmp_path / "data" / "results" / "world" / "tiny@default" / "02-a",
    )
    edit = [Edit("transformer.h.0.mlp.c_fc", [1, 4], 0.0, 2.0)]
    hooks.save({"overwrite k=2": edit}, place / "edits.safetensors")
    given = {"model": str(source), "revision": "", "dtype": "auto"}
    (place / "run.json").write_text(json.dumps({"parameters": given}))
    monkeypatch.setattr("helpers.DATA", tmp_path / "data")
    told = CliRunner().invoke(cli.app, ["fold", "02-a", "overwrite k=2", str(tmp_path / "made")])
    assert told.exit_code == 0 and "overwrite k=2 at strength 1 is in" in told.output
    with steered(lm, edit):
        expected = run(lm)
    torch.testing.assert_close(run(models.load(str(tmp_path / "made"))), expected, rtol=1e-4, atol=1e-4)
    for arguments, message in (
        (["02-a", "overwrite k=2", str(tmp_path / "made")], "files already; name a new folder"),
        (["02-a", "overwrite k=3", str(tmp_path / "new")], "did you mean overwrite k=2"),
        (["02-b", "overwrite k=2", str(tmp_path / "new")], "did you mean 02-a"),
    ):
        told = CliRunner().invoke(cli.app, ["fold", *arguments])
        assert told.exit_code == 2 and message in told.stderr
