import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from helpers import models
from helpers.steering import generation, hooks

LEXICON = pd.DataFrame(
    [("A1", "pata"), ("A1", "miru"), ("A2", "pata"), ("A2", "solo"), ("B1", "radio"), ("A1", "radio"), ("A2", "radio")],
    columns=["language", "form"],
)


@pytest.fixture(scope="module")
def llama():
    return tiny.language_model("llama")


def _greedy(lm, length: int) -> list[int]:
    """The likeliest token after token, the whole text read anew at each."""
    ids = [lm.tokenizer.bos_token_id]
    for _ in range(length):
        with torch.no_grad():
            ids.append(int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    ends = [i for i, token in enumerate(ids) if token == lm.tokenizer.eos_token_id]
    return ids[1 : ends[0] if ends else None]


@pytest.mark.parametrize("family", tiny.DECODERS)
def test_the_narrowest_nucleus_is_greedy_decoding_in_every_family(family, monkeypatch):
    lm = tiny.language_model(family)
    monkeypatch.setattr(generation, "_TOP_P", 1e-9)
    text = generation.sample(lm, 1, max_tokens=12)["text"][0]
    assert text == lm.tokenizer.decode(_greedy(lm, 12), skip_special_tokens=True).strip()


def test_a_text_depends_on_the_seed_and_its_number_alone(llama, monkeypatch):
    state = torch.get_rng_state()
    with monkeypatch.context() as few:
        few.setattr(generation, "_BATCH", 3)
        alone = generation.sample(llama, 7, seed=3, max_tokens=10)
    pd.testing.assert_frame_equal(alone.head(4), generation.sample(llama, 4, seed=3, max_tokens=10))
    assert alone["text"].nunique() > 1 and list(alone) == ["sample", "text"]
    assert not alone.equals(generation.sample(llama, 7, seed=4, max_tokens=10))
    assert torch.equal(state, torch.get_rng_state())


def test_tokens_are_drawn_as_often_as_the_nucleus_gives_them(monkeypatch):
    monkeypatch.setattr(generation, "_TOP_P", 0.7)
    scores = torch.log(torch.tensor([0.1, 0.5, 0.15, 0.25])).repeat(20_000, 1)
    draws = torch.rand(20_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    share = torch.bincount(generation._pick(scores, draws).flatten(), minlength=4) / 20_000
    assert share == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.01)  # .5 and .25 are the fewest that hold .7


def test_a_text_stops_at_its_end_token(llama):
    bias = torch.zeros(len(llama.tokenizer))
    bias[llama.tokenizer.eos_token_id] = 1e4
    handle = llama.model.lm_head.register_forward_hook(lambda *args: args[2] + bias)
    assert generation.sample(llama, 3, max_tokens=50)["text"].tolist() == ["", "", ""]
    handle.remove()


def test_an_edit_changes_what_is_written_and_leaves_no_trace(llama):
    before = generation.sample(llama, 4, max_tokens=8)
    site = next(iter(models.blocks(llama)))
    push = hooks.LowRank(site, torch.zeros(32, 1), torch.zeros(32, 1), v=torch.linspace(-9, 9, 32))
    with hooks.steered(llama, [push]):
        assert not before.equals(generation.sample(llama, 4, max_tokens=8))
    pd.testing.assert_frame_equal(before, generation.sample(llama, 4, max_tokens=8))


@pytest.mark.parametrize("family", tiny.ENCODERS)
def test_an_encoder_is_refused_by_name(family):
    lm, table = tiny.language_model(family), pd.DataFrame({"language": ["A1"], "text": ["a bird ."]})
    with pytest.raises(ValueError, match=f"tiny-{family}.*cannot generate.*load a decoder"):
        generation.sample(lm, 1)
    with pytest.raises(ValueError, match="cannot give a perplexity"):
        generation.perplexity(lm, table)


@pytest.mark.parametrize("option", [{"n": 0}, {"max_tokens": 0}, {"max_tokens": 128}])
def test_options_out_of_range_are_named(llama, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        generation.sample(llama, **{"n": 1, **option})


def test_probabilities_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="NaN; lower the strength"):
        generation._pick(torch.tensor([[1.0, torch.nan]]), torch.tensor([[0.5]]))


def test_a_shared_form_counts_one_mth_and_every_text_the_same():
    texts = ["pata miru", "radio radio radio radio", "solo xyz", ""]
    shares = {language: generation.share(texts, language, LEXICON, LEXICON) for language in ("A1", "A2", "B1")}
    # by hand: (1/4 + 1/2) + 1/3;  1/4 + 1/3 + 1/2;  1/3
    assert shares == pytest.approx({"A1": 13 / 48, "A2": 13 / 48, "B1": 1 / 12})
    assert generation.share(["xyz"], "A1", LEXICON, LEXICON) == 0


def test_a_misspelt_language_and_no_texts_are_named():
    with pytest.raises(LookupError, match="'A3'.*A1"):
        generation.share(["pata"], "A3", LEXICON, LEXICON)
    with pytest.raises(ValueError, match="0 texts"):
        generation.share([], "A1", LEXICON, LEXICON)


def test_real_languages_are_known_by_their_flores_ids():
    texts = [
        "Der alte Mann liest am Abend ein Buch.",
        "The children are playing in the garden.",
        "12 34",
        "Ещё раз, пожалуйста.",
    ]
    table = pd.DataFrame({"language": ["deu_Latn", "eng_Latn", "rus_Cyrl", "zho_Hans"]})
    shares = [generation.share(texts, language, table) for language in table["language"]]
    assert shares == [0.25, 0.25, 0.25, 0]
    with pytest.warns(UserWarning, match="no share of generated text.*'abc_Latn'"):
        assert np.isnan(generation.share(texts, "deu_Latn", pd.DataFrame({"language": ["deu_Latn", "abc_Latn"]})))


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_perplexity_equals_one_sentence_at_a_time(family, monkeypatch):
    lm = tiny.language_model(family)
    table = pd.DataFrame({"language": ["A1"] * 4 + ["B1"] * 3, "text": tiny.SENTENCES})
    expected = {}
    for language, part in table.groupby("language"):
        losses = []
        for text in part["text"]:
            ids = torch.tensor([lm.tokenizer(text)["input_ids"]])
            with torch.no_grad():
                odds = lm.model(input_ids=ids).logits[0].log_softmax(-1)
            losses += [-float(odds[i, ids[0, i + 1]]) for i in range(ids.shape[1] - 1)]
        expected[language] = np.exp(np.mean(losses))
    monkeypatch.setattr(generation, "_LOGITS", 40 * len(lm.tokenizer))
    found = generation.perplexity(lm, table)
    assert dict(zip(found["language"], found["perplexity"])) == pytest.approx(expected, rel=1e-5)


def test_perplexity_is_the_same_whatever_the_tokenizer_adds(llama):
    table = pd.DataFrame({"language": "A1", "text": tiny.SENTENCES})
    bare = models.LanguageModel(llama.model, tiny.tokenizer(encoder=True), "tiny-framed")  # `</s>` too
    pd.testing.assert_frame_equal(generation.perplexity(llama, table), generation.perplexity(bare, table))


def test_an_empty_text_has_no_perplexity(llama):
    with pytest.raises(ValueError, match="1 of 2 texts are empty, in B1"):
        generation.perplexity(llama, pd.DataFrame({"language": ["A1", "B1"], "text": ["a bird .", "  "]}))
