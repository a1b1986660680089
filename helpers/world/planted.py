"""Models and embeddings made by hand, so that the right answer of an analysis is known before it is asked.

`line` has closed forms for ABX, and in `sliding` a language part gives way to a meaning part. `wired` is a one-block
Llama over two languages: translations share an embedding but for one dimension, which whispers the language; one unit
of the block's MLP turns the whisper into a shout, of another loudness for every word.
"""

import math

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from helpers.models.loading import LanguageModel

SITE, UNIT = "model.layers.0.mlp.down_proj", 0  # the unit that carries the language


def wired(*, words: int = 40, sentences: int = 60, hidden: int = 32, loudness: float = 30.0, seed: int = 0):
    """(LanguageModel, table[language, sentence, text]): unit UNIT of SITE answers to language `loud` alone.

    Without that unit's output a sentence and its translation have equal states after the block, up to a thousandth.
    """
    rng = np.random.default_rng(seed)
    vocabulary = ["<pad>", "<unk>", "<s>"] + [f"{name}{i}" for name in ("quiet", "loud") for i in range(words)]
    lm = LanguageModel(_model(len(vocabulary), words, hidden, loudness, rng), _tokenizer(vocabulary), "wired", "")
    meanings = [rng.choice(words, size=5, replace=False) for _ in range(sentences)]
    rows = [
        (name, f"s{i}", " ".join(f"{name}{word}" for word in meaning))
        for name in ("quiet", "loud")
        for i, meaning in enumerate(meanings)
    ]
    return lm, pd.DataFrame(rows, columns=["language", "sentence", "text"])


def _tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token="<s>")


@torch.no_grad()
def _model(size: int, words: int, hidden: int, loudness: float, rng: np.random.Generator) -> LlamaForCausalLM:
    """Attention writes nothing; the MLP reads dimension 0, gates it by itself and writes it back, louder."""
    shape = dict(vocab_size=size, hidden_size=hidden, num_hidden_layers=1, num_attention_heads=2, intermediate_size=4)
    model = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True, pad_token_id=0)).eval()
    for weight in model.model.layers[0].parameters():
        weight.fill_(1.0 if weight.dim() == 1 else 0.0)
    whisper, meaning = 1e-3, rng.normal(size=(words, hidden))
    table = np.zeros((size, hidden))
    table[3:] = np.concatenate([meaning, meaning])
    table[3:, 0] = whisper * np.concatenate([-np.ones(words), rng.uniform(0.2, 1.8, words)])
    model.model.embed_tokens.weight.copy_(torch.from_numpy(table))
    mlp = model.model.layers[0].mlp
    mlp.gate_proj.weight[0, 0] = 5 / whisper
    mlp.up_proj.weight[0, 0] = 1 / whisper
    mlp.down_proj.weight[UNIT, 0] = loudness / 5
    return model


def line(*, noise: float, apart: float, languages: int = 2, sentences: int = 400, seed: int = 0) -> np.ndarray:
    """Embeddings [language, sentence, 1] on a line: a sentence's place ~ N(0, 1), and noise ~ N(0, noise^2) of its own.

    The languages lie side by side, each `apart` from the one before it; `line_abx` says what ABX must find between two.
    """
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(1, sentences, 1)) + noise * rng.normal(size=(languages, sentences, 1))
    return places + apart * np.arange(languages)[:, None, None]


def line_abx(noise: float, apart: float) -> dict[str, float]:
    """The expected accuracy of `form` and `form_all_different` of `line`, and of `meaning` for languages 0 apart.

    X is nearer to A exactly when B - A and A + B - 2X have one sign. In the form tasks the two are independent normals
    with mean `apart`. In meaning they are centred and correlated, so that the arcsine law holds.
    """
    lean = math.asin(1 / math.sqrt((1 + noise**2) * (1 + 3 * noise**2))) / math.pi
    spread = 1 + noise**2
    return {
        "meaning": 0.5 + lean,
        "form": _same_sign(apart / math.sqrt(2 * noise**2), apart / math.sqrt(8 + 6 * noise**2)),
        "form_all_different": _same_sign(apart / math.sqrt(2 * spread), apart / math.sqrt(6 * spread)),
    }


def sliding(
    weight: float, *, languages: int = 6, sentences: int = 60, hidden: int = 32, noise: float = 0.5, seed: int = 0
) -> np.ndarray:
    """Embeddings [language, sentence, hidden]: `weight` x a meaning part + (1 - weight) x a language part + noise.

    All parts are drawn from N(0, 1) in every dimension, and they are the same for every weight of one seed: at weight 0
    nothing but the language is told, at 1 nothing but the meaning.
    """
    rng = np.random.default_rng(seed)
    form, meaning = rng.normal(size=(languages, 1, hidden)), rng.normal(size=(1, sentences, hidden))
    return weight * meaning + (1 - weight) * form + noise * rng.normal(size=(languages, sentences, hidden))


def _same_sign(u: float, v: float) -> float:
    """How often two independent normals with standard deviation 1 and means u and v have one sign."""
    return 0.5 + 0.5 * math.erf(u / math.sqrt(2)) * math.erf(v / math.sqrt(2))


def transfer(*, languages: int = 24, difficulty: float = 1.0, rival: float = 0.7, noise: float = 0.01, seed: int = 0):
    """(scores[source, target, score], similarity[measure, source, target, value]): transfer made of one similarity.

    A score is 0.1 x the measure `true`, plus what the target is worth, of standard deviation `difficulty`, plus noise.
    `rival` correlates with the true measure as named, `chance` does not. Within a target the true measure must come
    close to r = 1; over all pairs together nothing may show.
    """
    rng = np.random.default_rng(seed)
    true, other, chance = rng.normal(size=(3, languages, languages))
    scores = 0.1 * true + difficulty * rng.normal(size=languages) + noise * rng.normal(size=true.shape)
    values = {"true": true, "rival": rival * true + math.sqrt(1 - rival**2) * other, "chance": chance}
    names = [f"L{i:02d}" for i in range(languages)]
    pairs = pd.MultiIndex.from_product([names, names], names=["source", "target"]).to_frame(index=False)
    similarity = pd.concat([pairs.assign(measure=name, value=cells.ravel()) for name, cells in values.items()])
    return pairs.assign(score=scores.ravel()), similarity[["measure", "source", "target", "value"]]


def pairs(*, languages: int = 24, kin: int = 4, beyond: float = 0.5, noise: float = 0.5, seed: int = 0):
    """(table[source, target, quantity, value], families, expected): pairs of languages whose causes are known.

    `similarity` is higher within families of `kin` languages, `meaning` and `form` follow it up and down with parts of
    their own, each N(0, 1). `transfer` is similarity + `beyond` x the own part of meaning + noise; `before` is meaning
    and noise, `after` is before and noise; all have language effects. `expected` maps (outcome, predictor) to the
    partial correlation with similarity (for `after` before too) held fixed. Form goes with transfer, and meaning with
    after, but by nothing that is not held.
    """
    rng, place = np.random.default_rng(seed), np.arange(languages)
    same = (place[:, None] // kin == place // kin).astype(float)
    alike = same + 0.3 * rng.normal(size=same.shape)
    meaning, form = alike + rng.normal(size=same.shape), -alike + rng.normal(size=same.shape)
    before = meaning + noise * rng.normal(size=same.shape)
    cells = {"similarity": alike, "meaning": meaning, "form": form, "before": before}
    cells["transfer"] = alike + beyond * (meaning - alike) + noise * rng.normal(size=same.shape)
    cells["after"] = before + noise * rng.normal(size=same.shape)
    names = [f"L{i:02d}" for i in place]
    index = pd.MultiIndex.from_product([names, names], names=["source", "target"]).to_frame(index=False)
    kinds = []
    for name, values in cells.items():
        effects = rng.normal(size=languages)[:, None] + rng.normal(size=languages)
        kinds.append(index.assign(quantity=name, value=(values + effects).ravel()))
    table = pd.concat(kinds, ignore_index=True)
    told = beyond / math.sqrt(beyond**2 + noise**2)
    expected = {("transfer", "meaning"): told, ("transfer", "form"): 0.0, ("after", "meaning"): 0.0}
    families = {name: f"F{i // kin}" for i, name in enumerate(names)}
    return table[table["source"] != table["target"]].reset_index(drop=True), families, expected
