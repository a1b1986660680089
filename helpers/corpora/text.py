"""What can be counted in text before any model reads it: tokens, words, n-grams, types and their overlap.

One idea: everything is made once for a whole corpus, as one sparse matrix or one set per language, and shared by the
similarity measures and the transfer tasks; a source or a target is then a choice of rows.
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


def features(
    texts: Sequence[str], *, analyzer: str = "char", ngrams: tuple[int, int] = (1, 4)
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Counts [text, n-gram] as float32, and the n-gram of every column, for all texts of a corpus at once.

    analyzer "char" counts characters, spaces included; "word" counts `words`. Text is lower-cased and its white space
    made single spaces. Columns come in order of first appearance, so rows cut from the matrix share one vocabulary.
    """
    low, high = ngrams
    if analyzer not in ("char", "word") or not 1 <= low <= high:
        raise ValueError(f"analyzer {analyzer!r} with n-grams {ngrams}; take 'char' or 'word' and 1 <= low <= high")
    if not len(texts):
        raise ValueError("no texts to take n-grams of")
    clean = [" ".join(text.lower().split()) for text in texts]
    units = clean if analyzer == "char" else [words(text) for text in clean]
    lengths = np.array([len(unit) for unit in units])
    symbols, names = _symbols(units, analyzer)
    if (len(names) + 1) ** high >= 2**63:
        raise ValueError(f"{len(names)} different {analyzer}s do not fit n-grams of {high}; shorten the n-grams")
    counts, keys = _count(symbols, lengths, len(names) + 1, ngrams)
    return counts, _spell(keys, names, "" if analyzer == "char" else " ")


def tfidf(counts: sparse.csr_matrix, fit: np.ndarray | slice = slice(None)) -> sparse.csr_matrix:
    """Rows of counts weighed by a smooth inverse document frequency and of unit length, float32.

    The frequencies come from the `fit` rows alone, and columns that those lack become 0: exactly scikit-learn's
    TfidfTransformer on the vocabulary of these rows, without another pass over the text.
    """
    known = counts[fit]
    found = np.bincount(known.indices, minlength=counts.shape[1])
    weight = np.where(found > 0, np.log((1 + known.shape[0]) / (1 + found)) + 1, 0).astype(np.float32)
    data = counts.data * weight[counts.indices]
    square = np.concatenate([[0.0], np.cumsum(data.astype(np.float64) ** 2)])
    norm = np.sqrt(square[counts.indptr[1:]] - square[counts.indptr[:-1]])
    data = data / np.repeat(np.where(norm > 0, norm, 1), np.diff(counts.indptr)).astype(np.float32)
    return sparse.csr_matrix((data, counts.indices, counts.indptr), shape=counts.shape)


def _symbols(units: Sequence[Sequence[str]], analyzer: str) -> tuple[np.ndarray, np.ndarray]:
    """Every character or word of the corpus as its number from 1, one after the other, and the names of the numbers."""
    if analyzer == "word":
        numbers, names = pd.factorize(np.array([word for unit in units for word in unit], dtype=object))
        return numbers + 1, np.asarray(names)
    points = np.frombuffer("".join(units).encode("utf-32-le", "surrogatepass"), np.uint32)
    present = np.flatnonzero(np.bincount(points, minlength=1))
    place = np.zeros(int(present.max(initial=0)) + 1, np.int64)
    place[present] = np.arange(1, len(present) + 1)
    return place[points], np.array([chr(point) for point in present], dtype=object)


def _count(symbols: np.ndarray, lengths: np.ndarray, base: int, ngrams: tuple[int, int]):
    """Counts [text, n-gram] and the number of every column; a thousand texts at a time keeps memory near the result."""
    ends = np.cumsum(lengths)
    blocks, keys = [], []
    for first in range(0, len(lengths), 1000):
        part = lengths[first : first + 1000]
        start = int(ends[first] - part[0])
        rows, numbers = _numbers(symbols[start : start + int(part.sum())], part, base, ngrams)
        columns, found = pd.factorize(numbers)
        ones = np.ones(len(rows), np.float32)
        blocks.append(sparse.csr_matrix((ones, (rows, columns)), shape=(len(part), len(found))))
        keys.append(found)
    columns, found = pd.factorize(np.concatenate(keys))
    places = np.split(columns, np.cumsum([len(key) for key in keys])[:-1])
    for i, (block, place) in enumerate(zip(blocks, places)):
        parts = (block.data, place[block.indices], block.indptr)
        blocks[i] = sparse.csr_matrix(parts, shape=(block.shape[0], len(found)))
    return sparse.vstack(blocks, format="csr"), found


def _numbers(symbols: np.ndarray, lengths: np.ndarray, base: int, ngrams: tuple[int, int]):
    """Text and number of every n-gram: its symbols are the digits, none of them 0, so all lengths stay apart."""
    text = np.repeat(np.arange(len(lengths)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(symbols))
    rows, numbers, number = [], [], np.zeros(len(symbols), np.int64)
    for n in range(1, ngrams[1] + 1):
        number = number[: len(symbols) - n + 1] * base + symbols[n - 1 :]
        inside = left[: len(number)] >= n
        if n >= ngrams[0]:
            rows.append(text[: len(number)][inside])
            numbers.append(number[inside])
    return np.concatenate(rows), np.concatenate(numbers)


def _spell(keys: np.ndarray, names: np.ndarray, between: str) -> np.ndarray:
    """The n-grams that the numbers stand for."""
    base, rest = len(names) + 1, keys
    names, grams = np.concatenate([np.array([""], dtype=object), names]), np.full(len(keys), "", dtype=object)
    while rest.any():
        rest, digit = np.divmod(rest, base)
        joint = np.where((digit > 0) & (grams != ""), between, "")
        grams = names[digit] + joint + grams
    return grams


def word_features(treebank: pd.DataFrame, *, buckets: int = 2**18) -> sparse.csr_matrix:
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
    hasher = FeatureHasher(buckets, input_type="string", dtype=np.float32, alternate_sign=False)
    own = hasher.transform(map(_affixes, [*forms, ""]))
    left = hasher.transform([f"<{x}" for x in _context(word)] for word in [*forms, ""])
    right = hasher.transform([f">{x}" for x in _context(word)] for word in [*forms, ""])
    table = (own[form] + left[before] + right[after]).tocsr()
    table.data[:] = 1
    return table


def _same(treebank: pd.DataFrame, step: int) -> np.ndarray:
    """Whether the word one step away (-1 before, 1 after) is in the same sentence."""
    key = treebank["language"].astype(str) + "\t" + treebank["sentence"].astype(str)
    return (key == key.shift(-step)).to_numpy()


def _affixes(form: str) -> list[str]:
    low = form.lower()
    ends = [f"p{low[:n]}" for n in range(1, 5) if n <= len(low)] + [
        f"s{low[-n:]}" for n in range(1, 5) if n <= len(low)
    ]
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
    if kind not in KINDS:
        raise LookupError(f"unknown kind {kind!r}; it is one of {', '.join(KINDS)}")
    if kind == "swt":
        if tokenizer is None:
            raise ValueError("kind 'swt' needs a tokenizer; pass tokenizer=lm.tokenizer")
        return {token for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"] for token in ids}
    clean = [" ".join(text.lower().split()) for text in texts]
    if kind == "chr":
        return set("".join(clean)) - {" "}
    if kind == "wor":
        return {word for text in clean for word in words(text)}
    return {text[i : i + 3] for text in clean for i in range(len(text) - 2)}


HOW = ("coverage", "jaccard", "langrank")


def coverage(
    sources: Mapping[str, set], targets: Mapping[str, set] | None = None, how: str = "coverage"
) -> pd.DataFrame:
    """Overlap of types [source x target] for all pairs, from one sparse product; targets default to the sources.

    coverage: share of the target's types that the source has, |S and T| / |T| (directional); jaccard: |S and T| /
    |S or T|; langrank: |S and T| / (|S| + |T|), the definition of LangRank. NaN where there is nothing to divide by.
    """
    if how not in HOW:
        raise LookupError(f"unknown overlap {how!r}; it is one of {', '.join(HOW)}")
    targets = sources if targets is None else targets
    sets = [*sources.values(), *targets.values()]
    columns, found = pd.factorize(np.array([x for types in sets for x in types], dtype=object))
    sizes = np.array([len(types) for types in sets])
    ends = np.concatenate([[0], np.cumsum(sizes)])
    incidence = sparse.csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(sets), max(len(found), 1)))
    both = (incidence[: len(sources)] @ incidence[len(sources) :].T).toarray()
    s, t = sizes[: len(sources), None], sizes[None, len(sources) :]
    whole = {"coverage": 0 * s + t, "jaccard": s + t - both, "langrank": s + t}[how]
    values = np.divide(both, whole, out=np.full(both.shape, np.nan), where=whole > 0)
    return pd.DataFrame(values, pd.Index(sources, name="source"), pd.Index(targets, name="target"))
