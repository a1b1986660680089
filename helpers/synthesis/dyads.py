"""What a model makes of every ordered pair of languages: ABX, retrieval untouched and steered, experts.

A pair has one orientation everywhere. The *source* is the language that is known: it is trained on, it holds the
candidates of retrieval and A of an ABX triple, and it is steered to. The *target* is the one asked about: it is tested
on, it holds the queries and X of meaning. Arrays of hits are [source, target, sentence].
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import pandas as pd

from helpers.abx import scoring
from helpers.common.progress import progress
from helpers.embeddings import activations, retrieval
from helpers.embeddings.activations import Activations
from helpers.models.loading import LanguageModel
from helpers.models.parts import blocks
from helpers.steering import experts, methods
from helpers.steering.fitting import Fitting
from helpers.steering.hooks import steered
from helpers.transfer import measures, qap

KEYS = ["source", "target", "quantity"]
VARIANTS = ("meaning", "form", "form_all_different")


def abx_scores(states: Activations, variants: Sequence[str] = VARIANTS) -> pd.DataFrame:
    """table[source, target, quantity, value]: ABX accuracy at every layer of the states, named `variant@layer`."""
    found = [scoring.scores(states.parallel(at), states.languages, variants).assign(layer=at) for at in states.layers]
    scores = pd.concat(found, ignore_index=True)
    scores["quantity"] = scores["variant"] + "@" + scores["layer"].astype(str)
    return scores.rename(columns={"p": "source", "q": "target", "accuracy": "value"})[[*KEYS, "value"]]


def hits(states: Activations, layer: int) -> np.ndarray:
    """Whether each target sentence finds its translation in the source, [source, target, sentence]; ties 1/m."""
    return retrieval.correct(states.parallel(layer)).swapaxes(0, 1)


def steered_hits(lm: LanguageModel, table: pd.DataFrame, plans: Mapping[str, Sequence], layer: int) -> np.ndarray:
    """`hits` under the edits of each language of `plans`, [steered to, source, target, sentence]."""
    found = []
    for edits in progress(plans.values(), "steering"):
        with steered(lm, edits):
            found.append(hits(activations.embed(lm, table, [layer]), layer))
    return np.stack(found)


def to_source(cube: np.ndarray) -> np.ndarray:
    """The hits of `steered_hits` where each pair is steered to its own source, [source, target, sentence]."""
    place = np.arange(len(cube))
    return cube[place, place]


def retrieved(hits: np.ndarray, languages: Sequence[str], quantity: str) -> pd.DataFrame:
    """table[source, target, quantity, value]: means over sentences of hits [source, target, sentence], no self-pairs.

    Sources are all of the languages, or the first of them.
    """
    (source, target), names = np.nonzero(~np.eye(*hits.shape[:2], dtype=bool)), np.array(languages, dtype=object)
    found = dict(source=names[source], target=names[target], quantity=quantity, value=hits.mean(-1)[source, target])
    return pd.DataFrame(found)


def views(
    lm: LanguageModel, splits: Mapping[str, pd.DataFrame], *, k: int, layer: int, seed: int = 0
) -> SimpleNamespace:
    """Measure every pair of the languages of `splits` (fit, dev, test -> sentences).

    predictors: ABX and retrieval on `dev`; outcomes: retrieval on `test`, before and after steering; reliability: of
    ABX, measured again on `test`; words: overlap of text; last: the last layer. Every language is steered to, with
    its k experts and with as many random units: `before` are the hits of the untouched model, `cubes` maps the kind of
    units to `steered_hits`, both in the order of `languages`.
    """
    names, last = list(splits["test"]["language"].unique()), len(blocks(lm))
    seen, again = (activations.embed(lm, splits[part], sorted({layer, last})) for part in ("dev", "test"))
    before, early = hits(again, layer), retrieved(hits(seen, layer), names, "before, on dev")
    fitting, cubes, outcomes = Fitting(lm, splits["fit"], pools=("max",)), {}, [retrieved(before, names, "before")]
    for units, control in {"experts": "none", "random units": "random"}.items():
        seeds = {name: 100 * seed + i for i, name in enumerate(names)}
        plans = {p: methods.fit("overwrite", fitting, p, k=k, control=control, seed=s) for p, s in seeds.items()}
        cubes[units] = steered_hits(lm, splits["test"], plans, layer)
        outcomes.append(retrieved(to_source(cubes[units]), names, f"after, {units}"))
    told = [abx_scores(states) for states in (seen, again)]
    words = measures.overlap(splits["fit"], splits["dev"], ("chr", "tri", "wor", "swt"), tokenizer=lm.tokenizer)
    return SimpleNamespace(
        predictors=pd.concat([told[0], early]), outcomes=pd.concat(outcomes), reliability=reliability(*told),
        words=words.rename(columns={"measure": "quantity"}), last=last, languages=names, early=early, before=before,
        cubes=cubes,
    )  # fmt: skip


def reliability(table: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """table[quantity, r, n, spread]: how well quantities of `table` agree with the same ones measured `again`.

    r is the correlation over pairs of what source and target effects leave of both, n their number, spread the
    standard deviation over pairs. The square root of r bounds what a predictor can go with.
    """
    rows = []
    for quantity, here in table.groupby("quantity", sort=False):
        found = qap.overall(here.rename(columns={"value": "score"}), again[again["quantity"] == quantity])
        rows.append((quantity, found["r"], found["n"], here["value"].std()))
    return pd.DataFrame(rows, columns=["quantity", "r", "n", "spread"])


def shared(found: pd.DataFrame) -> pd.DataFrame:
    """table[source, target, quantity, value]: the share of the source's experts that are also the target's.

    `found` is a table of `experts.top`, or several of them for different languages, joined.
    """
    named = experts.overlap(found).rename(columns={"language": "source", "other": "target", "shared": "value"})
    return named.assign(quantity="shared")[[*KEYS, "value"]]


def separated(
    fit: np.ndarray,
    test: np.ndarray,
    labels: np.ndarray,
    test_labels: np.ndarray,
    pairs: Sequence[tuple[str, str]],
    k: int,
) -> pd.DataFrame:
    """table[source, target, quantity, value]: how well the k units that best separate two languages do so elsewhere.

    `fit` and `test` are responses [sentence, unit], all sites side by side; for each of `pairs` the units of highest
    or lowest AUROC on `fit` are taken, and value is their mean AUROC on `test`, turned the way `fit` had it: 0.5 is
    chance. It is the same in both directions.
    """
    rows = []
    for source, target in pairs:
        here, there = (np.isin(names, (source, target)) for names in (labels, test_labels))
        first = experts.auroc(fit[here], labels[here]).loc[source].to_numpy() - 0.5
        best = np.argsort(-np.abs(first), kind="stable")[:k]
        again = experts.auroc(test[there][:, best], test_labels[there]).loc[source].to_numpy() - 0.5
        rows.append((source, target, "auroc", 0.5 + float((np.sign(first[best]) * again).mean())))
    return pd.DataFrame(rows, columns=[*KEYS, "value"])
