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
_NO_FAMILY = {"Artificial Language", "Mixed Language", "Pidgin", "Speech Register", "Unclassifiable", "Unattested"}
_CSV = "database/urielplus_csvs"


def languages(ids: Sequence[str]) -> pd.DataFrame:
    """table[language, glottocode, family, latitude, longitude], one row per id, in order.

    Ids are FLORES codes (`deu_Latn`) or ISO 639-3 codes (`deu`). A family is the first name of Glottolog's lineage, an
    isolate being its own; artificial and mixed languages have none. LookupError names the ids that URIEL does not know.
    """
    places, codes = _glottolog(), _glottocodes()
    found = [next((codes[code] for code in chain if codes[code] in places.index), None) for chain in _chains(ids)]
    table = places.reindex(found).rename_axis("glottocode").reset_index().fillna({"glottocode": "", "family": ""})
    table.insert(0, "language", ids)
    return table


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


def codes(name: str) -> list[str]:
    """The ISO 639-3 codes that a FLORES or ISO id stands for: its own, then the second one of the same language."""
    own = name.split("_")[0]
    return [own, _SECOND[own]] if own in _SECOND else [own]


def _chains(ids: Sequence[str]) -> list[list[str]]:
    """The codes to look a language up under: its own, then its second one."""
    there = _glottocodes()
    chains = [[code for code in codes(i) if code in there] for i in ids]
    if unknown := [i for i, chain in zip(ids, chains) if not chain]:
        near = "; ".join(f"{i!r} (near {nearest(i.split('_')[0], there)})" for i in unknown)
        raise LookupError(f"{len(unknown)} of {len(ids)} languages have no ISO 639-3 code known to URIEL: {near}")
    return chains


@cache
def _glottolog() -> pd.DataFrame:
    """table[glottocode: family, latitude, longitude]."""
    table = pd.read_csv(_file(f"{_CSV}/lang_fam_geo.csv"), index_col="language_id", dtype={"lineage": str})
    family = table["lineage"].fillna(table["language_name"]).str.split(", ").str[0]
    return table[["latitude", "longitude"]].assign(family=family.where(~family.isin(_NO_FAMILY), ""))


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
    found = [Path(folder) / path for folder in (package.submodule_search_locations if package else None) or []]
    if not found or not found[0].exists():
        move = "pip install -c constraints.txt -e '.[typology]'"
        raise LookupError(f"these measures read {path} of the package urielplus 1.3, which is not here: {move}")
    return found[0]
