"""The files of the public corpora: their languages, pinned commits and checksums, and the download against them.

`data/registry/<corpus>.txt` lists one file per line with its sha256. Languages are named by FLORES ids everywhere;
`codes.txt` there has the codes of Universal Dependencies and Tatoeba that differ.
"""

import re
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pooch

from helpers import HOUSE
from helpers.common.progress import progress

FOLDER = HOUSE / "data" / "registry"  # ships with the code, wherever the data folder is
CORPORA = ("sib200", "pud", "tatoeba")


class File(NamedTuple):
    """One file of a corpus; both files of a Tatoeba pair carry the language that is not English."""

    language: str
    path: str  # inside a data folder
    source: str  # owner/repository/commit/path on GitHub
    sha256: str


def pairs(name: str) -> list[list[str]]:
    """The rows of a table of two columns beside this file."""
    return [line.split() for line in Path(__file__).with_name(f"{name}.txt").read_text("utf-8").splitlines()[1:]]


_CODES = dict(pairs("codes"))  # of UD or Tatoeba -> ISO 639-3, or a FLORES id where the script does not follow


@lru_cache
def files(corpus: str) -> tuple[File, ...]:
    """Every file of a corpus, those not downloaded included."""
    head, *lines = (FOLDER / f"{corpus}.txt").read_text(encoding="utf-8").splitlines()
    found = []
    for *origin, source, checksum in map(str.split, lines):
        file, parent = Path(source).name, Path(source).parent.name
        if corpus == "sib200":
            language, path = parent, f"sib200/{parent}/{file}"
        else:
            code = re.split(r"[_.-]", file)[corpus == "tatoeba"]  # de_pud-ud-test.conllu, tatoeba.deu-eng.eng
            language, path = flores_id(code), f"{corpus}/{file}"
        origin = ["UniversalDependencies", *origin] if origin else re.match(r"# (\S+) at commit (\w+)", head).groups()
        found.append(File(language, path, "/".join([*origin, source]), checksum))
    return tuple(found)


@lru_cache
def _ids() -> dict[str, str]:
    """ISO 639-3 -> FLORES id, of the languages of SIB-200."""
    return {file.language[:3]: file.language for file in files("sib200")}


def flores_id(code: str, default: str = "Latn") -> str:
    """The FLORES id of a code of UD or Tatoeba; one that is not known gets the default script, or stays as it is."""
    code = _CODES.get(code, code)
    return code if "_" in code else _ids().get(code, f"{code}_{default}".rstrip("_"))


def treebank_id(bank: str) -> str:
    """The FLORES id of a UD treebank such as `cy_ccg`; a code that is not known stays as it is."""
    return flores_id(bank) if bank in _CODES else flores_id(bank.split("_")[0], default="")


def download(chosen: list[File], base_url: str, folder: Path) -> list[Path]:
    """Paths of the files, eight fetched at a time; those there with the right checksum are kept.

    The first failure ends it with a ValueError: no more are begun, what has arrived stays, and the file that failed
    does not get its name.
    """
    pooch.get_logger().setLevel("WARNING")  # its line per file would drown the progress bar
    sums = {file.path: f"sha256:{file.sha256}" for file in chosen}
    urls = {file.path: f"{base_url}/{file.source}" for file in chosen}
    store = pooch.create(folder, base_url="", registry=sums, urls=urls, retry_if_failed=2)
    for parent in {(store.abspath / path).parent for path in sums}:
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(8) as pool:
        waiting = {pool.submit(store.fetch, path): path for path in sums}
        try:
            for done in progress(as_completed(waiting), "fetch", len(waiting)):
                done.result()
        except (OSError, ValueError) as error:
            pool.shutdown(wait=False, cancel_futures=True)
            again = "Nothing was kept under that name; run the same fetch again, finished files are skipped"
            raise ValueError(f"{waiting[done]} from {urls[waiting[done]]}: {error}. {again}") from error
    return [store.abspath / path for path in sums]
