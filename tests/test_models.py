"""Models: loading from folders and faked hubs, series of checkpoints, blocks and sites of every family."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoConfig

from helpers import HOUSE, models
from helpers.models import hub, parts

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def series(tmp_path, monkeypatch):
    """A mini series of three steps, named so that sorting by letters would go wrong."""
    monkeypatch.setattr(hub, "DATA", tmp_path)
    monkeypatch.setattr(hub, "SHIPPED", tmp_path / "shipped")
    lm = tiny.language_model("llama")
    folder = tmp_path / "cache" / "models" / "mini"
    for step in ("step20", "step3", "step100"):
        tiny.save(lm, folder / step)
    (folder / "recipe.json").write_text("{}")
    return folder


def fake_refs(monkeypatch, branches=(), tags=()):
    refs = [[SimpleNamespace(name=name, target_commit=COMMIT) for name in names] for names in (branches, tags)]
    monkeypatch.setattr(hub, "list_repo_refs", lambda name: SimpleNamespace(branches=refs[0], tags=refs[1]))


def offline(monkeypatch, tmp_path):
    def refuse(*args, **options):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for call in ("list_repo_refs", "snapshot_download", "list_repo_files"):
        monkeypatch.setattr(hub, call, refuse)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_saved_model_loads_with_the_same_outputs_and_its_head(family, tmp_path):
    lm = tiny.language_model(family)
    loaded = models.load(str(tiny.save(lm, tmp_path)), device="cpu")
    batch = lm.tokenizer(["the cat sees"], return_tensors="pt")
    assert type(loaded.model) is type(lm.model) and not loaded.model.training
    torch.testing.assert_close(loaded.model(**batch).logits, lm.model(**batch).logits)
    assert loaded.tokenizer("the cat")["input_ids"] == lm.tokenizer("the cat")["input_ids"]


def test_dtype_auto_keeps_the_checkpoints_and_a_missing_padding_token_is_the_end_token(tmp_path):
    lm = tiny.language_model("llama")
    lm.model.bfloat16()
    lm.tokenizer.pad_token = None
    folder = str(tiny.save(lm, tmp_path))
    assert models.load(folder).model.dtype == torch.bfloat16
    loaded = models.load(folder, dtype="float32")
    assert loaded.model.dtype == torch.float32 and loaded.tokenizer.pad_token == "</s>"


def test_a_mini_model_is_its_last_step_or_the_one_asked_for(series):
    assert models.load("mini").revision == "step100"
    assert models.load("mini", "step3").revision == "step3"
    assert models.load(str(series), "step20").revision == "step20"
    assert models.prefetch("mini", "step20") == series / "step20"


def test_a_series_that_is_shipped_goes_before_one_that_was_trained_here(series, tmp_path, monkeypatch):
    shipped = hub.SHIPPED / "mini" / "step7"
    tiny.save(tiny.language_model("llama"), shipped)
    assert models.load("mini").revision == "step7" and hub.is_here("mini", tmp_path / "nowhere")
    assert hub.series() == {"mini": shipped.parent}
    monkeypatch.setattr(hub, "DATA", tmp_path / "a home of its own")
    assert models.prefetch("mini") == shipped, "it lies beside the code, wherever the results are"


def test_the_checkpoints_of_a_local_series_come_in_training_order(series):
    table = models.checkpoints("mini")
    assert list(table.columns) == ["step", "revision", "subfolder", "phase", "tokens", "commit"]
    assert list(table["step"]) == [3, 20, 100] and list(table["revision"]) == ["step3", "step20", "step100"]
    (series / "step3").rename(series / "stage2-step3")
    assert models.load("mini").revision == "stage2-step3", "the last step is the last in training order"


def test_hub_checkpoints_are_read_from_branches_and_tags_and_sorted_by_phase_and_step(monkeypatch):
    branches = ["main", "stage2-step-1000", "stage1-step-200000", "stage1-step-40000", "it-step-10", "lc-4k-step-20"]
    fake_refs(monkeypatch, branches, ["global_step1000", "global_step500", "iter_0000020", "decay7"])
    table = models.checkpoints("org/name")
    phases = ["", "", "", "stage1", "stage1", "stage2", "lc-4k", "decay", "it"]
    assert list(table["phase"]) == phases
    assert list(table["step"]) == [20, 500, 1000, 40000, 200000, 1000, 20, 7, 10]
    assert set(table["commit"]) == {COMMIT} and not table.duplicated(["phase", "step"]).any()


@pytest.mark.parametrize(
    "name, phase, step, tokens",
    [
        ("step0", "", 0, None),
        ("step_20k", "", 20_000, None),
        ("step2627139-tokens15T", "", 2_627_139, 15e12),
        ("stage2-ingredient3-step1000-tokens4B", "stage2-ingredient3", 1000, 4e9),
        ("ext500", "ext", 500, None),
    ],
)
def test_names_of_checkpoints_tell_phase_step_and_tokens(monkeypatch, name, phase, step, tokens):
    fake_refs(monkeypatch, [name])
    row = models.checkpoints("org/name").iloc[0]
    assert (row["phase"], row["step"]) == (phase, step)
    assert pd.isna(row["tokens"]) if tokens is None else row["tokens"] == tokens


def test_a_repository_without_step_refs_is_searched_for_step_folders(monkeypatch):
    fake_refs(monkeypatch, ["main"])
    files = ["README.md", "step20/model.safetensors", "step3/model.safetensors", "step3/config.json"]
    monkeypatch.setattr(hub, "list_repo_files", lambda name: files)
    table = models.checkpoints("org/name")
    assert list(table["subfolder"]) == ["step3", "step20"] and set(table["revision"]) == {""}


def test_a_hub_model_is_resolved_to_its_commit_and_only_safe_files_are_asked_for(monkeypatch, tmp_path):
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(tiny.save(tiny.language_model("llama"), tmp_path / COMMIT))

    monkeypatch.setattr(hub, "snapshot_download", download)
    lm = models.load("org/name", "global_step1000")
    assert (lm.name, lm.revision, asked["revision"]) == ("org/name", COMMIT, "global_step1000")
    assert "*.safetensors" in asked["allow_patterns"] and not any(
        p.endswith(("bin", "pt")) for p in asked["allow_patterns"]
    )
    models.load("org/name", tokenizer="org/final")
    assert asked["name"] == "org/final" and "*.safetensors" not in asked["allow_patterns"]


def test_offline_the_checkpoints_are_those_downloaded_before(monkeypatch, tmp_path):
    offline(monkeypatch, tmp_path)
    refs = tmp_path / "hub" / "models--org--name" / "refs"
    refs.mkdir(parents=True)
    (refs / "step20").write_text(COMMIT)
    assert models.checkpoints("org/name")[["step", "commit"]].values.tolist() == [[20, COMMIT]]


def test_unknown_models_revisions_and_types_name_the_nearest(monkeypatch, tmp_path, series):
    offline(monkeypatch, tmp_path)
    (tmp_path / "hub" / "models--org--name").mkdir(parents=True)
    with pytest.raises(LookupError, match=r"no model 'org/nam'.*did you mean org/name.*helpers prefetch org/nam"):
        models.load("org/nam")
    with pytest.raises(LookupError, match="no mini model 'mini-seed1'; did you mean mini.*helpers pretrain mini-seed1"):
        models.load("mini-seed1")
    with pytest.raises(LookupError, match="no revision of mini 'step10'; did you mean step100"):
        models.load("mini", "step10")
    with pytest.raises(LookupError, match="no dtype 'float31'; did you mean float32"):
        models.load("mini", dtype="float31")
    with pytest.raises(LookupError, match="no checkpoints named by a step"):
        fake_refs(monkeypatch, ["main"])
        models.checkpoints("org/name")


def test_a_name_that_can_be_no_model_is_refused_without_asking_the_hub(monkeypatch, tmp_path):
    offline(monkeypatch, tmp_path)
    (tmp_path / "hub" / "models--org--name").mkdir(parents=True)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    hub.refuse_absent("org/unheard")
    with pytest.raises(LookupError, match="no model './gone' on this machine, and a hub id is OWNER/NAME"):
        hub.refuse_absent("./gone")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert hub.is_here("org/name", tmp_path) and hub.is_here("hub", tmp_path) and not hub.is_here("org/nam", tmp_path)
    with pytest.raises(
        LookupError, match=r"'org/nam' .* the hub is off; did you mean org/name\?; on a .* prefetch org/nam"
    ):
        hub.refuse_absent("org/nam")


def test_a_device_that_torch_does_not_have_is_refused(series):
    with pytest.raises(ValueError, match="device 'gpu' is none of auto, cpu, cuda"):
        models.load("mini", device="gpu")
    hub.check_place("auto", "cuda:1")
    with pytest.raises(LookupError, match="no dtype 'float8'; did you mean float"):
        hub.check_place("float8")


@pytest.mark.slow
def test_values_are_checked_and_series_are_listed_without_torch():
    check = "import sys, helpers.models.hub; from helpers.models import checkpoints; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=HOUSE)
    assert done.stdout.strip() == "False", done.stderr


def test_pickled_weights_a_missing_tokenizer_and_encoder_decoders_are_refused(tmp_path):
    folder = tiny.save(tiny.language_model("llama"), tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"only pickled weights \(pytorch_model.bin\).*python -m helpers convert"):
        models.load(str(folder))
    bare = tiny.language_model("llama").model
    bare.save_pretrained(tmp_path / "bare")
    with pytest.raises(LookupError, match=r"no tokenizer in .*pass tokenizer="):
        models.load(str(tmp_path / "bare"))
    assert models.load(str(tmp_path / "bare"), tokenizer=str(folder)).tokenizer.pad_token == "<pad>"
    AutoConfig.for_model("t5").save_pretrained(folder)
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    with pytest.raises(ValueError, match="t5 is an encoder-decoder"):
        models.load(str(folder))
    with pytest.raises(LookupError, match=r"no checkpoints named by a step; a model has its config.json right under"):
        models.load(str(tmp_path / "bare" / ".."))


def test_equal_weights_at_two_steps_are_found():
    hashes = [models.identity(tiny.language_model("gpt2", seed=seed))["weights"] for seed in (0, 1, 0)]
    table = pd.DataFrame({"step": [0, 10, 20], "weights": hashes})
    with pytest.warns(UserWarning, match="1 of 3 checkpoints repeat an earlier step's weights: 20 = 0"):
        again = models.duplicates(table)
    assert again[["step", "same_as"]].values.tolist() == [[20, 0]]
    assert models.duplicates(table[:2]).empty


def test_identity_follows_the_weights():
    lm = tiny.language_model("llama")
    before = models.identity(lm)
    assert before["model"] == "tiny-llama" and before["revision"] == "seed0"
    models.blocks(lm)["model.layers.0"].mlp.up_proj.weight.data[3, 4] += 1
    assert models.identity(lm)["weights"] != before["weights"]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_blocks_and_sites_are_found_in_every_family(family):
    lm = tiny.language_model(family)
    found, paths = models.sites(lm), list(models.blocks(lm))
    assert len(paths) == tiny.LAYERS and len(found) % tiny.LAYERS == 0
    in_attention = re.compile("attn|attention")
    assert not any(in_attention.search(site) for site in found)
    widths = [parts.width(part) for part in found.values()]
    per_block = [widths[i :: len(widths) // tiny.LAYERS] for i in range(len(widths) // tiny.LAYERS)]
    wide = 4 * tiny.HIDDEN if family == "bloom" else tiny.MLP
    gated = family in ("llama", "cohere", "gemma", "qwen2")
    assert per_block == [[wide] * tiny.LAYERS] * (2 if gated else 1) + [[tiny.HIDDEN] * tiny.LAYERS]
    assert all(lm.model.get_submodule(site) is part for site, part in found.items())


@pytest.mark.parametrize("family", ["llama", "bloom", "bert"])
def test_hidden_states_are_found_in_tensors_and_in_tuples(family):
    lm, shapes = tiny.language_model(family), []
    for block in models.blocks(lm).values():
        block.register_forward_hook(lambda m, args, output: shapes.append(tuple(parts.hidden(output).shape)))
    lm.model(**lm.tokenizer(["the cat", "a dog"], return_tensors="pt", padding=True))
    assert len(shapes) == tiny.LAYERS and {(shape[0], shape[2]) for shape in shapes} == {(2, tiny.HIDDEN)}


def test_a_mixture_of_experts_and_unreadable_models_are_refused_with_what_was_found():
    with pytest.raises(ValueError, match=r"mixture of experts.*model\.layers\.0\.mlp\.experts: MixtralExperts"):
        models.sites(tiny.language_model("mixtral"))
    lm = tiny.language_model("llama")
    lm.model.config.num_hidden_layers = 7
    with pytest.raises(ValueError, match=r"0 module lists as long as its 7 layers; lists found: model\.layers \(3\)"):
        models.blocks(lm)
    with pytest.raises(ValueError, match="expected hidden states"):
        parts.hidden((torch.zeros(2, 3),))
    with pytest.raises(ValueError, match="has no number of outputs"):
        parts.width(torch.nn.LayerNorm(3))
