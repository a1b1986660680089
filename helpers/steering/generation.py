"""What a model writes of its own accord, in which language, and how well it expects the sentences of each language.

Sample i takes its draws from the seed and i alone, so an edited model is compared with the untouched one on the same
draws: `with steered(lm, edits): generation.sample(lm, 100)`.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.common.lookup import known
from helpers.common.progress import progress
from helpers.corpora.registry import flores_id
from helpers.embeddings.batching import by_length, limit
from helpers.models.loading import LanguageModel

UNKNOWN = "unknown"
_TOP_P = 0.9  # the next token comes from the fewest tokens that together have this probability
_BATCH = 128  # texts written at a time
_LOGITS = 1 << 27  # most scores (sentences x tokens x vocabulary) that exist at a time: half a gigabyte
# Labels of the language identifier whose FLORES id is another code; the registry knows the rest.
_LABELS = dict(
    pair.split(":")
    for pair in """
    as:asm az:azj ba:bak bs:bos dz:dzo eo:epo gug:grn ha:hau ig:ibo km:khm kn:kan ku:ckb lg:lug ln:lin lo:lao mg:plt
    mn:khk ms:zsm my:mya ne:npi nn:nno oc:oci om:gaz or:ory pa:pan ps:pbt qu:quy rw:kin sn:sna so:som st:sot sw:swh
    tg:tgk tk:tuk xh:xho zu:zul
    """.split()  # noqa: SIM905
)


def writes(lm: LanguageModel) -> bool:
    """Whether the model predicts the next token, and so can write and has a perplexity."""
    return lm.model.can_generate()


def sample(lm: LanguageModel, n: int, *, seed: int = 0, max_tokens: int = 64) -> pd.DataFrame:
    """table[sample, text] of n texts drawn from the start token alone, each up to its end token or `max_tokens`.

    ValueError: an encoder, an option out of range, more tokens than the model reads, or probabilities that are NaN.
    """
    _refuse_encoder(lm, "generate")
    if n < 1 or not 1 <= max_tokens < limit(lm):
        fact = f"n={n}, max_tokens={max_tokens} but {lm.name} reads {limit(lm)} with the start token"
        raise ValueError(f"{fact}; ask for 1 text or more, of 1 to {limit(lm) - 1} tokens")
    draws = np.stack([np.random.default_rng([seed, i]).random(max_tokens) for i in range(n)])
    texts = []
    with progress(None, "writing", n) as bar:
        for part in np.split(draws, range(_BATCH, n, _BATCH)):
            texts += lm.tokenizer.batch_decode(_continued(lm, part), skip_special_tokens=True)
            bar.update(len(part))
    return pd.DataFrame({"sample": range(n), "text": [text.strip() for text in texts]})


def share(texts: Sequence[str], language: str, table: pd.DataFrame, lexicon: pd.DataFrame | None = None) -> float:
    """The share of the texts in one of the table's languages, each text counting the same.

    With the `lexicon` of a world, table[language, form, ...], a text is shared among its words, and a word among the m
    languages that have its form, 1/m each. Without, py3langid names one of the table's languages for each text: NaN,
    with a warning, where it does not know them all.
    """
    if not len(texts):
        raise ValueError("0 texts have no languages; sample some first")
    if lexicon is not None:
        known(language, lexicon["language"].unique(), "language of the lexicon")
    try:
        weights = _looked_up(texts, lexicon) if lexicon is not None else _identified(texts, table["language"].unique())
    except LookupError as error:
        warnings.warn(f"no share of generated text: {error.args[0]}", stacklevel=2)
        return float("nan")
    return float(weights.groupby(level=0).sum().get(language, 0.0) / len(texts))


def perplexity(lm: LanguageModel, table: pd.DataFrame) -> pd.DataFrame:
    """table[language, perplexity] of table[language, text]: exp of the mean negative log-likelihood of a token.

    Scored are the text's own tokens, the first one from the start token; the end token is left out, since models differ
    in whether they learnt one. Compare it before and after an edit, not between languages whose words take more or
    fewer tokens. ValueError: an encoder, or an empty text.
    """
    _refuse_encoder(lm, "give a perplexity")
    ids = _framed(lm, table)
    losses = np.zeros(len(ids))
    with torch.no_grad():
        for part in by_length(lm, ids, _LOGITS // lm.model.config.get_text_config().vocab_size):
            scores = lm.model(input_ids=part.ids, attention_mask=part.mask, use_cache=False).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(scores.mT.float(), part.ids[:, 1:], reduction="none")
            losses[part.rows] = (loss * part.mask[:, 1:]).sum(1).double().cpu().numpy()
    columns = {"language": table["language"].to_numpy(), "loss": losses, "tokens": [len(row) - 1 for row in ids]}
    sums = pd.DataFrame(columns).groupby("language", sort=False).sum()
    return np.exp(sums["loss"] / sums["tokens"]).rename("perplexity").reset_index()


def price(lm: LanguageModel, table: pd.DataFrame) -> float:
    """The geometric mean over languages of `perplexity`, or of an encoder's `pseudo_perplexity`; NaN without a head."""
    if writes(lm):
        return float(np.exp(np.log(perplexity(lm, table)["perplexity"]).mean()))
    return pseudo_perplexity(lm, table) if "MaskedLM" in type(lm.model).__name__ else float("nan")


@torch.no_grad()
def pseudo_perplexity(lm: LanguageModel, table: pd.DataFrame) -> float:
    """exp of the mean negative log-likelihood of a token that is masked alone, geometric mean over languages.

    Salazar et al. 2020. Every token of a text that the tokenizer has not added is masked in turn.
    """
    encoded = lm.tokenizer(list(table["text"]), truncation=True, max_length=limit(lm), return_special_tokens_mask=True)
    copies, owners, truth = [], [], []
    for row, (ids, added) in enumerate(zip(encoded["input_ids"], encoded["special_tokens_mask"])):
        for place in (place for place, special in enumerate(added) if not special):
            copies.append([*ids[:place], lm.tokenizer.mask_token_id, *ids[place + 1 :]])
            owners.append(row)
            truth.append((place, ids[place]))
    losses, truth = np.zeros(len(copies)), np.array(truth)
    for part in by_length(lm, copies, _LOGITS // lm.model.config.get_text_config().vocab_size):
        scores, own = lm.model(input_ids=part.ids, attention_mask=part.mask).logits, truth[part.rows]
        scores = scores[torch.arange(len(own)), own[:, 0]].float().log_softmax(-1)
        losses[part.rows] = -scores[torch.arange(len(own)), own[:, 1]].cpu().numpy()
    return float(np.exp(pd.Series(losses).groupby(table["language"].to_numpy()[owners]).mean().mean()))


@torch.no_grad()
def _continued(lm: LanguageModel, draws: np.ndarray) -> list:
    """The token ids of one text per row of `draws` [sample, token], without start and end."""
    ends = {lm.tokenizer.eos_token_id, *np.ravel(lm.model.generation_config.eos_token_id)} - {None}
    draws = torch.from_numpy(draws).to(lm.device)
    ids = torch.full((len(draws), 1), _start(lm), device=lm.device)
    written, ended, cache = [], torch.zeros_like(ids, dtype=torch.bool), None
    for draw in draws.T:
        output = lm.model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache, ids = output.past_key_values, _pick(output.logits[:, -1].float(), draw[:, None])
        written.append(ids)
        ended |= torch.isin(ids, torch.tensor([*ends], device=lm.device))
        if ended.all():
            break
    rows = torch.cat(written, 1).tolist()
    return [row[: next((i for i, token in enumerate(row) if token in ends), len(row))] for row in rows]


def _pick(scores: Tensor, draw: Tensor) -> Tensor:
    """The token [sample, 1] that each uniform draw [sample, 1] falls on, tokens laid out from the likeliest down."""
    odds, tokens = torch.softmax(scores, -1).sort(dim=-1, descending=True, stable=True)
    if odds.isnan().any():
        raise ValueError("the model's probabilities are NaN; lower the strength of its edits or load it in float32")
    total = odds.double().cumsum(-1)
    last = (total < _TOP_P).sum(-1, keepdim=True).clamp(max=total.shape[-1] - 1)
    return tokens.gather(-1, (total < draw * total.gather(-1, last)).sum(-1, keepdim=True))


def _refuse_encoder(lm: LanguageModel, what: str) -> None:
    if not writes(lm):
        raise ValueError(f"{lm.name}, a {type(lm.model).__name__}, cannot {what}; load a decoder with its head")


def _start(lm: LanguageModel) -> int:
    """The id of the start token: BOS, or EOS where a tokenizer has no BOS."""
    bos, eos = lm.tokenizer.bos_token_id, lm.tokenizer.eos_token_id
    if bos is None and eos is None:
        raise ValueError(f"the tokenizer of {lm.name} has neither a BOS nor an EOS token; set tokenizer.bos_token")
    return eos if bos is None else bos


def _framed(lm: LanguageModel, table: pd.DataFrame) -> list:
    """The start token and then each text's own tokens, cut at what the model reads."""
    empty = table.loc[table["text"].str.strip() == "", "language"]
    if len(empty):
        raise ValueError(f"{len(empty)} of {len(table)} texts are empty, in {', '.join(empty.unique())}; drop them")
    options = {"add_special_tokens": False, "truncation": True, "max_length": limit(lm) - 1}
    return [[_start(lm), *own] for own in lm.tokenizer(list(table["text"]), **options)["input_ids"]]


def _looked_up(texts: Sequence[str], lexicon: pd.DataFrame) -> pd.Series:
    """A weight for each word and language that has it; those of a text sum to 1."""
    owners = lexicon[["form", "language"]].drop_duplicates()
    owners = owners.assign(owned=1 / owners.groupby("form")["language"].transform("size"))
    words = pd.DataFrame({"form": [text.split() or [None] for text in texts]}).explode("form")
    words["weight"] = 1 / words.groupby(level=0)["form"].transform("size")
    found = words.merge(owners, on="form", how="left").fillna({"language": UNKNOWN, "owned": 1.0})
    return (found["weight"] * found["owned"]).set_axis(found["language"])


def _identified(texts: Sequence[str], languages: Sequence[str]) -> pd.Series:
    """The weight 1 for each text, which is in one of `languages` or, without a letter, unknown."""
    identifier, ids = _identifier()
    codes = {language[:3]: language for language in languages[::-1]}  # it does not tell scripts apart
    ids = {label: codes[found[:3]] for label, found in ids.items() if found[:3] in codes}
    for language in languages:
        known(language, ids.values(), "language of py3langid")
    identifier.set_languages(list(ids))
    named = [ids[identifier.classify(text)[0]] if any(map(str.isalpha, text)) else UNKNOWN for text in texts]
    return pd.Series(1.0, named)


@lru_cache
def _identifier():
    """py3langid's identifier, one of our own since it remembers a restriction, and label -> FLORES id."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # its tables take a second to load

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    ids = {label: flores_id(_LABELS.get(label, label), default="") for label in identifier.labels}
    return identifier, {label: found for label, found in ids.items() if label != "zxx"}
