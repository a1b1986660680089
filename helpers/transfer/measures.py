"""What could predict transfer in a corpus: the languages' families, and every measure of similarity that it allows.

Typology, genealogy, geography, script and shared text become rows of one long table[measure, source, target, value,
coverage]: higher is more alike, NaN is unknown and never 0, and `coverage` is the share of a measure's features that
both languages are coded for. The world knows its similarities exactly; for real languages the databases are asked.
"""

import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics.pairwise import haversine_distances

from helpers import corpora
from helpers.common.lookup import known
from helpers.corpora import text, typology, wordlists

KEYS = ["measure", "source", "target"]
SHARED = 0.25  # pairs that share fewer of the features stay unknown: the rule of DistaLs and of Grambank's authors
_EARTH = 6371.0  # mean radius, km


def families(corpus: str, languages: Sequence[str], *, branches: bool = False) -> dict:
    """Language -> family, "" where unknown; languages in an order that keeps families, and scripts in them, together.

    Families of real languages are Glottolog's; without the package that holds them they are the scripts. With
    `branches`, language -> path of branches from the family down, where the world's tree is known.
    """
    found, world = corpora.groups(corpus, languages), corpora.world_of(corpus)
    if not world:
        try:
            found = dict(zip(languages, typology.languages(languages)["family"]))
        except LookupError as error:
            warnings.warn(f"families are unknown, scripts take their place: {error}", stacklevel=2)
    appearance = list(dict.fromkeys(found.values()))
    found = dict(sorted(found.items(), key=lambda item: (appearance.index(item[1]), item[0].partition("_")[2])))
    if not (world and branches):
        return found
    turns = world.languages.set_index("language")["branch"]
    return {name: (family, *turns[name]) for name, family in found.items()}


def similarity(corpus: str, languages: Sequence[str], *, tokenizer=None) -> pd.DataFrame:
    """table[measure, source, target, value, coverage] of every ordered pair of different languages.

    The world's exact measures, or those of the databases; and the share of the target's character, trigram and word
    types (with a tokenizer, its tokens too: swt) that the source's training text has; `size`, where it differs: the
    logarithm (base 10) of the source's number of training sentences.
    """
    train, test = (corpora.load(corpus, languages, split) for split in ("fit", "test"))
    kinds = ("chr", "tri", "wor", *(["swt"] if tokenizer is not None else []))
    tables = [_known(corpus, list(languages)), overlap(train, test, kinds, tokenizer=tokenizer)]
    size = np.log10(train.groupby("language").size())
    if size.nunique() > 1:
        pairs = pd.MultiIndex.from_product([["size"], languages, languages], names=KEYS).to_frame(index=False)
        tables.append(pairs.assign(value=pairs["source"].map(size), coverage=1.0))
    table = pd.concat(tables, ignore_index=True)
    known_at_all = table.groupby("measure")["value"].transform("count") > 0
    return table[(table["source"] != table["target"]) & known_at_all].reset_index(drop=True)


def ordered(table: pd.DataFrame, languages: Sequence[str]) -> pd.DataFrame:
    """The rows of a table[source, target, ...] with both in the order given; that of other columns is kept."""
    place = {language: i for i, language in enumerate(languages)}
    return table.sort_values(["source", "target"], key=lambda names: names.map(place), ignore_index=True)


def measure(names: Iterable[str], languages: Sequence[str]) -> pd.DataFrame:
    """table[measure, source, target, value, coverage] of every ordered pair of `languages`, itself included.

    Names are those of MEASURES. Raises LookupError for an unknown measure or language and ValueError for a language
    given twice.
    """
    if len(set(languages)) < len(languages):
        raise ValueError(f"{len(languages)} languages but only {len(set(languages))} different ones; give each once")
    found = {known(name, MEASURES, "measure"): MEASURES[name](languages) for name in names}
    pairs = pd.MultiIndex.from_product([found, languages, languages], names=KEYS)
    value, coverage = (np.ravel([tables[i] for tables in found.values()]).astype(float) for i in (0, 1))
    return pd.DataFrame({"value": value, "coverage": coverage}, pairs).reset_index()


def overlap(
    train: pd.DataFrame, test: pd.DataFrame, kinds: Iterable[str] = ("chr", "tri", "wor"), *, tokenizer=None
) -> pd.DataFrame:
    """table[measure, source, target, value, coverage]: share of the target's types that the source has, |S & T| / |T|.

    Sources have the types of their text in `train`, targets of theirs in `test`, both table[language, text]. Kinds are
    those of `text.types`: chr (characters), tri (their trigrams), wor (words), swt (subword tokens of the tokenizer).
    """
    tables = []
    for kind in kinds:
        types = [
            table.groupby("language", sort=False)["text"].apply(text.types, kind, tokenizer=tokenizer).to_dict()
            for table in (train, test)
        ]
        tables.append(text.coverage(*types).stack(future_stack=True).rename("value").reset_index().assign(measure=kind))
    table = pd.concat(tables, ignore_index=True)[[*KEYS, "value"]]
    return table.assign(coverage=table["value"].notna().astype(float))


def cosine(features: np.ndarray, shared: float = SHARED) -> tuple[np.ndarray, np.ndarray]:
    """Cosine [language, language] over the features known for both, and the share of features that is.

    features [language, feature], NaN where unknown. NaN where less than `shared` is known, or a vector has length zero.
    """
    there, filled = (~np.isnan(features)).astype(float), np.nan_to_num(features)
    coverage = there @ there.T / features.shape[1]
    length = (filled**2) @ there.T  # squared length of the row's vector over the features shared with the column
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.clip(filled @ filled.T / np.sqrt(length * length.T), -1, 1)
    return np.where(coverage >= shared, value, np.nan), coverage


def agreement(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of equal values [language, language] of binary features known for both, and the share of features that is.

    features [language, feature] of 0, 1 and NaN where unknown. NaN where less than a quarter is known.
    """
    ones, zeros = (features == 1).astype(float), (features == 0).astype(float)
    count = (ones + zeros) @ (ones + zeros).T
    coverage = count / features.shape[1]
    equal = np.where(coverage >= SHARED, ones @ ones.T + zeros @ zeros.T, np.nan)
    return equal / np.maximum(count, 1), coverage


def great_circle(places: np.ndarray) -> np.ndarray:
    """Distance [place, place] in km on a sphere; places [place, 2] latitude and longitude in degrees, or NaN."""
    there = ~np.isnan(places).any(1)
    distance = _EARTH * haversine_distances(np.radians(np.nan_to_num(places)))
    return np.where(there[:, None] & there, distance, np.nan)


def _geographic(languages: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    value = -great_circle(typology.languages(languages)[["latitude", "longitude"]].to_numpy(float))
    return value, ~np.isnan(value)


def _script(languages: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """1 where two languages have one script, 0 where not, NaN where one has none."""
    labels = np.array([language.partition("_")[2] for language in languages], dtype=object)
    both = (labels != "")[:, None] & (labels != "")
    return np.where(both, labels[:, None] == labels, np.nan), both


MEASURES = {
    **{name: lambda ids, name=name: cosine(typology.features(ids, name)) for name in typology.GROUPS},
    "grambank": lambda ids: agreement(typology.grambank(ids)),
    "lexical": wordlists.lexical,
    "genealogical": lambda ids: cosine(typology.membership(ids)),
    "geographic": _geographic,
    "script": _script,
}
"""Name -> function of the languages, giving values and coverage [source, target].

syntactic, phonological, inventory: cosine of URIEL features over those known for both; grambank: share of equal
Grambank features; both unknown under a quarter of shared features. lexical: 1 - LDND of ASJP's word lists.
genealogical: cosine of URIEL family membership; geographic: minus the great-circle distance in km; script: 1 if of one
script (ISO 15924), else 0.
"""


def _known(corpus: str, languages: list[str]) -> pd.DataFrame:
    """What is known of the languages themselves."""
    if world := corpora.world_of(corpus):
        exact = world.similarity()
        pairs = pd.MultiIndex.from_product([exact["measure"].unique(), languages, languages], names=KEYS)
        return exact.set_index(KEYS).reindex(pairs).reset_index().assign(coverage=1.0)
    try:
        return measure(MEASURES, languages)
    except LookupError as error:
        warnings.warn(f"no measures from databases: {error}", stacklevel=2)
        return pd.DataFrame(columns=[*KEYS, "value", "coverage"])
