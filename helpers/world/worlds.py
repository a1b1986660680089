"""A world of artificial languages with an answer key: its languages, what is said in them, and twins.

Meanings come from collocations of concepts and are shared by all languages: the same sentence id is the same meaning
everywhere. A *twin* is a copy of one language in which exactly one property differs. Everything follows from a seed.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import islice, product

import numpy as np
import pandas as pd

from helpers.common.lookup import known
from helpers.world import grammar, growing
from helpers.world.grammar import INVENTORY, KINDS, THE, Language, Meaning
from helpers.world.growing import NAMED, Options

SPLITS = {"fit": 200, "dev": 100, "test": 200}  # meanings, each of an event of its own, that pretraining never holds
CHANGES = tuple(growing.TWINS)
_AGENTS = [i for i, kind in enumerate(KINDS) if kind == "agent"]
_GIVEN = dict(verb=("agent",), object=("verb",), place=("object",), adjective=("agent", "object"), time=("verb",))
_GIVEN |= dict(number=("object",))
_NUMERALS = 0.4  # how often a numeral is said, against the other optional words


@dataclass(frozen=True)
class World:
    """Languages and meanings of one seed; build it with `build`."""

    name: str
    seed: int
    options: Options
    members: dict[str, Language]
    draws: dict[str, float] = field(default_factory=dict)  # language -> how often it is drawn, where `balanced` set it

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
        """Sentence id -> meaning of a split ("fit", "dev" or "test"); no two share agent, verb and object."""
        return self._held_out[known(split, SPLITS, "split")]

    @cached_property
    def _held_out(self) -> dict[str, dict[str, Meaning]]:
        rng = growing.stream(self.seed, "meanings")
        events = [*{meaning.event: meaning for meaning in islice(self._draw(rng), 20_000)}.values()]
        if len(events) < 2 * (held := sum(SPLITS.values())):
            fact = f"{len(events)} combinations of agent, verb and object, of which {held} are held out"
            raise ValueError(
                f"{fact}; raise collocations from {self.options.collocations} so that there are {2 * held}"
            )
        drawn = (
            events[i] for i in rng.permutation(len(events))
        )  # rare ones too: most that is said stays in pretraining
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
        """table[language, concept, kind, topic, etymon, form]; homonyms are of one kind and of different topics."""
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
        script, lexicon, order or morphology; `dose` is the share of letters, words, choices or endings changed.

        Two changes are controls: `control` changes nothing, and `scarce` is a lexicon that `balanced` leaves rare."""
        if change not in CHANGES or not 0 < dose <= 1:
            raise ValueError(f"change {change!r} with dose {dose}; take one of {', '.join(CHANGES)}, a dose in (0, 1]")
        name = f"{language}-{change}" + (f"-{dose:g}" if dose < 1 else "")
        rng = growing.stream(self.seed, "twin", language, change)
        changed = growing.TWINS[change](self.language(language), dose, rng)
        return replace(self, members=self.members | {name: replace(changed, id=name)})

    def balanced(self) -> "World":
        """This world with its twins drawn so often that their words are seen as often as their original's.

        A language's words are seen in its own documents and in those of every language that shares them. A `scarce`
        twin is drawn as often as a natural language, so that it shows what being seen rarely does by itself.
        """
        seen, draws = self._shared.to_numpy(), self._draws.copy()
        twins = {twin: twin.split("-")[0] for twin in self.members if "-" in twin and not twin.endswith("-scarce")}
        rows = [[*self.members].index(name) for name in (*twins, *twins.values())]
        for _ in range(100):
            twin, original = np.split(seen[rows] @ draws, 2)
            draws[rows[: len(twins)]] *= original / twin
        return replace(self, draws=dict(zip(self.members, draws.tolist())))

    def exposure(self) -> pd.DataFrame:
        """table[language, drawn, seen]: how often documents are of a language, and how often its words are read in
        documents of any language, both against a natural language that shares no word."""
        seen = self._shared.to_numpy() @ self._draws
        return pd.DataFrame(dict(language=[*self.members], drawn=self._draws, seen=seen))

    @cached_property
    def _draws(self) -> np.ndarray:
        """How often each language is drawn, against a natural one."""
        ranks = np.arange(1, len(self.members) + 1) ** -self.options.zipf
        return np.array([self.draws.get(name, rank) for name, rank in zip(self.members, ranks)])

    @cached_property
    def _shared(self) -> pd.DataFrame:
        """The share of concepts for which two languages have the same form, by language and language."""
        forms = np.array([x.forms for x in self.members.values()])
        return pd.DataFrame((forms[:, None] == forms).mean(-1), self.members, self.members)

    def documents(self, n: int, seed: int = 0) -> list[str]:
        """n pretraining documents: single sentences, code-switched ones, and sentences followed by a translation."""
        rng = growing.stream(self.seed, "documents", str(seed))
        held = {meaning.event for split in self._held_out.values() for meaning in split.values()}
        meanings = (meaning for meaning in self._draw(rng) if meaning.event not in held)
        return [self._document(meaning, rng.random(30).tolist()) for meaning in islice(meanings, n)]

    def _document(self, meaning: Meaning, chances: list[float]) -> str:
        o, language, partner = self.options, *map(self._drawn, chances[:2])
        paraphrase, mixed, switched = chances[2] < 0.3, chances[3] < o.mixing, chances[4] < o.switched
        if mixed and switched:
            words = zip(grammar.say(language, meaning, paraphrase), chances[5:17], chances[17:29])
            return " ".join(self._switched(word, u, v) for word, u, v in words)
        text = _text(language, meaning, paraphrase)
        return f"{text} {_text(partner, meaning)}" if mixed else text

    def _switched(self, word: grammar.Word, u: float, v: float) -> str:
        """The word, or another language's word for the same concept where that language has one."""
        if u >= self.options.switching:
            return word.form
        other = self._drawn(v)
        lacks = word.concept == THE and other.grammar["article"] == "none"
        return word.form if lacks else other.forms[word.concept]

    def _drawn(self, u: float) -> Language:
        """The language at a place in [0, 1), of which each takes as much as it is drawn often."""
        return self.members[_pick(self._places, u)]

    @cached_property
    def _places(self) -> tuple[list[str], list[float]]:
        return [*self.members], (np.cumsum(self._draws) / self._draws.sum()).tolist()

    def _draw(self, rng: np.random.Generator) -> Iterator[Meaning]:
        """Meanings without end: each agent prefers few verbs, each verb few objects, each object few places."""
        tables = _collocations(self.seed, self.options.collocations)
        shares = [*[self.options.optional] * 4, self.options.optional * _NUMERALS]
        while True:
            for agent, verb, thing, *optional in rng.random((500, 13)).tolist():
                agent = _AGENTS[int(agent * len(_AGENTS))]
                verb = _pick(tables["verb", agent], verb)
                thing = _pick(tables["object", verb], thing)
                given = (
                    ("place", thing),
                    ("adjective", agent),
                    ("adjective", thing),
                    ("time", verb),
                    ("number", thing),
                )
                chosen = zip(given, optional[:5], optional[5:], shares)
                slots = [_pick(tables[key], u) if w < share else -1 for key, u, w, share in chosen]
                yield Meaning(agent, verb, thing, *slots)


@lru_cache(maxsize=16)
def build(name: str = "default", seed: int = 0, options: Options | None = None) -> World:
    """The world of a name in `NAMED` (or of `options`) and a seed; `NAME-wN` is the world NAME of the seed N.

    The same arguments give the same world. LookupError for another name, ValueError for too few or many languages.
    """
    base, number = re.fullmatch(r"(.*?)(?:-w(\d+))?", name).groups()
    options, seed = options or NAMED[known(base, NAMED, "world", "Add -wN for another seed.")], int(number or seed)
    if not 2 <= options.families * options.per_family <= 300:
        raise ValueError(f"{options.families} families x {options.per_family} languages; between 2 and 300 in all")
    return World(name, seed, options, growing.languages(options, seed))


def _text(language: Language, meaning: Meaning, paraphrase: bool = False) -> str:
    return " ".join([word.form for word in grammar.say(language, meaning, paraphrase)])


def _pick(table: tuple[list, list[float]], u: float):
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
