"""What databases know about real languages: URIEL's features and families, Grambank, Glottolog's tree and coordinates.

All come from data files inside the `urielplus` package (CC BY-SA 4.0, see data/README.md), read as plain tables: its
code is never imported, because it writes into its own folder. Imputed features exist only in `lang2vec` (the same
licence). A missing value is NaN, from end to end.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

GROUPS = {"syntactic": "S_", "phonological": "P_", "inventory": "INV_"}  # prefixes of URIEL's feature names

# One language under two codes, mostly a macrolanguage and the member that the corpora mean by it. What a database does
# not hold under a language's own code is looked up under the second: URIEL codes Latvian as `lav`, Grambank as `lvs`.
SAME = """
aka-twi ara-arb aym-ayr aze-azj din-dik est-ekk fas-pes fil-tgl ful-fuv grn-gug kau-knc kon-kng kur-kmr lav-lvs
mlg-plt mon-khk msa-zsm nep-npi nor-nob nor-nno orm-gaz ori-ory pus-pbt que-quy sqi-als srd-sro swa-swh uzb-uzn
yid-ydd zho-cmn
"""
_PAIRS = [pair.split("-") for pair in SAME.split()]
_SECOND = {member: macro for macro, member in _PAIRS} | dict(reversed(_PAIRS))  # of two members, the first
_HOLLOW = {"Classical Indo-European"}  # a node with nearly the whole family under it tells no branches apart
_NO_FAMILY = {"Artificial Language", "Mixed Language", "Pidgin", "Speech Register", "Unclassifiable", "Unattested"}
_URIEL, _CSV = "database/original_uriel", "database/urielplus_csvs"


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


def features(ids: Sequence[str], group: str, *, imputed: bool = False) -> np.ndarray:
    """URIEL features [language, feature] in 0..1, NaN where unknown; group is syntactic, phonological or inventory.

    The mean over URIEL's sources, known ones only; `imputed` takes lang2vec's nearest-neighbour predictions instead,
    which lean on genealogy and geography. Raises LookupError for an unknown id or an absent package.
    """
    codes, names, table = _features(imputed)
    chosen = np.char.startswith(names, GROUPS[group])
    return _filled(ids, codes, table[:, chosen])


def membership(ids: Sequence[str]) -> np.ndarray:
    """Family membership [language, family] of URIEL: 1 for each node above a language; all NaN where there is none."""
    archive = _archive("urielplus", f"{_URIEL}/family_features.npz")
    wanted = np.isin(archive["langs"], [code for chain in _chains(ids) for code in chain])
    table = archive["data"][wanted, :, 0]
    empty = ~table.any(1, keepdims=True)
    return _filled(ids, archive["langs"][wanted], np.where(empty, np.nan, table))


def grambank(ids: Sequence[str]) -> np.ndarray:
    """Grambank features [language, feature], 1 or 0, NaN where not coded.

    The package holds Grambank with its multistate word-order features already split into two binary columns each.
    """
    table = pd.read_csv(_file("urielplus", f"{_CSV}/grambank_data.csv"), index_col="language_id")
    iso = {glottocode: code for code, glottocode in _glottocodes().items() if glottocode in table.index}
    table = table[table.index.isin(iso)]
    return _filled(ids, np.array([iso[g] for g in table.index]), table.where(table >= 0).to_numpy(float))


def _filled(ids: Sequence[str], codes: Sequence[str], table: np.ndarray) -> np.ndarray:
    """Rows of `table` for `ids`; gaps of a language's own row are filled from the row of its second code."""
    row = {code: i for i, code in enumerate(codes)}
    out = np.full((len(ids), table.shape[1]), np.nan)
    for i, chain in enumerate(_chains(ids)):
        for code in chain:
            if code in row:
                out[i] = np.where(np.isnan(out[i]), table[row[code]], out[i])
    return out


def _chains(ids: Sequence[str]) -> list[list[str]]:
    """The codes to look a language up under: its own, then its second one."""
    known = _glottocodes()
    chains = [[code for code in (i.split("_")[0], _SECOND.get(i.split("_")[0])) if code in known] for i in ids]
    unknown = {i: get_close_matches(i.split("_")[0], known, 3, 0.5) for i, chain in zip(ids, chains) if not chain}
    if unknown:
        near = "; ".join(f"{i!r} (near {', '.join(close) or 'none'})" for i, close in unknown.items())
        raise LookupError(f"{len(unknown)} of {len(ids)} languages have no ISO 639-3 code known to URIEL: {near}")
    return chains


def _placed(place: pd.Series | None, language: str) -> tuple[str, str, str, str, float, float]:
    script = language.partition("_")[2]
    if place is None:
        return "", "", "", script, np.nan, np.nan
    lineage = [node for node in place["lineage"].split(", ") if node not in _HOLLOW] if place["lineage"] else []
    lineage = lineage or [place["language_name"]]
    if lineage[0] in _NO_FAMILY:
        lineage = [""]
    return place["language_name"], lineage[0], (lineage + lineage)[1], script, place["latitude"], place["longitude"]


@cache
def _glottolog() -> pd.DataFrame:
    table = pd.read_csv(_file("urielplus", f"{_CSV}/lang_fam_geo.csv"), index_col="language_id", dtype={"lineage": str})
    return table.fillna({"lineage": "", "language_name": ""})


@cache
def _glottocodes() -> dict[str, str]:
    """ISO 639-3 -> Glottocode; macrolanguages have none (an empty string), yet URIEL has rows for them."""
    table = pd.read_csv(
        _file("urielplus", f"{_CSV}/uriel_glottocode_map.csv"), keep_default_na=False
    )  # `nan` is Min Nan
    return dict(zip(table["iso_code"], table["glottocode"]))


@cache
def _features(imputed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Language codes, feature names and the table [language, feature], the mean over the sources that know."""
    if imputed:
        archive = _archive("lang2vec", "data/feature_predictions.npz")
    else:
        archive = _archive("urielplus", f"{_URIEL}/features.npz")
    values = archive["data"]
    known = values >= 0
    count = known.sum(2)
    total = np.where(known, values, 0).sum(2, dtype=float)
    return archive["langs"], archive["feats"], np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _archive(package: str, path: str) -> Mapping[str, np.ndarray]:
    return np.load(_file(package, path), allow_pickle=False)


def _file(package: str, path: str) -> Path:
    """A data file of an installed package, found without importing it."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        wanted = {"urielplus": "-c constraints.txt -e '.[typology]'", "lang2vec": "--no-deps lang2vec==1.1.2"}[package]
        raise LookupError(f"these measures read data of the package {package}, which is not here: pip install {wanted}")
    file = Path(found.submodule_search_locations[0]) / path
    if not file.exists():
        raise LookupError(f"{package} is installed without its file {path}; urielplus 1.3 and lang2vec 1.1.2 have it")
    return file
