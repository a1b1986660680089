"""How the languages of a world come about: families that branch and borrow, twins, and how alike two languages are.

A language evolves down a balanced tree by sound shifts, replaced words and changes of grammar, and moves on a plane; at
the leaves it takes the script and the loans of its neighbourhood. Everything follows from the world's seed.
"""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from helpers.world.grammar import CLASSES, DOMAINS, INVENTORY, KINDS, ORDER_CHOICES, PHONEMES, SCRIPTS, TAGS, Language


@dataclass(frozen=True)
class Options:
    """What a world is made of; probabilities are per edge of the family tree, and per word unless said."""

    families: int = 8
    per_family: int = 3
    replacement: float = 0.4  # a word is replaced by a new one: the mean of the edges, which differ widely
    shift: float = 0.7  # an edge carries a regular sound shift
    typology: float = 0.25  # a grammatical choice or an ending is drawn anew
    spread: float = 0.8  # distance that a daughter language moves, against that between families; halved at each edge
    borrowing: float = 0.2  # a word is taken from a neighbour of another family, at the leaves: the mean of languages
    international: float = 0.03  # a concept has the same word in every language, as names and numerals always have
    homonyms: float = 0.03  # a word has the form of a word of the same class and another topic
    scripts: tuple[str, ...] = ("Latn", "Cyrl", "Grek", "Armn", "Geor")  # each is written around a place of its own
    collocations: float = 0.6  # Dirichlet concentration: small is sparse
    optional: float = 0.55  # probability that a place, a time or an adjective is said; a numeral is rarer
    mixing: float = 0.9  # share of pretraining documents with two or more languages
    switched: float = 0.65  # share of those that code-switch; the rest give a translation after the sentence
    switching: float = 0.5  # probability that a word of a code-switched document is replaced
    zipf: float = 0.0  # the n-th language is drawn 1 / n ** zipf times as often as the first; 0 is all alike


NAMED = {"default": Options()}


def stream(seed: int, *names: str) -> Generator:
    """Random numbers for one purpose, whatever else is drawn from the seed."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def languages(options: Options, seed: int) -> dict[str, Language]:
    """The languages of a world by id: a family's letter and a number from 1."""
    grown = [x for i in range(options.families) for x in _family(i, options, seed)]
    return {x.id: _contact(x, grown, options, seed) for x in grown}


def similarity(a: Language, b: Language) -> dict[str, float]:
    """Measure -> value, exact: lexical (share of cognates), syntactic and morphological (share of equal choices),
    genealogical (share of the path from the family's root), geographic (minus the distance) and script (share of
    phonemes written with the same letter)."""
    kin = sum(np.cumprod([p == q for p, q in zip(a.branch, b.branch)]))
    return {
        "lexical": _share(a.etyma, b.etyma),
        "syntactic": _share(a.grammar.items(), b.grammar.items()),
        "morphological": _share(a.endings.items(), b.endings.items()),
        "genealogical": (a.family == b.family) * (1 + kin) / (1 + max(len(a.branch), len(b.branch))),
        "geographic": -math.dist(a.position, b.position),
        "script": _share(a.letters, b.letters),
    }


def _share(a: Iterable, b: Iterable) -> float:
    """The share of places at which two sequences are equal."""
    return float(np.mean([p == q for p, q in zip(a, b)]))


def _stem(rng: Generator) -> str:
    n = (1, 1, 2)[rng.integers(3)]
    body = "".join(PHONEMES[rng.integers(16)] + PHONEMES[16 + rng.integers(5)] for _ in range(n))
    return body + (PHONEMES[rng.integers(16)] if rng.random() < 0.4 else "")


def _fresh(taken: set[str], rng: Generator) -> str:
    while (stem := _stem(rng)) in taken:
        pass
    return stem


def _renewed(x: Language, places: Iterable[int], rng: Generator, avoid: tuple[str, ...] = ()) -> Language:
    """The language with new words at these places, each of an origin of its own."""
    stems, etyma = list(x.stems), list(x.etyma)
    for i in places:
        if KINDS[i] != "number":
            stems[i], etyma[i] = _fresh({*stems, *avoid}, rng), int(rng.integers(10**6, 2**53))
    return replace(x, stems=tuple(stems), etyma=tuple(etyma))


def _homonyms(i: int, j: int) -> bool:
    """Whether two concepts may share a form: context tells them apart, since a sentence has one topic."""
    return KINDS[i] == KINDS[j] and DOMAINS[i] != DOMAINS[j] and "" not in (DOMAINS[i], DOMAINS[j])


def _clashes(x: Language) -> list[int]:
    """A concept of every two that share a form and may not: the one whose word is not international."""
    pairs = [(i, j) for i, form in enumerate(x.forms) for j in range(i) if x.forms[j] == form and not _homonyms(i, j)]
    return [j if x.etyma[i] == i else i for i, j in pairs]


def _distinct(x: Language, rng: Generator) -> Language:
    """The language with new words wherever two concepts have come to share a form and may not."""
    while clashes := _clashes(x):
        x = _renewed(x, clashes, rng)
    return x


def _ending(rng: Generator) -> str:
    return "" if rng.random() < 0.4 else PHONEMES[16 + rng.integers(5)] + PHONEMES[rng.integers(16)]


def _orders(rng: Generator, keys: Iterable[str] = ORDER_CHOICES) -> dict[str, str]:
    return {key: ORDER_CHOICES[key][rng.integers(len(ORDER_CHOICES[key]))] for key in keys}


def _family(index: int, o: Options, seed: int) -> list[Language]:
    """The languages of a family, grown from its proto-language down a balanced tree."""
    letter = chr(ord("A") + index % 26)
    letter = letter if index < 26 else chr(ord("A") + index // 26 - 1) + letter  # A ... Z, AA, AB ...
    rng, stems = stream(seed, "family", letter), []
    for gloss, kind, _ in INVENTORY:
        stems.append(gloss if kind == "number" else _fresh({*stems}, rng))
    etyma = (1000 * (index + 1) + np.arange(len(stems))).tolist()
    words = dict(stems=tuple(stems), etyma=tuple(etyma), endings={k: _ending(rng) for k in CLASSES})
    home = tuple(rng.normal(0, 1, 2))
    proto = Language(letter, letter, (), **words, grammar=_orders(rng), script="", letters=(), position=home)
    return [replace(x, id=f"{letter}{i}") for i, x in enumerate(_grow(proto, o.per_family, o, rng), 1)]


def _grow(x: Language, leaves: int, o: Options, rng: Generator) -> list[Language]:
    if leaves == 1:
        return [x]
    halves = [_evolve(x, turn, o, rng) for turn in (0, 1)]
    return [leaf for half, n in zip(halves, (leaves - leaves // 2, leaves // 2)) for leaf in _grow(half, n, o, rng)]


def _evolve(x: Language, turn: int, o: Options, rng: Generator) -> Language:
    """A daughter language, one edge down the tree."""
    table = {}
    if rng.random() < o.shift:  # three consonants and two vowels change places: no two words fall together
        c = "".join(rng.choice([*PHONEMES[:16]], 3, replace=False))
        v = "".join(rng.choice([*PHONEMES[16:]], 2, replace=False))
        table = str.maketrans(c + v, c[-1] + c[:-1] + v[::-1])
    x = replace(x, stems=tuple(stem.translate(table) for stem in x.stems))
    x = _renewed(x, np.flatnonzero(rng.random(len(x.stems)) < o.replacement * rng.exponential()), rng)
    orders = x.grammar | _orders(rng, [key for key in ORDER_CHOICES if rng.random() < o.typology])
    endings = {k: _ending(rng) if rng.random() < o.typology else v.translate(table) for k, v in x.endings.items()}
    position = tuple(x.position + o.spread * 0.5 ** len(x.branch) * rng.normal(0, 1, 2))
    return replace(x, branch=(*x.branch, turn), grammar=orders, endings=endings, position=position)


def _contact(x: Language, grown: list[Language], o: Options, seed: int) -> Language:
    """The language with its neighbourhood's script and loans, with homonyms and international words."""
    rng, world = stream(seed, "contact", x.id), stream(seed, "international")
    others = [y for y in grown if y.family != x.family] or [x]
    neighbours = sorted(others, key=lambda y: math.dist(x.position, y.position))[:3]
    centres = stream(seed, "scripts").normal(0, 1, (len(o.scripts), 2))
    script = o.scripts[np.argmin([math.dist(x.position, centre) for centre in centres])]
    stems, etyma, loans = list(x.stems), list(x.etyma), o.borrowing * rng.exponential()
    common, words = world.random(len(stems)) < o.international, []
    for i, kind in enumerate(KINDS):
        words.append(word := _fresh({*words}, world))
        if common[i] or kind == "number" or TAGS[i] == "PROPN":
            stems[i], etyma[i] = stems[i] if kind == "number" else word, i
        elif rng.random() < loans:
            lender = neighbours[rng.integers(len(neighbours))]
            stems[i], etyma[i] = lender.stems[i], lender.etyma[i]
        elif rng.random() < o.homonyms and (alike := [j for j in range(i) if _homonyms(i, j)]):
            stems[i] = stems[alike[rng.integers(len(alike))]]
    words = dict(stems=tuple(stems), etyma=tuple(etyma))
    return _distinct(replace(x, **words, script=script, letters=tuple(SCRIPTS[script])), rng)


def _chosen(items: Iterable, dose: float, rng: Generator) -> list:
    """The first items of a fixed shuffle, at least one: a larger dose changes what a smaller one does, and more."""
    items = list(items)
    return [items[i] for i in sorted(rng.permutation(len(items))[: max(1, round(dose * len(items)))])]


def _other_script(x: Language, dose: float, rng: Generator) -> Language:
    script = min({*SCRIPTS} - {x.script}, key=lambda s: (s == "Latn", s))
    changed = _chosen(range(len(PHONEMES)), dose, rng)
    letters = tuple(SCRIPTS[script][i] if i in changed else letter for i, letter in enumerate(x.letters))
    return replace(x, letters=letters, script=script if dose == 1 else f"{x.script}+{script}")


def _other_lexicon(x: Language, dose: float, rng: Generator) -> Language:
    return _distinct(_renewed(x, _chosen(range(len(x.stems)), dose, rng), rng, avoid=x.stems), rng)


def _other_order(x: Language, dose: float, rng: Generator) -> Language:
    """Word order only: a language without articles keeps doing without."""
    keys = [k for k in ORDER_CHOICES if k != "article" or x.grammar["article"] != "none"]
    other = {k: next(c for c in ORDER_CHOICES[k] if c not in ("none", x.grammar[k])) for k in _chosen(keys, dose, rng)}
    return replace(x, grammar=x.grammar | other)


def _other_morphology(x: Language, dose: float, rng: Generator) -> Language:
    endings = dict(x.endings)
    for kind in _chosen(CLASSES, dose, rng):
        while endings[kind] == x.endings[kind]:
            endings[kind] = "" if endings[kind] and rng.random() < 0.3 else _ending(rng)
    changed = replace(x, endings=endings)
    return _other_morphology(x, dose, rng) if _clashes(changed) else changed


TWINS = dict(script=_other_script, lexicon=_other_lexicon, order=_other_order, morphology=_other_morphology)
TWINS |= dict(control=lambda x, dose, rng: x, scarce=_other_lexicon)  # see `World.balanced`
