"""A world of artificial languages with an answer key: its languages, what is said in them, and twins.

Meanings come from collocations of concepts and are shared by all languages: the same sentence id is the same meaning
everywhere. A *twin* is a copy of one language in which exactly one property differs. Everything follows from a seed.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import islice, product

import numpy as np
import pandas as pd

from helpers.common.lookup import known
from helpers.world import grammar, growing
from helpers.world.grammar import INVENTORY, KINDS, THE, Language, Meaning
from helpers.world.growing import NAMED, Options

SPLITS = {"fit": 200, "dev": 100, "test": 200}  # distinct meanings; pretraining is endless and avoids all of these
CHANGES = tuple(growing.TWINS)
_AGENTS = [i for i, kind in enumerate(KINDS) if kind == "agent"]
_GIVEN = dict(verb=("agent",), object=("verb",), place=("object",), adjective=("agent", "object"), time=("verb",))


@dataclass(frozen=True)
class World:
    """Languages and meanings of one seed; build it with `build`."""

    name: str
    seed: int
    options: Options
    members: dict[str, Language]

    @cached_property
    def languages(self) -> pd.DataFrame:
        """One row per language: language, family, branch, script, word-order choices, latitude and longitude."""
        rows = [
            dict(language=x.id, family=x.family, branch="".join(map(str, x.branch)), script=x.script, **x.grammar)
            | dict(latitude=x.position[1], longitude=x.position[0])
            for x in self.members.values()
        ]
        return pd.DataFrame(rows)

    def language(self, name: str) -> Language:
        """One language; an unknown name raises LookupError."""
        return self.members[known(name, self.members, "language")]

    def meanings(self, split: str) -> dict[str, Meaning]:
        """Sentence id -> meaning of a split ("fit", "dev" or "test"); splits share no meaning."""
        return self._held_out[known(split, SPLITS, "split")]

    @cached_property
    def _held_out(self) -> dict[str, dict[str, Meaning]]:
        drawn = self._draw(growing.stream(self.seed, "meanings"))
        drawn = iter(dict.fromkeys(islice(drawn, 20 * sum(SPLITS.values()))))
        return {split: {f"{split}-{i:03d}": next(drawn) for i in range(n)} for split, n in SPLITS.items()}

    def sentences(self, languages: list[str] | None = None, split: str = "test", paraphrase: bool = False):
        """table[language, sentence, text, topic] of a split; paraphrases keep the ids of those that have one."""
        rows = [
            (language.id, sentence, text, meaning.topic)
            for language in map(self.language, languages or self.members)
            for sentence, meaning in self.meanings(split).items()
            for text in [_text(language, meaning, paraphrase)]
            if not paraphrase or text != _text(language, meaning)
        ]
        return pd.DataFrame(rows, columns=["language", "sentence", "text", "topic"])

    def treebank(self, language: str, split: str = "test") -> pd.DataFrame:
        """table[language, sentence, token, form, upos, head, deprel]; tokens and heads count from 1, 0 is the root."""
        rows = [
            (language, sentence, i, *word[:4])
            for sentence, meaning in self.meanings(split).items()
            for i, word in enumerate(grammar.say(self.language(language), meaning), 1)
        ]
        return pd.DataFrame(rows, columns=["language", "sentence", "token", *grammar.Word._fields[:4]])

    def lexicon(self) -> pd.DataFrame:
        """table[language, concept, kind, topic, etymon, form]; forms are unique within a language."""
        rows = [
            (x.id, concept, *INVENTORY[concept][1:], x.etyma[concept], form)
            for x in self.members.values()
            for concept, form in enumerate(x.forms)
            if concept != THE or x.grammar["article"] != "none"
        ]
        return pd.DataFrame(rows, columns=["language", "concept", "kind", "topic", "etymon", "form"])

    def similarity(self) -> pd.DataFrame:
        """table[measure, source, target, value] of every ordered pair, exact: the measures of `growing.similarity`."""
        rows = [
            (measure, a.id, b.id, value)
            for a, b in product(self.members.values(), repeat=2)
            for measure, value in growing.similarity(a, b).items()
        ]
        return pd.DataFrame(rows, columns=["measure", "source", "target", "value"])

    def twin(self, language: str, change: str, dose: float = 1.0) -> "World":
        """This world with one more language, `<language>-<change>`, that differs from `language` in nothing but
        script, lexicon, order or morphology; `dose` is the share of letters, words, choices or endings changed."""
        if change not in CHANGES or not 0 < dose <= 1:
            raise ValueError(f"change {change!r} with dose {dose}; take one of {', '.join(CHANGES)}, a dose in (0, 1]")
        name = f"{language}-{change}" + (f"-{dose:g}" if dose < 1 else "")
        rng = growing.stream(self.seed, "twin", language, change)
        changed = growing.TWINS[change](self.language(language), dose, rng)
        return replace(self, members=self.members | {name: replace(changed, id=name)})

    def documents(self, n: int, seed: int = 0) -> list[str]:
        """n pretraining documents: single sentences, code-switched ones, and sentences followed by a translation."""
        rng = growing.stream(self.seed, "documents", str(seed))
        held = {meaning for split in self._held_out.values() for meaning in split.values()}
        meanings = (meaning for meaning in self._draw(rng) if meaning not in held)
        return [self._document(meaning, rng.random(30).tolist()) for meaning in islice(meanings, n)]

    def _document(self, meaning: Meaning, chances: list[float]) -> str:
        o, everyone = self.options, self._kin[""]
        language, partner = (everyone[int(u * len(everyone))] for u in chances[:2])
        paraphrase, mixed, switched = chances[2] < 0.3, chances[3] < o.mixing, chances[4] < o.switched
        if mixed and switched:
            words = zip(grammar.say(language, meaning, paraphrase), chances[5:17], chances[17:29])
            return " ".join(self._switched(word, language, u, v) for word, u, v in words)
        text = _text(language, meaning, paraphrase)
        return f"{text} {_text(partner, meaning)}" if mixed else text

    def _switched(self, word: grammar.Word, language: Language, u: float, v: float) -> str:
        """The word, or another language's word for the same concept where that language has one."""
        if u >= self.options.switching:
            return word.form
        own = self.options.own_family
        pool, v = (self._kin[language.family], v / own) if v < own else (self._kin[""], (v - own) / (1 - own))
        other = pool[int(v * len(pool))]
        lacks = word.concept == THE and other.grammar["article"] == "none"
        return word.form if lacks else other.forms[word.concept]

    @cached_property
    def _kin(self) -> dict[str, list[Language]]:
        """The languages of each family, and all of them under ""."""
        everyone = list(self.members.values())
        families = dict.fromkeys(x.family for x in everyone)
        return {"": everyone} | {family: [x for x in everyone if x.family == family] for family in families}

    def _draw(self, rng: np.random.Generator) -> Iterator[Meaning]:
        """Meanings without end: each agent prefers few verbs, each verb few objects, each object few places."""
        tables = _collocations(self.seed, self.options.collocations)
        while True:
            for agent, verb, thing, *optional in rng.random((500, 11)).tolist():
                agent = _AGENTS[int(agent * len(_AGENTS))]
                verb = _pick(tables["verb", agent], verb)
                thing = _pick(tables["object", verb], thing)
                given = (("place", thing), ("adjective", agent), ("adjective", thing), ("time", verb))
                chosen = zip(given, optional[:4], optional[4:])
                slots = [_pick(tables[key], u) if w < self.options.optional else -1 for key, u, w in chosen]
                yield Meaning(agent, verb, thing, *slots)


@lru_cache(maxsize=16)
def build(name: str = "default", seed: int = 0, options: Options | None = None) -> World:
    """The world of a name in `NAMED` (or of `options`) and a seed; the same arguments give the same world."""
    options = options or NAMED[known(name, NAMED, "world")]
    if not 2 <= options.families * options.per_family <= 300:
        raise ValueError(f"{options.families} families x {options.per_family} languages; between 2 and 300 in all")
    return World(name, seed, options, growing.languages(options, seed))


def _text(language: Language, meaning: Meaning, paraphrase: bool = False) -> str:
    return " ".join([word.form for word in grammar.say(language, meaning, paraphrase)])


def _pick(table: tuple[list[int], list[float]], u: float) -> int:
    choices, cumulative = table
    return choices[min(bisect_right(cumulative, u), len(choices) - 1)]


@lru_cache(maxsize=16)
def _collocations(seed: int, concentration: float) -> dict[tuple[str, int], tuple[list[int], list[float]]]:
    """(kind, concept) -> (choices of that kind in the concept's topic, cumulative probabilities)."""
    rng, tables = growing.stream(seed, "collocations"), {}
    for kind, givens in _GIVEN.items():
        for concept, (_, given, topic) in enumerate(INVENTORY[:THE]):
            if given in givens:
                choices = [c for c, (_, k, t) in enumerate(INVENTORY[:THE]) if k == kind and t in (topic, "")]
                odds = rng.dirichlet(np.full(len(choices), concentration))
                tables[kind, concept] = (choices, np.cumsum(odds).tolist())
    return tables
