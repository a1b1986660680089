import argparse
import collections
import json
from pathlib import Path

import pytest
import torch
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from helpers.models.convert import _copy_settings, _write, convert, renamed

pytestmark = pytest.mark.slow

NAMES = (  # of Hugging Face, of fairseq
    ("roberta.embeddings.word_embeddings", "sentence_encoder.embed_tokens"),
    ("roberta.embeddings.position_embeddings", "sentence_encoder.embed_positions"),
    ("roberta.embeddings.LayerNorm", "sentence_encoder.emb_layer_norm"),
    ("roberta.encoder.layer.", "sentence_encoder.layers."),
    ("attention.self.query", "self_attn.q_proj"),
    ("attention.self.key", "self_attn.k_proj"),
    ("attention.self.value", "self_attn.v_proj"),
    ("attention.output.dense", "self_attn.out_proj"),
    ("attention.output.LayerNorm", "self_attn_layer_norm"),
    ("intermediate.dense", "fc1"),
    ("output.dense", "fc2"),
    ("output.LayerNorm", "final_layer_norm"),
    ("lm_head.decoder.weight", "lm_head.weight"),
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=20,
        type_vocab_size=1,
    )
    model = XLMRobertaForMaskedLM(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.roberta.embeddings.token_type_embeddings.weight.data.zero_()  # as converted models have it
    return model


@pytest.fixture
def config(model, tmp_path):
    folder = tmp_path / "config"
    model.config.architectures = ["XLMRobertaForMaskedLM"]
    model.config.save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "notes.txt").write_text("not a setting")
    return folder


def fairseq(state, side="decoder"):
    result = {f"{side}.version": torch.tensor([3.0])}
    for name, tensor in state.items():
        if "token_type" in name or name == "lm_head.decoder.bias":
            continue
        for theirs, ours in NAMES:
            name = name.replace(theirs, ours)
        result[f"{side}.{name}"] = tensor
    return result


def layouts(model):
    state = dict(model.state_dict())
    decoder, encoder = fairseq(state), fairseq(state, "encoder")
    heads = {"classification_heads.nli.dense.weight": torch.zeros(2, 2)}
    return {
        "plain": state,
        "fairseq": {"args": argparse.Namespace(arch="roberta"), "model": decoder | heads, "extra_state": {"epoch": 1}},
        "fairseq-encoder": {"model": encoder},
        "composer": {"state": {"model": {f"model.{name}": tensor for name, tensor in state.items()}}, "rng": [1, 2]},
    }


def assert_same(folder, model):
    again = XLMRobertaForMaskedLM.from_pretrained(folder).eval()
    tokens = torch.arange(4, 14)[None]
    with torch.no_grad():
        ours, theirs = (lm(tokens, output_hidden_states=True) for lm in (again, model))
    assert torch.equal(ours.logits, theirs.logits)
    assert all(map(torch.equal, ours.hidden_states, theirs.hidden_states))


def test_a_fairseq_file_becomes_a_folder_with_the_same_model(model, config, tmp_path):
    torch.save(layouts(model)["fairseq"], tmp_path / "model.pt")
    out = convert(tmp_path / "model.pt", tmp_path / "deep" / "out", config=config)
    assert sorted(file.name for file in out.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert [file.name for file in out.parent.iterdir()] == ["out"]
    assert_same(out, model)


@pytest.mark.parametrize("layout", ["plain", "fairseq-encoder", "composer"])
def test_other_layouts_come_back_as_the_same_model(layout, model, config, tmp_path):
    torch.save(layouts(model)[layout], tmp_path / "model.pt")
    _write(tmp_path / "model.pt", config)
    assert_same(config, model)


def test_one_matrix_of_queries_keys_and_values_is_cut_in_three(model):
    state = fairseq(dict(model.state_dict()))
    for layer in range(2):
        for kind in ("weight", "bias"):
            stem = f"decoder.sentence_encoder.layers.{layer}.self_attn"
            parts = [state.pop(f"{stem}.{part}_proj.{kind}") for part in "qkv"]
            state[f"{stem}.in_proj_{kind}"] = torch.cat(parts)
    expected = model.state_dict()
    result = renamed(state)
    assert result.keys() == expected.keys()
    assert all(torch.equal(result[name], expected[name]) for name in expected)


def test_a_config_file_and_a_tokenizer_folder_may_come_from_elsewhere(config, tmp_path):
    for folder in ("tokenizer", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tokenizer" / "sentencepiece.bpe.model").write_text("pieces")
    _copy_settings(tmp_path / "out", config / "config.json", tmp_path / "tokenizer")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"config.json", "sentencepiece.bpe.model"}


def test_a_pickle_that_wants_code_is_refused_by_name(tmp_path):
    torch.save({"model": {"a": torch.ones(2)}, "task": collections.deque([1])}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"asks for collections\.deque, which may run code.*save its tensors alone"):
        convert(tmp_path / "model.pt", tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


def test_missing_weights_are_reported(model, config, tmp_path):
    state = dict(model.state_dict())
    del state["roberta.encoder.layer.1.output.dense.weight"]
    torch.save(state | {"surplus": torch.ones(1)}, tmp_path / "model.pt")
    message = r"1 of \d+ weights are missing, \['roberta.encoder.layer.1.output.dense.weight'\], and 1 are left over"
    with pytest.raises(ValueError, match=message):
        _write(tmp_path / "model.pt", config)
    settings = json.loads((config / "config.json").read_text())
    (config / "config.json").write_text(json.dumps(settings | {"architectures": None}))
    with pytest.raises(ValueError, match="names no model class"):
        _write(tmp_path / "model.pt", config)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"optimizer": [1]}, r"no state dict found, only \['optimizer'\]"),
        ([1, 2], r"only \['list'\]"),
        (b"cut", "be read"),
    ],
)
def test_a_file_without_weights_says_what_is_in_it(content, message, tmp_path):
    if isinstance(content, bytes):
        (tmp_path / "model.pt").write_bytes(content)
    else:
        torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=message):
        _write(tmp_path / "model.pt", tmp_path)


def test_relative_paths_are_those_of_the_caller(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.ones(2)[:1]}, "model.pt")
    out = convert(Path("model.pt"), Path("deep", "out"))
    assert [file.name for file in (tmp_path / out).iterdir()] == ["model.safetensors"]


def test_paths_are_checked_before_any_work(tmp_path):
    with pytest.raises(LookupError, match="does not exist"):
        convert(tmp_path / "none.pt", tmp_path / "out")
    torch.save({"a": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(LookupError, match="exists already"):
        convert(tmp_path / "model.pt", tmp_path)
    with pytest.raises(LookupError, match=r"config\.json does not exist"):
        convert(tmp_path / "model.pt", tmp_path / "out", config=tmp_path)
