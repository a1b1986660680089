"""SIB-200 topics, every source by every target: features made once for all, against one pipeline per source.

    ISOGLOSS_DATA=FOLDER python tests/bench/bench_transfer.py [--languages 12]

The naive side is what one would write first: for each source a TfidfVectorizer of character 1- to 4-grams and a
LinearSVC, and for each target the vectorizer's transform of its test sentences. Both sides run in turn, in the original
script and in Latin letters, and must agree in accuracy.
"""

import argparse
import time

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from helpers.corpora import text
from helpers.transfer import training


def naive(train, test, latin):
    """Scores [source, target]."""
    if latin:
        train, test = (t.assign(text=text.to_latin(t.text)) for t in (train, test))
    scores = []
    for _, own in train.groupby("language", sort=False):
        pipeline = make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 4)), LinearSVC(random_state=0))
        pipeline.fit(own.text, own.topic)
        scores.append([pipeline.score(t.text, t.topic) for _, t in test.groupby("language", sort=False)])
    return np.array(scores)


def shared(train, test, latin):
    return training.measure("topics", "ngrams_latin" if latin else "ngrams", train, test).correct["accuracy"].mean(2)


def timed(function, *arguments):
    start = time.perf_counter()
    found = function(*arguments)
    return found, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--languages", type=int, default=0, help="take only this many languages; 0: all that are there")
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    train, test = training.tables("topics", "sib200")
    names = list(train.language.unique())
    chosen = names[:: max(1, len(names) // asked.languages)][: asked.languages] if asked.languages else names
    train, test = (t[t.language.isin(chosen)].reset_index(drop=True) for t in (train, test))
    for latin in (False, True):
        ours, theirs = [], []
        for _ in range(asked.repeats):
            found, seconds = timed(shared, train, test, latin)
            ours.append(seconds)
            expected, seconds = timed(naive, train, test, latin)
            theirs.append(seconds)
        one, two, apart = np.median(ours), np.median(theirs), found - expected
        print(
            f"{len(chosen)} x {len(chosen)} {'Latin' if latin else 'base '}: shared {one:.1f} s, naive {two:.1f} s, "
            f"ratio {two / one:.1f}; mean accuracy {found.mean():.4f} and {expected.mean():.4f}, mean difference "
            f"{np.abs(apart).mean():.5f}, largest {np.abs(apart).max():.4f}; in-language {np.diag(found).mean():.3f}"
        )


if __name__ == "__main__":
    main()
