"""What could foretell transfer in a corpus: its languages' families, and every measure of similarity that it allows.

One idea: the world knows its similarities exactly; for real languages the databases are asked, and text answers for
itself everywhere.
"""

import warnings
from collections.abc import Sequence

import pandas as pd

from helpers import corpora
from helpers.corpora import typology
from helpers.transfer import measures

DATABASES = ("syntactic", "phonological", "inventory", "grambank", "genealogical", "geographic", "script")


def families(corpus: str, languages: Sequence[str]) -> dict[str, str]:
    """Language -> family, "" where unknown; languages in an order that keeps families, and scripts in them, together.

    Families of real languages are Glottolog's; without the package that holds them they are the scripts.
    """
    found = corpora.groups(corpus, languages)
    if not corpora.world_of(corpus):
        try:
            found = dict(zip(languages, typology.languages(languages)["family"]))
        except LookupError as error:
            warnings.warn(f"families are unknown, scripts take their place: {error}", stacklevel=2)
    appearance = list(dict.fromkeys(found.values()))
    return dict(sorted(found.items(), key=lambda item: (appearance.index(item[1]), item[0].partition("_")[2])))


def similarities(corpus: str, languages: Sequence[str], *, tokenizer=None) -> pd.DataFrame:
    """table[measure, source, target, value, coverage] of every ordered pair of different languages.

    The world's exact measures, or those of the databases; and the share of the target's character, trigram and word
    types (with a tokenizer, its tokens too: swt) that the source's training text has.
    """
    train, test = (corpora.load(corpus, languages, split) for split in ("fit", "test"))
    kinds = ("chr", "tri", "wor", *(["swt"] if tokenizer is not None else []))
    tables = [_known(corpus, list(languages)), measures.overlap(train, test, kinds, tokenizer=tokenizer)]
    table = pd.concat(tables, ignore_index=True)
    return table[table["source"] != table["target"]].reset_index(drop=True)


def ordered(table: pd.DataFrame, languages: Sequence[str]) -> pd.DataFrame:
    """The rows of a table[source, target, ...] with both in the order given; that of other columns is kept."""
    place = {language: i for i, language in enumerate(languages)}
    pairs = table["source"].map(place) * len(place) + table["target"].map(place)
    return table.iloc[pairs.argsort(kind="stable")].reset_index(drop=True)


def _known(corpus: str, languages: list[str]) -> pd.DataFrame:
    if world := corpora.world_of(corpus):
        exact = world.similarity()
        return measures.measure(list(dict.fromkeys(exact["measure"])), languages, exact=exact)
    try:
        return measures.measure(DATABASES, languages)
    except LookupError as error:
        warnings.warn(f"no measures from databases: {error}", stacklevel=2)
        return pd.DataFrame(columns=["measure", "source", "target", "value", "coverage"])


def contenders(curves: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The rows of `ranking.regret_curve` worth drawing: the two measures that correlate best, and what needs none.

    Of each experiment: those measures, a random source, the best single one, the same family, and of the other tasks
    under the same representation the one that guides best. `found` are rows of one statistic of `ranking.correlate`.
    """
    keys, rules = ["task", "representation", "metric"], ["random", "best single source", "same family"]
    parts = []
    for key, rows in curves.groupby(keys, sort=False):
        best = found[(found[keys] == list(key)).all(axis=1)].sort_values("r", ascending=False).measure.head(2)
        label = rows["measure"].str.removeprefix("other ").str.split(" / ")
        other = rows[rows["baseline"] & (label.str[1] == key[1]) & (label.str[0] != key[0]) & (rows["k"] == 1)]
        guide = other.sort_values("regret")["measure"].head(1)
        part = rows[rows["measure"].isin([*best, *guide, *rules])]
        order = {name: i for i, name in enumerate([*best, *guide, *rules])}
        part = part.sort_values("measure", key=lambda names, order=order: names.map(order), kind="stable")
        short = part["measure"].str.replace(r"^other (\w+) / .*", r"best for \1", regex=True)
        parts.append(part.assign(measure=short, experiment=f"{key[0]} from {key[1]}"))
    return pd.concat(parts, ignore_index=True)
