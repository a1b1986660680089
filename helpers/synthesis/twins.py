"""What script, words, order and endings cause inside a model, beside what correlations claim.

A twin differs from its original in one property alone, and is trained with it in one model, so that both are as much at
home there. What changes when the twin takes its original's place as the target of a pair is what that property causes;
the natural pairs of the same model say what a correlation would have claimed.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import pandas as pd

from helpers import corpora, models
from helpers.common import results, store
from helpers.embeddings import activations
from helpers.models.loading import LanguageModel
from helpers.steering import experts, methods
from helpers.steering.fitting import Fitting
from helpers.synthesis import dyads
from helpers.transfer import training
from helpers.transfer import twins as claimed
from helpers.world import mini, recipes, worlds

SENTENCES = 100  # of each language, to fit experts on and to test on
ITSELF = {"shared": 1.0, "auroc": 0.5, "form": 0.5, "meaning": 1.0, "retrieval": 1.0, "gain": 0.0}
"""What a language has when it meets itself, by definition; transfer has to be measured."""
TITLES = {"shared": "experts shared", "auroc": "AUROC of experts", "form": "form ABX", "meaning": "meaning ABX"} | {
    "retrieval": "retrieval", "gain": "steering gain", "topics": "topic transfer", "pos": "POS transfer",
}  # fmt: skip
_ROOMS = ("common", "models", "world", "corpora", "embeddings", "steering", "abx", "transfer", "synthesis")
_KEYS = ["outcome", "kin", "original", "change", "dose"]


def causes(
    trained: Sequence[str], *, k: int, layer: int, permutations: int = 999, seed: int = 0
) -> SimpleNamespace | None:
    """Compare what twins cause with what correlations claim, in mini models trained with twins, measured now.

    effects and natural pairs of all trainings, `curves` over doses, effects and correlations `compared`, `ranks` of the
    changes by both, and the `power` of four worlds of three originals. No models: the committed summary of the sweep
    `twins`, or None where there is none.
    """
    if trained:
        parts = [_split(name, kept(name, k=k, layer=layer, seed=seed)) for name in trained]
        natural, found = (pd.concat(tables, ignore_index=True) for tables in zip(*parts))
    else:
        try:
            (natural, _), (found, about) = (results.read_summary(f"twins-{kind}") for kind in ("natural", "effects"))
        except LookupError:
            return None
        k, layer = about["parameters"]["k"], about["parameters"]["layer"]
    keys, full = ["outcome", "kin", "change", "dose"], found["dose"] == found["dose"].max()
    curves = claimed.summary(found, keys)
    start = curves.drop_duplicates(keys[:3]).assign(dose=0.0, effect=0.0, low=0.0, high=0.0)
    told = correlations(natural, permutations=permutations, seed=seed)
    both = claimed.judged(curves[curves["dose"] == curves["dose"].max()].drop(columns="dose"), told)
    power = claimed.power(found[full & (found["kin"] == "sibling")], ["outcome", "change"], groups=4, originals=3)
    titled = [part.assign(title=part["outcome"].map(TITLES)) for part in (pd.concat([start, curves]), ranks(both))]
    told = dict(zip(("curves", "ranks"), titled), compared=both.assign(k=k, at=layer), power=power)
    return SimpleNamespace(effects=found, natural=natural, **told)


def kept(name: str, *, k: int, layer: int, seed: int = 0) -> pd.DataFrame:
    """The table of `measured`, kept on disk until the code, the weights or the parameters are others.

    The model is trained first where it is not there. Raise ValueError for one that was trained without twins.
    """
    if not originals(recipes.recipe(name)):
        raise ValueError(f"{name} was trained without twins; take mini-twins, or a seed of it")
    mini.ensure(name)
    lm = models.load(name)
    about = dict(k=k, layer=layer, sentences=SENTENCES, seed=seed) | models.identity(lm)
    return store.cached("twins", about, lambda: measured(lm, k=k, layer=layer, seed=seed), *_ROOMS)


def measured(lm: LanguageModel, *, k: int, layer: int, seed: int = 0) -> pd.DataFrame:
    """table[outcome, source, target, value] of a mini model with twins.

    Sources are the natural languages; targets are these, and for the sources of its family every twin. shared: experts
    (k of them, against the natural languages, a twin in its original's place) that both have; auroc: of the k units
    that best separate the two, on other sentences; form, meaning, retrieval: at `layer`, on `test`; gain: of retrieval
    when the source's experts are overwritten; topics, pos: accuracy of a head trained on the source's states of the
    last layer.
    """
    made = recipes.recipe(lm.name)
    twins, grown = originals(made), recipes.world_of(made)
    fit, test = (corpora.first(grown.sentences(split=split), SENTENCES) for split in ("fit", "test"))
    states, asked = activations.embed(lm, test, [layer]), _asked(grown, twins)
    natural, untouched = [name for name in states.languages if name not in twins], dyads.hits(states, layer)
    responses = [activations.responses(lm, table, "max") for table in (fit, test)]
    side = [np.concatenate(list(sites.values()), axis=1) for sites in responses]
    labels = [table["language"].to_numpy() for table in (fit, test)]
    fitting = Fitting(lm, fit[np.isin(labels[0], natural)].reset_index(drop=True), pools=("max",))
    plans = {name: methods.fit("overwrite", fitting, name, k=k, seed=seed) for name in natural}
    gained = dyads.to_source(dyads.steered_hits(lm, test, plans, layer)) - untouched[: len(natural)]
    parts = [
        dyads.abx_scores(states, ("meaning", "form")),
        dyads.retrieved(untouched, states.languages, "retrieval"),
        _shared(responses[0], labels[0], twins, k),
        dyads.separated(*side, *labels, [(p, q) for p, q in asked if p != q], k),
        dyads.retrieved(gained, states.languages, "gain"),
        *(_transfer(lm, grown, natural, task, seed) for task in ("topics", "pos")),
    ]
    found = pd.concat(parts, ignore_index=True)
    found["outcome"] = found["quantity"].str.partition("@")[0]
    keep = pd.MultiIndex.from_frame(found[["source", "target"]]).isin(asked)
    return found[keep][["outcome", "source", "target", "value"]].reset_index(drop=True)


def originals(made: recipes.Recipe) -> dict[str, tuple[str, str, float]]:
    """Twin -> (original, change, dose), for the twins of a recipe."""
    names = [name for name in recipes.world_of(made).members if "-" in name]
    return dict(zip(names, recipes.twins_of(made), strict=True))


def _split(name: str, found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The natural pairs of what `measured` found in a model, and its `effects`, with its name `trained` and `world`."""
    twins = originals(recipes.recipe(name))
    plain = found[~found["target"].isin(twins) & (found["source"] != found["target"])]
    about = dict(trained=name, world=recipes.recipe(name).world)
    return plain.assign(**about), effects(found, twins).assign(**about)


def effects(found: pd.DataFrame, twins: Mapping[str, tuple[str, str, float]]) -> pd.DataFrame:
    """table[outcome, kin, original, change, dose, before, after, effect], from a table of `measured`.

    The target of a pair is the original (`before`) or its twin (`after`). kin is `itself` where the source is the
    original: a language with itself, whose values need no measuring but for transfer; and `sibling` where it is another
    language of the family, mean over these.
    """
    after = found[found["target"].isin(twins)].rename(columns={"value": "after"})
    after[["original", "change", "dose"]] = [twins[target] for target in after["target"]]
    before = found.rename(columns={"target": "original", "value": "before"})
    table = after.merge(before, on=["outcome", "source", "original"], how="left")
    itself = table["source"] == table["original"]
    table["before"] = table["before"].fillna(table["outcome"].map(ITSELF).where(itself))
    table["kin"] = np.where(itself, "itself", "sibling")
    table = table.groupby(_KEYS, sort=False, as_index=False)[["before", "after"]].mean()
    return table.assign(effect=table["after"] - table["before"])


def correlations(found: pd.DataFrame, *, permutations: int = 999, seed: int = 0) -> pd.DataFrame:
    """table[outcome, change, r, r_low, ...]: `transfer.twins.claims` over the natural pairs, means over trainings.

    found[outcome, source, target, value, and where known world]: by the exact similarities of each world. Languages are
    told apart by world, and only those of one world are exchanged.
    """
    found = found.assign(world=found.get("world", "default"))
    alike, tree = [], {}
    for name in found["world"].unique():
        grown = worlds.build(name)
        alike.append(grown.similarity().assign(world=name))
        tree |= {f"{name} {x.id}": (f"{name} {x.family}", *map(str, x.branch)) for x in grown.members.values()}
    found, similar = (
        table.assign(**{end: table["world"] + " " + table[end] for end in ("source", "target")})
        for table in (found, pd.concat(alike))
    )
    scores = found.groupby(["outcome", "source", "target"], sort=False, as_index=False)["value"].mean()
    scores = scores.rename(columns={"outcome": "task", "value": "score"})
    return claimed.claims(scores, similar, tree, permutations=permutations, seed=seed).rename(
        columns={"task": "outcome"}
    )


def ranks(table: pd.DataFrame) -> pd.DataFrame:
    """table[outcome, change, by, rank, significant]: changes ranked by size, 1 the largest, where there is a measure.

    By correlation, where significant asks first freely and then beyond family, and by twins with a sibling.
    """
    near = table[(table["kin"] == "sibling") & table["measure"].notna()]
    sides = {"correlation": ("r", near["r_significant"]), "beyond\nfamily": ("r", near["r_beyond"])}
    sides["twin and\nsibling"] = ("effect", near["cause"] == "matters")
    parts = []
    for by, (value, clear) in sides.items():
        rank = near[value].abs().groupby(near["outcome"]).rank(ascending=False)
        parts.append(near[["outcome", "change"]].assign(by=by, rank=rank, significant=clear))
    return pd.concat(parts, ignore_index=True)


def _asked(grown: worlds.World, twins: Mapping[str, tuple]) -> list[tuple[str, str]]:
    """(source, target): natural pairs, those of an original with itself, and every twin with its original's family."""
    family = {name: language.family for name, language in grown.members.items()}
    natural = [name for name in family if name not in twins]
    meets = {original for original, *_ in twins.values()}
    both = [(p, q) for p in natural for q in family if family[p] == family[q] or q not in twins]
    return [(p, q) for p, q in both if p != q or p in meets]


def _shared(responses: Mapping, labels: np.ndarray, twins: Mapping[str, tuple], k: int) -> pd.DataFrame:
    """Experts shared by natural languages, and with each twin, which takes its original's place in the pool."""
    natural, found = ~np.isin(labels, list(twins)), []
    pools = {"": natural} | {
        twin: (natural & (labels != original)) | (labels == twin) for twin, (original, *_) in twins.items()
    }
    for twin, pool in pools.items():
        against = np.where(labels[pool] == twin, twin, "others") if twin else labels[pool]
        best = experts.top(k, {site: x[pool] for site, x in responses.items()}, against)
        found.append(best[best["language"] != "others"])
    return dyads.shared(pd.concat(found, ignore_index=True))


def _transfer(lm: LanguageModel, grown: worlds.World, sources: Sequence[str], task: str, seed: int) -> pd.DataFrame:
    """table[source, target, quantity, value]: heads on the model's last layer, trained on `fit`, tested on `test`."""
    train, test = (
        claimed.rows(grown, task, list(sources), "fit"),
        claimed.rows(grown, task, list(grown.members), "test"),
    )
    found = training.measure(task, "encoder", train, corpora.first(test, SENTENCES), lm=lm, seed=seed).table
    return found.rename(columns={"score": "value"}).assign(quantity=task)[[*dyads.KEYS, "value"]]
