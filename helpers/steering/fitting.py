"""What methods are fitted on: a model, sentences of known languages, and what the one makes of the other.

One idea: activations are read when they are first wanted, once, and cut together with the sentences; so every method,
every strength and every control sees the same numbers, and a fit that leaves out a language costs no forward pass.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from helpers.common.lookup import known
from helpers.embeddings import activations
from helpers.models.loading import LanguageModel
from helpers.models.parts import blocks

POOLS = ("max", "mean", "positive")


@dataclass(frozen=True)
class Fitting:
    """A model and the sentences to fit on, table[language, sentence, text]; `pools` are read in one pass.

    Cutting and shuffling make another Fitting and leave this one, its table and its arrays as they are.
    """

    lm: LanguageModel
    table: pd.DataFrame = field(repr=False)
    pools: Sequence[str] = POOLS
    _read: dict = field(default_factory=dict, repr=False)  # kind, name -> {site: [sentence, unit]}
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
        if ("sites", pool) not in self._read:
            wanted = [name for name in dict.fromkeys([pool, *self.pools]) if ("sites", name) not in self._read]
            seen = activations.responses(self.lm, self.table, wanted)
            self._read.update({("sites", name): arrays for name, arrays in seen.items()})
        return self._read["sites", pool]

    def outputs(self, path: str) -> np.ndarray:
        """The mean-pooled outputs [sentence, hidden] of a block, or of any module."""
        if ("outputs", path) not in self._read:
            self._read["outputs", path] = activations.outputs(self.lm, self.table, [path])
        return self._read["outputs", path][path]

    def path(self, block: int | None) -> str:
        """The module path of a block, counted from 0 or from the end; None is the middle one."""
        paths = list(blocks(self.lm))
        block = len(paths) // 2 if block is None else block
        if not -len(paths) <= block < len(paths):
            raise LookupError(f"no block {block}; {self.lm.name} has {len(paths)}, 0 to {len(paths) - 1}")
        return paths[block]

    def once(self, key: tuple, made: Callable[[], Any]) -> Any:
        """What `made` returns, made at the first call with this key: for tables that hang on the labels."""
        if key not in self._ranked:
            self._ranked[key] = made()
        return self._ranked[key]

    def own(self, language: str | None) -> np.ndarray:
        """Which sentences are in the language; LookupError where none is, ValueError where all are."""
        known(language, self.languages, "sentences in")
        own = self.labels == language
        if own.all():
            raise ValueError(f"{len(own)} sentences, all in {language}; fit on at least one more language")
        return own

    def parallel(self, path: str) -> np.ndarray:
        """The block's outputs as [language, sentence, hidden]; ValueError where the languages' counts differ."""
        codes, languages = pd.factorize(self.labels)
        counts = np.bincount(codes)
        if counts.min() < counts.max():
            few, many = languages[counts.argmin()], languages[counts.argmax()]
            found = f"{counts.min()} sentences in {few} but {counts.max()} in {many}"
            raise ValueError(f"{found}; keep those that all languages share")
        order = np.argsort(codes, kind="stable")
        return self.outputs(path)[order].reshape(len(languages), counts[0], -1)

    def without(self, languages: str | Iterable[str]) -> "Fitting":
        """The same without the sentences of a language, or of several, such as a family."""
        languages = [languages] if isinstance(languages, str) else list(languages)
        for language in languages:
            known(language, self.languages, "sentences in")
        kept = ~self.table["language"].isin(languages).to_numpy()
        read = {key: {site: array.T[:, kept].T for site, array in seen.items()} for key, seen in self._read.items()}
        return replace(self, table=self.table[kept].reset_index(drop=True), _read=read, _ranked={})

    def shuffled(self, seed: int = 0) -> "Fitting":
        """The same with the languages dealt to the sentences by chance, as many to each as before."""
        dealt = np.random.default_rng(seed).permutation(self.labels)
        return replace(self, table=self.table.assign(language=dealt), _read=dict(self._read), _ranked={})
