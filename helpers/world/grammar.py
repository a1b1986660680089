"""What one artificial language is, and how it says a meaning.

A `Meaning` fills the slots of a sentence with concepts. A `Language` has a form for each concept, a word order and a
script; `say` makes words, tags and a tree. Only words of one class and of different topics may share a form, so
distinct meanings give distinct sentences.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

TOPICS = {  # topic: agents, verbs, objects, places; what is written with a capital is a name
    "farm": "farmer shepherd miller ploughman reaper herder ox Adam | sows reaps carries guards grinds stacks"
    " | grain hay goat sheep plough cart seed | barn meadow mill",
    "sea": "sailor fisher captain diver pilot rower whale Mara | catches steers loses mends anchors paints"
    " | fish boat net pearl oar sail crab | harbour island beach",
    "market": "merchant buyer thief weaver jeweller tailor banker Omar | sells buys steals weighs counts wraps"
    " | cloth coin spice ring silk jar basket | square stall gate",
    "school": "teacher pupil scribe scholar poet librarian clerk Lena | reads writes learns copies explains prints"
    " | book letter poem map riddle law sum | library hall yard",
    "kitchen": "cook baker guest servant butcher brewer cat Nina | bakes boils eats tastes cuts serves"
    " | bread soup egg cheese cake beer plum | cellar kitchen oven",
    "forest": "hunter woodcutter bear wolf fox ranger owl Boris | hunts fells follows smells hides digs"
    " | deer oak berry trail mushroom hare nest | glade cave swamp",
    "music": "singer drummer piper dancer fiddler composer choir Tomas | sings plays hears praises tunes repeats"
    " | song drum flute bell waltz harp hymn | theatre tower fair",
}
SHARED = dict(adjective="old young big small red quiet", time="today yesterday daily rarely early late")
SHARED |= dict(number="2 3 7 12", adposition="in", article="the")
CLASSES = ("agent", "verb", "object", "place")
INVENTORY = [  # (gloss, class, topic) of every concept; at the end one verb of each topic again, its synonym
    (gloss, kind, topic)
    for topic, words in TOPICS.items()
    for kind, group in zip(CLASSES, words.split("|"))
    for gloss in group.split()
]
INVENTORY += [(gloss, kind, "") for kind, words in SHARED.items() for gloss in words.split()]
INVENTORY += [next(row for row in INVENTORY if row[1:] == ("verb", topic)) for topic in TOPICS]
GLOSSES, KINDS, DOMAINS = map(list, zip(*INVENTORY))
IN, THE = GLOSSES.index("in"), GLOSSES.index("the")
SYNONYMS = {GLOSSES.index(GLOSSES[i]): i for i in range(THE + 1, len(GLOSSES))}  # a verb -> its synonym
UPOS = dict.fromkeys(("agent", "object", "place"), "NOUN") | dict(verb="VERB", adjective="ADJ", time="ADV")
UPOS |= dict(number="NUM", adposition="ADP", article="DET")
TAGS = ["PROPN" if gloss.istitle() else UPOS[kind] for gloss, kind in zip(GLOSSES, KINDS)]  # of each concept

PHONEMES = "ptkbdgmnslrfvjzhaeiou"  # 16 consonants, 5 vowels
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
    "number": ("before", "after"),
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
    number: int = -1  # of objects

    @property
    def event(self) -> tuple[int, int, int]:
        """Agent, verb and object: who does what to what."""
        return self[:3]

    @property
    def topic(self) -> str:
        """The topic that all of its content words belong to."""
        return DOMAINS[self.verb]

    @property
    def gloss(self) -> str:
        """The meaning in English words, for a reader: "the old farmer sows grain in the barn today"."""
        the = -1 if TAGS[self.agent] == "PROPN" and self.agent_adjective < 0 else THE
        phrase = (the, self.agent_adjective, self.agent, self.verb, self.number, self.object_adjective, self.object)
        place = (IN, THE, self.place) if self.place >= 0 else ()
        return " ".join(GLOSSES[concept] for concept in (*phrase, *place, self.time) if concept >= 0)


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
    position: tuple[float, float]  # on a plane, in units of the mean family distance

    @cached_property
    def forms(self) -> list[str]:
        """The written form of each concept."""
        table = str.maketrans(PHONEMES, "".join(self.letters))
        return [(stem + self.endings.get(kind, "")).translate(table) for stem, kind in zip(self.stems, KINDS)]


def say(language: Language, meaning: Meaning, paraphrase: bool = False) -> list[Word]:
    """The words of a meaning in a language, in order, tagged and parsed.

    A paraphrase puts the time on the other side of the sentence and takes the verb's synonym where there is one.
    """
    nodes = _order(language.grammar, meaning, paraphrase)
    place = {role: i for i, (role, *_) in enumerate(nodes, 1)}
    return [
        Word(language.forms[concept], TAGS[concept], place.get(head, 0), deprel, concept)
        for _, concept, head, deprel in nodes
    ]


def _order(grammar: dict[str, str], meaning: Meaning, paraphrase: bool) -> list[tuple[str, int, str, str]]:
    """(role, concept, role of the head, relation) in surface order."""
    verb = SYNONYMS.get(meaning.verb, meaning.verb) if paraphrase else meaning.verb
    parts = {
        "S": _noun_phrase(grammar, "agent", meaning.agent, meaning.agent_adjective, "nsubj"),
        "V": [("verb", verb, "", "root")],
        "O": _noun_phrase(grammar, "object", meaning.object, meaning.object_adjective, "obj", meaning.number),
    }
    if meaning.place >= 0:  # the place stands beside the object, away from the verb's slot
        noun = [("place", meaning.place, "verb", "obl")]
        phrase = _beside(noun, ("in", IN, "place", "case"), grammar["adposition"])
        parts["O"] = phrase + parts["O"] if grammar["order"] == "SOV" else parts["O"] + phrase
    clause = [node for slot in grammar["order"] for node in parts[slot]]
    if meaning.time < 0:
        return clause
    first = (grammar["time"] == "first") != paraphrase
    return _beside(clause, ("time", meaning.time, "verb", "advmod"), "before" if first else "after")


def _noun_phrase(
    grammar: dict, role: str, noun: int, adjective: int, deprel: str, number: int = -1
) -> list[tuple[str, int, str, str]]:
    phrase = [(role, noun, "verb", deprel)]
    if adjective >= 0:
        phrase = _beside(phrase, (f"{role} adjective", adjective, role, "amod"), grammar["adjective"])
    if number >= 0:
        phrase = _beside(phrase, ("number", number, role, "nummod"), grammar["number"])
    return _beside(phrase, (f"{role} article", THE, role, "det"), grammar["article"])


def _beside(phrase: list[tuple], node: tuple, side: str) -> list[tuple]:
    """The phrase with a node before or after it, or without it where the side is "none"."""
    return {"before": [node, *phrase], "after": [*phrase, node], "none": phrase}[side]
