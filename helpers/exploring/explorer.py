"""What a person who explores asks of a model: a setting in, tables out, and nothing computed before it is asked for.

One idea: a setting is a question. Every answer to it is made when it is first wanted and kept until many others have
been asked, so going back costs nothing, and what is shown for a setting does not depend on the way there.
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
from helpers.embeddings import activations, projection, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel, blocks
from helpers.steering import effects, generation, methods
from helpers.steering.fitting import Fitting
from helpers.steering.hooks import steered

RANKS = (1, 4)  # of an erasure, beside the full span of the language means
NAMES = {"top1": "top-1 retrieval", "pairs_matched": "distance of translations"}
_KEPT = 64  # answers: of the mini model some hundred kilobytes each
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
    a method of `projection.maps`. `lexicon` tells a world's languages apart; `samples` texts are written. Units are
    edited in every block, directions after the block that gives the layer looked at. LookupError: a language, method or
    layer that is not there. ValueError: a k or rank that the model or method does not have.
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
    _made: dict = field(default_factory=dict, repr=False)

    @property
    def layers(self) -> list[int]:
        """The layers that an edit can reach: 0, the embedding output, comes before all of them."""
        return list(range(1, len(blocks(self.lm)) + 1))

    @property
    def writes(self) -> bool:
        """Whether the model writes text, and so has samples and a perplexity."""
        return generation.writes(self.lm)

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
        toward, method, size, _ = self._plan(setting)
        name, _ = self.sizes(method)
        parts = [f"{method.replace('_', ' ')}{f' toward {toward}' if toward else ''}"]
        parts += [f"{name} = {size}" if size else "all units"] if name else []
        return ", ".join([*parts, f"layer {setting.layer}"])

    def edits(self, setting: Setting) -> list:
        """The edits of a setting, fitted once."""
        plan = self._plan(setting)
        return self._once(("edits", *plan), lambda: self._fitted(*plan))

    def points(self, setting: Setting) -> pd.DataFrame:
        """table[strength, (the columns of the table), x, y]: the map of the layer at every strength of the grid."""
        layout = (self.projection, *self.strengths)  # explorers made by dataclasses.replace share what is made
        return self._once(("points", *self._plan(setting), setting.layer, layout), lambda: self._mapped(setting))

    def measured(self, setting: Setting, strength: float) -> pd.DataFrame:
        """table[metric, before, after, change, low, high] of the sentences at the layer; see `steering.measure`.

        top-1 retrieval, with the 95 % interval of its change over sentences, and distance of translations.
        """
        untouched, edited = (self._states(setting, level) for level in (0.0, strength))
        found = effects.measure(untouched, edited, metrics=list(NAMES), seed=self.seed)
        return found.assign(metric=found["metric"].map(NAMES)).drop(columns="layer")

    def price(self, setting: Setting, strength: float) -> pd.DataFrame:
        """table[metric, before, after, change, low, high]: perplexity, and the share of text in the language.

        Perplexity is the geometric mean over languages of a few sentences; the share is that of the samples. Neither
        has an interval. Empty for an encoder, which has neither.
        """
        columns = ["metric", "before", "after", "change", "low", "high"]
        if not self.writes:
            return pd.DataFrame(columns=columns)
        pairs = {
            "perplexity": [self._perplexity(setting, level) for level in (0.0, strength)],
            f"share of text in {setting.toward}": [self._share(setting, level) for level in (0.0, strength)],
        }
        rows = [(name, was, now, now - was, np.nan, np.nan) for name, (was, now) in pairs.items()]
        return pd.DataFrame(rows, columns=columns)

    def texts(self, setting: Setting, strength: float) -> pd.DataFrame:
        """table[sample, before, after]: what the model writes from the same draws; empty for an encoder."""
        if not self.writes:
            return pd.DataFrame(columns=["sample", "before", "after"])
        untouched, edited = (self._texts(setting, level) for level in (0.0, strength))
        return untouched.rename(columns={"text": "before"}).assign(after=edited["text"])

    def neighbours(self, setting: Setting, strength: float, language: str, sentence: Any, k: int = 5) -> pd.DataFrame:
        """table[when, rank, cosine, translation, (the columns of the table)]: the k nearest rows of other languages.

        `when` is before or after; `translation` says whether the row is the same sentence in its own language.
        """
        known(language, self.table["language"].unique(), "language")
        known(sentence, self.table["sentence"].unique(), "sentence")
        other, parts = (self.table["language"] != language).to_numpy(), []
        own = np.flatnonzero(~other & (self.table["sentence"] == sentence).to_numpy())[0]
        for when, level in {"before": 0.0, "after": strength}.items():
            values = self._states(setting, level).values[:, 0].double()
            cosine = torch.cosine_similarity(values[own], values, dim=1).numpy()
            nearest = self.table.assign(cosine=cosine)[other].nlargest(k, "cosine")
            parts.append(nearest.assign(when=when, rank=range(1, len(nearest) + 1)))
        found = pd.concat(parts, ignore_index=True)
        found["translation"] = found["sentence"] == sentence
        return found[["when", "rank", "cosine", "translation", *self.table.columns]]

    def found(self, setting: Setting, strength: float, language: str, sentence: Any) -> pd.DataFrame:
        """table[language, before, after]: whether the sentence's translation comes first among that language's rows.

        An m-way tie counts 1/m, as in `alignment.correct`.
        """
        columns = {}
        for when, level in {"before": 0.0, "after": strength}.items():
            states = self._states(setting, level)
            key = ("hits", *(self._plan(setting) if level else ()), setting.layer, level)
            hits = self._once(key, partial(retrieval.correct, states.parallel(setting.layer)))
            places = states.languages.index(language), states.sentences.index(sentence)
            columns[when] = hits[places[0], :, places[1]]
        return pd.DataFrame({"language": states.languages, **columns}).query("language != @language")

    # --- parts --------------------------------------------------------------------------------------------------------

    def _plan(self, setting: Setting) -> tuple:
        """What of a setting the edits hang on: (toward, method, size, block), empty where it plays no part."""
        known(setting.toward, self.fitting.languages, "sentences in")
        known(setting.layer, self.layers, "layer that an edit reaches")
        name, _ = self.sizes(setting.method)
        neutral = setting.method in ("erase", "leace")  # they favour no language
        takes_block = "block" in signature(methods.METHODS[setting.method]).parameters
        block = setting.layer - 1 if takes_block else None
        return "" if neutral else setting.toward, setting.method, setting.size if name else 0, block

    def _fitted(self, toward: str, method: str, size: int, block: int | None) -> list:
        name, _ = self.sizes(method)
        options = ({name: size} if size else {}) | ({} if block is None else {"block": block})
        return methods.fit(method, self.fitting, toward or None, seed=self.seed, **options)

    def _states(self, setting: Setting, strength: float) -> Activations:
        """The sentences at the layer; untouched, they are the same for all settings."""
        plan = self._plan(setting) if strength else ()
        embed = partial(activations.embed, self.lm, self.table, [setting.layer])
        return self._under(("states", *plan, setting.layer), setting, strength, embed)

    def _mapped(self, setting: Setting) -> pd.DataFrame:
        states = {level: self._states(setting, level).layer(setting.layer).numpy() for level in self.strengths}
        shape = dict(neighbours=min(15, len(self.table) - 1), spread=0.6, epochs=_EPOCHS)
        return projection.maps(states, self.table, method=self.projection, seed=self.seed, **shape)

    def _perplexity(self, setting: Setting, strength: float) -> float:
        few = corpora.first(self.table, _READ)
        plan = self._plan(setting) if strength else ()
        cost = self._under(("perplexity", *plan), setting, strength, partial(generation.perplexity, self.lm, few))
        return float(np.exp(np.log(cost["perplexity"]).mean()))

    def _texts(self, setting: Setting, strength: float) -> pd.DataFrame:
        plan = self._plan(setting) if strength else ()
        write = partial(generation.sample, self.lm, self.samples, seed=self.seed, max_tokens=_TOKENS)
        return self._under(("texts", *plan), setting, strength, write)

    def _share(self, setting: Setting, strength: float) -> float:
        known_to = None if self.lexicon is not None else list(self.table["language"].unique())
        texts = self._texts(setting, strength)["text"]
        shares = generation.shares(texts, lexicon=self.lexicon, languages=known_to)
        return float(shares.set_index("language")["share"][setting.toward])

    def _under(self, key: tuple, setting: Setting, strength: float, made: Callable[[], Any]) -> Any:
        """What `made` returns while the setting's edits are in force; at strength 0 none is."""
        if not strength:
            return self._once((*key, 0.0), made)
        edits = self.edits(setting)

        def under() -> Any:
            with steered(self.lm, edits, strength):
                return made()

        return self._once((*key, round(strength, 6)), under)

    def _once(self, key: tuple, made: Callable[[], Any]) -> Any:
        """The answer kept under the key, or the one that is made now; beyond `_KEPT` the one unused longest goes."""
        key = (self.seed, self.samples, *key)  # explorers made by dataclasses.replace share what is made
        answer = self._made.pop(key) if key in self._made else made()
        self._made[key] = answer
        while len(self._made) > _KEPT:
            del self._made[next(iter(self._made))]
        return answer
