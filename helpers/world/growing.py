"""How the languages of a world come about: families that branch and borrow, twins, and how alike two languages are.

A language evolves down a balanced tree by sound shifts, replaced words and changes of grammar; at the leaves it takes
loans and international words. Everything follows from the world's seed.
"""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from helpers.world.grammar import CLASSES, INVENTORY, ORDER_CHOICES, PHONEMES, SCRIPTS, Language


@dataclass(frozen=True)
class Options:
    """What a world is made of; probabilities are per edge of the family tree, and per word unless said."""

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
        stems[i], etyma[i] = _fresh({*stems, *avoid}, rng), int(rng.integers(10**6, 2**53))
    return replace(x, stems=tuple(stems), etyma=tuple(etyma))


def _distinct(x: Language, rng: Generator) -> Language:
    """The language with new words wherever two concepts have come to share a form."""
    while clashes := [i for i, form in enumerate(x.forms) if form in x.forms[:i]]:
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
    for _ in INVENTORY:
        stems.append(_fresh({*stems}, rng))
    orders, script, home = _orders(rng), o.scripts[index % len(o.scripts)], tuple(rng.normal(0, 1, 2))
    orders = _orders(stream(seed, "orders")) if o.one_order else orders
    etyma, endings = (1000 * (index + 1) + np.arange(len(stems))).tolist(), {k: _ending(rng) for k in CLASSES}
    words = dict(stems=tuple(stems), etyma=tuple(etyma), endings=endings)
    letters = dict(script=script, letters=tuple(SCRIPTS[script]))
    proto = Language(letter, letter, (), **words, grammar=orders, **letters, position=home)
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
    x = _renewed(x, np.flatnonzero(rng.random(len(x.stems)) < o.replacement), rng)
    redraw = [key for key in ORDER_CHOICES if rng.random() < o.typology and not o.one_order]
    orders = x.grammar | _orders(rng, redraw)
    endings = {k: _ending(rng) if rng.random() < o.typology else v.translate(table) for k, v in x.endings.items()}
    script = o.scripts[rng.integers(len(o.scripts))] if rng.random() < o.script_change else x.script
    position = tuple(x.position + 0.5 ** (len(x.branch) + 1) * rng.normal(0, 1, 2))
    grown = dict(branch=(*x.branch, turn), grammar=orders, endings=endings, script=script, position=position)
    return replace(x, **grown, letters=tuple(SCRIPTS[script]))


def _contact(x: Language, grown: list[Language], o: Options, seed: int) -> Language:
    """The language with loans from its nearest neighbour, and international words."""
    rng, world = stream(seed, "contact", x.id), stream(seed, "international")
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
    return changed if len({*changed.forms}) == len(changed.forms) else _other_morphology(x, dose, rng)


TWINS = dict(script=_other_script, lexicon=_other_lexicon, order=_other_order, morphology=_other_morphology)
