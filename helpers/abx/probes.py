"""What a linear reader finds in frozen embeddings: probes of topic and part of speech, and how ABX goes with them.

A probe is a ridge classifier on standardised features, trained in some languages on sentences of one split and tested
in every language on those of another, so that a score in a language that it never saw tells what is shared.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import corpora
from helpers.abx import profiles
from helpers.abx.counting import Names
from helpers.common import stats, store
from helpers.common.lookup import known
from helpers.corpora.loading import TREEBANKS
from helpers.embeddings import activations
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel

TASKS = {"upos": "POS", "topic": "topic"}  # a column of labels, and what the task is called
AT = ["step", "layer", "language"]


def probe_series(
    scores: pd.DataFrame, corpus: str, sources: Names = (), seed: int = 0, **at: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`probe_model` of every checkpoint (empty without labels), and its `associations` with scores of `profile_series`.

    Probes are trained in `sources` (empty: six, evenly spread); `at` is what `over_checkpoints` takes.
    """
    pairs = scores[(scores["pairs"] == "one") & (scores["pool"] == "mean")]
    languages = list(pairs["p"].unique())
    sources = list(sources) or spread(languages)
    tables, found = tasks(corpus, sources, languages), pd.DataFrame()
    if tables:
        data = {label: [store.key(table.to_csv()) for table in both] for label, both in tables.items()}
        score = partial(probe_model, tables=tables, sources=sources)
        found = profiles.over_checkpoints(score, {"data": data, "sources": sources}, **at)
    return found, associations(pairs, found, sources, seed)


def tasks(corpus: str, sources: Names, languages: Names) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Label -> (table of the sources in `fit`, table of the languages in `test`) for what a corpus has labels of."""
    chosen = {"fit": list(sources), "test": list(languages)}
    plain = [corpora.load(corpus, names, split) for split, names in chosen.items()]
    labelled = all(table["topic"].notna().all() for table in plain)
    found = {"topic": tuple(corpora.first(table, 200) for table in plain)} if labelled else {}
    if corpus.partition(":")[0] in TREEBANKS:
        banks = ([corpora.treebank(corpus, name, split) for name in names] for split, names in chosen.items())
        found["upos"] = tuple(corpora.first(pd.concat(parts, ignore_index=True), 60) for parts in banks)
    return found


def probe_model(lm: LanguageModel, tables: Mapping[str, tuple], sources: Names) -> pd.DataFrame:
    """`probe_scores` of every layer for each label of `tasks`: "upos" is read of words, others of sentences."""
    parts = []
    for label, both in tables.items():
        read = activations.words if label == "upos" else activations.embed
        parts.append(probe_scores(*(read(lm, table) for table in both), label, sources))
    return pd.concat(parts, ignore_index=True)


def probe_scores(train: Activations, test: Activations, label: str, sources: Names) -> pd.DataFrame:
    """table[language, accuracy, baseline, n_test, layer, task, trained_on, n_train, seen] of one probe a layer.

    The probe learns the column `label` from the rows of `train` in the languages `sources`, and is tested in every
    language of `test`; `seen` says that a language is one of the sources. The baseline is the accuracy of the most
    frequent training label. ValueError: fewer than two labels, or sentences that are in both; LookupError: no such
    column or language.
    """
    known(label, train.table.columns, "column")
    kept = train.where(language=list(sources))
    if shared := {*kept.table["sentence"]} & {*test.table["sentence"]}:
        raise ValueError(f"{len(shared)} sentences are in both training and test; take them from two splits")
    answers, expected = kept.table[label].to_numpy(), test.table[label].to_numpy()
    if len(set(answers)) < 2:
        raise ValueError(f"{len(set(answers))} label in {len(answers)} rows of {label}; a probe needs two at least")
    frame = test.table[["language"]].assign(baseline=expected == pd.Series(answers).mode()[0], n_test=1)
    parts = []
    for layer in kept.layers:
        probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1.0)).fit(kept.layer(layer).numpy(), answers)
        rows = frame.assign(accuracy=probe.predict(test.layer(layer).numpy()) == expected)
        found = rows.groupby("language", sort=False).agg({"accuracy": "mean", "baseline": "mean", "n_test": "sum"})
        parts.append(found.reset_index().assign(layer=layer))
    keys = {"task": TASKS.get(label, label), "trained_on": " ".join(sources), "n_train": len(answers)}
    return pd.concat(parts, ignore_index=True).assign(**keys, seen=lambda rows: rows["language"].isin(sources))


def by_language(pairs: pd.DataFrame, partners: Names) -> pd.DataFrame:
    """table[step, layer, language, meaning, form, top1]: means over a language's pairs with partners, both ways."""
    both = pd.concat([pairs, pairs.rename(columns={"p": "q", "q": "p"})])
    both = both[both["q"].isin(partners)].rename(columns={"p": "language"})
    return both.pivot_table("accuracy", AT, "variant").reset_index()


def associations(pairs: pd.DataFrame, found: pd.DataFrame, sources: Names, seed: int) -> pd.DataFrame:
    """`association` of meaning with top-1 retrieval, and of meaning and form with each task in languages never seen."""
    parts = [association(by_language(pairs, pairs["p"].unique()), "meaning", "top1", seed=seed)]
    faced, unseen = by_language(pairs, sources), found[~found["seen"]] if len(found) else found
    for task, rows in unseen.groupby("task", sort=False) if len(unseen) else ():
        table = rows.rename(columns={"accuracy": task}).merge(faced, on=AT)
        parts += [association(table, variant, task, seed=seed) for variant in ("meaning", "form")]
    return pd.concat(parts, ignore_index=True)


def association(table: pd.DataFrame, x: str, y: str, *, n: int = 200, seed: int = 0) -> pd.DataFrame:
    """table[x, y, kind, r, low, high, n]: Spearman's correlation of two columns, `raw` and `partial`.

    `partial` holds each checkpoint and layer fixed: their means are taken off the ranks, so that no course over steps
    or layers, straight or not, can make the two go together. Whole languages are independent (`stats.grouped`).
    """
    table = table.dropna(subset=[x, y])

    def both(rows: pd.DataFrame) -> list[float]:
        ranks = rows[[x, y]].rank()
        left = ranks - ranks.groupby([rows["step"], rows["layer"]]).transform("mean")
        return [stats.partial_correlation(part[x], part[y]) for part in (ranks, left)]

    r, low, high = stats.bootstrap(table, both, clusters="language", n=n, seed=seed)
    return pd.DataFrame({"x": x, "y": y, "kind": ["raw", "partial"], "r": r, "low": low, "high": high, "n": len(table)})


def spread(languages: Names, most: int = 6) -> list[str]:
    """At most so many of the languages, evenly spaced in their order and no more than half: sources for a probe."""
    places = np.linspace(0, len(languages), min(most, max(1, len(languages) // 2)), endpoint=False)
    return [languages[int(place)] for place in places]
