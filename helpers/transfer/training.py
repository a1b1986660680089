"""Cross-lingual transfer: train on each source language, test on each target, without further training.

One idea: a source is a choice of rows. The features of a corpus are made once, for all languages together; one fit per
source then meets the test sentences of every target in a single product, so that a new target costs next to nothing.
Topics and parts of speech are read by linear heads, trees by the biaffine parser of `parsing`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse

from helpers import corpora
from helpers.common.lookup import known
from helpers.common.progress import progress
from helpers.corpora import text
from helpers.embeddings import activations
from helpers.models.loading import LanguageModel
from helpers.transfer import heads, parsing
from helpers.transfer.heads import Features

TASKS = {"topics": ("accuracy",), "pos": ("accuracy",), "parsing": ("LAS", "UAS")}
REPRESENTATIONS = ("ngrams", "ngrams_latin", "encoder")
SERVED = {"world": tuple(TASKS), "sib200": ("topics",), "csv": ("topics",), "pud": ("pos", "parsing")} | {
    "ud": ("pos", "parsing")
}  # the tasks that a corpus has labels for
TRAINING = {"pud": ("fit", "dev")}  # 800 sentences; elsewhere `fit` alone
_WORD = ["language", "sentence", "token"]


@dataclass(frozen=True)
class Outcomes:
    """What every source got right on every test sentence of every target, for one task and representation.

    correct: metric -> [source, target, sentence], whose mean over sentences is the score: 1 or 0 for a topic; for
    words, the number right in the sentence over the target's mean sentence length. NaN where a target has fewer
    sentences than another. n_train counts a source's sentences, n_test what a target is scored on: sentences or words.
    majority is the share of a target's most frequent label (for trees, relation): what guessing reaches.
    """

    task: str
    representation: str
    correct: dict[str, np.ndarray]
    n_train: dict[str, int]
    n_test: dict[str, int]
    majority: dict[str, float]
    seed: int

    @property
    def table(self) -> pd.DataFrame:
        """table[task, representation, source, target, metric, score, n_train, n_test, seed]."""
        rows = [
            (self.task, self.representation, source, target, metric, score, train, test, self.seed)
            for metric, cells in self.correct.items()
            for (source, train), line in zip(self.n_train.items(), np.nanmean(cells, axis=2))
            for (target, test), score in zip(self.n_test.items(), line)
        ]
        names = ["task", "representation", "source", "target", "metric", "score", "n_train", "n_test", "seed"]
        return pd.DataFrame(rows, columns=names)


def run(
    task: str,
    corpus: str,
    representation: str,
    languages: Sequence[str] | None = None,
    seed: int = 0,
    *,
    lm: LanguageModel | None = None,
    layer: int = -1,
    size: int | None = None,
    tags: bool = True,
) -> pd.DataFrame:
    """table[task, representation, source, target, metric, score, n_train, n_test, seed]: every source by every target.

    Tasks: topics and pos (accuracy), parsing (LAS, UAS). Representations: ngrams (characters for topics, affixes and
    context for words), ngrams_latin (the same in Latin letters), encoder (hidden states of `layer` of `lm`, frozen).
    Options as for `measure`, which takes any tables and also returns what was right, item by item.
    """
    train, test = tables(task, corpus, languages)
    options = dict(lm=lm, layer=layer, size=size, tags=tags, seed=seed)
    return measure(task, representation, train, test, **options).table


def plan(
    corpus: str, representations: Sequence[str] = (), parsed: Sequence[str] = ("ngrams",), *, encoder: bool = True
) -> pd.DataFrame:
    """table[task, representation, run, why] of all that could be run on a corpus, and why a part of it is not.

    No representations: all; without `encoder` (a model that reads this corpus) that one is left out, and trees, which
    take longest, are parsed from those of `parsed` alone. LookupError where nothing is left to run.
    """
    representations = representations or REPRESENTATIONS
    rows = []
    for task in TASKS:
        for representation in representations:
            known(representation, REPRESENTATIONS, "representation")
            why = "" if task in SERVED.get(corpus.partition(":")[0], ()) else f"{corpus} has no labels for it"
            why = why or ("" if encoder or representation != "encoder" else f"no model that has learnt {corpus}")
            why = why or ("" if task != "parsing" or representation in parsed else "not among those to parse from")
            rows.append((task, representation, not why, why))
    table = pd.DataFrame(rows, columns=["task", "representation", "run", "why"])
    if not table["run"].any():
        why = "; ".join(dict.fromkeys(table["why"]))
        raise LookupError(f"nothing can be transferred: {why}; labels are in {', '.join(SERVED)}")
    return table


def grid(
    plan: pd.DataFrame,
    corpus: str,
    languages: Sequence[str] | None = None,
    *,
    lm: LanguageModel | None = None,
    layer: int = -1,
    size: int | None = None,
    tags: bool = True,
    seed: int = 0,
) -> list[Outcomes]:
    """Outcomes of every task and representation that the `plan` says to run; options as for `measure`."""
    options = dict(lm=lm, layer=layer, size=size, tags=tags, seed=seed)
    return [
        measure(task, representation, *made, **options)
        for task, rows in plan[plan["run"]].groupby("task", sort=False)
        for made in [tables(task, corpus, languages)]
        for representation in rows["representation"]
    ]


def tables(task: str, corpus: str, languages: Sequence[str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test rows of a task: tables of sentences for topics, else treebanks; see `corpora`.

    Training is `fit`, for PUD `fit` and `dev` together (800 sentences, 200 to test). LookupError where the corpus has
    no labels for the task.
    """
    kind = corpus.partition(":")[0]
    known(task, TASKS, "task")
    if task not in SERVED.get(kind, ()):
        serving = ", ".join(name for name, tasks in SERVED.items() if task in tasks)
        raise LookupError(f"corpus {corpus!r} has no labels for {task!r}; {serving} have")
    parts = [_rows(task, corpus, languages, split) for split in TRAINING.get(kind, ("fit",))]
    return _grouped(pd.concat(parts)), _rows(task, corpus, languages, "test")


def measure(
    task: str,
    representation: str,
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    lm: LanguageModel | None = None,
    layer: int = -1,
    size: int | None = None,
    tags: bool = True,
    seed: int = 0,
) -> Outcomes:
    """Outcomes of every language of `train` as a source and every language of `test` as a target.

    Both are tables[language, sentence, text, topic], or treebanks as from `corpora.treebank`. `size` keeps that many
    training sentences per source, the same ids in every language that has them. `tags` shows the parser the gold parts
    of speech, as delexicalised transfer does; else it has the words alone. Raises LookupError for an unknown task or
    representation, and ValueError for an encoder without a model, a size beyond the sentences, or labels of one class.
    """
    known(task, TASKS, "task")
    known(representation, REPRESENTATIONS, "representation")
    train, test = _grouped(train if size is None else _subset(train, size, seed)), _grouped(test)
    right = partial(_parsing, tags=tags) if task == "parsing" else {"topics": _topics, "pos": _pos}[task]
    learned, tested = _features(task, representation, train, test, lm, layer)
    found: list[dict[str, np.ndarray]] = []
    sources = train.groupby("language", sort=False)
    for _, part in progress(sources, f"{task}, {representation}"):
        found.append(right(learned[part.index], part, tested, test, seed=seed))
    correct = {metric: _shares(test, np.stack([answers[metric] for answers in found])) for metric in TASKS[task]}
    label = test[{"topics": "topic", "pos": "upos", "parsing": "deprel"}[task]].groupby(test["language"], sort=False)
    guess = label.agg(lambda labels: labels.value_counts(normalize=True).iloc[0]).to_dict()
    counts = sources["sentence"].nunique().to_dict(), label.size().to_dict()
    return Outcomes(task, representation, correct, *counts, guess, seed)


def _rows(task: str, corpus: str, languages: Sequence[str] | None, split: str) -> pd.DataFrame:
    """The labelled rows of one split, languages in the order asked for."""
    if task == "topics":
        table = corpora.load(corpus, languages, split)
        if table["topic"].isna().any():
            raise ValueError(f"{int(table['topic'].isna().sum())} of {len(table)} sentences of {corpus} have no topic")
        return table
    names = list(languages or corpora.load(corpus, None, split)["language"].unique())
    return pd.concat([corpora.treebank(corpus, name, split) for name in names], ignore_index=True)


def _grouped(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with every language's in one run, languages in order of appearance."""
    order = np.argsort(pd.factorize(table["language"])[0], kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _subset(table: pd.DataFrame, size: int, seed: int) -> pd.DataFrame:
    """The rows of `size` sentences of each language: the first that it has in one random order of all ids."""
    ids = pd.unique(table["sentence"])
    place = pd.Series(np.random.default_rng(seed).permutation(len(ids)), ids)
    unique = table[["language", "sentence"]].drop_duplicates()
    fewest = unique.groupby("language").size().min()
    if not 1 <= size <= fewest:
        raise ValueError(f"size is {size} but a source has {fewest} training sentences; choose 1 to {fewest}")
    rank = unique["sentence"].map(place).groupby(unique["language"]).rank()
    kept = pd.MultiIndex.from_frame(unique[rank <= size])
    return table[pd.MultiIndex.from_frame(table[["language", "sentence"]]).isin(kept)].reset_index(drop=True)


def _shares(test: pd.DataFrame, right: np.ndarray) -> np.ndarray:
    """What is right, [source, row], as shares [source, target, sentence]; see `Outcomes`."""
    target = pd.factorize(test["language"])[0]
    key = pd.factorize(pd.MultiIndex.from_frame(test[["language", "sentence"]]))[0]
    first = np.flatnonzero(np.diff(key, prepend=-1))  # sentences and languages come in one run each
    owner = target[first]
    rows, sentences = np.bincount(target), np.bincount(owner)
    out = np.full((len(right), len(rows), sentences.max()), np.nan, np.float32)
    column = np.arange(len(first)) - np.searchsorted(owner, owner)
    out[:, owner, column] = np.add.reduceat(right, first, axis=1, dtype=float) * (sentences / rows)[owner]
    return out


def _features(
    task: str, representation: str, train: pd.DataFrame, test: pd.DataFrame, lm: LanguageModel | None, layer: int
) -> tuple[Features, Features]:
    """Features of the training and of the test rows, made once for all sources and targets."""
    words, column = task != "topics", "text" if task == "topics" else "form"
    if representation == "encoder":
        if lm is None:
            raise ValueError("representation 'encoder' needs a model; pass lm=models.load(...)")
        return tuple(_hidden(lm, table, layer, words) for table in (train, test))
    if representation == "ngrams_latin":
        train, test = (_latin(table, column) for table in (train, test))
    if words:
        return text.word_features(train), text.word_features(test)
    counts = text.features([*train["text"], *test["text"]])[0]
    return counts[: len(train)], counts[len(train) :]


def _latin(table: pd.DataFrame, column: str) -> pd.DataFrame:
    number, different = pd.factorize(table[column])
    return table.assign(**{column: np.array(text.to_latin(different), dtype=object)[number]})


def _hidden(lm: LanguageModel, table: pd.DataFrame, layer: int, words: bool) -> np.ndarray:
    """Hidden states [row, unit] of sentences, or of words, where one that the tokenizer drops has zeros."""
    if not words:
        return activations.embed(lm, table, [layer]).values[:, 0].numpy()
    found = activations.words(lm, table, [layer])
    place = pd.MultiIndex.from_frame(table[_WORD]).get_indexer(pd.MultiIndex.from_frame(found.table[_WORD]))
    out = np.zeros((len(table), found.values.shape[2]), np.float32)
    out[place] = found.values[:, 0].numpy()
    return out


def _topics(X: Features, part: pd.DataFrame, T: Features, test: pd.DataFrame, *, seed: int) -> dict[str, np.ndarray]:
    guess = heads.classified(X, part["topic"], T, weigh=sparse.issparse(X), seed=seed)
    return {"accuracy": guess == test["topic"].to_numpy()}


def _pos(X: Features, part: pd.DataFrame, T: Features, test: pd.DataFrame, *, seed: int) -> dict[str, np.ndarray]:
    return {"accuracy": heads.classified(X, part["upos"], T, seed=seed) == test["upos"].to_numpy()}


def _parsing(
    X: Features, part: pd.DataFrame, T: Features, test: pd.DataFrame, *, seed: int, tags: bool
) -> dict[str, np.ndarray]:
    if not sparse.issparse(X):
        X, T = heads.scaled(X, T)
    above, relations = parsing.predict(parsing.fit(X, part, tags=tags, seed=seed), T, test)
    attached = above == test["head"].to_numpy()
    return {"LAS": attached & (relations == parsing.universal(test["deprel"]).to_numpy()), "UAS": attached}
