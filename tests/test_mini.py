"""The mini model: checkpoints that anything can load, and a training that can be stopped anywhere."""

import json
import shutil
from dataclasses import replace
from functools import cache

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from helpers import models
from helpers.common import store
from helpers.models import hub
from helpers.world import mini, recipes
from helpers.world.recipes import Recipe

pytestmark = pytest.mark.slow

TINY = Recipe(steps=30, checkpoints=4, batch=8, warmup=5, hidden=16, layers=2, heads=2, mlp=24, vocabulary=400)


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer():
    """The tokenizer of each recipe is trained once here, which is most of the work for a model this small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mini, "tokenizer", cache(mini.tokenizer))
        yield


def test_a_recipe_has_one_tokenizer_however_often_it_is_trained():
    again, kept = mini.tokenizer.__wrapped__(TINY), mini.tokenizer(TINY)
    assert json.loads(again.backend_tokenizer.to_str())["model"] == json.loads(kept.backend_tokenizer.to_str())["model"]


def _weights(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return mini.ensure("tiny", made=TINY, folder=tmp_path_factory.mktemp("models") / "tiny")


def test_the_schedule_is_log_spaced_and_ends_with_the_last_step():
    steps = recipes.schedule(Recipe())
    assert steps[0] == 0 and steps[-1] == Recipe().steps and 12 <= len(steps) <= 16
    ratios = [b / a for a, b in zip(steps[1:-1], steps[2:])]
    assert max(ratios) / min(ratios) < 1.4


def test_every_checkpoint_loads_with_from_pretrained_and_learns(trained):
    folders = sorted(p.name for p in trained.glob("step*"))
    assert folders == [f"step{s:06d}" for s in recipes.schedule(TINY)]
    for name in folders:
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= {p.name for p in (trained / name).iterdir()}
    tokenizer = AutoTokenizer.from_pretrained(trained / folders[-1])
    ids = tokenizer("a b")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.decode(ids, skip_special_tokens=True) == "a b"
    first, last = _weights(trained / folders[0]), _weights(trained / folders[-1])
    assert any(not torch.equal(first[k], last[k]) for k in first)
    log = json.loads((trained / "training.json").read_text())
    assert [row["step"] for row in log] == [20] and not list(trained.glob("state*")) and not list(trained.glob(".*"))


def test_the_series_is_listed_and_loaded_like_any_other(trained):
    series = models.checkpoints(str(trained))
    assert series.step.tolist() == recipes.schedule(TINY)
    lm = models.load(str(trained / "step000030"))
    assert lm.model.config.num_hidden_layers == 2


def test_a_finished_training_is_not_repeated(trained, monkeypatch):
    monkeypatch.setattr(mini, "_train", lambda *_: pytest.fail("trained again"))
    assert mini.ensure("tiny", made=TINY, folder=trained) == trained


def test_a_folder_of_another_recipe_is_refused_and_kept(trained):
    with pytest.raises(ValueError, match="holds a model of another recipe; delete the folder or"):
        mini.ensure("tiny", made=replace(TINY, steps=31), folder=trained)
    assert (trained / "step000030").exists()


@pytest.mark.parametrize("stopped_after", [0, 7, 23])
def test_ctrl_c_loses_nothing_and_training_goes_on_where_it_stopped(trained, tmp_path, monkeypatch, stopped_after):
    update, calls = mini._update, []

    def interrupted(*args):
        if len(calls) == stopped_after:
            raise KeyboardInterrupt
        calls.append(1)
        return update(*args)

    monkeypatch.setattr(mini, "_update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mini.ensure("tiny", made=TINY, folder=tmp_path / "tiny")
    monkeypatch.setattr(mini, "_update", update)
    folder = mini.ensure("tiny", made=TINY, folder=tmp_path / "tiny")
    for step in ("step000020", "step000030"):
        straight, resumed = _weights(trained / step), _weights(folder / step)
        assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_seeds_differ_and_share_the_world():
    one, two = (recipes.recipe(name) for name in ("mini-seed1", "mini-seed2"))
    assert (one.seed, two.seed) == (1, 2) and recipes.world_of(one) is recipes.world_of(two)
    a, b = (mini.untrained(replace(TINY, seed=s)).state_dict() for s in (1, 2))
    assert not torch.equal(a["lm_head.weight"], b["lm_head.weight"])


def test_an_encoder_learns_to_guess_masked_words(tmp_path):
    made = replace(TINY, encoder=True)
    folder = mini.ensure("tiny-encoder", made=made, folder=tmp_path / "tiny-encoder")
    model = AutoModelForMaskedLM.from_pretrained(folder / "step000030")
    assert model.config.model_type == "xlm-roberta"
    words = AutoTokenizer.from_pretrained(folder / "step000030")
    batch = mini._masked(words(["ba be bi bo bu"] * 50, return_tensors="pt")["input_ids"], step=3)
    guessed = batch["labels"] >= 0
    assert 0.28 < guessed.float().mean() < 0.42 and not guessed[:, 0].any()
    assert (batch["ids"][guessed] == words.mask_token_id).float().mean() > 0.6


def test_loss_is_the_cross_entropy_that_transformers_computes():
    words, model = mini.tokenizer(TINY), mini.untrained(TINY)
    ids = words(["ba be", "bi bo bu ba"], padding=True, return_tensors="pt")["input_ids"]
    theirs, batch = model(ids, (ids > 0).long(), labels=ids.masked_fill(ids == 0, -100)).loss, mini._shifted(ids)
    assert mini._loss(model, **batch).item() / (batch["labels"] >= 0).sum() == pytest.approx(theirs.item(), rel=1e-5)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(LookupError, match="did you mean mini"):
        recipes.recipe("minni")
    with pytest.raises(LookupError, match="-seedN"):
        recipes.recipe("mini-seedX")


def test_the_random_state_after_an_untrained_model_is_the_one_before():
    before = torch.random.get_rng_state()
    mini.untrained(TINY)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_second_process_waits_for_the_first_and_finds_its_model(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(mini, "_train", lambda *_: pytest.fail("trained twice at once"))
    monkeypatch.setattr(mini.time, "sleep", lambda _: shutil.copytree(trained, tmp_path / "tiny"))
    with (
        store.locked(mini.claim(tmp_path / "tiny")),
        pytest.warns(UserWarning, match="another process is training tiny; waiting"),
    ):
        assert mini.ensure("tiny", made=TINY, folder=tmp_path / "tiny") == tmp_path / "tiny"
    assert (tmp_path / "tiny" / "step000030").exists()


SHIPPED = ["mini", "mini-encoder"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_series_is_whole_and_of_its_recipe_and_nothing_is_trained(name, monkeypatch):
    monkeypatch.setattr(mini, "_train", lambda *_: pytest.fail("trained"))
    folder = mini.ensure(name)
    assert folder == hub.SHIPPED / name and models.checkpoints(name).step.tolist() == recipes.schedule(
        recipes.recipe(name)
    )
    manifest = json.loads((folder / hub.MANIFEST).read_text())
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {*manifest["files"]} == there - {hub.MANIFEST}
    assert all(hub.sha256(folder / file) == wanted for file, wanted in manifest["files"].items())
    assert manifest["parameters"]["seed"] == 0 and len(manifest["commit"]) == 40 and manifest["versions"]["torch"]
    assert mini.training_log(name).step.max() == recipes.recipe(name).steps


def test_what_ships_is_small_and_in_float32_when_loaded():
    size = sum(path.stat().st_size for path in hub.SHIPPED.rglob("*") if path.is_file())
    assert size <= 30 * 2**20
    lm = models.load("mini")
    assert lm.model.dtype == torch.float32 and sum(p.numel() for p in lm.model.parameters()) <= 10**6
    assert all(torch.equal(p, p.half().float()) for p in lm.model.parameters())


@pytest.mark.parametrize("name", SHIPPED)
def test_the_first_steps_of_a_shipped_model_can_be_trained_again(name, tmp_path, monkeypatch):
    update, losses = mini._update, []

    def twenty(*args):
        if len(losses) == 20:
            raise KeyboardInterrupt
        losses.append(update(*args))
        return losses[-1]

    monkeypatch.setattr(mini, "_update", twenty)
    with pytest.raises(KeyboardInterrupt):
        mini.ensure(name, made=recipes.recipe(name), folder=tmp_path / name)
    log = mini.training_log(name).set_index("step").loss
    assert losses[-1] == pytest.approx(log[20], abs=2e-3)
    for step in ("step000000", "step000020"):
        again, shipped = (load_file(place / name / step / "model.safetensors") for place in (tmp_path, hub.SHIPPED))
        assert {*again} == {*shipped}
        for key, value in again.items():
            torch.testing.assert_close(value.float(), shipped[key].float(), atol=2e-3, rtol=2e-2)


def test_a_damaged_shipped_checkpoint_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "SHIPPED", tmp_path / "models")
    monkeypatch.setitem(recipes.RECIPES, "mini-tiny", TINY)
    monkeypatch.setattr(mini, "ensure", lambda *_, **__: trained)
    folder = mini.pretrain("mini-tiny")
    assert folder == hub.SHIPPED / "mini-tiny" and models.load("mini-tiny").revision == "step000030"
    weights = folder / "step000030" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged: SHA-256 .* manifest.json says .*make pretrain"):
        models.load("mini-tiny")
    assert models.load("mini-tiny", revision="step000020").revision == "step000020"
    weights.unlink()
    with pytest.raises(ValueError, match="SHA-256 none"):
        models.load("mini-tiny")
