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
from helpers.common import results, stats, store
from helpers.embeddings import activations
from helpers.models.loading import LanguageModel
from helpers.steering import experts, methods
from helpers.steering.fitting import Fitting
from helpers.synthesis import dyads, findings
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


def causes(trained: Sequence[str], *, k: int, layer: int, permutations: int = 999, seed: int = 0) -> SimpleNamespace:
    """Compare what twins cause with what correlations claim, in mini models trained with twins, measured now.

    effects and natural pairs of all trainings, `curves` over doses, effects and correlations `compared`, `ranks` of the
    changes by both, and what is `said` with a `table`. No models: the committed summary, of the built-in world.
    """
    if trained:
        parts = [_split(name, kept(name, k=k, layer=layer, seed=seed)) for name in trained]
        natural, found = (pd.concat(tables, ignore_index=True) for tables in zip(*parts))
    else:
        (natural, _), (found, about) = (results.read_summary(f"twins-{kind}") for kind in ("natural", "effects"))
        k, layer = about["parameters"]["k"], about["parameters"]["layer"]
    curves = summary(found)
    both = compared(curves, correlations(natural, permutations=permutations, seed=seed)).assign(k=k, at=layer)
    said, table = findings.causes(both)
    titled = [part.assign(title=part["outcome"].map(TITLES)) for part in (curves, ranks(both))]
    return SimpleNamespace(
        effects=found, natural=natural, compared=both, curves=titled[0], ranks=titled[1], said=said, table=table
    )


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
    return dict(zip(names, made.twins, strict=True))


def _split(name: str, found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The natural pairs of what `measured` found in a model, and its `effects`, with the model's name as `trained`."""
    twins = originals(recipes.recipe(name))
    plain = found[~found["target"].isin(twins) & (found["source"] != found["target"])]
    return plain.assign(trained=name), effects(found, twins).assign(trained=name)


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


def summary(effects: pd.DataFrame) -> pd.DataFrame:
    """table[outcome, kin, change, dose, effect, low, high, n]: means over trainings and originals, n of each pair.

    effects[trained, original, ...]: originals share a training and trainings share the twins, so the interval is
    `stats.crossed_interval`; with one training it speaks of that one. Each curve starts with no effect at dose 0.
    """
    rows = []
    for key, part in effects.groupby(["outcome", "kin", "change", "dose"], sort=False):
        cells = part.pivot_table(index="trained", columns="original", values="effect").to_numpy()
        rows.append((*key, *stats.crossed_interval(cells), cells.size))
    table = pd.DataFrame(rows, columns=["outcome", "kin", "change", "dose", "effect", "low", "high", "n"])
    start = table.drop_duplicates(["outcome", "kin", "change"]).assign(dose=0.0, effect=0.0, low=0.0, high=0.0)
    return pd.concat([start, table], ignore_index=True)


def correlations(found: pd.DataFrame, *, permutations: int = 999, seed: int = 0) -> pd.DataFrame:
    """table[outcome, change, r, r_low, r_high, holm, partial_r, p] over the natural pairs, means over trainings.

    found[outcome, source, target, value, ...]; the claims are those of `transfer.twins`, by the exact similarities of
    the default world.
    """
    scores = found.groupby(["outcome", "source", "target"], sort=False, as_index=False)["value"].mean()
    scores = scores.rename(columns={"outcome": "task", "value": "score"})
    table = claimed.claims(scores, worlds.build().similarity(), permutations=permutations, seed=seed)
    return table.rename(columns={"task": "outcome"})


def compared(causes: pd.DataFrame, told: pd.DataFrame) -> pd.DataFrame:
    """table[outcome, change, kin, effect, low, high, n, r, ..., cause_rank, r_rank, partial_rank, ..., verdict].

    At the full dose, for each kin. Ranks run from 1, the largest in size, within an outcome. The last three columns
    are those of `transfer.twins.verdicts`.
    """
    full = causes[causes["dose"] == causes["dose"].max()].drop(columns="dose")
    table = full.merge(told, on=["outcome", "change"], how="left")
    sizes = table[["effect", "r", "partial_r"]].abs().groupby([table["outcome"], table["kin"]])
    table[["cause_rank", "r_rank", "partial_rank"]] = sizes.rank(ascending=False)
    return table.join(claimed.verdicts(table))


def ranks(table: pd.DataFrame) -> pd.DataFrame:
    """table[outcome, change, by, rank, significant]: by correlation, and by twins with sibling and original."""
    near, itself = (table[table["kin"] == kin] for kin in ("sibling", "itself"))
    sides = {"correlation": (near, "r"), "twin and\nsibling": (near, "cause"), "twin and\noriginal": (itself, "cause")}
    parts = [
        part[["outcome", "change"]].assign(by=by, rank=part[f"{x}_rank"], significant=part[f"{x}_significant"])
        for by, (part, x) in sides.items()
    ]
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
    if task == "topics":
        train, test = grown.sentences(list(sources), "fit"), grown.sentences(split="test")
    else:
        train = pd.concat([grown.treebank(name, "fit") for name in sources], ignore_index=True)
        test = pd.concat([grown.treebank(name) for name in grown.members])
    found = training.measure(task, "encoder", train, corpora.first(test, SENTENCES), lm=lm, seed=seed).table
    return found.rename(columns={"score": "value"}).assign(quantity=task)[[*dyads.KEYS, "value"]]
