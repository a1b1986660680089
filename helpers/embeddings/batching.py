"""Tokenised sentences in padded batches, and the pools over their tokens.

One idea: batches hold sentences of nearly one length and are padded on the right, whatever the tokenizer prefers. Then
absolute positions start at the text, little is padded, and only the last few tokens of a batch need a mask.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from helpers.common.progress import progress

# Scripts written without spaces: Thai and Lao, Tibetan, Myanmar, Khmer, kana, Han. Each character counts as a word.
_UNSPACED = re.compile("([\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
_UNKNOWN_LIMIT = 0.05  # share of unknown tokens above which a language is named in a warning
_TOLD: set[str] = set()  # shares of unknown tokens that have been warned of


@dataclass(frozen=True)
class Text:
    """Token ids of every sentence, and four counts that `described` turns into columns."""

    ids: list[list[int]]
    tokens: np.ndarray  # in all
    own: np.ndarray  # without those that the tokenizer adds
    unknown: np.ndarray
    words: np.ndarray  # between spaces; every character of a script without spaces
    spans: list = field(repr=False)  # the characters [start, end) of every token, when asked for


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids and mask [sentence, token]; `rows` are the sentences' places in the table."""

    rows: np.ndarray
    ids: Tensor
    mask: Tensor
    lengths: Tensor
    shortest: int  # up to here no sentence is padded, so nothing need be masked

    def real(self, states: Tensor) -> Tensor:
        """Which of the tokens after `shortest` are no padding, [sentence, token, 1]."""
        return self.mask[:, self.shortest :, None].to(states.device)


def tokenised(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], limit: int, *, spans: bool = False) -> Text:
    """The texts' tokens, cut at `limit` with a warning that says how many; ValueError for a text that makes none."""
    texts = list(texts)
    if spans and not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} cannot tell a token's characters; use a fast tokenizer")
    options = {"return_special_tokens_mask": True, "return_offsets_mapping": spans}
    encoded = tokenizer(texts, **options, verbose=False)
    long = sum(len(ids) > limit for ids in encoded["input_ids"])
    if long:
        message = f"{long} of {len(texts)} texts are longer than the model reads and cut at {limit} tokens"
        warnings.warn(message, stacklevel=3)
        encoded = tokenizer(texts, **options, truncation=True, max_length=limit)
    ids, added = encoded["input_ids"], encoded["special_tokens_mask"]
    if not all(ids):
        silent = [text for text, found in zip(texts, ids) if not found]
        raise ValueError(f"{len(silent)} of {len(texts)} texts make no tokens: {silent[:3]}; drop them")
    unread = tokenizer.unk_token_id  # it may be the token that is added too
    unknown = [sum(i == unread and not a for i, a in zip(*both)) for both in zip(ids, added)]
    tokens, own = ([len(sentence) for sentence in ids], [mask.count(0) for mask in added])
    words = [len(_UNSPACED.sub(r" \1 ", text).split()) for text in texts]
    return Text(ids, *map(np.array, (tokens, own, unknown, words)), encoded.get("offset_mapping", []))


def described(table: pd.DataFrame, text: Text) -> pd.DataFrame:
    """The table with the columns tokens, fertility and unknown; a warning names languages that are hardly read."""
    columns = {"own": np.maximum(text.own, 1), "unknown": text.unknown}
    sums = pd.DataFrame(columns).groupby(table["language"].to_numpy(), sort=False).sum()
    share = (sums["unknown"] / sums["own"])[lambda shares: shares > _UNKNOWN_LIMIT]
    if len(share):
        named = ", ".join(f"{language} {value:.0%}" for language, value in share.items())
        if named not in _TOLD:  # once is enough, and edits are measured on the same texts again and again
            _TOLD.add(named)
            warnings.warn(f"over {_UNKNOWN_LIMIT:.0%} of the tokens are unknown to the model in {named}", stacklevel=3)
    return table.reset_index(drop=True).assign(
        tokens=text.tokens, fertility=text.own / text.words, unknown=text.unknown / columns["own"]
    )


def by_length(ids: list[list[int]], pad: int, device: torch.device, batch_tokens: int | None = None) -> Iterator[Batch]:
    """Batches of sentences of nearly one length, the longest first.

    `batch_tokens` bounds sentences x tokens of a batch; by default what keeps the device busy and a CPU's cache full.
    """
    budget = batch_tokens or (16_384 if device.type == "cuda" else 1024)
    order = np.argsort([-len(sentence) for sentence in ids], kind="stable")
    with progress(None, "sentences", len(ids)) as bar:
        start = 0
        while start < len(ids):
            rows = order[start : start + max(1, budget // len(ids[order[start]]))]
            yield _padded([ids[row] for row in rows], rows, pad, device)
            start += len(rows)
            bar.update(len(rows))


def _padded(ids: list[list[int]], rows: np.ndarray, pad: int, device: torch.device) -> Batch:
    lengths = np.array([len(sentence) for sentence in ids])
    mask = np.arange(lengths.max()) < lengths[:, None]
    filled = np.full(mask.shape, pad)
    filled[mask] = np.concatenate(ids)
    tensors = [torch.from_numpy(array).to(device) for array in (filled, mask.astype(int), lengths.astype(np.float32))]
    return Batch(rows, *tensors, int(lengths.min()))


def tokenised_words(tokenizer: PreTrainedTokenizerBase, sentences: list[pd.DataFrame], limit: int) -> tuple[Text, list]:
    """The tokens of sentences given as rows of words, and for each [2, pair] the places of words and their tokens.

    The words' `form`s are joined by a space, or by nothing where `space_after` is False; a token belongs to every word
    whose characters, or the space before it, it covers.
    """
    texts, owners = zip(*(_joined(sentence) for sentence in sentences))
    text = tokenised(tokenizer, texts, limit, spans=True)
    pairs = []
    for owner, spans in zip(owners, text.spans):
        found = [(word, token) for token, (start, end) in enumerate(spans) for word in np.unique(owner[start:end])]
        pairs.append(np.array(found, int).reshape(-1, 2).T)
    return text, pairs


def word_means(pairs: list[np.ndarray], batch: Batch) -> Tensor:
    """The matrix [sentence, word, token] that takes the mean over each word's tokens; a row without tokens is zero."""
    words = 1 + max((places[0].max() for places in pairs if places.size), default=0)
    means = torch.zeros(len(pairs), words, batch.ids.shape[1])
    for row, (word, token) in enumerate(pairs):
        means[row, word, token] = 1.0
    return means / means.sum(2, keepdim=True).clamp(min=1)


def _joined(sentence: pd.DataFrame) -> tuple[str, np.ndarray]:
    """The sentence's text, and for each character the place of the word it counts for."""
    forms = sentence["form"].tolist()
    spaced = sentence["space_after"].astype(bool).tolist() if "space_after" in sentence else [True] * len(forms)
    pieces = [" " * before + form for before, form in zip([False, *spaced], forms)]
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


def pooling(names: Sequence[str], allowed: Iterable[str] = POOLS) -> Callable[[Tensor, Batch], Tensor]:
    """A function from states [sentence, token, unit] and their batch to the pooled states [sentence, pool, unit]."""
    for name in names:
        if name not in allowed:
            raise LookupError(
                f"no pool {name!r}; did you mean {', '.join(get_close_matches(name, allowed, cutoff=0.0) or allowed)}?"
            )
    return lambda states, batch: torch.stack([POOLS[name](states, batch) for name in names], 1)
