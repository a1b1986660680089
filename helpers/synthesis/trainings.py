"""Languages with their twins in one model: what is measured of the pairs they make.

One idea: model and twins are trained together, so that a twin is as much at home in the model as its original is. The
pairs of natural languages are measured in the same way, and beside them every twin as the target of its original's
family.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from helpers import corpora, models
from helpers.common.progress import progress
from helpers.embeddings import activations, retrieval
from helpers.models.loading import LanguageModel
from helpers.steering import experts, methods
from helpers.steering.fitting import Fitting
from helpers.steering.hooks import steered
from helpers.synthesis import dyads
from helpers.transfer import training
from helpers.world import mini, worlds

SENTENCES = 100  # of each language, to fit experts on and to test on
Pairs = Sequence[tuple[str, str]]  # (source, target)


def measure(name: str, *, k: int, layer: int, seed: int = 0) -> pd.DataFrame:
    """table[outcome, source, target, value] of a mini model with twins, trained first where it is not there.

    Sources are the natural languages; targets are these, and for the sources of its family every twin. shared: experts
    (k of them, told apart from the natural languages, a twin in its original's place) that both have; auroc: of the k
    units that best tell the two apart, on other sentences; form, meaning, retrieval: at `layer`, on `test`; gain: of
    retrieval when the source's experts are overwritten; topics, pos: accuracy of a head trained on the source's states
    of the last layer.
    """
    made = mini.recipe(name)
    twins = originals(made)
    if not twins:
        raise ValueError(f"{name} was trained without twins; take mini-twins, or a seed of it")
    mini.ensure(name)
    lm, grown = models.load(name), mini.world_of(made)
    fit, test = (corpora.first(grown.sentences(split=split), SENTENCES) for split in ("fit", "test"))
    states, asked = activations.embed(lm, test, [layer]), _asked(grown, twins)
    retrieved = dyads.retrieved(dyads.hits(states, layer), states.languages, "retrieval")
    parts = [_told(states), retrieved]
    responses = [activations.responses(lm, table, "max") for table in (fit, test)]
    parts.append(_shared(responses[0], fit, twins, k))
    side = [np.concatenate(list(sites.values()), axis=1) for sites in responses]
    labels = [table["language"].to_numpy() for table in (fit, test)]
    parts.append(dyads.told_apart(*side, *labels, [pair for pair in asked if pair[0] != pair[1]], k))
    parts.append(_gain(lm, fit, test, retrieved, asked, layer=layer, k=k, seed=seed))
    parts += [_transfer(lm, grown, list(dict.fromkeys(p for p, _ in asked)), task, seed) for task in ("topics", "pos")]
    found = pd.concat(parts, ignore_index=True).rename(columns={"quantity": "outcome"})
    keep = pd.MultiIndex.from_frame(found[["source", "target"]]).isin(asked)
    return found[keep][["outcome", "source", "target", "value"]].reset_index(drop=True)


def originals(made: mini.Recipe) -> dict[str, tuple[str, str, float]]:
    """Twin -> (original, change, dose), for the twins of a recipe."""
    names = [name for name in mini.world_of(made).members if "-" in name]
    return dict(zip(names, made.twins, strict=True))


def _asked(grown: worlds.World, twins: Mapping[str, tuple]) -> list[tuple[str, str]]:
    """(source, target): natural pairs, those of an original with itself, and every twin with its original's family."""
    family = {name: language.family for name, language in grown.members.items()}
    natural = [name for name in family if name not in twins]
    meets = {original for original, *_ in twins.values()}
    both = [(p, q) for p in natural for q in family if family[p] == family[q] or q not in twins]
    return [(p, q) for p, q in both if p != q or p in meets]


def _told(states: activations.Activations) -> pd.DataFrame:
    """Meaning and form at the one layer of the states."""
    found = dyads.told(states, ("meaning", "form"))
    return found.assign(quantity=found["quantity"].str.partition("@")[0])


def _shared(responses: Mapping, table: pd.DataFrame, twins: Mapping[str, tuple], k: int) -> pd.DataFrame:
    """Experts shared by natural languages, and with each twin, which takes its original's place in the pool."""
    labels = table["language"].to_numpy()
    natural = ~np.isin(labels, list(twins))
    found = [experts.top(k, {site: x[natural] for site, x in responses.items()}, labels[natural])]
    for twin, (original, *_) in twins.items():
        pool = (natural & (labels != original)) | (labels == twin)
        against = np.where(labels[pool] == twin, twin, "others")
        best = experts.top(k, {site: x[pool] for site, x in responses.items()}, against)
        found.append(best[best["language"] == twin])
    return dyads.shared(pd.concat(found, ignore_index=True))


def _gain(
    lm: LanguageModel,
    fit: pd.DataFrame,
    test: pd.DataFrame,
    before: pd.DataFrame,
    asked: Pairs,
    *,
    layer: int,
    k: int,
    seed: int,
) -> pd.DataFrame:
    """What overwriting the source's experts adds to retrieval; only the languages asked about are embedded."""
    natural, rows = list(dict.fromkeys(source for source, _ in asked)), []
    fitting = Fitting(lm, fit[fit["language"].isin(natural)].reset_index(drop=True), pools=("max",))
    was = before.set_index(["source", "target"])["value"]
    for source in progress(natural, "steering"):
        targets = [q for p, q in asked if p == source and q != source]
        part = test[test["language"].isin([source, *targets])].reset_index(drop=True)
        with steered(lm, methods.fit("overwrite", fitting, source, k=k, seed=seed)):
            states = activations.embed(lm, part, [layer])
        values = dict(zip(states.languages, states.parallel(layer)))
        now = [retrieval.top1(values[target], values[source]) for target in targets]
        rows += [(source, q, "gain", top1 - was[source, q]) for q, top1 in zip(targets, now)]
    return pd.DataFrame(rows, columns=[*dyads.KEYS, "value"])


def _transfer(lm: LanguageModel, grown: worlds.World, sources: Sequence[str], task: str, seed: int) -> pd.DataFrame:
    """table[source, target, quantity, value]: heads on the model's last layer, trained on `fit`, tested on `test`."""
    if task == "topics":
        train, test = grown.sentences(list(sources), "fit"), corpora.first(grown.sentences(split="test"), SENTENCES)
    else:
        train = pd.concat([grown.treebank(name, "fit") for name in sources], ignore_index=True)
        test = corpora.first(pd.concat([grown.treebank(name) for name in grown.members]), SENTENCES)
    found = training.measure(task, "encoder", train, test, lm=lm, seed=seed).table
    return found.rename(columns={"score": "value"}).assign(quantity=task)[[*dyads.KEYS, "value"]]
