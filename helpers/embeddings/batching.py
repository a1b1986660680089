"""Tokenised sentences in padded batches, what is counted of their tokens, and the pools over them.

Batches hold sentences of nearly one length, padded on the right whatever the tokenizer prefers: absolute positions
start at the text, little is padded, and only the last few tokens of a batch need a mask.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from helpers.common.lookup import known
from helpers.common.progress import progress
from helpers.models.loading import LanguageModel

# Scripts written without spaces: Thai and Lao, Tibetan, Myanmar, Khmer, kana, Han. Each letter counts as a word.
_UNSPACED = re.compile("([\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
_UNKNOWN_LIMIT = 0.05  # share of unknown tokens above which a language is named in a warning
_TOLD: set[str] = set()  # shares of unknown tokens that have been warned of
_TOKENS = {"cpu": 1024, "cuda": 16_384}  # of a batch: what fills a CPU's cache, or keeps a GPU busy


class Text(NamedTuple):
    """Token ids of every sentence, table[tokens, own, unknown, words] of counts, and the characters of every token."""

    ids: list[list[int]]
    counts: pd.DataFrame  # own: tokens that the tokenizer does not add; unknown: those of them that it does not know
    spans: list  # [start, end) of every token, where asked for


class Batch(NamedTuple):
    """Right-padded token ids and mask [sentence, token]; `rows` are the sentences' places in the table."""

    rows: np.ndarray
    ids: Tensor
    mask: Tensor
    lengths: Tensor
    shortest: int  # up to here no sentence is padded, so nothing need be masked

    def real(self, states: Tensor) -> Tensor:
        """Which of the tokens after `shortest` are no padding, [sentence, token, 1]."""
        return self.mask[:, self.shortest :, None].to(states.device)


def limit(lm: LanguageModel) -> int:
    """The most tokens the model reads: the least of what its tokenizer, configuration and position table allow."""
    config = lm.model.config.get_text_config()
    limits = [lm.tokenizer.model_max_length, getattr(config, "max_position_embeddings", None)]
    for name, part in lm.model.base_model.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            limits.append(part.num_embeddings - part.padding_idx - 1)  # RoBERTa counts from after the padding index
    return min(limit for limit in limits if limit)


def tokenised(lm: LanguageModel, texts: Iterable[str], most: float, *, spans: bool = False) -> Text:
    """The texts' tokens, cut at `most` with a warning that says how many; ValueError for a text that makes none."""
    texts, tokenizer = list(texts), lm.tokenizer
    if spans and not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} cannot tell a token's characters; use a fast tokenizer")
    options = {"return_special_tokens_mask": True, "return_offsets_mapping": spans}
    encoded = tokenizer(texts, **options, verbose=False)
    long = sum(len(ids) > most for ids in encoded["input_ids"])
    if long:
        message = f"{long} of {len(texts)} texts are longer than the model reads and cut at {most} tokens"
        warnings.warn(message, stacklevel=3)
        encoded = tokenizer(texts, **options, truncation=True, max_length=most)
    ids, added = encoded["input_ids"], encoded["special_tokens_mask"]
    if not all(ids):
        silent = [text for text, found in zip(texts, ids) if not found]
        raise ValueError(f"{len(silent)} of {len(texts)} texts make no tokens: {silent[:3]}; drop them")
    unread = tokenizer.unk_token_id  # it may be the token that is added too
    unknown = [sum(i == unread and not a for i, a in zip(*both)) for both in zip(ids, added)]
    counts = {"tokens": map(len, ids), "own": (mask.count(0) for mask in added), "words": map(_word_count, texts)}
    counts = pd.DataFrame({name: list(values) for name, values in counts.items()}).assign(unknown=unknown)
    return Text(ids, counts, encoded.get("offset_mapping", []))


def token_counts(lm: LanguageModel, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns tokens (without those that the tokenizer adds), fertility and unknown; see `embed`."""
    text = tokenised(lm, table["text"], inf)
    return described(table, text).assign(tokens=text.counts["own"])


def described(table: pd.DataFrame, text: Text) -> pd.DataFrame:
    """The table with the columns tokens, fertility and unknown; a warning names languages that are hardly read."""
    counts = text.counts.assign(own=text.counts["own"].clip(lower=1))
    sums = counts.groupby(table["language"].to_numpy(), sort=False).sum()
    share = (sums["unknown"] / sums["own"])[lambda shares: shares > _UNKNOWN_LIMIT]
    named = ", ".join(f"{language} {value:.0%}" for language, value in share.items())
    if named and named not in _TOLD:  # once is enough, and edits are measured on the same texts again and again
        _TOLD.add(named)
        fact = f"over {_UNKNOWN_LIMIT:.0%} of the tokens are unknown to the model in {named}"
        warnings.warn(f"{fact}; it cannot read these, so what it shows is not meaning", stacklevel=3)
    fertility = text.counts["own"] / counts["words"].where(counts["words"] > 0)
    columns = {"tokens": counts["tokens"], "fertility": fertility, "unknown": counts["unknown"] / counts["own"]}
    return table.reset_index(drop=True).assign(**columns)


def by_length(lm: LanguageModel, ids: list[list[int]], most: float = inf) -> Iterator[Batch]:
    """Batches of sentences of nearly one length, the longest first, each of at most `most` tokens with padding."""
    budget = min(_TOKENS.get(lm.device.type, _TOKENS["cpu"]), most)
    order = np.argsort([-len(sentence) for sentence in ids], kind="stable")
    with progress(None, "sentences", len(ids)) as bar:
        start = 0
        while start < len(ids):
            rows = order[start : start + max(1, budget // len(ids[order[start]]))]
            yield _padded(lm, [ids[row] for row in rows], rows)
            start += len(rows)
            bar.update(len(rows))


def _padded(lm: LanguageModel, ids: list[list[int]], rows: np.ndarray) -> Batch:
    padded = pad_sequence([torch.tensor(sentence) for sentence in ids], True, lm.tokenizer.pad_token_id or 0)
    lengths = torch.tensor([len(sentence) for sentence in ids])
    mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
    return Batch(rows, *(part.to(lm.device) for part in (padded, mask, lengths.float())), int(lengths.min()))


def _word_count(text: str) -> int:
    """The pieces between spaces that hold a letter or digit."""
    return sum(any(map(str.isalnum, word)) for word in _UNSPACED.sub(r" \1 ", text).split())


def tokenised_words(lm: LanguageModel, sentences: list[pd.DataFrame], most: int) -> tuple[Text, list]:
    """The tokens of sentences given as rows of words, and for each [word, token] which tokens are the word's.

    The words' `form`s are joined by a space, or by nothing where `space_after` is False; a token belongs to every word
    whose characters, or the space before it, it covers.
    """
    texts, owners = zip(*(_joined(sentence) for sentence in sentences))
    text = tokenised(lm, texts, most, spans=True)
    owned = [np.zeros((len(sentence), len(spans)), bool) for sentence, spans in zip(sentences, text.spans)]
    for words, owner, spans in zip(owned, owners, text.spans):
        for token, (start, end) in enumerate(spans):
            words[owner[start:end], token] = True
    return text, owned


def word_means(owned: list[np.ndarray], batch: Batch) -> Callable:
    """A pool from states [sentence, token, unit] to the mean over each word's tokens, [sentence, word, unit]."""
    parts = [torch.from_numpy(owned[row]) for row in batch.rows]
    means = torch.zeros(len(parts), max(map(len, parts)), batch.ids.shape[1])
    for mean, part in zip(means, parts):
        mean[: part.shape[0], : part.shape[1]] = part
    means /= means.sum(2, keepdim=True).clamp(min=1)  # a word without tokens is zero
    return lambda states: means.to(states.device) @ states.float()


def _joined(sentence: pd.DataFrame) -> tuple:
    """The sentence's text, and for each character the place of the word it counts for."""
    spaced = sentence.get("space_after", pd.Series(True, sentence.index)).astype(bool)
    pieces = [" " * before + form for before, form in zip([False, *spaced], sentence["form"])]
    return "".join(pieces), np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])


def _maximum(states: Tensor, batch: Batch) -> Tensor:
    top = states[:, : batch.shortest].amax(1)
    if batch.shortest < states.shape[1]:
        barred = torch.zeros_like(batch.real(states), dtype=states.dtype)  # added, since masked_fill is far slower
        barred.masked_fill_(batch.real(states) == 0, -torch.inf)
        top = torch.maximum(top, (states[:, batch.shortest :] + barred).amax(1))
    return top.float()


def _mean(states: Tensor, batch: Batch) -> Tensor:
    total = states[:, : batch.shortest].sum(1, dtype=torch.float32)
    if batch.shortest < states.shape[1]:
        total = total + (states[:, batch.shortest :] * batch.real(states)).sum(1, dtype=torch.float32)
    return total / batch.lengths[:, None].to(states.device)


def _positive(states: Tensor, batch: Batch) -> Tensor:
    # Written as floats at once: summing booleans costs twice as much.
    return _mean(torch.gt(states, 0, out=torch.empty_like(states, dtype=torch.float32)), batch)


def _last(states: Tensor, batch: Batch) -> Tensor:
    ends = (batch.lengths.long() - 1).to(states.device)
    return states[torch.arange(len(ends), device=states.device), ends].float()


POOLS = {"max": _maximum, "mean": _mean, "positive": _positive, "last": _last}


def pooling(names: Sequence[str], allowed: Iterable[str] = POOLS) -> Callable[[Batch], Callable]:
    """For a batch, the pool from states [sentence, token, unit] to [sentence, pool, unit], all `names` at once."""
    pools = [POOLS[known(name, allowed, "pool")] for name in names]
    return lambda batch: lambda states: torch.stack([pool(states, batch) for pool in pools], 1)
