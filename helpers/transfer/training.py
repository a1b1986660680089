"""Cross-lingual transfer: train on each source language, test on each target, without further training.

A source is a choice of rows. The features of a corpus are made once, for all languages together; one fit per source
then meets the test rows of every target in a single product, so that a new target costs next to nothing. Topics and
parts of speech are read by linear heads, trees by the biaffine parser of `parsing`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.svm import LinearSVC

from helpers import corpora
from helpers.common.lookup import known
from helpers.common.progress import progress
from helpers.corpora import text
from helpers.embeddings import activations
from helpers.models import loading
from helpers.transfer import measures, parsing, ranking
from helpers.transfer.qap import EXPERIMENT

TASKS = {"topics": ("accuracy",), "pos": ("accuracy",), "parsing": ("LAS", "UAS")}
REPRESENTATIONS = ("ngrams", "ngrams_latin", "encoder")
SERVED = {"world": tuple(TASKS), "sib200": ("topics",), "csv": ("topics",), "pud": ("pos", "parsing")} | {
    "ud": ("pos", "parsing")
}  # the tasks that a corpus has labels for
TRAINING = {"pud": ("fit", "dev")}  # 800 sentences; elsewhere `fit` alone
PAIR = ["source", "target"]
COLUMNS = ["task", "representation", *PAIR, "metric", "score", "n_train", "n_test", "majority", "seed"]
Features = sparse.csr_matrix | np.ndarray  # [row, feature]
_LABEL = {"topics": "topic", "pos": "upos", "parsing": "deprel"}
_WORD = ["language", "sentence", "token"]
_DENSE = 0.3  # how dear errors are for dense features: the best of .03 to 3 on the `dev` sentences of SIB-200


@dataclass(frozen=True)
class Outcomes:
    """What every source got right on every test sentence of every target, for one task and representation.

    table[task, representation, source, target, metric, score, n_train, n_test, majority, seed]: n_train counts a
    source's sentences, n_test what a target is scored on, sentences or words; majority is the share of its most
    frequent label (for trees, relation): what guessing reaches. correct: metric -> [source, target, sentence], whose
    mean over sentences is the score: 1 or 0 for a topic; for words, the number right in the sentence over the target's
    mean sentence length. NaN where a target has fewer sentences than another.
    """

    table: pd.DataFrame
    correct: dict[str, np.ndarray]


@dataclass(frozen=True)
class Grid:
    """All that could be run on a corpus, as from `plan`; scores in the order of `families` (language -> family)."""

    plan: pd.DataFrame
    outcomes: list[Outcomes]
    scores: pd.DataFrame
    families: dict[str, str]
    tokenizer: object  # of the encoder, if any

    def oracle(self, seed: int = 0) -> pd.DataFrame:
        """table[target, optimistic, honest, task, metric, representation]: `ranking.split_half` of first metrics."""
        parts = []
        for one in self.outcomes:
            keys, sources, targets = one.table.loc[0, EXPERIMENT], *(one.table[end].unique() for end in PAIR)
            found = ranking.split_half(one.correct[keys["metric"]], sources, targets, seed=seed)
            parts.append(found.assign(**keys))
        return pd.concat(parts, ignore_index=True)


def run(
    task: str, corpus: str, representation: str, languages: Sequence[str] | None = None, seed: int = 0, **options
) -> pd.DataFrame:
    """table[task, representation, source, target, metric, score, n_train, n_test, majority, seed].

    Every source by every target. Tasks: topics and pos (accuracy), parsing (LAS, UAS). Representations: ngrams
    (characters for topics, affixes and context for words), ngrams_latin (the same in Latin letters), encoder (frozen
    hidden states of `layer` of `lm`). Options lm, layer, size and tags as for `measure`, which takes any tables.
    """
    return measure(task, representation, *tables(task, corpus, languages), seed=seed, **options).table


def plan(
    corpus: str, representations: Sequence[str] = (), parsed: Sequence[str] = ("ngrams",), model: str = ""
) -> pd.DataFrame:
    """table[task, representation, run, why] of all that could be run on a corpus, and why a part of it is not.

    No representations: all; an encoder needs a `model` that reads this corpus, and trees, which take longest, are
    parsed from the representations of `parsed` alone. LookupError where nothing is left to run.
    """
    mini = model.partition("-")[0] == "mini"  # whatever follows: all are trained on a world
    names = [known(name, REPRESENTATIONS, "representation") for name in representations or REPRESENTATIONS]
    table = pd.DataFrame([(task, name) for task in TASKS for name in names], columns=["task", "representation"])
    served = SERVED.get(corpus.partition(":")[0], ())
    unserved, encoder = ~table["task"].isin(served), table["representation"] == "encoder"
    unread = encoder & (not model or (mini and not corpora.world_of(corpus)))
    slow = table["task"].eq("parsing") & ~table["representation"].isin(parsed)
    reasons = f"{corpus} has no labels for it", f"no model that has learnt {corpus}", "not among those to parse from"
    why = np.select([unserved, unread, slow], reasons, "")
    if why.all():
        raise LookupError(f"nothing can be transferred: {'; '.join(pd.unique(why))}; labels are in {', '.join(SERVED)}")
    return table.assign(run=why == "", why=why)


def grid(
    corpus: str,
    languages: Sequence[str] | None = None,
    representations: Sequence[str] = (),
    parsed: Sequence[str] = ("ngrams",),
    *,
    model: str = "",
    revision: str = "",
    dtype: str = "auto",
    device: str = "auto",
    **options,
) -> Grid:
    """The `Grid` of every task and representation that `plan` says to run; other options as for `measure`."""
    asked = plan(corpus, representations, parsed, model)
    todo, lm = asked[asked["run"]], None
    if todo["representation"].eq("encoder").any():
        lm = loading.load(model, revision=revision, dtype=dtype, device=device)
    found = [
        measure(task, representation, *made, lm=lm, **options)
        for task, rows in todo.groupby("task", sort=False)
        for made in [tables(task, corpus, languages)]
        for representation in rows["representation"]
    ]
    families = measures.families(corpus, list(found[0].table["target"].unique()))
    scores = measures.ordered(pd.concat([one.table for one in found]), list(families))
    return Grid(asked, found, scores, families, lm and lm.tokenizer)


def tables(task: str, corpus: str, languages: Sequence[str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test rows of a task: tables of sentences for topics, else treebanks; see `corpora`.

    Training is `fit`, for PUD `fit` and `dev` together (800 sentences, 200 to test). LookupError where the corpus has
    no trees, ValueError where it has no topics.
    """
    known(task, TASKS, "task")
    parts = [_rows(task, corpus, languages, split) for split in TRAINING.get(corpus.partition(":")[0], ("fit",))]
    return pd.concat(parts, ignore_index=True), _rows(task, corpus, languages, "test")


def measure(
    task: str,
    representation: str,
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    lm: loading.LanguageModel | None = None,
    layer: int = -1,
    size: int | None = None,
    tags: bool = True,
    seed: int = 0,
) -> Outcomes:
    """Outcomes of every language of `train` as a source and every language of `test` as a target.

    Both are tables[language, sentence, text, topic], or treebanks as from `corpora.treebank`. `size` keeps that many
    training sentences per source, the same ids in every language that has them; none or 0 keeps all. `tags` shows the
    parser the gold parts of speech, as delexicalised transfer does; else it has the words alone. Raises LookupError for
    an unknown task or representation, and ValueError for an encoder without a model, a size beyond the sentences, or
    labels of one class.
    """
    known(task, TASKS, "task")
    known(representation, REPRESENTATIONS, "representation")
    train, test = _grouped(_subset(train, size, seed) if size else train), _grouped(test)
    learned, tested = _features(task, representation, train, test, lm, layer)
    sources, found = train.groupby("language", sort=False), []
    for _, part in progress(sources, f"{task}, {representation}"):
        found.append(_right(task, learned[part.index], part, tested, test, tags, seed))
    correct = {metric: _shares(test, np.stack([right[metric] for right in found])) for metric in TASKS[task]}
    pairs = pd.MultiIndex.from_product([correct, train["language"].unique(), test["language"].unique()])
    scores = pd.Series(np.nanmean(list(correct.values()), axis=3).ravel(), pairs, name="score")
    label = test.groupby("language")[_LABEL[task]]
    about = label.agg(n_test="size", majority=lambda labels: labels.value_counts(normalize=True).iloc[0])
    table = scores.rename_axis(["metric", *PAIR]).reset_index()
    table = table.join(sources["sentence"].nunique().rename("n_train"), on="source").join(about, on="target")
    return Outcomes(table.assign(task=task, representation=representation, seed=seed)[COLUMNS], correct)


def classified(X: Features, labels: Iterable, T: Features, *, weigh: bool = False, seed: int = 0) -> np.ndarray:
    """The class of every row of T by a linear support vector machine on X, one against the rest.

    `weigh` makes counts TF-IDF with the frequencies of X. Test rows need no weighing of their own: the weights go into
    the head, and a row's length is one more product, so that scores equal those of a pipeline fitted on this source.
    Dense features are scaled by X, to rows about as long as those of TF-IDF.
    """
    if not sparse.issparse(X):
        X, T = (values / np.float32(np.sqrt(X.shape[1])) for values in _scaled(X, T))
        return LinearSVC(C=_DENSE, random_state=seed, dual="auto").fit(X, labels).predict(T)
    columns = np.flatnonzero(np.bincount(X.indices))
    X = X[:, columns]
    if not weigh:
        return LinearSVC(random_state=seed).fit(X, labels).predict(T[:, columns])
    tfidf = TfidfTransformer().fit(X)
    head = LinearSVC(random_state=seed).fit(tfidf.transform(X), labels)
    square, weights = (np.zeros((T.shape[1], n), np.float32) for n in (1, len(head.coef_)))
    square[columns, 0], weights[columns] = tfidf.idf_**2, (head.coef_ * tfidf.idf_).T
    length = np.sqrt(T.power(2) @ square)
    scores = T @ weights / np.where(length > 0, length, 1) + head.intercept_
    return head.classes_[scores.argmax(1) if len(head.classes_) > 2 else (scores[:, 0] > 0).astype(int)]


def _scaled(X: np.ndarray, T: np.ndarray) -> list[np.ndarray]:
    """Both in standard deviations of X about its mean."""
    mean, scale = X.mean(0), X.std(0)
    return [(values - mean) / np.where(scale > 0, scale, 1) for values in (X, T)]


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
    rank = table["sentence"].map(place).groupby(table["language"]).rank("dense")
    fewest = int(rank.groupby(table["language"]).max().min())
    if not 1 <= size <= fewest:
        raise ValueError(f"size is {size} but a source has {fewest} training sentences; choose 1 to {fewest}")
    return table[rank <= size].reset_index(drop=True)


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
    task: str, representation: str, train: pd.DataFrame, test: pd.DataFrame, lm, layer: int
) -> list[Features]:
    """Features of the training and of the test rows, made once for all sources and targets."""
    if representation == "encoder":
        if lm is None:
            raise ValueError("representation 'encoder' needs a model; pass lm=models.load(...)")
        return [_hidden(lm, table, layer, task != "topics") for table in (train, test)]
    if representation == "ngrams_latin":
        train, test = (_latin(table, "text" if task == "topics" else "form") for table in (train, test))
    if task != "topics":
        return [text.word_features(table) for table in (train, test)]
    counts = text.features([*train["text"], *test["text"]])
    return [counts[: len(train)], counts[len(train) :]]


def _latin(table: pd.DataFrame, column: str) -> pd.DataFrame:
    different = table[column].unique()
    return table.assign(**{column: table[column].map(dict(zip(different, text.to_latin(different))))})


def _hidden(lm: loading.LanguageModel, table: pd.DataFrame, layer: int, words: bool) -> np.ndarray:
    """Hidden states [row, unit] of sentences, or of words, where one that the tokenizer drops has zeros."""
    if not words:
        return activations.embed(lm, table, [layer]).values[:, 0].numpy()
    found = activations.words(lm, table, [layer])
    place = pd.MultiIndex.from_frame(table[_WORD]).get_indexer(pd.MultiIndex.from_frame(found.table[_WORD]))
    out = np.zeros((len(table), found.values.shape[2]), np.float32)
    out[place] = found.values[:, 0].numpy()
    return out


def _right(task: str, X: Features, part: pd.DataFrame, T: Features, test: pd.DataFrame, tags: bool, seed: int) -> dict:
    """Metric -> which test rows one source gets right."""
    if task != "parsing":
        guess = classified(X, part[_LABEL[task]], T, weigh=task == "topics", seed=seed)
        return {"accuracy": guess == test[_LABEL[task]].to_numpy()}
    X, T = (X, T) if sparse.issparse(X) else _scaled(X, T)
    above, relations = parsing.predict(parsing.fit(X, part, tags=tags, seed=seed), T, test)
    attached = above == test["head"].to_numpy()
    return {"LAS": attached & (relations == parsing.universal(test["deprel"]).to_numpy()), "UAS": attached}
