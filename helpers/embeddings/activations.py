"""What a model makes of sentences: pooled hidden states, pooled outputs of any modules, word vectors.

One idea: read inside the forward pass. Taps on the modules pool each batch as it goes by, so that neither the hidden
states of a corpus nor the vocabulary projection ever exist; batches hold sentences of nearly one length and are padded
on the right, so that results depend neither on the batch nor on the tokenizer's padding side.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from helpers.common.lookup import known
from helpers.embeddings.batching import (
    Batch,
    Text,
    by_length,
    described,
    pooling,
    tokenised,
    tokenised_words,
    word_means,
)
from helpers.models.loading import LanguageModel, blocks, hidden, sites


@dataclass(frozen=True)
class Activations:
    """A float32 tensor [sentence, layer, unit] beside a table with one row per sentence, cut together.

    `layers` names the middle axis. ValueError when the lengths differ or a value is NaN or infinite.
    """

    values: Tensor
    table: pd.DataFrame
    layers: list[int]

    def __post_init__(self) -> None:
        sizes = tuple(self.values.shape)
        if len(sizes) != 3 or sizes[0] != len(self.table) or sizes[1] != len(self.layers):
            rows, layers = len(self.table), len(self.layers)
            raise ValueError(f"values {sizes} but {rows} table rows and {layers} layers; cut both with .where()")
        if not torch.isfinite(
            self.values.sum()
        ):  # one cheap pass; the sum of finite values may overflow, so look again
            bad = self.table[~torch.isfinite(self.values).flatten(1).all(1).numpy()]
            if len(bad):
                raise ValueError(f"NaN or infinite activations in {len(bad)} of {len(self.table)} rows: {_named(bad)}")

    @cached_property
    def languages(self) -> list[str]:
        """The languages in order of appearance."""
        return list(dict.fromkeys(self.table["language"]))

    @cached_property
    def sentences(self) -> list:
        """The sentence ids in order of appearance."""
        return list(dict.fromkeys(self.table["sentence"]))

    def where(self, **columns: Any) -> "Activations":
        """The rows whose columns have the given value, or one of a list of values: `.where(language="A1")`."""
        kept = np.ones(len(self.table), bool)
        for column, wanted in columns.items():
            known(column, self.table.columns, "column")
            wanted = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
            for value in wanted:
                known(value, self.table[column].unique(), column)
            kept &= self.table[column].isin(wanted).to_numpy()
        return Activations(self.values[torch.from_numpy(kept)], self.table[kept].reset_index(drop=True), self.layers)

    def layer(self, layer: int) -> Tensor:
        """The values of one layer, [sentence, unit]."""
        known(layer, self.layers, "layer")
        return self.values[:, self.layers.index(layer)]

    def parallel(self, layer: int) -> Tensor:
        """One layer as [language, sentence, unit], in the order of `.languages` and `.sentences`.

        ValueError naming the gaps when a language lacks sentences, and naming the keys that appear twice.
        """
        return self.layer(layer)[self._parallel].unflatten(0, (len(self.languages), -1))

    @cached_property
    def _parallel(self) -> Tensor:
        """The row of each language's each sentence, in the order of `parallel`."""
        _refuse_duplicates(self.table, ["language", "sentence"])
        keys = pd.MultiIndex.from_product([self.languages, self.sentences], names=["language", "sentence"])
        rows = pd.MultiIndex.from_frame(self.table[["language", "sentence"]]).get_indexer(keys)
        if (rows < 0).any():
            gaps = keys[rows < 0].to_frame(index=False)
            counts = ", ".join(f"{language} lacks {n}" for language, n in gaps["language"].value_counts().items())
            total = len(self.sentences)
            raise ValueError(
                f"not parallel: of {total} sentences {counts} ({_named(gaps)}); keep the shared ones with .where()"
            )
        return torch.from_numpy(rows)


def embed(
    lm: LanguageModel,
    table: pd.DataFrame,
    layers: Sequence[int] | None = None,
    pool: str = "mean",
    *,
    batch_tokens: int | None = None,
) -> Activations:
    """Pooled hidden states of every sentence, Activations [sentence, layer, hidden], all layers from one pass.

    `table` has the columns language, sentence and text. `layers` are indices into Hugging Face `hidden_states`: 0 is
    the embedding output, the last comes after the final norm, -1 counts from the end; None is all. `pool` is "mean"
    over the sentence's tokens, those that the tokenizer adds included, or "last". Pooling is in float32. `batch_tokens`
    bounds sentences x tokens of a batch and changes nothing but speed. The returned table also carries `tokens` (those
    pooled), `fertility` (tokens of the text itself per word; every character of a script without spaces is a word) and
    `unknown` (the share of them that are unknown); above 5 % a warning names the languages. Texts beyond the model's
    length are cut, with a warning. ValueError: an empty text, a key twice; LookupError: no such layer.
    """
    pool_all = pooling([pool], ("mean", "last"))
    taps, layers = _layer_taps(lm, layers)
    text = tokenised(lm.tokenizer, _checked(table, ["language", "sentence"])["text"], _limit(lm))
    values = None
    with _tapped(lm, taps) as read:
        for batch in _batches(lm, text, batch_tokens):
            seen = torch.cat([state.to(lm.device) for state in read(batch, pool_all).values()], 1).cpu()
            values = torch.empty(len(text.ids), *seen.shape[1:]) if values is None else values
            values[batch.rows] = seen
    return Activations(values, described(table, text), layers)


def responses(
    lm: LanguageModel,
    table: pd.DataFrame,
    pool: str | Sequence[str] = "max",
    *,
    batch_tokens: int | None = None,
    memory_limit: int = 4 << 30,
    folder: str | None = None,
) -> dict[str, np.ndarray] | dict[str, dict[str, np.ndarray]]:
    """The pooled output of every unit of every MLP Linear: site -> float32 array [sentence, unit], from one pass.

    As `outputs` with all of `models.sites`. The default is the maximum over tokens, the choice of the experts
    literature; "positive" is the share of tokens with an output above 0.
    """
    options = {"batch_tokens": batch_tokens, "memory_limit": memory_limit, "folder": folder}
    return outputs(lm, table, list(sites(lm)), pool, **options)


def outputs(
    lm: LanguageModel,
    table: pd.DataFrame,
    sites: Iterable[str],
    pool: str | Sequence[str] = "mean",
    *,
    batch_tokens: int | None = None,
    memory_limit: int = 4 << 30,
    folder: str | None = None,
) -> dict[str, np.ndarray] | dict[str, dict[str, np.ndarray]]:
    """The pooled outputs of any modules of the model: site (a module path) -> float32 array [sentence, unit].

    `pool` is "max", "mean", "positive" (share above 0) or "last", over the sentence's tokens; with several, the result
    is pool -> site -> array, from the same pass. Each array is the transposed view of [unit, sentence] storage, so that
    a unit's responses lie side by side. Beyond `memory_limit` bytes in all, the storage is an unnamed file in `folder`
    (by default the system's temporary one), gone with the arrays. ValueError and LookupError as for `embed`.
    """
    pools, paths = [pool] if isinstance(pool, str) else list(pool), list(sites)
    pool_all = pooling(pools)
    modules = dict(lm.model.named_modules())
    paths = [known(path, modules, f"site of {lm.name}") for path in paths]
    text = tokenised(lm.tokenizer, _checked(table, ["language", "sentence"])["text"], _limit(lm))
    with _tapped(lm, {path: (lm.model.get_submodule(path), False) for path in paths}) as read:
        passes = ((batch.rows, read(batch, pool_all)) for batch in _batches(lm, text, batch_tokens))
        stored = _stored(passes, len(text.ids), memory_limit, folder)
    pooled = {name: {path: stored[path][number].T for path in paths} for number, name in enumerate(pools)}
    return pooled[pool] if isinstance(pool, str) else pooled


def words(
    lm: LanguageModel,
    treebank: pd.DataFrame,
    layers: Sequence[int] | None = None,
    *,
    batch_tokens: int | None = None,
) -> Activations:
    """One vector per word, the mean of its sub-tokens: Activations [word, layer, hidden] with the treebank's rows.

    `treebank` has the columns language, sentence, token (the word's place) and form; words are joined by spaces, or,
    where a column `space_after` is False, by nothing. A sub-token that spans several words counts for each. The
    returned table also carries `tokens`, the number of sub-tokens. Words without any (beyond the model's length, or
    dropped by its tokenizer) are left out with a warning. Errors as for `embed`; the tokenizer must be a fast one.
    """
    taps, layers = _layer_taps(lm, layers)
    rows = _checked(treebank, ["language", "sentence", "token"], "form").sort_values("token", kind="stable")
    groups = [np.array(index) for index in rows.groupby(["language", "sentence"], sort=False).groups.values()]
    text, pairs = tokenised_words(lm.tokenizer, [rows.loc[group] for group in groups], _limit(lm))
    counts = np.zeros(len(rows), int)
    for group, (word, _) in zip(groups, pairs):
        counts[group] = np.bincount(word, minlength=len(group))
    values = None
    with _tapped(lm, taps) as read:
        for batch in _batches(lm, text, batch_tokens):
            means = word_means([pairs[row] for row in batch.rows], batch)
            seen = read(batch, lambda states, _, means=means: means.to(states.device) @ states.float())
            seen = torch.stack([state.to(lm.device) for state in seen.values()], 2).cpu()
            values = torch.zeros(len(rows), *seen.shape[2:]) if values is None else values
            for row, vectors in zip(batch.rows, seen):
                values[groups[row][: len(vectors)]] = vectors[: len(groups[row])]
    if not counts.all():
        lost, shown = int((counts == 0).sum()), _named(treebank[counts == 0])
        warnings.warn(f"{lost} of {len(counts)} words have no tokens and are left out: {shown}", stacklevel=2)
    table = treebank.reset_index(drop=True).assign(tokens=counts)[counts > 0].reset_index(drop=True)
    return Activations(values[torch.from_numpy(counts > 0)], table, layers)


def _layer_taps(lm: LanguageModel, layers: Sequence[int] | None) -> tuple[dict[int, tuple[nn.Module, bool]], list[int]]:
    """The taps of `layers` (layer l is what block l reads; the last is what the model returns), and their indices."""
    parts = [(block, True) for block in blocks(lm).values()] + [(lm.model.base_model, False)]
    wanted = range(len(parts)) if layers is None else layers
    wanted = list(dict.fromkeys(layer + len(parts) if -len(parts) <= layer < 0 else layer for layer in wanted))
    for layer in wanted:
        known(layer, range(len(parts)), f"layer of {lm.name}")
    return {layer: parts[layer] for layer in wanted}, wanted


@contextmanager
def _tapped(lm: LanguageModel, taps: Mapping[Any, tuple[nn.Module, bool]]) -> Iterator[Callable]:
    """`read(batch, pool)` -> {key: pooled} in the order of `taps`, key -> (module, whether its input is meant)."""
    base = lm.model.base_model  # without the head: no projection onto the vocabulary
    options = {"use_cache": False} if "use_cache" in signature(base.forward).parameters else {}
    seen: dict[Any, Tensor] = {}
    record: Callable[[Any, Tensor], None]

    def read(batch: Batch, pool: Callable[[Tensor, Batch], Tensor]) -> dict[Any, Tensor]:
        nonlocal record
        seen.clear()
        record = lambda key, states: seen.update({key: pool(states, batch)})  # noqa: E731
        with torch.no_grad():
            base(input_ids=batch.ids, attention_mask=batch.mask, **options)
        if len(seen) < len(taps):
            silent = ", ".join(str(key) for key in taps if key not in seen)
            missed = f"{len(taps) - len(seen)} of {len(taps)} modules never ran: {silent}"
            raise ValueError(f"{missed}; name others, and pass the model uncompiled")
        return {key: seen[key] for key in taps}

    with ExitStack() as stack:
        for key, (module, before) in taps.items():
            if before:
                hook = module.register_forward_pre_hook(
                    lambda _, args, options, key=key: record(key, args[0] if args else options["hidden_states"]),
                    with_kwargs=True,
                )
            else:
                hook = module.register_forward_hook(lambda _, args, output, key=key: record(key, hidden(output)))
            stack.callback(hook.remove)
        yield read


def _stored(passes: Iterable[tuple[np.ndarray, dict]], count: int, limit: int, folder: str | None) -> dict[str, Any]:
    """Site -> float32 array [pool, unit, sentence], from every batch's rows and {site: [sentence, pool, unit]}."""
    stored: dict[str, np.ndarray] = {}
    waiting: list[tuple[np.ndarray, dict]] = []
    held = 0
    for rows, seen in passes:
        waiting.append((rows, {site: state.cpu().numpy() for site, state in seen.items()}))
        held += sum(array.nbytes for array in waiting[-1][1].values())
        if held > limit // 4:  # few, large writes: each one touches every page of a file
            _flush(stored, waiting, count, limit, folder)
            waiting, held = [], 0
    _flush(stored, waiting, count, limit, folder)
    return stored


def _flush(stored: dict, waiting: list[tuple[np.ndarray, dict]], count: int, limit: int, folder: str | None) -> None:
    """Write the waiting batches into `stored`, which is laid out at the first call."""
    if not waiting:
        return
    shapes = {site: (*array.shape[1:], count) for site, array in waiting[0][1].items()}
    spilled = 4 * sum(map(np.prod, shapes.values())) > limit
    rows = np.concatenate([rows for rows, _ in waiting])
    order = np.argsort(rows)
    for site, shape in shapes.items():
        if site not in stored:
            stored[site] = _on_disk(shape, folder) if spilled else np.empty(shape, np.float32)
        arrays = np.concatenate([seen.pop(site) for _, seen in waiting])
        stored[site][..., rows[order]] = arrays[order].transpose(1, 2, 0)


def _on_disk(shape: tuple[int, ...], folder: str | None) -> np.ndarray:
    """An array in an unnamed temporary file, its room reserved: a full disk is an error now, not a crash later."""
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, 4 * int(np.prod(shape)))
        return np.memmap(file, np.float32, "w+", shape=shape)


def _batches(lm: LanguageModel, text: Text, batch_tokens: int | None) -> Iterator[Batch]:
    return by_length(text.ids, lm.tokenizer.pad_token_id or 0, lm.device, batch_tokens)


def _limit(lm: LanguageModel) -> int:
    """The most tokens the model reads: the least of what its tokenizer, configuration and position table allow."""
    config = lm.model.config.get_text_config()
    limits = [lm.tokenizer.model_max_length, getattr(config, "max_position_embeddings", None)]
    for name, part in lm.model.base_model.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            limits.append(part.num_embeddings - part.padding_idx - 1)  # RoBERTa counts from after the padding index
    return min(limit for limit in limits if limit)


def _checked(table: pd.DataFrame, keys: list[str], text: str = "text") -> pd.DataFrame:
    """The table with a plain index; ValueError for missing columns, no rows, empty texts and repeated keys."""
    missing = [column for column in [*keys, text] if column not in table]
    if missing or table.empty:
        raise ValueError(f"{len(table)} rows with the columns {list(table)}; pass rows with {[*keys, text]}")
    empty = table[table[text].isna() | (table[text].astype(str).str.strip() == "")]
    if len(empty):
        raise ValueError(f"{len(empty)} of {len(table)} rows have an empty {text}: {_named(empty)}; drop them")
    _refuse_duplicates(table, keys)
    return table.reset_index(drop=True)


def _refuse_duplicates(table: pd.DataFrame, keys: list[str]) -> None:
    twice = table[table.duplicated(keys)]
    if len(twice):
        raise ValueError(f"{len(twice)} of {len(table)} rows repeat {keys}: {_named(twice)}; keep one of each")


def _named(rows: pd.DataFrame) -> str:
    """The first few rows by language and sentence, for a message."""
    shown = [f"{language} {sentence}" for language, sentence in zip(rows["language"], rows["sentence"])]
    return ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")
