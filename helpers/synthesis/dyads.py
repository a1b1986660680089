"""What a model makes of every ordered pair of languages: ABX, retrieval untouched and steered, experts.

One idea: a pair has one orientation everywhere. The *source* is the language that is known: it is trained on, it holds
the candidates of retrieval and A of an ABX triple, and it is steered to. The *target* is the one asked about: it is
tested on, it holds the queries and X of meaning. Arrays of hits are [source, target, sentence].
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.abx import scoring
from helpers.common.progress import progress
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.steering import experts
from helpers.steering.hooks import steered

KEYS = ["source", "target", "quantity"]
VARIANTS = ("meaning", "form", "form_all_different")


def told(states: Activations, variants: Sequence[str] = VARIANTS) -> pd.DataFrame:
    """table[source, target, quantity, value]: ABX accuracy at every layer of the states, named `variant@layer`."""
    found = [scoring.scores(states.parallel(at), states.languages, variants).assign(layer=at) for at in states.layers]
    scores = pd.concat(found, ignore_index=True)
    quantity = scores["variant"] + "@" + scores["layer"].astype(str)
    return pd.DataFrame(dict(source=scores["p"], target=scores["q"], quantity=quantity, value=scores["accuracy"]))


def hits(states: Activations, layer: int) -> np.ndarray:
    """Whether each target sentence finds its translation in the source, [source, target, sentence]; ties 1/m."""
    return retrieval.correct(states.parallel(layer)).swapaxes(0, 1)


def steered_hits(
    lm: LanguageModel, table: pd.DataFrame, plans: Mapping[str, Sequence], layer: int, *, note: str = "steering"
) -> dict[str, np.ndarray]:
    """Language steered to -> `hits` under its edits, for every language of `plans`."""
    found = {}
    for toward, edits in progress(plans.items(), note):
        with steered(lm, edits):
            found[toward] = hits(activations.embed(lm, table, [layer]), layer)
    return found


def own(cube: Mapping[str, np.ndarray], languages: Sequence[str]) -> np.ndarray:
    """Hits [source, target, sentence] of `steered_hits` where each pair is steered to its own source.

    Sources that nothing is steered to are NaN throughout.
    """
    first = next(iter(cube.values()))
    rows = [cube[name][i] if name in cube else np.full(first.shape[1:], np.nan) for i, name in enumerate(languages)]
    return np.stack(rows)


def retrieved(hits: np.ndarray, languages: Sequence[str], quantity: str) -> pd.DataFrame:
    """table[source, target, quantity, value] of hits [source, target, sentence]: means over sentences, no self-pairs.

    Sources that are NaN throughout are left out.
    """
    source, target = np.nonzero(~np.eye(len(languages), dtype=bool))
    names = np.array(languages, dtype=object)
    found = dict(source=names[source], target=names[target], quantity=quantity, value=hits.mean(-1)[source, target])
    return pd.DataFrame(found).dropna(subset="value", ignore_index=True)


def shared(found: pd.DataFrame) -> pd.DataFrame:
    """table[source, target, quantity, value]: the share of the source's experts that are also the target's.

    `found` is a table of `experts.top`, or several of them for different languages, joined.
    """
    named = experts.overlap(found).rename(columns={"language": "source", "other": "target", "shared": "value"})
    return named.assign(quantity="shared")[[*KEYS, "value"]]


def told_apart(
    fit: np.ndarray, test: np.ndarray, labels, test_labels, pairs: Sequence[tuple[str, str]], k: int
) -> pd.DataFrame:
    """table[source, target, quantity, value]: how well the k units that best tell two languages apart do so elsewhere.

    `fit` and `test` are responses [sentence, unit], all sites side by side; for each of `pairs` the units of highest
    or lowest AUROC on `fit` are taken, and value is their mean AUROC on `test`, turned the way `fit` had it: 0.5 is
    chance. It is the same in both directions.
    """
    rows, labels, test_labels = [], np.asarray(labels), np.asarray(test_labels)
    for source, target in pairs:
        here, there = (np.isin(names, (source, target)) for names in (labels, test_labels))
        first = experts.auroc(fit[here], labels[here]).loc[source].to_numpy() - 0.5
        best = np.argsort(-np.abs(first), kind="stable")[:k]
        again = experts.auroc(test[there][:, best], test_labels[there]).loc[source].to_numpy() - 0.5
        rows.append((source, target, "auroc", 0.5 + float((np.sign(first[best]) * again).mean())))
    return pd.DataFrame(rows, columns=[*KEYS, "value"])
