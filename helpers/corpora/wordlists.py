"""Lexical similarity of real languages: word lists of the ASJP database, compared sound by sound.

A list has the words of up to 100 meanings in ASJP's phonetic alphabet; the head of the file names the 40 that count.
The lists are CC BY 4.0 (Wichmann et al.); data/README.md says where they come from.
"""

import hashlib
import re
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np

from helpers.corpora import loading, registry, typology

FILE = "asjp/lists.txt"
_HEAD = re.compile(r" {0,3}(\d+) {10,}\S")  # number and name of a meaning that counts
_PLACE = re.compile(r"[ \d]\d +-?\d+\.\d\d +-?\d+\.\d\d")  # coordinates, speakers and codes, under a list's name
_ENTRY = re.compile(r"(\d+)\s.*?\t(.*?)\s*(?: /|//|$)")
_BOUND = {"~": 2, "$": 3, '"': 1, "*": 1}  # a modifier makes one sound of so many symbols before it
Words = dict[int, list[tuple[str, ...]]]  # meaning -> its words, each a tuple of sounds


def lexical(ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Similarity 1 - `ldnd` [language, language], and the share of the 40 meanings that both lists have words for.

    Ids are FLORES or ISO 639-3 codes. NaN without a list, with a warning where there are none at all.
    """
    files = [path for folder in loading.folders() if (path := folder / FILE).is_file()]
    if not files or not find_spec("rapidfuzz"):
        needs = f"the database's lists.txt at {loading.folders()[0] / FILE}, and rapidfuzz (the extra `typology`)"
        warnings.warn(f"no lexical similarity, which needs {needs}", stacklevel=2)
    elif hashlib.sha256(files[0].read_bytes()).hexdigest() not in (registry.FOLDER / "asjp.txt").read_text("utf-8"):
        warnings.warn(f"{files[0]} is another edition than the one whose distances were verified", stacklevel=2)
    lists = read(files[0]) if files and find_spec("rapidfuzz") else {}
    words = [next((lists[code] for code in typology.codes(name) if code in lists), {}) for name in ids]
    value = np.array([[1 - ldnd(first, second) for second in words] for first in words])
    return value, np.array([[len({*first} & {*second}) / 40 for second in words] for first in words])


def read(path: Path) -> dict[str, Words]:
    """ISO 639-3 code -> the words of its fullest list, in the database's own format.

    Loans (marked %) and unknown words (XXX) are left out.
    """
    found, counted = [], set()
    for line in path.read_text("utf-8", errors="replace").replace("\0", "").splitlines():
        if _PLACE.match(line):
            found.append((line[39:42], {}))
        elif not found and (head := _HEAD.match(line)):
            counted.add(int(head[1]))
        elif found and (entry := _ENTRY.match(line)) and int(entry[1]) in counted:
            forms = [form for form in re.split(r"\s*,\s*", entry[2]) if form not in ("", "XXX") and "%" not in form]
            found[-1][1].update({int(entry[1]): [sounds(form) for form in forms]} if forms else {})
    if not found or not counted:
        raise ValueError(f"{path} has {len(found)} word lists of {len(counted)} meanings; is it ASJP's lists.txt?")
    return dict(sorted(found, key=lambda named: len(named[1])))  # of several lists the fullest is the last, and stays


def sounds(word: str) -> tuple[str, ...]:
    """The sounds of a word in ASJP's alphabet: symbols, some bound into one by a modifier."""
    found: list[str] = []
    for symbol in word.replace(" ", ""):
        bound = _BOUND.get(symbol, 0)
        found[len(found) - bound :] = ["".join(found[len(found) - bound :]) + symbol]
    return tuple(found)


def ldnd(first: Words, second: Words) -> float:
    """Levenshtein distance, normalised and divided (LDND): 0 for equal lists, about 1 for unrelated languages.

    The distance of two words is divided by the length of the longer one; the mean over the words of each meaning that
    both lists have, by the mean over pairs of different meanings, which says how alike words are by chance. Several
    words of a meaning count by their mean. NaN without a shared meaning. (Bakker et al., Linguistic Typology 13, 2009.)
    """
    if not {*first} & {*second}:
        return np.nan
    from rapidfuzz import distance, process  # of the extra `typology`

    cells = process.cdist(*(list(chain(*words.values())) for words in (first, second)),
                          scorer=distance.Levenshtein.normalized_distance, dtype=np.float64)  # fmt: skip
    for axis, words in enumerate((first, second)):
        counts = np.array([len(forms) for forms in words.values()])
        sums = np.add.reduceat(cells, np.cumsum(counts) - counts, axis)
        cells = sums / (counts[:, None] if axis == 0 else counts)
    same = np.equal.outer([*first], [*second])
    return cells[same].mean() / cells[~same].mean()
