"""What methods are fitted on: a model, sentences of known languages, and the model's answers to them.

Activations are read when they are first wanted, once, so that every method and every control sees the same numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from helpers.common.lookup import known
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.models.parts import blocks

POOLS = ("max", "mean", "positive")


@dataclass(frozen=True)
class Fitting:
    """A model and the sentences to fit on, table[language, sentence, text]; `pools` are read in one pass."""

    lm: LanguageModel
    table: pd.DataFrame = field(repr=False)
    pools: Sequence[str] = POOLS
    _read: dict = field(default_factory=dict, repr=False)  # by pool or path
    _ranked: dict = field(default_factory=dict, repr=False)  # what also hangs on the labels

    @property
    def labels(self) -> np.ndarray:
        """The language of each sentence."""
        return self.table["language"].to_numpy()

    @property
    def languages(self) -> list[str]:
        """The languages in order of appearance."""
        return list(self.table["language"].unique())

    def responses(self, pool: str) -> Mapping[str, np.ndarray]:
        """Site -> pooled responses [sentence, unit]."""
        if pool not in self._read:
            wanted = [name for name in dict.fromkeys([pool, *self.pools]) if name not in self._read]
            self._read.update(activations.responses(self.lm, self.table, wanted))
        return self._read[pool]

    def outputs(self, path: str) -> np.ndarray:
        """The mean-pooled outputs [sentence, hidden] of a block, or of any module."""
        if path not in self._read:
            self._read.update(activations.outputs(self.lm, self.table, [path]))
        return self._read[path]

    def path(self, block: int | None) -> str:
        """The module path of a block, counted from 0 or from the end; None is the middle one."""
        paths = list(blocks(self.lm))
        block = len(paths) // 2 if block is None else block
        return paths[known(block, range(-len(paths), len(paths)), "block", f"{self.lm.name} has {len(paths)}")]

    def once(self, key: tuple, made: Callable[[], Any]) -> Any:
        """What `made` returns, made at the first call with this key: for tables that hang on the labels."""
        if key not in self._ranked:
            self._ranked[key] = made()
        return self._ranked[key]

    def own(self, language: str | None) -> np.ndarray:
        """Which sentences are in the language; LookupError where none is, ValueError where all are."""
        own = self.labels == known(language, self.languages, "sentences in")
        if own.all():
            raise ValueError(f"{len(own)} sentences, all in {language}; fit on at least one more language")
        return own

    def parallel(self, path: str) -> np.ndarray:
        """The block's outputs as [language, sentence, hidden]; ValueError where the languages' counts differ."""
        counts = self.table["language"].value_counts(sort=False)
        if counts.min() < counts.max():
            found = f"{counts.min()} sentences in {counts.idxmin()} but {counts.max()} in {counts.idxmax()}"
            raise ValueError(f"{found}; keep those that all languages share")
        order = np.argsort(pd.factorize(self.labels)[0], kind="stable")
        return self.outputs(path)[order].reshape(len(counts), counts.max(), -1)

    def shuffled(self, seed: int) -> "Fitting":
        """The same with the languages dealt to the sentences by chance, as many to each as before."""
        dealt = np.random.default_rng(seed).permutation(self.labels)
        return replace(self, table=self.table.assign(language=dealt), _read=dict(self._read), _ranked={})

    def posthoc(self, states: Activations, without: Sequence[str] = ()) -> Activations:
        """The states with the span of the language means projected out at every layer; `without` languages: not fitted.

        No model is changed: the means are those of the untouched model on the sentences to fit on.
        """
        fit = self.once(("states", *states.layers), lambda: activations.embed(self.lm, self.table, states.layers))
        fit = fit.where(language=[name for name in self.languages if name not in without])
        values = [retrieval.project(states.layer(at), retrieval.subspace(fit.parallel(at))) for at in states.layers]
        return Activations(torch.stack(values, 1), states.table, states.layers)

    def left_out(self, states: Activations, groups: Mapping[str, str]) -> pd.DataFrame:
        """table[group, layer, untouched, seen, unseen]: `posthoc` fitted with and without a group of languages.

        Top-1 over the ordered pairs that a language of the group is part of; `groups` maps language to family, or to
        itself for one language at a time. A fit on fewer than two languages spans nothing and is left out.
        """
        rows, seen = [], self.posthoc(states)
        level = {at: [retrieval.correct(x.parallel(at)) for x in (states, seen)] for at in states.layers}
        for group in dict.fromkeys(groups.values()):
            gone = [name for name in states.languages if groups[name] == group]
            if len(self.languages) - len(gone) < 2:
                continue
            unseen, ours = self.posthoc(states, gone), np.isin(states.languages, gone)
            pairs = (ours[:, None] | ours) & ~np.eye(len(ours), dtype=bool)
            for layer, hits in level.items():
                found = [*hits, retrieval.correct(unseen.parallel(layer))]
                rows.append((group, layer, *(one[pairs].mean() for one in found)))
        return pd.DataFrame(rows, columns=["group", "layer", "untouched", "seen", "unseen"])
