"""What one artificial language is, and how it says a meaning.

A `Meaning` is a choice of concepts for the slots of a sentence. A `Language` holds phoneme stems for the concepts, case
endings, a word order and the letters of a script; `say` turns a meaning into words with tags and a dependency tree.
Every concept belongs to one slot class, so it has exactly one written form per language, and all forms differ: distinct
meanings give distinct sentences.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

TOPICS = {  # topic: agents, verbs, objects, places
    "farm": "farmer shepherd miller ploughman | sows reaps carries guards | grain hay goat sheep | barn meadow",
    "sea": "sailor fisher captain diver | catches steers loses mends | fish boat net pearl | harbour island",
    "market": "merchant buyer thief weaver | sells buys steals weighs | cloth coin spice ring | square stall",
    "school": "teacher pupil scribe scholar | reads writes learns copies | book letter poem map | library hall",
    "kitchen": "cook baker guest servant | bakes boils eats tastes | bread soup egg cheese | cellar kitchen",
    "forest": "hunter woodcutter bear wolf | hunts cuts follows smells | deer oak berry trail | glade cave",
    "music": "singer drummer piper dancer | sings plays hears praises | song drum flute bell | theatre tower",
}
ADJECTIVES = ["old", "young", "big", "small", "red", "quiet"]
TIMES = ["today", "yesterday", "daily", "rarely", "early", "late"]
CLASSES = ("agent", "verb", "object", "place")


def _inventory() -> list[tuple[str, str, str]]:
    """(gloss, class, topic) of every concept; shared ones have no topic, one verb of each topic has a synonym."""
    rows = []
    for topic, words in TOPICS.items():
        for kind, group in zip(CLASSES, words.split("|")):
            rows += [(gloss, kind, topic) for gloss in group.split()]
    rows += [(gloss, "adjective", "") for gloss in ADJECTIVES] + [(gloss, "time", "") for gloss in TIMES]
    rows += [("in", "adposition", ""), ("the", "article", "")]
    verbs = {topic: [row for row in rows if row[1:] == ("verb", topic)] for topic in TOPICS}
    return rows + [verbs[topic][0] for topic in TOPICS]


INVENTORY = _inventory()
GLOSSES = [gloss for gloss, _, _ in INVENTORY]
KINDS = [kind for _, kind, _ in INVENTORY]
IN, THE = GLOSSES.index("in"), GLOSSES.index("the")
SYNONYMS = {GLOSSES.index(gloss): i for i, gloss in enumerate(GLOSSES) if i > THE}  # a verb -> its synonym
UPOS = dict(agent="NOUN", object="NOUN", place="NOUN", verb="VERB", adjective="ADJ", time="ADV") | dict(
    adposition="ADP", article="DET"
)

CONSONANTS, VOWELS = "ptkbdgmnslrfvjzh", "aeiou"
PHONEMES = CONSONANTS + VOWELS
SCRIPTS = {  # one letter for each phoneme, in the order of PHONEMES
    "Latn": PHONEMES,
    "Grek": "πτκβδγμνσλρφψξζχαειοω",
    "Cyrl": "пткбдгмнслрфвжзхаеиоу",
    "Geor": "პტკბდგმნსლრფვჟზჰაეიოუ",
    "Armn": "պտկբդգմնսլրֆվժզհաեիօւ",
}
ORDER_CHOICES = {
    "order": ("SVO", "SOV", "VSO"),
    "adposition": ("before", "after"),
    "adjective": ("before", "after"),
    "article": ("none", "before", "after"),
    "time": ("first", "last"),
}


class Meaning(NamedTuple):
    """Concept indices of one sentence; -1 where a slot is empty."""

    agent: int
    verb: int
    object: int
    place: int = -1
    agent_adjective: int = -1
    object_adjective: int = -1
    time: int = -1

    @property
    def topic(self) -> str:
        """The topic that all of its content words belong to."""
        return INVENTORY[self.verb][2]

    @property
    def gloss(self) -> str:
        """The meaning in English words, for a reader: "the old farmer sows grain in the barn today"."""
        noun = [self.agent_adjective, self.agent, self.verb, self.object_adjective, self.object]
        words = ["the"] + [GLOSSES[c] for c in noun if c >= 0]
        words += ["in the", GLOSSES[self.place]] if self.place >= 0 else []
        return " ".join(words + ([GLOSSES[self.time]] if self.time >= 0 else []))


class Word(NamedTuple):
    """One word of a sentence; head counts from 1, 0 is the root."""

    form: str
    upos: str
    head: int
    deprel: str
    concept: int


@dataclass(frozen=True)
class Language:
    """One language: everything that `say` needs, and where it stands in the family tree."""

    id: str
    family: str
    branch: tuple[int, ...]  # the turns taken from the family's root
    stems: tuple[str, ...]  # phonemes of each concept
    etyma: tuple[int, ...]  # the origin of each stem: equal numbers are cognates, loans or international words
    grammar: dict[str, str]  # a choice for each key of ORDER_CHOICES
    endings: dict[str, str]  # phonemes after the stem, by class; "" is no ending
    script: str
    letters: tuple[str, ...]  # one for each phoneme
    position: tuple[float, float] = field(default=(0.0, 0.0))  # on a plane, in units of the mean family distance

    @cached_property
    def forms(self) -> list[str]:
        """The written form of each concept."""
        table = str.maketrans(dict(zip(PHONEMES, self.letters)))
        return [(stem + self.endings.get(kind, "")).translate(table) for stem, kind in zip(self.stems, KINDS)]


def say(language: Language, meaning: Meaning, paraphrase: bool = False) -> list[Word]:
    """The words of a meaning in a language, in order, tagged and parsed.

    A paraphrase puts the time on the other side of the sentence and takes the verb's synonym where there is one.
    """
    nodes = _order(language, meaning, paraphrase)
    place = {role: i + 1 for i, (role, _, _, _) in enumerate(nodes)}
    forms = language.forms
    return [
        Word(forms[concept], UPOS[KINDS[concept]], place.get(head, 0), deprel, concept)
        for _, concept, head, deprel in nodes
    ]


def sequence(language: Language, meaning: Meaning, paraphrase: bool = False) -> list[int]:
    """The concepts of a sentence in the language's order: `say` without the tree, for pretraining text."""
    return [concept for _, concept, _, _ in _order(language, meaning, paraphrase)]


def _order(language: Language, meaning: Meaning, paraphrase: bool) -> list[tuple[str, int, str, str]]:
    """(role, concept, role of the head, relation) in surface order."""
    grammar = language.grammar
    verb = SYNONYMS.get(meaning.verb, meaning.verb) if paraphrase else meaning.verb
    parts = {
        "S": _noun_phrase(grammar, "agent", meaning.agent, meaning.agent_adjective, "nsubj"),
        "V": [("verb", verb, "", "root")],
        "O": _noun_phrase(grammar, "object", meaning.object, meaning.object_adjective, "obj"),
    }
    if meaning.place >= 0:  # the place stands beside the object, away from the verb's slot
        noun, adposition = [("place", meaning.place, "verb", "obl")], [("in", IN, "place", "case")]
        phrase = adposition + noun if grammar["adposition"] == "before" else noun + adposition
        parts["O"] = phrase + parts["O"] if grammar["order"] == "SOV" else parts["O"] + phrase
    clause = [node for slot in grammar["order"] for node in parts[slot]]
    if meaning.time < 0:
        return clause
    time = [("time", meaning.time, "verb", "advmod")]
    return time + clause if (grammar["time"] == "first") != paraphrase else clause + time


def _noun_phrase(grammar: dict, role: str, noun: int, adjective: int, deprel: str) -> list[tuple[str, int, str, str]]:
    phrase = [(role, noun, "verb", deprel)]
    if adjective >= 0:
        modifier = [(f"{role} adjective", adjective, role, "amod")]
        phrase = modifier + phrase if grammar["adjective"] == "before" else phrase + modifier
    if grammar["article"] == "none":
        return phrase
    article = [(f"{role} article", THE, role, "det")]
    return article + phrase if grammar["article"] == "before" else phrase + article
