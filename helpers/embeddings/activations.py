"""What a model makes of sentences: pooled hidden states, pooled outputs of any modules, word vectors.

Taps on the modules pool each batch as it goes by, so that neither the hidden states of a corpus nor the vocabulary
projection ever exist; results depend neither on the batch nor on the tokenizer's padding side.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
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
    limit,
    pooling,
    tokenised,
    tokenised_words,
    word_means,
)
from helpers.models.loading import LanguageModel
from helpers.models.parts import blocks, hidden, sites

_MEMORY = 4 << 30  # bytes of responses beyond which they lie on disk


@dataclass(frozen=True)
class Activations:
    """A float32 tensor [sentence, layer, unit] beside a table with one row per sentence, cut together.

    `layers` names the middle axis. ValueError when the lengths differ or a value is NaN or infinite.
    """

    values: Tensor
    table: pd.DataFrame
    layers: list[int]

    def __post_init__(self) -> None:
        sizes, rows, layers = tuple(self.values.shape), len(self.table), len(self.layers)
        if len(sizes) != 3 or sizes[:2] != (rows, layers):
            raise ValueError(f"values {sizes} but {rows} table rows and {layers} layers; cut both with .where()")
        if not torch.isfinite(self.values.sum()):  # one cheap pass; a sum of finite values may overflow: look again
            bad = self.table[~torch.isfinite(self.values).flatten(1).all(1).numpy()]
            if len(bad):
                raise ValueError(f"NaN or infinite activations in {len(bad)} of {len(self.table)} rows: {_named(bad)}")

    @cached_property
    def languages(self) -> list[str]:
        """The languages in order of appearance."""
        return list(self.table["language"].unique())

    @cached_property
    def sentences(self) -> list:
        """The sentence ids in order of appearance."""
        return list(self.table["sentence"].unique())

    def where(self, **columns: Any) -> "Activations":
        """The rows whose columns have the given value, or one of a list of values: `.where(language="A1")`."""
        kept = np.ones(len(self.table), bool)
        for column, wanted in columns.items():
            there = self.table[known(column, self.table.columns, "column")]
            values = [known(value, there.unique(), column) for value in np.ravel(wanted).tolist()]
            kept &= there.isin(values).to_numpy()
        return Activations(self.values[torch.from_numpy(kept)], self.table[kept].reset_index(drop=True), self.layers)

    def layer(self, layer: int) -> Tensor:
        """The values of one layer, [sentence, unit]."""
        return self.values[:, self.layers.index(known(layer, self.layers, "layer"))]

    def parallel(self, layer: int) -> Tensor:
        """One layer as [language, sentence, unit], in the order of `.languages` and `.sentences`.

        ValueError naming the gaps when a language lacks sentences, and naming the keys that appear twice.
        """
        return self.layer(layer)[self._parallel].unflatten(0, (len(self.languages), -1))

    @cached_property
    def _parallel(self) -> Tensor:
        """The row of each language's each sentence, in the order of `parallel`."""
        keys = ["language", "sentence"]
        _refuse_duplicates(self.table, keys)
        wanted = pd.MultiIndex.from_product([self.languages, self.sentences], names=keys)
        rows = pd.MultiIndex.from_frame(self.table[keys]).get_indexer(wanted)
        if (rows < 0).any():
            gaps = wanted[rows < 0].to_frame(index=False)
            counts = ", ".join(f"{language} lacks {n}" for language, n in gaps["language"].value_counts().items())
            fact = f"not parallel: of {len(self.sentences)} sentences {counts} ({_named(gaps)})"
            raise ValueError(f"{fact}; keep the shared ones with .where()")
        return torch.from_numpy(rows)


def embed(
    lm: LanguageModel, table: pd.DataFrame, layers: Sequence[int] | None = None, pool: str = "mean"
) -> Activations:
    """Pooled hidden states of every sentence, Activations [sentence, layer, hidden], all layers from one pass.

    `table` has the columns language, sentence and text. `layers` are indices into Hugging Face `hidden_states`: 0 is
    the embedding output, the last comes after the final norm, -1 counts from the end; None is all. `pool` is "mean"
    over the sentence's tokens, those that the tokenizer adds included, or "last", in float32. The returned table also
    carries `tokens` (those pooled), `fertility` (tokens of the text itself per word; every letter of a script without
    spaces is a word) and `unknown` (the share of them that are unknown); above 5 % a warning names the languages. Texts
    beyond the model's length are cut, with a warning. ValueError: an empty text, a key twice; LookupError: no layer.
    """
    pool_all = pooling([pool], ("mean", "last"))
    taps = _layer_taps(lm, layers)
    text = tokenised(lm, checked(table, ["language", "sentence"])["text"], limit(lm))
    values = _vectors(lm, taps, text, np.arange(len(table))[:, None], pool_all)
    return Activations(values, described(table, text), list(taps))


def responses(lm: LanguageModel, table: pd.DataFrame, pool: str | Sequence[str] = "max") -> dict[str, Any]:
    """The pooled output of every unit of every MLP Linear: site -> float32 array [sentence, unit], from one pass.

    As `outputs` with all of `models.sites`. The default is the maximum over tokens, the choice of the experts
    literature; "positive" is the share of tokens with an output above 0.
    """
    return outputs(lm, table, sites(lm), pool)


def outputs(
    lm: LanguageModel, table: pd.DataFrame, sites: Iterable[str], pool: str | Sequence[str] = "mean"
) -> dict[str, Any]:
    """The pooled outputs of any modules of the model: site (a module path) -> float32 array [sentence, unit].

    `pool` is "max", "mean", "positive" (share above 0) or "last", over the sentence's tokens; with several, the result
    is pool -> site -> array, from the same pass. Each array is the transposed view of [unit, sentence] storage, so that
    a unit's responses lie side by side. Beyond 4 GiB in all, the storage is an unnamed file in the system's temporary
    folder, gone with the arrays. ValueError and LookupError as for `embed`.
    """
    pools = [pool] if isinstance(pool, str) else list(pool)
    pool_all = pooling(pools)
    modules = dict(lm.model.named_modules())
    taps = {path: (modules[known(path, modules, f"site of {lm.name}")], False) for path in sites}
    text = tokenised(lm, checked(table, ["language", "sentence"])["text"], limit(lm))
    with passes(lm, taps, text, pool_all) as batches:
        stored = _stored(batches, len(text.ids))
    pooled = {name: {path: stored[path][number].T for path in taps} for number, name in enumerate(pools)}
    return pooled[pool] if isinstance(pool, str) else pooled


def words(lm: LanguageModel, treebank: pd.DataFrame, layers: Sequence[int] | None = None) -> Activations:
    """One vector per word, the mean of its sub-tokens: Activations [word, layer, hidden] with the treebank's rows.

    `treebank` has the columns language, sentence, token (the word's place) and form; words are joined by spaces, or,
    where a column `space_after` is False, by nothing. A sub-token that spans several words counts for each. The
    returned table also carries `tokens`, the number of sub-tokens. Words without any (beyond the model's length, or
    dropped by its tokenizer) are left out with a warning. Errors as for `embed`; the tokenizer must be a fast one.
    """
    taps = _layer_taps(lm, layers)
    rows = checked(treebank, ["language", "sentence", "token"], "form").sort_values("token", kind="stable")
    places = [np.array(index) for index in rows.groupby(["language", "sentence"], sort=False).groups.values()]
    text, owned = tokenised_words(lm, [rows.loc[place] for place in places], limit(lm))
    values = _vectors(lm, taps, text, places, partial(word_means, owned))
    counts = np.zeros(len(rows), int)
    counts[np.concatenate(places)] = np.concatenate([tokens.sum(1) for tokens in owned])
    table, kept = treebank.reset_index(drop=True).assign(tokens=counts), counts > 0
    if not kept.all():
        fact = f"{(~kept).sum()} of {len(kept)} words have no tokens and are left out"
        warnings.warn(f"{fact}: {_named(table[~kept])}", stacklevel=2)
    return Activations(values[torch.from_numpy(kept)], table[kept].reset_index(drop=True), list(taps))


def _layer_taps(lm: LanguageModel, layers: Sequence[int] | None) -> dict:
    """The taps of `layers`: layer l is what block l reads, the last is what the model returns."""
    parts = [(block, True) for block in blocks(lm).values()] + [(lm.model.base_model, False)]
    places = range(len(parts))
    wanted = [
        layer + len(parts) if -len(parts) <= layer < 0 else layer for layer in (places if layers is None else layers)
    ]
    return {known(layer, places, f"layer of {lm.name}"): parts[layer] for layer in wanted}


def _vectors(lm: LanguageModel, taps: Mapping, text: Text, places: Sequence[np.ndarray], pool: Callable) -> Tensor:
    """[row, tap, hidden], from pools that give each sentence vectors; `places` are their rows, sentence by sentence."""
    values = None
    with passes(lm, taps, text, pool) as batches:
        for batch, seen in batches:
            seen = torch.stack([state.to(lm.device) for state in seen.values()], 2).cpu()
            values = torch.zeros(sum(map(len, places)), *seen.shape[2:]) if values is None else values
            rows = [places[row] for row in batch.rows]
            values[np.concatenate(rows)] = torch.cat([found[: len(own)] for found, own in zip(seen, rows)])
    return values


@contextmanager
def passes(lm: LanguageModel, taps: Mapping, text: Text, pool: Callable) -> Iterator[Iterable]:
    """Every batch with {key: what `pool(batch)` makes of the states}, for taps key -> (module, whether its input)."""
    base = lm.model.base_model  # without the head: no projection onto the vocabulary
    options = {"use_cache": False} if "use_cache" in signature(base.forward).parameters else {}
    seen, pooled = {}, None

    def record(key: Any, states: Tensor) -> None:
        seen[key] = pooled(states)

    def run(batch: Batch) -> tuple[Batch, dict]:
        nonlocal pooled
        seen.clear()
        pooled = pool(batch)
        with torch.no_grad():
            base(input_ids=batch.ids, attention_mask=batch.mask, **options)
        silent = [str(key) for key in taps if key not in seen]
        if silent:
            missed = f"{len(silent)} of {len(taps)} modules never ran: {', '.join(silent)}"
            raise ValueError(f"{missed}; name others, and pass the model uncompiled")
        return batch, {key: seen[key] for key in taps}

    with ExitStack() as stack:
        for key, (module, before) in taps.items():
            stack.callback(_tapped(module, before, partial(record, key)).remove)
        yield map(run, by_length(lm, text.ids))


def _tapped(module: nn.Module, before: bool, record: Callable) -> Any:
    """The handle of a hook that records the hidden states in the module's output, or `before` it in its input."""
    if not before:
        return module.register_forward_hook(lambda _, args, output: record(hidden(output)))
    read = lambda _, args, options: record(args[0] if args else options["hidden_states"])  # noqa: E731
    return module.register_forward_pre_hook(read, with_kwargs=True)


def _stored(batches: Iterable, count: int) -> dict[str, np.ndarray]:
    """Site -> float32 array [pool, unit, sentence], from every batch and its {site: [sentence, pool, unit]}."""
    stored, waiting, held = {}, [], 0
    for batch, seen in batches:
        if held > _MEMORY // 4:  # few, large writes: each one touches every page of a file
            _write(stored, waiting, count)
            waiting, held = [], 0
        waiting.append((batch.rows, {site: state.cpu().numpy() for site, state in seen.items()}))
        held += sum(array.nbytes for array in waiting[-1][1].values())
    _write(stored, waiting, count)
    return stored


def _write(stored: dict, waiting: list, count: int) -> None:
    """Write the waiting batches into `stored`, which is laid out at the first call."""
    rows = np.concatenate([rows for rows, _ in waiting])
    order = np.argsort(rows)
    spilled = 4 * count * sum(array[0].size for array in waiting[0][1].values()) > _MEMORY
    for site in list(waiting[0][1]):
        arrays = np.concatenate([seen.pop(site) for _, seen in waiting])[order]
        if site not in stored:
            shape = (*arrays.shape[1:], count)
            stored[site] = _on_disk(shape) if spilled else np.empty(shape, np.float32)
        stored[site][..., rows[order]] = arrays.transpose(1, 2, 0)


def _on_disk(shape: tuple) -> np.ndarray:
    """An array in an unnamed temporary file, its room reserved: a full disk is an error now, not a crash later."""
    with tempfile.TemporaryFile() as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, 4 * int(np.prod(shape)))
        return np.memmap(file, np.float32, "w+", shape=shape)


def checked(table: pd.DataFrame, keys: list[str], text: str = "text") -> pd.DataFrame:
    """The table with a plain index; ValueError for missing columns, no rows, empty texts and repeated keys."""
    if not {*keys, text} <= {*table} or table.empty:
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
