"""A world of artificial languages with an answer key.

Languages grow on a family tree by sound shifts, replaced words, loans and changes of grammar, so lexical, syntactic,
morphological, genealogical, geographic and script similarity are known exactly. Meanings come from concept-level
collocations and are shared by all languages; the same sentence id is the same meaning everywhere. A *twin* is a copy
of one language in which exactly one property differs. Everything follows from a seed.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import islice

import numpy as np
import pandas as pd

from helpers.world import grammar
from helpers.world.grammar import CLASSES, INVENTORY, KINDS, ORDER_CHOICES, PHONEMES, SCRIPTS, THE, Language, Meaning

SPLITS = {"fit": 200, "dev": 100, "test": 200}  # distinct meanings; "pretrain" is endless and avoids all of these
CHANGES = ("script", "lexicon", "order", "morphology")


@dataclass(frozen=True)
class Options:
    """What a world is made of; probabilities are per edge of the tree, per word unless said."""

    families: int = 6
    per_family: int = 4
    replacement: float = 0.2  # a word is replaced by a new one
    shift: float = 0.7  # an edge carries a regular sound shift
    typology: float = 0.15  # a grammatical choice or an ending is drawn anew
    script_change: float = 0.05  # a branch takes another script
    borrowing: float = 0.06  # a word is taken from the nearest language of another family, once, at the leaves
    international: float = 0.05  # a concept has the same word in every language
    one_order: bool = False  # all languages share one word order
    scripts: tuple[str, ...] = ("Latn", "Grek", "Cyrl", "Latn", "Geor", "Armn")  # of the families, in turn
    collocations: float = 0.25  # Dirichlet concentration: small is sparse
    optional: float = 0.55  # probability that a place, a time or an adjective is said
    mixing: float = 0.6  # share of pretraining documents with two or more languages
    switched: float = 0.8  # share of those that code-switch; the rest give a translation after the sentence
    switching: float = 0.5  # probability that a word of a code-switched document is replaced
    own_family: float = 0.0  # share of replacements drawn from the own family; the others from any language


NAMED = {
    "default": Options(),
    # Two worlds in which form discrimination falls during pretraining, because context stops predicting the language:
    "switched": Options(
        families=3, per_family=8, one_order=True, mixing=1.0, switched=1.0, switching=0.9, own_family=0.8
    ),
    "translated": Options(mixing=0.5, switched=0.02),
}


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
        if name not in self.members:
            raise LookupError(f"no language {name!r} in world {self.name!r}; it has {', '.join(self.members)}")
        return self.members[name]

    def meanings(self, split: str) -> dict[str, Meaning]:
        """Sentence id -> meaning of a split ("fit", "dev" or "test"); splits share no meaning."""
        if split not in SPLITS:
            raise LookupError(f"no split {split!r}; take one of {', '.join(SPLITS)} ('pretrain' is `documents`)")
        return self._held_out[split]

    @cached_property
    def _held_out(self) -> dict[str, dict[str, Meaning]]:
        drawn = iter(dict.fromkeys(islice(self._draw(_rng(self.seed, "meanings")), 20 * sum(SPLITS.values()))))
        return {split: {f"{split}-{i:03d}": next(drawn) for i in range(n)} for split, n in SPLITS.items()}

    def sentences(self, languages: list[str] | None = None, split: str = "test", paraphrase: bool = False):
        """table[language, sentence, text, topic] of a split; paraphrases keep the ids of those that have one."""
        rows = []
        for name in languages or list(self.members):
            for sentence, meaning in self.meanings(split).items():
                text = _text(grammar.say(self.language(name), meaning, paraphrase))
                if not paraphrase or text != _text(grammar.say(self.language(name), meaning)):
                    rows.append((name, sentence, text, meaning.topic))
        return pd.DataFrame(rows, columns=["language", "sentence", "text", "topic"])

    def treebank(self, language: str, split: str = "test") -> pd.DataFrame:
        """table[language, sentence, token, form, upos, head, deprel]; tokens and heads count from 1, 0 is the root."""
        rows = [
            (language, sentence, i + 1, *word[:4])
            for sentence, meaning in self.meanings(split).items()
            for i, word in enumerate(grammar.say(self.language(language), meaning))
        ]
        return pd.DataFrame(rows, columns=["language", "sentence", "token", "form", "upos", "head", "deprel"])

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
        """table[measure, source, target, value], exact: lexical (share of cognates), syntactic and morphological
        (share of equal choices), genealogical (share of the path from the family's root), geographic (minus the
        distance) and script (share of phonemes written with the same letter)."""
        rows = [
            (measure, a.id, b.id, value)
            for a in self.members.values()
            for b in self.members.values()
            for measure, value in _similarity(a, b).items()
        ]
        return pd.DataFrame(rows, columns=["measure", "source", "target", "value"])

    def twin(self, language: str, change: str, dose: float = 1.0) -> "World":
        """This world with one more language, `<language>-<change>`, that differs from `language` in nothing but
        script, lexicon, order or morphology; `dose` is the share of letters, words, choices or endings changed."""
        if change not in CHANGES or not 0 < dose <= 1:
            raise ValueError(f"change {change!r} with dose {dose}; take one of {', '.join(CHANGES)}, a dose in (0, 1]")
        name = f"{language}-{change}" + (f"-{dose:g}" if dose < 1 else "")
        rng = _rng(self.seed, "twin", language, change)
        changed = _TWINS[change](self.language(language), dose, rng)
        return replace(self, members=self.members | {name: replace(changed, id=name)})

    def documents(self, n: int, seed: int = 0) -> list[str]:
        """n pretraining documents: single sentences, code-switched ones, and sentences followed by a translation."""
        rng = _rng(self.seed, "documents", str(seed))
        held = {meaning for split in self._held_out.values() for meaning in split.values()}
        meanings = (meaning for meaning in self._draw(rng) if meaning not in held)
        return [self._document(meaning, rng.random(30).tolist()) for meaning in islice(meanings, n)]

    def _document(self, meaning: Meaning, chances: list[float]) -> str:
        o, everyone = self.options, self._kin[""]
        language, partner = (everyone[int(u * len(everyone))] for u in chances[:2])
        concepts = grammar.sequence(language, meaning, chances[2] < 0.3)
        words = [language.forms[c] for c in concepts]
        if chances[3] < o.mixing:
            if chances[4] >= o.switched:
                words += [partner.forms[c] for c in grammar.sequence(partner, meaning)]
            else:
                drawn = zip(concepts, words, chances[5:17], chances[17:29])
                words = [self._switched(c, word, language, u, v) for c, word, u, v in drawn]
        return " ".join(words)

    def _switched(self, concept: int, word: str, language: Language, u: float, v: float) -> str:
        """The word, or another language's word for the same concept where that language has one."""
        if u >= self.options.switching:
            return word
        own = self.options.own_family
        pool, v = (self._kin[language.family], v / own) if v < own else (self._kin[""], (v - own) / (1 - own))
        other = pool[int(v * len(pool))]
        return word if concept == THE and other.grammar["article"] == "none" else other.forms[concept]

    @cached_property
    def _kin(self) -> dict[str, list[Language]]:
        """The languages of each family, and all of them under ""."""
        kin = {"": list(self.members.values())}
        for language in self.members.values():
            kin.setdefault(language.family, []).append(language)
        return kin

    def _draw(self, rng: np.random.Generator) -> Iterator[Meaning]:
        """Meanings without end: each agent prefers few verbs, each verb few objects, each object few places."""
        tables = _collocations(self.seed, self.options.collocations)
        while True:
            for agent, verb, thing, *optional in rng.random((500, 11)).tolist():
                agent = _AGENTS[int(agent * len(_AGENTS))]
                verb = _pick(tables["verb"][agent], verb)
                thing = _pick(tables["object"][verb], thing)
                given = (("place", thing), ("adjective", agent), ("adjective", thing), ("time", verb))
                chosen = zip(given, optional[:4], optional[4:])
                said = self.options.optional
                slots = [_pick(tables[kind][c], u) if w < said else -1 for (kind, c), u, w in chosen]
                yield Meaning(agent, verb, thing, *slots)


@lru_cache(maxsize=16)
def build(name: str = "default", seed: int = 0, options: Options | None = None) -> World:
    """The world of a name in `NAMED` (or of `options`) and a seed; the same arguments give the same world."""
    if options is None and name not in NAMED:
        raise LookupError(f"no world {name!r}; the named ones are {', '.join(NAMED)}")
    options = options or NAMED[name]
    if not 2 <= options.families * options.per_family <= 300:
        raise ValueError(f"{options.families} families x {options.per_family} languages; between 2 and 300 in all")
    grown = [x for i in range(options.families) for x in _family(i, options, seed)]
    members = {x.id: _finish(x, grown, options, seed) for x in grown}
    return World(name, seed, options, members)


_AGENTS = [i for i, kind in enumerate(KINDS) if kind == "agent"]


def _rng(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def _text(words: list[grammar.Word]) -> str:
    return " ".join(word.form for word in words)


def _pick(table: tuple[list[int], list[float]], u: float) -> int:
    choices, cumulative = table
    return next((c for c, p in zip(choices, cumulative) if u < p), choices[-1])


@lru_cache(maxsize=16)
def _collocations(seed: int, concentration: float) -> dict[str, dict[int, tuple[list[int], list[float]]]]:
    """kind -> concept -> (choices of that kind in its topic, cumulative probabilities)."""
    rng, tables = _rng(seed, "collocations"), {}
    for kind, given in dict(verb="agent", object="verb", place="object", adjective="noun", time="verb").items():
        tables[kind] = {}
        for concept, (_, owner, topic) in enumerate(INVENTORY[:THE]):
            if owner == given or (given == "noun" and owner in ("agent", "object")):
                choices = [c for c, (_, k, t) in enumerate(INVENTORY[:THE]) if k == kind and t in (topic, "")]
                odds = rng.dirichlet(np.full(len(choices), concentration))
                tables[kind][concept] = (choices, np.cumsum(odds).tolist())
    return tables


def _stem(rng: np.random.Generator, syllables: tuple[int, ...] = (1, 1, 2)) -> str:
    n = syllables[rng.integers(len(syllables))]
    body = "".join(PHONEMES[rng.integers(16)] + PHONEMES[16 + rng.integers(5)] for _ in range(n))
    return body + (PHONEMES[rng.integers(16)] if rng.random() < 0.4 else "")


def _fresh(taken: set[str], rng: np.random.Generator) -> str:
    while (stem := _stem(rng)) in taken:
        pass
    return stem


def _ending(rng: np.random.Generator) -> str:
    return "" if rng.random() < 0.4 else PHONEMES[16 + rng.integers(5)] + PHONEMES[rng.integers(16)]


def _family(index: int, o: Options, seed: int) -> list[Language]:
    """The languages of a family, grown from its proto-language down a balanced tree."""
    letter = _letters(index)
    rng, world = _rng(seed, "family", letter), _rng(seed, "orders")
    stems = []
    for _ in INVENTORY:
        stems.append(_fresh(set(stems), rng))
    orders = {key: choices[rng.integers(len(choices))] for key, choices in ORDER_CHOICES.items()}
    if o.one_order:
        orders = {key: choices[world.integers(len(choices))] for key, choices in ORDER_CHOICES.items()}
    script = o.scripts[index % len(o.scripts)]
    home = tuple(rng.normal(0, 1, 2))
    etyma = tuple(1000 * (index + 1) + i for i in range(len(INVENTORY)))
    proto = Language(
        letter,
        letter,
        (),
        tuple(stems),
        etyma,
        orders,
        {k: _ending(rng) for k in CLASSES},
        script,
        tuple(SCRIPTS[script]),
        home,
    )
    leaves = _grow(proto, o.per_family, o, rng)
    return [replace(x, id=f"{letter}{i + 1}") for i, x in enumerate(leaves)]


def _letters(index: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    return ("" if index < 26 else _letters(index // 26 - 1)) + chr(ord("A") + index % 26)


def _grow(language: Language, leaves: int, o: Options, rng: np.random.Generator) -> list[Language]:
    if leaves == 1:
        return [language]
    left = math.ceil(leaves / 2)
    halves = [_evolve(language, turn, o, rng) for turn in (0, 1)]
    return _grow(halves[0], left, o, rng) + _grow(halves[1], leaves - left, o, rng)


def _evolve(x: Language, turn: int, o: Options, rng: np.random.Generator) -> Language:
    """A daughter language, one edge down the tree."""
    table = str.maketrans(_sound_shift(rng)) if rng.random() < o.shift else {}
    stems, etyma = [stem.translate(table) for stem in x.stems], list(x.etyma)
    for i in np.flatnonzero(rng.random(len(stems)) < o.replacement):
        stems[i], etyma[i] = _fresh(set(stems), rng), int(rng.integers(10**6, 2**53))
    redraw = {key: rng.random() < o.typology and not o.one_order for key in ORDER_CHOICES}
    orders = {k: c[rng.integers(len(c))] if redraw[k] else x.grammar[k] for k, c in ORDER_CHOICES.items()}
    endings = {k: _ending(rng) if rng.random() < o.typology else v.translate(table) for k, v in x.endings.items()}
    script = o.scripts[rng.integers(len(o.scripts))] if rng.random() < o.script_change else x.script
    step = 0.5 ** (len(x.branch) + 1) * rng.normal(0, 1, 2)
    return replace(
        x, branch=(*x.branch, turn), stems=tuple(stems), etyma=tuple(etyma), grammar=orders, endings=endings,
        script=script, letters=tuple(SCRIPTS[script]), position=(x.position[0] + step[0], x.position[1] + step[1]),
    )  # fmt: skip


def _sound_shift(rng: np.random.Generator) -> dict[str, str]:
    """Three consonants and two vowels change places in a cycle: a bijection, so no two words fall together."""
    consonants = rng.choice(list(PHONEMES[:16]), 3, replace=False).tolist()
    vowels = rng.choice(list(PHONEMES[16:]), 2, replace=False).tolist()
    return dict(zip(consonants + vowels, consonants[-1:] + consonants[:-1] + vowels[::-1]))


def _finish(x: Language, grown: list[Language], o: Options, seed: int) -> Language:
    """Loans and international words, then fresh words wherever two concepts have come to share a form."""
    rng, world = _rng(seed, "contact", x.id), _rng(seed, "international")
    others = [y for y in grown if y.family != x.family] or [x]
    neighbour = min(others, key=lambda y: math.dist(x.position, y.position))
    stems, etyma = list(x.stems), list(x.etyma)
    common = world.random(len(stems)) < o.international
    for i, word in enumerate(_stem(world) for _ in stems):
        if common[i]:
            stems[i], etyma[i] = word, i
        elif rng.random() < o.borrowing and neighbour is not x:
            stems[i], etyma[i] = neighbour.stems[i], neighbour.etyma[i]
    return _distinct(replace(x, stems=tuple(stems), etyma=tuple(etyma)), rng)


def _distinct(x: Language, rng: np.random.Generator) -> Language:
    while len(clashes := _clashes(x)):
        stems, etyma = list(x.stems), list(x.etyma)
        for i in clashes:
            stems[i], etyma[i] = _fresh(set(stems), rng), int(rng.integers(10**6, 2**53))
        x = replace(x, stems=tuple(stems), etyma=tuple(etyma))
    return x


def _clashes(x: Language) -> list[int]:
    seen: set[str] = set()
    return [i for i, form in enumerate(x.forms) if form in seen or seen.add(form)]


def _similarity(a: Language, b: Language) -> dict[str, float]:
    kin = next((i for i, (p, q) in enumerate(zip(a.branch, b.branch)) if p != q), min(len(a.branch), len(b.branch)))
    depth = 1 + max(len(a.branch), len(b.branch))
    return {
        "lexical": float(np.mean(np.equal(a.etyma, b.etyma))),
        "syntactic": float(np.mean([a.grammar[k] == b.grammar[k] for k in ORDER_CHOICES])),
        "morphological": float(np.mean([a.endings[k] == b.endings[k] for k in CLASSES])),
        "genealogical": (1 + kin) / depth if a.family == b.family else 0.0,
        "geographic": -math.dist(a.position, b.position),
        "script": float(np.mean([p == q for p, q in zip(a.letters, b.letters)])),
    }


def _chosen(n: int, dose: float, rng: np.random.Generator) -> list[int]:
    """The first items of a fixed shuffle, at least one: a larger dose changes what a smaller one does, and more."""
    return sorted(rng.permutation(n)[: max(1, round(dose * n))].tolist())


def _other_script(x: Language, dose: float, rng: np.random.Generator) -> Language:
    script = min(set(SCRIPTS) - {x.script}, key=lambda s: (s == "Latn", s))
    letters = list(x.letters)
    for i in _chosen(len(PHONEMES), dose, rng):
        letters[i] = SCRIPTS[script][i]
    return replace(x, letters=tuple(letters), script=script if dose == 1 else f"{x.script}+{script}")


def _other_lexicon(x: Language, dose: float, rng: np.random.Generator) -> Language:
    stems, etyma = list(x.stems), list(x.etyma)
    for i in _chosen(len(stems), dose, rng):
        stems[i], etyma[i] = _fresh(set(stems) | set(x.stems), rng), int(rng.integers(10**6, 2**53))
    return _distinct(replace(x, stems=tuple(stems), etyma=tuple(etyma)), rng)


def _other_order(x: Language, dose: float, rng: np.random.Generator) -> Language:
    """Word order only: a language without articles keeps doing without."""
    keys = [k for k in ORDER_CHOICES if k != "article" or x.grammar["article"] != "none"]
    orders = dict(x.grammar)
    for key in (keys[i] for i in _chosen(len(keys), dose, rng)):
        orders[key] = next(c for c in ORDER_CHOICES[key] if c not in ("none", x.grammar[key]))
    return replace(x, grammar=orders)


def _other_morphology(x: Language, dose: float, rng: np.random.Generator) -> Language:
    endings = dict(x.endings)
    for kind in (CLASSES[i] for i in _chosen(len(CLASSES), dose, rng)):
        while endings[kind] == x.endings[kind]:
            endings[kind] = "" if endings[kind] and rng.random() < 0.3 else _ending(rng)
    changed = replace(x, endings=endings)
    return changed if not _clashes(changed) else _other_morphology(x, dose, rng)


_TWINS = dict(script=_other_script, lexicon=_other_lexicon, order=_other_order, morphology=_other_morphology)
