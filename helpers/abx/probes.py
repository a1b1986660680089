"""What a linear reader finds in frozen embeddings: probes of topic and part of speech, and how ABX goes with them.

A probe is a ridge classifier on standardised features, solved in closed form: fast, and the same at every run. It is
trained in some languages on sentences of one split and tested in every language on those of another, so that a score
in a language that it never saw tells what is shared. Checkpoints and layers drive ABX and probes alike, so their
correlation is given raw and with both held fixed.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import corpora
from helpers.common import stats
from helpers.common.lookup import known
from helpers.embeddings import activations
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel

TASKS = {"upos": "POS", "topic": "topic"}  # a column of labels, and what the task is called


def scores(
    train: Activations, test: Activations, label: str, sources: Sequence[str], *, alpha: float = 1.0
) -> pd.DataFrame:
    """table[layer, task, trained_on, language, seen, accuracy, baseline, n_train, n_test] of one probe a layer.

    The probe learns the column `label` from the rows of `train` in the languages `sources`, and is tested in every
    language of `test`; `seen` says that a language is one of the sources. The baseline is the accuracy of the most
    frequent training label. ValueError: fewer than two labels, or sentences that are in both; LookupError: no such
    column or language.
    """
    known(label, train.table.columns, "column")
    kept = train.where(language=list(sources))
    _refuse_shared(kept, test)
    answers, expected = kept.table[label].to_numpy(), test.table[label].to_numpy()
    if len(set(answers)) < 2:
        raise ValueError(f"{len(set(answers))} label in {len(answers)} rows of {label}; a probe needs two at least")
    usual = pd.Series(answers).mode()[0]
    frame = test.table[["language"]].assign(baseline=expected == usual, n_test=1)
    parts = []
    for layer in kept.layers:
        right = _probe(alpha).fit(kept.layer(layer).numpy(), answers).predict(test.layer(layer).numpy()) == expected
        rows = frame.assign(accuracy=right).groupby("language", sort=False)
        found = rows.agg({"accuracy": "mean", "baseline": "mean", "n_test": "sum"}).reset_index()
        parts.append(found.assign(layer=layer, seen=found.language.isin(sources)))
    keys = {"task": TASKS.get(label, label), "trained_on": " ".join(sources), "n_train": len(answers)}
    columns = ["layer", "task", "trained_on", "language", "seen", "accuracy", "baseline", "n_train", "n_test"]
    return pd.concat(parts, ignore_index=True).assign(**keys)[columns]


def tasks(
    corpus: str, sources: Sequence[str], languages: Sequence[str], *, sentences: int = 200, trees: int = 60
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Label -> (training table of the sources, test table of the languages) for what a corpus has labels of.

    Training is on `fit`, test on `test`, at most so many sentences in each; treebanks (`trees` sentences) for upos.
    """
    chosen = {"fit": list(sources), "test": list(languages)}
    plain = {split: corpora.load(corpus, names, split) for split, names in chosen.items()}
    known_topics = all(table["topic"].notna().all() for table in plain.values())
    found = {"topic": tuple(corpora.first(table, sentences) for table in plain.values())} if known_topics else {}
    if corpus.partition(":")[0] in ("world", "pud", "ud"):
        banks = ([corpora.treebank(corpus, name, split) for name in names] for split, names in chosen.items())
        found["upos"] = tuple(corpora.first(pd.concat(parts, ignore_index=True), trees) for parts in banks)
    return found


def of_model(lm: LanguageModel, tables: Mapping[str, tuple], sources: Sequence[str]) -> pd.DataFrame:
    """`scores` of every layer for each label of `tables`, label -> (training table, test table).

    The tables of "upos" are treebanks, and words are read; those of other labels hold sentences.
    """
    read = {"upos": activations.words}
    parts = []
    for label, both in tables.items():
        train, test = (read.get(label, activations.embed)(lm, table) for table in both)
        parts.append(scores(train, test, label, sources))
    return pd.concat(parts, ignore_index=True)


def facing(pairs: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """table[..., language, abx]: of each language the mean accuracy over its pairs with the sources, both directions.

    `pairs` is table[..., p, q, accuracy] as `abx.scores` gives it. A source is paired with the other sources.
    """
    keys = [column for column in pairs if column not in ("p", "q", "accuracy", "low", "high")]
    turned = {"p": "q", "q": "p"}
    both = pd.concat([pairs, pairs.rename(columns=turned)], ignore_index=True)
    both = both[both.q.isin(list(sources))].rename(columns={"p": "language", "accuracy": "abx"})
    return both.groupby([*keys, "language"], sort=False, dropna=False).abx.mean().reset_index()


def associations(pairs: pd.DataFrame, found: pd.DataFrame, sources: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """`association` of meaning with top-1 retrieval, and of meaning and form with each task in languages never seen.

    `pairs` is table[step, layer, variant, p, q, accuracy]; `found` are `scores` with a column step, or empty.
    """
    index = ["step", "layer", "language"]
    wide = [facing(pairs, names).pivot_table(index=index, columns="variant", values="abx").reset_index()
            for names in (pairs["p"].unique(), sources)]  # fmt: skip
    parts = [association(wide[0], "meaning", "top1", seed=seed)]
    unseen = found[~found["seen"]] if len(found) else found
    for task in unseen["task"].unique() if len(unseen) else ():
        table = unseen[unseen["task"] == task].rename(columns={"accuracy": task}).merge(wide[1], on=index)
        parts += [association(table, variant, task, seed=seed) for variant in ("meaning", "form")]
    return pd.concat(parts, ignore_index=True)


def association(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    controls: Sequence[str] = ("step", "layer"),
    clusters: str = "language",
    n: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """table[x, y, kind, r, low, high, n]: Spearman's correlation of two columns, `raw` and `partial`.

    `partial` holds the ranks of the controls fixed, those that vary. Intervals resample whole clusters.
    """
    kinds = {"raw": [], "partial": [name for name in controls if table[name].nunique() > 1]}

    def both(rows: pd.DataFrame) -> list[float]:
        return [stats.partial_correlation(rows[x], rows[y], rows[held], ranks=True) for held in kinds.values()]

    found = stats.bootstrap(table.dropna(subset=[x, y]), both, clusters=clusters, n=n, seed=seed)
    count = len(table.dropna(subset=[x, y]))
    rows = [(x, y, kind, *numbers, count) for kind, *numbers in zip(kinds, *map(np.asarray, found))]
    return pd.DataFrame(rows, columns=["x", "y", "kind", "r", "low", "high", "n"])


def spread(languages: Sequence[str], most: int = 6) -> list[str]:
    """At most so many of the languages, evenly spaced in their order and no more than half: sources for a probe."""
    places = np.linspace(0, len(languages), min(most, max(1, len(languages) // 2)), endpoint=False).astype(int)
    return [languages[place] for place in places]


def _probe(alpha: float):
    return make_pipeline(StandardScaler(), RidgeClassifier(alpha=alpha))


def _refuse_shared(train: Activations, test: Activations) -> None:
    shared = set(train.table["sentence"]) & set(test.table["sentence"])
    if shared:
        some = ", ".join(map(str, sorted(shared, key=str)[:3]))
        raise ValueError(f"{len(shared)} sentences are in both training and test ({some}); take them from two splits")
