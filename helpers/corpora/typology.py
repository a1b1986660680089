"""What databases know about real languages: URIEL's features and families, Grambank, Glottolog's tree and coordinates.

All come from data files inside the `urielplus` package (CC BY-SA 4.0, see data/README.md), read as plain tables: its
code is never imported, because it writes into its own folder. A missing value is NaN, from end to end.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.common.lookup import nearest
from helpers.corpora import registry

GROUPS = {"syntactic": "S_", "phonological": "P_", "inventory": "INV_"}  # prefixes of URIEL's feature names

# What a database does not hold under a language's own code is looked up under the second: URIEL codes Latvian as
# `lav`, Grambank as `lvs`. Of a macrolanguage's members the first in the table.
_SAME = registry.pairs("same")
_SECOND = {member: macro for macro, member in _SAME} | dict(reversed(_SAME))
_HOLLOW = {"Classical Indo-European"}  # a node with nearly the whole family under it tells no branches apart
_NO_FAMILY = {"Artificial Language", "Mixed Language", "Pidgin", "Speech Register", "Unclassifiable", "Unattested"}
_CSV = "database/urielplus_csvs"


def languages(ids: Sequence[str]) -> pd.DataFrame:
    """table[language, iso, glottocode, name, family, branch, script, latitude, longitude], one row per id, in order.

    Ids are FLORES codes (`deu_Latn`) or ISO 639-3 codes (`deu`, whose script stays empty). `family` and `branch` are
    the first two telling names of Glottolog's lineage, an isolate being its own family; artificial and mixed languages
    have none.
    Raises LookupError naming the ids that URIEL does not know.
    """
    places, codes = _glottolog(), _glottocodes()
    rows = []
    for language, chain in zip(ids, _chains(ids)):
        found = [codes[code] for code in chain if codes.get(code) in places.index]
        place = places.loc[found[0]] if found else None
        rows.append((language, chain[0], codes.get(chain[0]) or (found or [""])[0], *_placed(place, language)))
    names = ["language", "iso", "glottocode", "name", "family", "branch", "script", "latitude", "longitude"]
    return pd.DataFrame(rows, columns=names)


def features(ids: Sequence[str], group: str) -> np.ndarray:
    """URIEL features [language, feature] in 0..1, NaN where unknown; group is syntactic, phonological or inventory.

    The mean over URIEL's sources, known ones only. Raises LookupError for an unknown id or an absent package.
    """
    codes, names, table = _features()
    return _filled(ids, codes, table[:, np.char.startswith(names, GROUPS[group])])


def membership(ids: Sequence[str]) -> np.ndarray:
    """Family membership [language, family] of URIEL: 1 for each node above a language; all NaN where there is none."""
    archive = _archive("family_features")
    wanted = np.isin(archive["langs"], [code for chain in _chains(ids) for code in chain])
    table = archive["data"][wanted, :, 0]
    empty = ~table.any(1, keepdims=True)
    return _filled(ids, archive["langs"][wanted], np.where(empty, np.nan, table))


def grambank(ids: Sequence[str]) -> np.ndarray:
    """Grambank features [language, feature], 1 or 0, NaN where not coded.

    The package holds Grambank with its multistate word-order features already split into two binary columns each.
    """
    table = pd.read_csv(_file(f"{_CSV}/grambank_data.csv"), index_col="language_id")
    iso = {glottocode: code for code, glottocode in _glottocodes().items() if glottocode in table.index}
    table = table[table.index.isin(iso)]
    return _filled(ids, np.array([iso[g] for g in table.index]), table.where(table >= 0).to_numpy(float))


def _filled(ids: Sequence[str], codes: Iterable[str], table: np.ndarray) -> np.ndarray:
    """Rows of `table` for `ids`; gaps of a language's own row are filled from the row of its second code."""
    table, chains = pd.DataFrame(table, list(codes)), _chains(ids)
    first, last = (table.reindex([chain[i] for chain in chains]).to_numpy(float) for i in (0, -1))
    return np.where(np.isnan(first), last, first)


def _chains(ids: Sequence[str]) -> list[list[str]]:
    """The codes to look a language up under: its own, then its second one."""
    codes = _glottocodes()
    chains = [[code for code in (i.split("_")[0], _SECOND.get(i.split("_")[0])) if code in codes] for i in ids]
    if unknown := [i for i, chain in zip(ids, chains) if not chain]:
        near = "; ".join(f"{i!r} (near {nearest(i.split('_')[0], codes)})" for i in unknown)
        raise LookupError(f"{len(unknown)} of {len(ids)} languages have no ISO 639-3 code known to URIEL: {near}")
    return chains


def _placed(place: pd.Series | None, language: str) -> tuple[str, str, str, str, float, float]:
    script = language.partition("_")[2]
    if place is None:
        return "", "", "", script, np.nan, np.nan
    lineage = [node for node in place["lineage"].split(", ") if node and node not in _HOLLOW]
    family, branch = (lineage * 2 or [place["language_name"]] * 2)[:2]
    if family in _NO_FAMILY:
        family = branch = ""
    return place["language_name"], family, branch, script, place["latitude"], place["longitude"]


@cache
def _glottolog() -> pd.DataFrame:
    table = pd.read_csv(_file(f"{_CSV}/lang_fam_geo.csv"), index_col="language_id", dtype={"lineage": str})
    return table.fillna({"lineage": "", "language_name": ""})


@cache
def _glottocodes() -> dict[str, str]:
    """ISO 639-3 -> Glottocode; macrolanguages have none (an empty string), yet URIEL has rows for them."""
    table = pd.read_csv(_file(f"{_CSV}/uriel_glottocode_map.csv"), keep_default_na=False)  # `nan` is Min Nan
    return dict(zip(table["iso_code"], table["glottocode"]))


@cache
def _features() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Language codes, feature names and the table [language, feature], the mean over the sources that know."""
    archive = _archive("features")
    known = archive["data"] >= 0
    count, total = known.sum(2), np.where(known, archive["data"], 0).sum(2, dtype=float)
    return archive["langs"], archive["feats"], np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _archive(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(_file(f"database/original_uriel/{name}.npz"), allow_pickle=False))


def _file(path: str) -> Path:
    """A data file of the installed package, found without importing it."""
    package = find_spec("urielplus")
    if package is None or not package.submodule_search_locations:
        move = "pip install -c constraints.txt -e '.[typology]'"
        raise LookupError(f"these measures read data of the package urielplus, which is not here: {move}")
    file = Path(package.submodule_search_locations[0]) / path
    if not file.exists():
        raise LookupError(f"urielplus is installed without its file {path}; urielplus 1.3 has it")
    return file
