"""What a person who explores asks of a model: a setting in, tables out, and nothing computed before it is asked for.

Every answer is made when it is first wanted and kept until many others have been asked, so going back costs nothing,
and what is shown for a setting does not depend on the way there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from helpers import corpora
from helpers.common.lookup import known
from helpers.common.stats import span, verdict
from helpers.embeddings import activations, projection, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.models.parts import blocks
from helpers.steering import generation, measuring, methods
from helpers.steering.fitting import Fitting
from helpers.steering.hooks import steered

RANKS = (1, 4)  # of an erasure, beside the full span of the language means
NAMES = {"top1": "top-1 retrieval", "pairs_matched": "distance of translations"}
_KEPT = 64  # answers: of the mini model some hundred kilobytes each
_NEAR = 5  # neighbours shown
_READ = 5  # sentences of each language whose perplexity is taken
_TOKENS = 20  # the longest text that is written
_EPOCHS = 100  # of a UMAP: half of what a figure gets, since a hand is waiting


class Setting(NamedTuple):
    """The language steered to, a method, its k or rank (0: all units, or a method without one), the layer looked at."""

    toward: str
    method: str
    size: int
    layer: int


@dataclass(frozen=True, eq=False)
class Explorer:
    """A model with its fitting, and the sentences that are looked at: table[language, sentence, text, ...].

    `ks` are the numbers of units offered, `strengths` those that the map is laid out at, 0 among them; `projection` is
    a method of `projection.maps`. `lexicon` tells a world's languages apart; `samples` (0: no) texts are written. Units
    are edited in every block, directions after the block that gives the layer looked at. Raise LookupError for a
    language, method or layer that is not there, ValueError for a k or rank that the model or method does not have.
    """

    lm: LanguageModel
    fitting: Fitting
    table: pd.DataFrame = field(repr=False)
    ks: Sequence[int] = (5, 20, 80)
    strengths: Sequence[float] = (0.0, 0.5, 1.0, 1.5)
    projection: str = "umap"
    lexicon: pd.DataFrame | None = field(default=None, repr=False)
    samples: int = 12
    seed: int = 0
    _made: dict = field(default_factory=dict, init=False, repr=False)  # answers belong to this explorer alone

    @property
    def layers(self) -> list[int]:
        """The layers that an edit can reach: 0, the embedding output, comes before all of them."""
        return list(range(1, len(blocks(self.lm)) + 1))

    @property
    def writes(self) -> bool:
        """Whether the model writes text, and so has samples and a perplexity."""
        return self.samples > 0 and generation.writes(self.lm)

    def setting(self, toward: str, method: str, size: int, layer: int) -> Setting:
        """Return a setting; an empty `toward` is the first language, layer 0 the middle one."""
        return Setting(toward or self.fitting.languages[0], method, size, layer or len(self.layers) // 2 + 1)

    def sizes(self, method: str) -> tuple[str, list[int]]:
        """What a method's size is called, k, rank or nothing, and the sizes offered; 0 is all units, or none taken."""
        taken = signature(methods.METHODS[known(method, methods.METHODS, "method")]).parameters
        if "rank" in taken:
            full = len(self.fitting.languages) - 1
            return "rank", sorted({*(rank for rank in RANKS if rank < full), full})
        if "k" not in taken:
            return "", [0]
        return "k", [*sorted(self.ks), *([0] if method.endswith("transport") else [])]

    def title(self, setting: Setting) -> str:
        """The setting in words: `overwrite toward A1, k = 20, layer 3`."""
        method, toward, *options = self._plan(setting)
        name, _ = self.sizes(method)
        sized = f", {name} = {setting.size}" if name in dict(options) else ", all units" if name else ""
        return f"{method.replace('_', ' ')}{f' toward {toward}' if toward else ''}{sized}, layer {setting.layer}"

    def edits(self, setting: Setting) -> list:
        """The edits of a setting, fitted once."""
        method, toward, *options = plan = self._plan(setting)
        fit = partial(methods.fit, method, self.fitting, toward, seed=self.seed, **dict(options))
        return self._once(("edits", *plan), fit)

    def points(self, setting: Setting, strengths: Sequence[float] = ()) -> pd.DataFrame:
        """table[strength, (the columns of the table), x, y]: the map of the layer at the strengths, or at all."""
        levels, layer = tuple(strengths or self.strengths), setting.layer
        shape = dict(neighbours=min(15, len(self.table) - 1), min_dist=0.6, epochs=_EPOCHS, seed=self.seed)

        def lay_out() -> pd.DataFrame:
            states = dict(zip(levels, (states.layer(layer).numpy() for states in self._states(setting, levels))))
            return projection.maps(states, self.table, method=self.projection, **shape)

        return self._once(("points", *self._plan(setting), layer, *levels), lay_out)

    def effects(self, setting: Setting, strength: float) -> pd.DataFrame:
        """table[metric, before, after, change, low, high] of the sentences at the layer, and of what the model writes.

        Top-1 retrieval, with the 95 % interval of its change over sentences, and the distance of translations. For a
        decoder also the price: perplexity (geometric mean over languages of a few sentences), and the share of the
        samples in the language steered to, NaN where no share can be told.
        """
        states = self._states(setting, (0.0, strength))
        found = measuring.changes(*states, metrics=list(NAMES), seed=self.seed).drop(columns="layer")
        found["metric"] = found["metric"].map(NAMES)
        for name, (was, now) in self._price(setting, strength).items() if self.writes else ():
            found.loc[len(found)] = (name, was, now, now - was, np.nan, np.nan)
        return found

    def moved(self, setting: Setting, strength: float) -> str:
        """What the setting does to retrieval, in one sentence that follows from the interval."""
        row = self.effects(setting, strength).iloc[0]
        change = f"{row.change:+.2f} {span(row.low, row.high, 2)}, {verdict(row.low, row.high)} 0"
        return f"**{row.metric.capitalize()} goes from {row.before:.3g} to {row.after:.3g} ({change}).**"

    def texts(self, setting: Setting, strength: float) -> pd.DataFrame:
        """table[before, after]: what the model writes from the same draws; empty for an encoder."""
        written = self._written(setting, strength) if self.writes else ([], [])
        return pd.DataFrame(dict(zip(("before", "after"), written)))

    def neighbours(self, setting: Setting, strength: float, language: str, sentence: Any) -> pd.DataFrame:
        """table[when, rank, cosine, translation, (the columns of the table)]: the five nearest of other languages.

        `when` is before or after; `translation` says whether the row is the same sentence in its own language.
        """
        other = self.table["language"] != known(language, self.table["language"].unique(), "language")
        same = self.table["sentence"] == known(sentence, self.table["sentence"].unique(), "sentence")
        own, parts = np.flatnonzero(same & ~other)[0], []
        for when, states in zip(("before", "after"), self._states(setting, (0.0, strength))):
            values = states.layer(setting.layer)
            cosine = torch.cosine_similarity(values[own], values, dim=1).numpy()
            near = self.table.assign(when=when, translation=same, cosine=cosine)[other].nlargest(_NEAR, "cosine")
            parts.append(near.assign(rank=range(1, len(near) + 1)))
        return pd.concat(parts, ignore_index=True)[["when", "rank", "cosine", "translation", *self.table.columns]]

    def found(self, setting: Setting, strength: float, language: str, sentence: Any) -> pd.DataFrame:
        """table[language, before, after]: whether the sentence's translation comes first among that language's rows.

        An m-way tie counts 1/m, as in `retrieval.correct`.
        """
        columns = {}
        for when, states in zip(("before", "after"), self._states(setting, (0.0, strength))):
            hits = retrieval.correct(states.parallel(setting.layer))
            columns[when] = hits[states.languages.index(language), :, states.sentences.index(sentence)]
        return pd.DataFrame({"language": states.languages, **columns}).query("language != @language")

    def translated(self, setting: Setting, strength: float, language: str, sentence: Any) -> str:
        """In how many languages the sentence finds its translation first, in one sentence."""
        found = self.found(setting, strength, language, sentence)
        counts = f"in {found['before'].sum():.3g} of {len(found)} languages before, in **{found['after'].sum():.3g}**"
        return f"Its translation comes first {counts} after."

    def _plan(self, setting: Setting) -> tuple:
        """What of a setting its edits hang on: the method, the language steered to or None, and each option."""
        known(setting.toward, self.fitting.languages, "sentences in")
        known(setting.layer, self.layers, "layer that an edit reaches")
        name, _ = self.sizes(setting.method)
        options = [(name, setting.size)] if name and setting.size else []
        if "block" in signature(methods.METHODS[setting.method]).parameters:
            options.append(("block", setting.layer - 1))
        neutral = setting.method in ("erase", "leace")  # they favour no language
        return setting.method, None if neutral else setting.toward, *options

    def _states(self, setting: Setting, strengths: Sequence[float]) -> list[Activations]:
        embed = partial(activations.embed, self.lm, self.table, [setting.layer])
        return self._under(("states", setting.layer), setting, strengths, embed)

    def _written(self, setting: Setting, strength: float) -> list[pd.Series]:
        write = partial(generation.sample, self.lm, self.samples, seed=self.seed, max_tokens=_TOKENS)
        return [texts["text"] for texts in self._under(("texts",), setting, (0.0, strength), write)]

    def _price(self, setting: Setting, strength: float) -> dict[str, list[float]]:
        read = partial(generation.perplexity, self.lm, corpora.first(self.table, _READ))
        costs = self._under(("perplexity",), setting, (0.0, strength), read)
        share = partial(generation.share, language=setting.toward, table=self.table, lexicon=self.lexicon)
        return {
            "perplexity": [float(np.exp(np.log(cost["perplexity"]).mean())) for cost in costs],
            f"share of text in {setting.toward}": [share(texts) for texts in self._written(setting, strength)],
        }

    def _under(self, key: tuple, setting: Setting, strengths: Sequence[float], made: Callable[[], Any]) -> list:
        """What `made` returns under the setting's edits at each strength; untouched, it is the same for all."""

        def measured(strength: float) -> Any:
            with steered(self.lm, self.edits(setting) if strength else [], strength):
                return made()

        plan = self._plan(setting)
        keys = [(*key, *(plan if strength else ()), round(strength, 6)) for strength in strengths]
        return [self._once(at, partial(measured, at[-1])) for at in keys]

    def _once(self, key: tuple, made: Callable[[], Any]) -> Any:
        """The answer kept under the key, or the one that is made now; beyond `_KEPT` the one unused longest goes."""
        self._made[key] = answer = self._made.pop(key) if key in self._made else made()
        while len(self._made) > _KEPT:
            del self._made[next(iter(self._made))]
        return answer
