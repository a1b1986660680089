"""How alike two languages are, by measures of typology, genealogy, geography, script, data size and shared text.

Every measure becomes rows of one long table[measure, source, target, value, coverage]: higher is more alike, NaN is
unknown and never 0, and `coverage` is the share of a measure's features that both languages are coded for.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import numpy as np
import pandas as pd

from helpers.corpora import text, typology

KEYS = ["measure", "source", "target"]
SHARED = 0.25  # pairs that share fewer of the features stay unknown: the rule of DistaLs and of Grambank's authors
_EARTH = 6371.0  # mean radius, km


def measure(names: str | Sequence[str], languages: Sequence[str], *, exact: pd.DataFrame | None = None) -> pd.DataFrame:
    """table[measure, source, target, value, coverage] of every ordered pair of `languages`, itself included.

    Names (see MEASURES): syntactic, phonological, inventory: cosine of URIEL features over those known for both;
    the same with `_knn`: of lang2vec's imputed features; grambank: share of equal Grambank features; all NaN under a
    quarter of shared features. genealogical: cosine of URIEL family membership; family: 1 if of one top family, else 0;
    geographic: minus the great-circle distance in km; script: 1 if of one script (ISO 15924), else 0.
    `exact`, a table[measure, source, target, value] such as `world.build().similarity()`, answers instead of the
    databases. Raises LookupError for an unknown measure or language and ValueError for a language given twice.
    """
    names, languages = [names] if isinstance(names, str) else list(names), list(languages)
    if len(set(languages)) < len(languages):
        raise ValueError(f"{len(languages)} languages but only {len(set(languages))} different ones; give each once")
    _check(names, MEASURES if exact is None else set(exact["measure"]), "measures")
    if exact is not None:
        return _passed_on(names, languages, exact)
    return _joined(_long(name, *MEASURES[name](languages), languages) for name in names)


def size(sentences: Mapping[str, int], languages: Sequence[str]) -> pd.DataFrame:
    """table[measure, source, target, value, coverage]: log10 of the source's number of training sentences.

    A language that `sentences` does not name is unknown; raises ValueError where a number is not positive.
    """
    counts = pd.Series(sentences, dtype=float).reindex(languages)
    if (counts <= 0).any():
        raise ValueError(
            f"{counts[counts <= 0].to_dict()} training sentences have no logarithm; leave the language out"
        )
    value = np.log10(counts.to_numpy())[:, None].repeat(len(languages), 1)
    return _long("size", value, ~np.isnan(value), languages)


def overlap(
    train: pd.DataFrame,
    test: pd.DataFrame,
    kinds: Iterable[str] = ("chr", "tri", "wor"),
    *,
    how: str = "coverage",
    tokenizer=None,
) -> pd.DataFrame:
    """table[measure, source, target, value, coverage]: shared types of the source's training and target's test text.

    `train` and `test` are tables[language, text]. Kinds are those of `helpers.text.types`: chr (characters), tri (their
    trigrams), wor (words), swt (subword tokens). `how` is coverage, |S & T| / |T| and not symmetric, jaccard,
    |S & T| / |S or T|, or langrank, |S & T| / (|S| + |T|). swt needs the model's tokenizer.
    """
    return _joined(_overlap(_types(train, kind, tokenizer), _types(test, kind, tokenizer), kind, how) for kind in kinds)


def cosine(features: np.ndarray, shared: float = SHARED) -> tuple[np.ndarray, np.ndarray]:
    """Cosine [language, language] over the features known for both, and the share of features that is.

    features [language, feature], NaN where unknown. NaN where less than `shared` is known, or a vector has length zero.
    """
    known, filled = _known(features)
    coverage = known @ known.T / features.shape[1]
    length = (filled**2) @ known.T  # squared length of the row's vector over the features shared with the column
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.clip(filled @ filled.T / np.sqrt(length * length.T), -1, 1)
    return np.where(coverage >= shared, value, np.nan), coverage


def agreement(features: np.ndarray, shared: float = SHARED) -> tuple[np.ndarray, np.ndarray]:
    """Share of equal values [language, language] of binary features known for both, and the share of features that is.

    features [language, feature] of 0, 1 and NaN where unknown. NaN where less than `shared` is known.
    """
    known, ones = _known(features)
    zeros = known - ones
    count = known @ known.T
    coverage = count / features.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (ones @ ones.T + zeros @ zeros.T) / count
    return np.where(coverage >= shared, value, np.nan), coverage


def great_circle(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Distance [place, place] in km on a sphere, by the haversine formula; degrees in, NaN where a place is unknown."""
    phi, theta = np.radians(latitude), np.radians(longitude)
    across = np.sin((phi[:, None] - phi) / 2) ** 2
    along = np.cos(phi)[:, None] * np.cos(phi) * np.sin((theta[:, None] - theta) / 2) ** 2
    return 2 * _EARTH * np.arcsin(np.sqrt(np.clip(across + along, 0, 1)))


def _geographic(languages: list[str]) -> tuple[np.ndarray, np.ndarray]:
    table = typology.languages(languages)
    value = -great_circle(table["latitude"].to_numpy(float), table["longitude"].to_numpy(float))
    return value, ~np.isnan(value)


def _script(languages: list[str]) -> tuple[np.ndarray, np.ndarray]:
    return _same([language.partition("_")[2] for language in languages])


def _family(languages: list[str]) -> tuple[np.ndarray, np.ndarray]:
    return _same(typology.languages(languages)["family"])


def _same(labels: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """1 where two labels are equal, 0 where not, NaN where one is empty."""
    labels = np.array(list(labels), dtype=object)
    known = (labels != "")[:, None] & (labels != "")
    return np.where(known, labels[:, None] == labels, np.nan), known


MEASURES = {
    **{name: lambda ids, name=name: cosine(typology.features(ids, name)) for name in typology.GROUPS},
    **{
        f"{name}_knn": lambda ids, name=name: cosine(typology.features(ids, name, imputed=True))
        for name in typology.GROUPS
    },
    "grambank": lambda ids: agreement(typology.grambank(ids)),
    "genealogical": lambda ids: cosine(typology.membership(ids)),
    "family": _family,
    "geographic": _geographic,
    "script": _script,
}  # name -> function of the languages, giving values and coverage [source, target]


def _types(table: pd.DataFrame, kind: str, tokenizer) -> dict[str, set]:
    groups = table.groupby("language", sort=False)["text"]
    return {language: text.types(texts, kind, tokenizer=tokenizer) for language, texts in groups}


def _overlap(sources: dict[str, set], targets: dict[str, set], kind: str, how: str) -> pd.DataFrame:
    frame = text.coverage(sources, targets, how)
    table = frame.stack(future_stack=True).rename("value").reset_index()
    return pd.DataFrame({"measure": kind, **table}).assign(coverage=table["value"].notna().astype(float))


def _passed_on(names: list[str], languages: list[str], exact: pd.DataFrame) -> pd.DataFrame:
    _check(languages, set(exact["source"]) | set(exact["target"]), "languages")
    pairs = pd.MultiIndex.from_product([names, languages, languages], names=KEYS)
    table = exact.set_index(KEYS)["value"].reindex(pairs).reset_index()
    return table.assign(coverage=table["value"].notna().astype(float))


def _check(names: Iterable[str], known: Iterable[str], what: str) -> None:
    known = sorted(known)
    unknown = {name: get_close_matches(name, known, 3, 0.3) for name in names if name not in known}
    if unknown:
        near = "; ".join(f"{name!r} (near {', '.join(close) or 'none'})" for name, close in unknown.items())
        raise LookupError(f"{len(unknown)} of the {what} are unknown: {near}; there are {', '.join(known)}")


def _known(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = ~np.isnan(features)
    return known.astype(float), np.where(known, features, 0.0)


def _long(name: str, value: np.ndarray, coverage: np.ndarray, languages: Sequence[str]) -> pd.DataFrame:
    source, target = np.meshgrid(np.array(languages, dtype=object), np.array(languages, dtype=object), indexing="ij")
    columns = {"source": source.ravel(), "target": target.ravel(), "value": value.ravel(), "coverage": coverage.ravel()}
    return pd.DataFrame({"measure": name, **columns}).astype({"value": float, "coverage": float})


def _joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)
