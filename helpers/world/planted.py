"""Models and embeddings made by hand, so that the right answer of an analysis is known before it is asked.

`line` has closed forms for ABX; in `sliding` a language part gives way to a meaning part. `wired` is a small Llama over
two languages in which one unit of an MLP is the expert of one of them: it carries the language, or it moves all states
alike, or it selects where meaning is written.
"""

import math

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from helpers.common.lookup import known
from helpers.models.loading import LanguageModel

SITE, UNIT = "model.layers.0.mlp.down_proj", 0  # the unit that carries the language
CASES = ("carrier", "offset", "selector")
_WORDS, _HIDDEN = 40, 32


def wired(case: str = "carrier", *, sentences: int = 60, seed: int = 0) -> tuple[LanguageModel, pd.DataFrame]:
    """(model, table[language, sentence, text]): unit UNIT of SITE is the expert of language `loud`, in three ways.

    carrier: without the unit's output a sentence and its translation have equal states after the block, up to a
    thousandth. offset: overwritten with its mean of maxima the unit adds one constant to all sentences of both
    languages; cosine ranks better for it, and nothing else has changed. selector: each language writes its meaning into
    dimensions of its own; overwritten, the unit makes both write into those of `loud`. The last two are read at layer
    2, where no norm has been yet.
    """
    rng = np.random.default_rng(seed)
    languages = ("quiet", "loud")
    vocabulary = ["<pad>", "<unk>", "<s>", *(f"{name}{i}" for name in languages for i in range(_WORDS))]
    vocabulary += [f"{name}-mark" for name in languages]
    built = {"carrier": _carrier, "offset": _offset, "selector": _selector}[known(case, CASES, "case")]
    lm = LanguageModel(built(rng), _tokenizer(vocabulary), "wired", "")
    meanings = [rng.choice(_WORDS, size=5, replace=False) for _ in range(sentences)]
    mark = "" if case == "carrier" else "{}-mark "
    rows = [
        (name, f"s{i}", mark.format(name) + " ".join(f"{name}{word}" for word in meaning))
        for name in languages
        for i, meaning in enumerate(meanings)
    ]
    return lm, pd.DataFrame(rows, columns=["language", "sentence", "text"])


def _tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token="<s>")


@torch.no_grad()
def _model(embeddings: np.ndarray, depth: int, wide: int = 4) -> LlamaForCausalLM:
    """A Llama whose blocks write nothing yet; `embeddings` are of the words of both languages and their marks."""
    shape = dict(vocab_size=5 + 2 * _WORDS, hidden_size=_HIDDEN, num_hidden_layers=depth, num_attention_heads=2)
    shape |= dict(intermediate_size=wide, tie_word_embeddings=True, pad_token_id=0)
    model = LlamaForCausalLM(LlamaConfig(**shape)).eval()
    for weight in model.model.layers.parameters():
        weight.fill_(1.0 if weight.dim() == 1 else 0.0)
    table = np.concatenate([np.zeros((3, _HIDDEN)), embeddings])
    model.model.embed_tokens.weight.copy_(torch.from_numpy(table))
    return model


@torch.no_grad()
def _carrier(rng: np.random.Generator) -> LlamaForCausalLM:
    """The MLP reads dimension 0, gates it by itself and writes it back, louder."""
    whisper, meaning = 1e-3, rng.normal(size=(_WORDS, _HIDDEN))
    table = np.concatenate([meaning, meaning, np.zeros((2, _HIDDEN))])
    table[:-2, 0] = whisper * np.concatenate([-np.ones(_WORDS), rng.uniform(0.2, 1.8, _WORDS)])
    model = _model(table, 1)
    mlp = model.model.layers[0].mlp
    mlp.gate_proj.weight[0, 0] = 5 / whisper
    mlp.up_proj.weight[0, 0] = 1 / whisper
    mlp.down_proj.weight[UNIT, 0] = 6.0  # 30 times as loud as the whisper
    return model


@torch.no_grad()
def _offset(rng: np.random.Generator) -> LlamaForCausalLM:
    """The unit answers to the mark alone, a little louder to that of `loud`, and cancels what is there of the mark.

    Words have their meaning in a plane, where cosine sees the direction alone.
    """
    table, meaning = np.zeros((2 * _WORDS + 2, _HIDDEN)), rng.normal(size=(_WORDS, 2))
    table[:-2, 3:5] = np.concatenate([meaning, meaning]) + 0.05 * rng.normal(size=(2 * _WORDS, 2))
    table[-2:, :2], table[-1, 2] = (-3.0, 0.03), 1e-4
    model = _model(table, 3)
    mlp = model.model.layers[0].mlp
    mlp.gate_proj.weight[0, 1] = mlp.up_proj.weight[0, 1] = mlp.up_proj.weight[0, 2] = 50 * math.sqrt(2)  # the mark: 4
    mlp.down_proj.weight[UNIT, 0] = 3 / (4 * torch.nn.functional.silu(torch.tensor(4.0)))
    return model


@torch.no_grad()
def _selector(rng: np.random.Generator) -> LlamaForCausalLM:
    """Block 0 writes which language it is into the unit; block 1 copies a word's meaning to where the unit says."""
    size, meaning = 6, rng.normal(size=(_WORDS, 6))
    quiet, loud, to_quiet, to_loud = (slice(start, start + size) for start in range(2, 2 + 4 * size, size))
    table = np.zeros((2 * _WORDS + 2, _HIDDEN))
    table[:_WORDS, quiet], table[_WORDS:-2, loud] = meaning, meaning
    table[:_WORDS, 1], table[_WORDS:-2, 1] = -3.0, 3.0
    table[-2, 1], table[-1, 1] = -3.0, 3.0
    model = _model(0.01 * table, 3, wide=2 * size)
    first, second = (block.mlp for block in model.model.layers[:2])
    for unit, sign in enumerate((-1.0, 1.0)):
        first.gate_proj.weight[unit, 1] = 2.0 * sign
        first.up_proj.weight[unit, 1] = 1.0
        first.down_proj.weight[UNIT, unit] = 0.01
    identity = torch.eye(size)
    for half, sign, to in ((slice(0, size), -1.0, to_quiet), (slice(size, 2 * size), 1.0, to_loud)):
        second.gate_proj.weight[half, UNIT] = 5.0 * sign
        second.up_proj.weight[half, quiet] = second.up_proj.weight[half, loud] = identity
        second.down_proj.weight[to, half] = identity
    return model


def line(*, noise: float, apart: float, sentences: int = 400, seed: int = 0) -> np.ndarray:
    """Embeddings [language, sentence, 1] on a line: a sentence's place ~ N(0, 1), and noise ~ N(0, noise^2) of its own.

    The second of the two languages lies `apart` from the first; `line_abx` says what ABX must find.
    """
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(1, sentences, 1)) + noise * rng.normal(size=(2, sentences, 1))
    return places + apart * np.arange(2)[:, None, None]


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


def sliding(weight: float, *, languages: int = 6, sentences: int = 60, seed: int = 0) -> np.ndarray:
    """Embeddings [language, sentence, 32]: `weight` x a meaning part + (1 - weight) x a language part + half noise.

    All parts are drawn from N(0, 1) in every dimension, and they are the same for every weight of one seed: at weight 0
    nothing but the language is told, at 1 nothing but the meaning.
    """
    rng = np.random.default_rng(seed)
    form, meaning = rng.normal(size=(languages, 1, 32)), rng.normal(size=(1, sentences, 32))
    return weight * meaning + (1 - weight) * form + 0.5 * rng.normal(size=(languages, sentences, 32))


def _same_sign(u: float, v: float) -> float:
    """How often two independent normals with standard deviation 1 and means u and v have one sign."""
    return 0.5 + 0.5 * math.erf(u / math.sqrt(2)) * math.erf(v / math.sqrt(2))


def transfer_case(*, languages: int = 24, kin: int = 3, by: str = "true", seed: int = 0):
    """(scores[source, target, score], similarity[measure, source, target, value], families): transfer of known cause.

    A score is 0.1 x the measure `true`, plus what the target is worth, N(0, 1), plus a little noise. `rival` correlates
    with the true measure at .7, `chance` does not, and `family` is higher within families of `kin` languages. Within a
    target the true measure must come close to r = 1; over all pairs together nothing may show. With `by="family"`
    kinship takes the place of the true measure: then `family` goes with transfer, but nothing does beyond family.
    """
    rng = np.random.default_rng(seed)
    true, other, chance = rng.normal(size=(3, languages, languages))
    effects, noise, own = rng.normal(size=languages), *rng.normal(size=(2, languages, languages))
    group = np.arange(languages) // kin
    family = (group[:, None] == group).astype(float)
    score = 0.1 * {"true": true, "family": family}[by] + effects + 0.01 * noise
    rival = 0.7 * true + math.sqrt(1 - 0.7**2) * other
    table = _long(dict(true=true, rival=rival, chance=chance, family=family + 0.3 * own, score=score), "measure")
    scored = table[table["measure"] == "score"].reset_index(drop=True).rename(columns={"value": "score"})
    families = {name: f"F{number}" for name, number in zip(scored["target"].unique(), group)}
    return scored[["source", "target", "score"]], table[table["measure"] != "score"], families


def pairs_case(*, languages: int = 24, kin: int = 4, beyond: float = 0.5, seed: int = 0):
    """(table[source, target, quantity, value], families, expected): pairs of languages whose causes are known.

    `similarity` is higher within families of `kin` languages, `meaning` and `form` follow it up and down with parts of
    their own, each N(0, 1). `transfer` is similarity + `beyond` x the own part of meaning + noise; `before` is meaning
    and noise, `after` is before and noise; all have language effects. `expected` maps (outcome, predictor) to the
    partial correlation with similarity (for `after` before too) held fixed. Form goes with transfer, and meaning with
    after, but by nothing that is not held.
    """
    rng, family = np.random.default_rng(seed), np.arange(languages) // kin
    noise = rng.normal(size=(6, languages, languages))
    similarity = (family[:, None] == family) + 0.3 * noise[0]
    cells = dict(similarity=similarity, meaning=similarity + noise[1], form=-similarity + noise[2])
    cells["before"] = cells["meaning"] + 0.5 * noise[3]
    cells["transfer"] = similarity + beyond * (cells["meaning"] - similarity) + 0.5 * noise[4]
    cells["after"] = cells["before"] + 0.5 * noise[5]
    effects = rng.normal(size=(6, 2, languages))
    table = _long({name: x + (a[:, None] + b) for (name, x), (a, b) in zip(cells.items(), effects)}, "quantity")
    table = table.loc[table["source"] != table["target"], ["source", "target", "quantity", "value"]]
    partial = beyond / math.sqrt(beyond**2 + 0.5**2)
    expected = {("transfer", "meaning"): partial, ("transfer", "form"): 0.0, ("after", "meaning"): 0.0}
    families = {name: f"F{kin}" for name, kin in zip(table["source"].unique(), family)}
    return table.reset_index(drop=True), families, expected


def _long(cells: dict[str, np.ndarray], key: str) -> pd.DataFrame:
    """table[key, source, target, value] of square arrays by name; the languages are L00, L01 ..."""
    names = [f"L{i:02d}" for i in range(len(next(iter(cells.values()))))]
    index = pd.MultiIndex.from_product([cells, names, names], names=[key, "source", "target"])
    return pd.Series(np.ravel([*cells.values()]), index, name="value").reset_index()
