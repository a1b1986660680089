"""What can be counted in text before any model reads it: words, n-grams, types and their overlap.

Everything is made once for a whole corpus, as one sparse matrix or one set per language, and shared by the similarity
measures and the transfer tasks; a source or a target is then a choice of rows.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from anyascii import anyascii
from scipy import sparse
from sklearn.feature_extraction import FeatureHasher
from sklearn.preprocessing import MultiLabelBinarizer

from helpers.common.lookup import known

KINDS = ("chr", "tri", "wor", "swt")
# Scripts written without spaces: Thai, Lao, Tibetan, Burmese, Khmer, kana and Han.
_UNSPACED = "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNSPACED += "\U00020000-\U0003ffff"


@lru_cache
def _word_pattern() -> re.Pattern[str]:
    """Letters and digits with their marks; `\\w` alone would cut Devanagari at every vowel sign."""
    points = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    marks = "".join(chr(point) for point in points if unicodedata.category(chr(point)) in ("Mn", "Mc"))
    marks += "\u200c\u200d"  # joiners are spelling, not space
    return re.compile(rf"[{_UNSPACED}][{marks}]*|[^\W_{_UNSPACED}](?:[^\W_{_UNSPACED}]|[{marks}])*")


def words(text: str) -> list[str]:
    """The words of a text, in order: runs of letters, digits and their marks; punctuation is left out.

    In scripts written without spaces each letter, with its marks, is a word, so that counts stay defined.
    """
    return [word for word in _word_pattern().findall(text) if any(c.isalnum() for c in word)]


def to_latin(texts: Iterable[str]) -> list[str]:
    """The texts in ASCII letters, character by character (anyascii); the same for every language."""
    return [anyascii(text) for text in texts]


def features(texts: Sequence[str], longest: int = 4) -> sparse.csr_matrix:
    """Counts [text, n-gram] of 1 to `longest` characters as float32, columns in order of first appearance.

    Text is lower-cased and its white space made single spaces. The counts of scikit-learn's CountVectorizer, made 5 to
    8 times faster (24 languages of the world, of SIB-200: 0.08 and 0.6 against 0.4 and 4.3 s).
    """
    clean = [" ".join(text.lower().split()) for text in texts]
    points = np.frombuffer("".join(clean).encode("utf-32-le", "surrogatepass"), np.uint32)
    symbols, names = pd.factorize(points)
    base = len(names) + 1
    if not len(clean) or base**longest >= 2**63:
        raise ValueError(f"{len(clean)} texts of {len(names)} different characters; give texts, of at most 55,000")
    ends, blocks, keys = np.cumsum([0, *map(len, clean)]), [], []
    for first in range(0, len(clean), 1000):  # so that memory stays near the result
        part = ends[first : first + 1001]
        rows, numbers = _ngrams(symbols[part[0] : part[-1]] + 1, np.diff(part), base, longest)
        columns, found = pd.factorize(numbers)
        ones = np.ones(len(rows), np.float32)
        blocks.append(sparse.csr_matrix((ones, (rows, columns)), shape=(len(part) - 1, len(found))))
        keys.append(found)
    columns, found = pd.factorize(np.concatenate(keys))
    places = np.split(columns, np.cumsum([len(key) for key in keys])[:-1])
    wide = [
        sparse.csr_matrix((block.data, place[block.indices], block.indptr), (block.shape[0], len(found)))
        for block, place in zip(blocks, places)
    ]
    return sparse.vstack(wide, format="csr")


def _ngrams(symbols: np.ndarray, lengths: np.ndarray, base: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Text and number of every n-gram: its symbols are the digits, none of them 0, so all lengths stay apart."""
    text = np.repeat(np.arange(len(lengths)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(symbols))
    rows, numbers, number = [], [], np.zeros(len(symbols), np.int64)
    for n in range(1, longest + 1):
        number = number[: len(symbols) - n + 1] * base + symbols[n - 1 :]
        inside = left[: len(number)] >= n
        rows.append(text[: len(number)][inside])
        numbers.append(number[inside])
    return np.concatenate(rows), np.concatenate(numbers)


def word_features(treebank: pd.DataFrame) -> sparse.csr_matrix:
    """Binary features [word, bucket] of a table[language, sentence, form] in reading order, hashed, float32.

    A word has its lower-cased form, prefixes and suffixes of 1 to 4 characters and shape; its neighbours add form,
    suffix of 3 and shape. Hashing needs no fit, so languages and splits made apart still share their columns. Every
    different form is analysed once.
    """
    if "token" in treebank and (treebank["token"].diff().lt(1) & _same(treebank, -1)).any():
        raise ValueError("the words are not in reading order; sort by language, sentence and token")
    form, forms = pd.factorize(treebank["form"])
    edge = len(forms)  # the neighbour beyond either end of a sentence
    before = np.where(_same(treebank, -1), np.roll(form, 1), edge)
    after = np.where(_same(treebank, 1), np.roll(form, -1), edge)
    hasher = FeatureHasher(2**18, input_type="string", dtype=np.float32, alternate_sign=False)
    own, left, right = (
        hasher.transform([f"{side}{x}" for x in look(word)] for word in [*forms, ""])
        for side, look in (("", _affixes), ("<", _context), (">", _context))
    )
    table = (own[form] + left[before] + right[after]).tocsr()
    table.data[:] = 1
    return table


def _same(treebank: pd.DataFrame, step: int) -> np.ndarray:
    """Whether the word one step away (-1 before, 1 after) is in the same sentence."""
    key = treebank["language"].astype(str) + "\t" + treebank["sentence"].astype(str)
    return (key == key.shift(-step)).to_numpy()


def _affixes(form: str) -> list[str]:
    low = form.lower()
    ends = [end for n in range(1, min(4, len(low)) + 1) for end in (f"p{low[:n]}", f"s{low[-n:]}")]
    return ["bias", f"w{low}", f"h{shape(form)}", *ends]


def _context(form: str) -> list[str]:
    low = form.lower()
    return [f"w{low}", f"s{low[-3:]}", f"h{shape(form)}"]


def shape(form: str) -> str:
    """The look of a word: X upper case, x lower case, c caseless letter, 0 digit, the rest as it is; runs made one."""
    looks = "".join(
        "X" if c.isupper() else "x" if c.islower() else "0" if c.isdigit() else "c" if c.isalpha() else c for c in form
    )
    return re.sub(r"(.)\1+", r"\1", looks)


def types(texts: Iterable[str], kind: str, *, tokenizer=None) -> set[str] | set[int]:
    """The set of different units in one language's texts, lower-cased.

    chr: characters without spaces; tri: character trigrams, over word ends too; wor: words; swt: token ids of the
    tokenizer, on the text as it is.
    """
    if known(kind, KINDS, "kind") == "swt":
        if tokenizer is None:
            raise ValueError("kind 'swt' needs a tokenizer; pass tokenizer=lm.tokenizer")
        return {token for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"] for token in ids}
    clean = [" ".join(text.lower().split()) for text in texts]
    if kind == "wor":
        return {word for text in clean for word in words(text)}
    return set("".join(clean)) - {" "} if kind == "chr" else {x[i : i + 3] for x in clean for i in range(len(x) - 2)}


def coverage(sources: Mapping[str, set], targets: Mapping[str, set]) -> pd.DataFrame:
    """Share of the target's types that the source has [source, target]; NaN for a target without types."""
    sets = MultiLabelBinarizer(sparse_output=True).fit([*sources.values(), *targets.values()])
    S, T = (sets.transform(side.values()) for side in (sources, targets))
    sizes = np.array([len(types) or np.nan for types in targets.values()])
    return pd.DataFrame((S @ T.T).toarray() / sizes, pd.Index(sources, name="source"), pd.Index(targets, name="target"))
