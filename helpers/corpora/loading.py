"""Sentences and treebanks of any corpus as long tables, their splits, and `fetch` for the files.

A sentence id stands for one meaning, and a meaning belongs to one split. Corpora that come undivided are divided by a
hash of that id, so a meaning falls on the same side in every language, on every machine. A file is looked up in the
folder that ISOGLOSS_DATA names, then in `data/sources`, where `fetch` puts it.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import DATA
from helpers.common.lookup import known
from helpers.corpora import readers, registry, typology
from helpers.world import worlds

CORPORA = ("world", "sib200", "pud", "tatoeba", "flores", "ud", "csv")
OWN = ("flores", "ud", "csv")  # followed by a path
PARALLEL = ("world", "sib200", "pud", "flores")
TREEBANKS = ("world", "pud", "ud")
SPLITS = {"fit": (0.0, 0.7), "dev": (0.7, 0.8), "test": (0.8, 1.0)}  # the places of a corpus that comes undivided
_HALVES = {"fit": (0.0, 0.75), "dev": (0.75, 1.0)}  # of a FLORES dev file, whose devtest is our test
_SALT = 291  # the first that divides the 1000 ids of PUD into exactly 700, 100 and 200
_FILES = {"fit": "train", "dev": "dev", "test": "test"}
_COLUMNS = ["language", "sentence", "text", "topic"]
_Rows = Iterator[tuple[str, str, str, str | None]]


def load(name: str, languages: Sequence[str] | None = None, split: str = "test") -> pd.DataFrame:
    """table[language, sentence, text, topic] of one split; topic is None where the corpus has none.

    Names: world, world:NAME, sib200, pud, tatoeba, flores:DIR, ud:DIR, csv:PATH. Splits: fit, dev, test. No languages:
    all that are there. Languages come in the order asked for; in a parallel corpus their sentences come in one order,
    and a language that lacks some is an error. Elsewhere ids are scoped by treebank ("cy_ccg:17") or by pair and line
    ("deu-eng:17"). LookupError: an unknown or absent corpus, language or split. ValueError: a damaged file.
    """
    kind, where = _parse(name, split)
    languages = [languages] if isinstance(languages, str) else list(dict.fromkeys(languages or []))
    if world := world_of(name):
        return world.sentences(_pick(languages, world.members, name), split)
    table = pd.DataFrame(_READERS[kind](where, languages, split), columns=_COLUMNS)
    if absent := [language for language in languages if language not in set(table["language"])] or table.empty:
        who = f" of {', '.join(absent)}" if languages else ""
        raise LookupError(f"{name} has no sentence{who} in split {split!r}")
    _refuse(table, name)
    if languages:
        table = table.sort_values("language", key=lambda x: x.map(languages.index), kind="stable", ignore_index=True)
    return _aligned(table, name) if kind in PARALLEL else table


def _refuse(table: pd.DataFrame, name: str) -> None:
    """Raise ValueError for a sentence whose language, id or text cannot be used."""
    faults = {
        "is of a language that is no plain name; take letters": ~table["language"].str.fullmatch(r"[\w.+-]+"),
        "is there twice; every sentence of a language needs its own id": table.duplicated(["language", "sentence"]),
        "has an empty text; leave the sentence out in every language": table["text"].str.strip() == "",
    }
    for fault, rows in faults.items():
        for language, sentence in table.loc[rows, ["language", "sentence"]].to_numpy()[:1]:
            raise ValueError(f"{name}: {sentence!r} of {language} {fault}")


def treebank(name: str, language: str, split: str = "test") -> pd.DataFrame:
    """table[language, sentence, token, form, upos, head, deprel]; tokens count from 1, head 0 is the root.

    Names: world, world:NAME, pud, ud:DIR. Multiword ranges (1-2) and empty nodes (1.1) are left out.
    """
    kind, where = _parse(name, split)
    if kind not in TREEBANKS:
        raise LookupError(f"{name} has no trees; treebanks are in {', '.join(TREEBANKS)}")
    if world := world_of(name):
        return world.treebank(_pick([language], world.members, name)[0], split)
    files = _treebanks(kind, where, split)
    path, scope = files[_pick([language], files, name)[0]]
    words = [
        (language, scope + sentence, *word)
        for sentence, _, tree in readers.conllu(path)
        if kind == "ud" or _inside(sentence, SPLITS[split])
        for word in tree
    ]
    return pd.DataFrame(words, columns=["language", "sentence", *readers.Word._fields])


def first(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """The rows of the first n sentences in every language, numbered anew."""
    return table[table["sentence"].isin(table["sentence"].unique()[:n])].reset_index(drop=True)


def world_of(corpus: str) -> worlds.World | None:
    """The world that `world` or `world:NAME` names; None for any other corpus."""
    kind, _, name = corpus.partition(":")
    return worlds.build(name or "default") if kind == "world" else None


def grouping(corpus: str) -> str:
    """What the `groups` of a corpus are: `family` in a world, `script` elsewhere."""
    return "family" if world_of(corpus) else "script"


def groups(corpus: str, languages: Sequence[str]) -> dict[str, str]:
    """Language -> what it is drawn and left out together with: its family in a world, its script elsewhere."""
    if world := world_of(corpus):
        return {language: world.language(language).family for language in languages}
    return {language: language.rpartition("_")[2] for language in languages}


def annotated(name: str, table: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """The table with the columns family, script and gloss: what helps a reader to place a sentence and to read it.

    A gloss is the meaning in English words: the world's own, else the English text of the sentence, else empty. The
    family of a real language is Glottolog's; it is empty where its package or the language is unknown.
    """
    languages = list(table["language"].unique())
    if world := world_of(name):
        places = world.languages.set_index("language")
        glosses = {sentence: meaning.gloss for sentence, meaning in world.meanings(split).items()}
    else:
        places = pd.DataFrame({"family": "", "script": groups(name, languages)}, index=languages)
        with contextlib.suppress(LookupError):
            places["family"] = typology.languages(languages).set_index("language")["family"]
        glosses = table[table["language"] == "eng_Latn"].set_index("sentence")["text"].to_dict()
    columns = {kind: table["language"].map(places[kind]) for kind in ("family", "script")}
    return table.assign(**columns, gloss=table["sentence"].map(glosses).fillna(""))


def fetch(
    name: str,
    languages: Sequence[str] | None = None,
    *,
    base_url: str = "https://raw.githubusercontent.com",
    folder: Path | str | None = None,
) -> list[Path]:
    """Paths of a corpus' files, downloaded at pinned commits and checked against `data/registry`.

    Files that are there with the right checksum are kept, so an interrupted fetch goes on where it stopped. A file
    that is cut or changed never gets its name: ValueError with the expected and the actual checksum.
    """
    hint = f"There are {', '.join(registry.CORPORA)}; others are read where they lie."
    files = registry.files(known(name, registry.CORPORA, "corpus to fetch", hint))
    asked = [languages] if isinstance(languages, str) else list(languages or [])
    asked = [language for language in asked if (name, language) != ("tatoeba", "eng_Latn")]  # comes with every pair
    chosen = _pick(asked, {file.language for file in files}, name)
    return registry.download(
        [file for file in files if file.language in chosen], base_url, Path(folder or DATA / "sources")
    )


def _parse(name: str, split: str) -> tuple[str, str]:
    """The corpus, and its folder, path or world; both corpus and split must be known."""
    kind, _, where = name.partition(":")
    if kind not in CORPORA and os.path.isfile(name):
        raise LookupError(f"{name!r} is a file; write csv:{name}")
    known(kind, CORPORA, "corpus")
    if kind in registry.CORPORA and where:
        raise LookupError(f"{name!r} takes no folder; write {kind!r} and set ISOGLOSS_DATA to the folder above it")
    where = os.path.expanduser(where) if kind in OWN else where
    if kind in OWN and not (os.path.isfile if kind == "csv" else os.path.isdir)(where):
        raise LookupError(f"{name!r} names no {'file' if kind == 'csv' else 'folder'} that exists; write {kind}:PATH")
    known(split, [*SPLITS, *["pretrain"] * (kind == "csv")], "split", f"There are {', '.join(SPLITS)}.")
    return kind, where


def _pick(languages: list[str], there: Iterable[str], name: str) -> list[str]:
    """The languages asked for, or all that are there; what can be fetched is named with the command."""
    there = list(there)
    listed = {file.language for file in registry.files(name)} if name in registry.CORPORA else set()
    for language in languages:
        known(language, sorted({*there, *listed}), f"language of {name}")
    absent = [language for language in languages if language not in there]
    if there and not absent:
        return languages or there
    if not listed:
        raise LookupError(f"{name} has no file for this split")
    flags = f" --languages {','.join(absent)}" if absent else ""
    what = f"{name} has no file for {', '.join(absent) or 'any language'} in {' or '.join(map(str, folders()))}"
    raise LookupError(f"{what}; run `python -m helpers fetch {name}{flags}`")


def folders() -> list[Path]:
    """Where corpora are looked up, first the folder that a person named."""
    return [Path(folder) for folder in (os.environ.get("ISOGLOSS_DATA"), DATA / "sources") if folder]


def _found(pattern: str) -> list[Path]:
    """Files of all folders, the first folder's last, so that they win when put into a dict."""
    return [path for folder in reversed(folders()) for path in sorted(folder.glob(pattern))]


def _inside(key: str, share: tuple[float, float]) -> bool:
    """Whether a key falls into a share: it has a fixed place in [0, 1) by the first 48 bits of its sha256."""
    place = int.from_bytes(hashlib.sha256(f"{_SALT}:{key}".encode()).digest()[:6], "big") / 2**48
    return share[0] <= place < share[1]


def _aligned(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows with the sentences of every language in the order of the first; an error where some are lacking."""
    full, counts = table["sentence"].nunique(), table["language"].value_counts(sort=False)
    if counts.min() < full:
        lack = f"{counts.idxmin()} has {counts.min()} of {full} sentences"
        raise ValueError(f"{name}: {lack}; get its file again or leave it out")
    places = [pd.factorize(table[column])[0] for column in ("sentence", "language")]
    return table.iloc[np.lexsort(places)].reset_index(drop=True)


def _sib200(_: str, languages: list[str], split: str) -> _Rows:
    """One folder per language; the data set comes divided."""
    files = {path.parent.name: path for path in _found(f"sib200/*/{_FILES[split]}.tsv")}
    for language in _pick(languages, files, "sib200"):
        yield from ((language, row[0], row[2], row[1]) for row in readers.tsv(files[language], columns=3))


def _flores(where: str, languages: list[str], split: str) -> _Rows:
    """One sentence per line, `dev/<language>.dev`, or JSON lines with a text, `dev/<language>.jsonl`."""
    part = "devtest" if split == "test" else "dev"
    files = {path.stem: path for suffix in (part, "jsonl") for path in sorted(Path(where, part).glob(f"*.{suffix}"))}
    for language in _pick(languages, files, f"flores:{where}"):
        for number, text in enumerate(readers.texts(files[language]), 1):
            if part == "devtest" or _inside(f"{part}:{number}", _HALVES[split]):
                yield language, f"{part}:{number}", text, None


def _tatoeba(_: str, languages: list[str], split: str) -> _Rows:
    """Both sides of every pair; a pair's split follows its English text, which other pairs share."""
    paths = [path for path in _found("tatoeba/tatoeba.*-eng.*") if path.suffix != ".eng"]
    files = {registry.flores_id(path.suffix[1:]): path for path in paths}
    for language in _pick([x for x in languages if x != "eng_Latn"], files, "tatoeba"):
        path, pair = files[language], files[language].name.split(".")[1]
        if not (english := path.with_suffix(".eng")).exists():
            raise LookupError(f"{english} is not there; run `python -m helpers fetch tatoeba --languages {language}`")
        own, other = readers.lines(path), readers.lines(english)
        if len(own) != len(other):
            raise ValueError(f"{path} has {len(own)} lines but {english.name} has {len(other)}; get both again")
        for side, texts in ((language, own), ("eng_Latn", other)):
            if not languages or side in languages:
                rows = enumerate(zip(texts, other), 1)
                yield from ((side, f"{pair}:{n}", text, None) for n, (text, key) in rows if _inside(key, SPLITS[split]))


def _csv(where: str, languages: list[str], split: str) -> _Rows:
    """Columns language, sentence, text; topic and split where given, else the split follows the sentence id."""
    table = pd.DataFrame(readers.records(Path(where), ("pretrain", *SPLITS)))
    if "split" not in table:
        inside = table["sentence"].map(lambda key: _inside(key, SPLITS.get(split, (0, 0))))  # nothing for pretraining
    elif (counts := table.groupby("sentence")["split"].nunique()).max() > 1:
        raise ValueError(f"{where}: sentence {counts.idxmax()!r} is in {counts.max()} splits; a meaning has one")
    else:
        inside = table["split"] == split
    chosen = _pick(languages, table["language"].unique(), f"csv:{where}")
    rows = table[inside][lambda x: x["language"].isin(chosen)]
    rows = rows.sort_values("language", key=lambda x: x.map(chosen.index), kind="stable")
    return rows.assign(topic=rows.get("topic"))[_COLUMNS].itertuples(index=False, name=None)


def _trees(kind: str, where: str, languages: list[str], split: str) -> _Rows:
    """The texts of treebanks: PUD divided by sentence id, other UD folders by file."""
    files = _treebanks(kind, where, split)
    for language in _pick(languages, files, f"{kind}:{where}".rstrip(":")):
        path, scope = files[language]
        for sentence, text, _ in readers.conllu(path):
            if kind == "ud" or _inside(sentence, SPLITS[split]):
                yield language, scope + sentence, text, None


def _treebanks(kind: str, where: str, split: str) -> dict[str, tuple[Path, str]]:
    """Language -> its file and the scope of its ids; UD codes without a FLORES id stay as they are."""
    paths, files = _found("pud/*_pud-ud-test.conllu"), {}
    for path in paths if kind == "pud" else sorted(Path(where).rglob(f"*-ud-{_FILES[split]}.conllu")):
        bank = path.name.split("-ud-")[0]
        language = registry.treebank_id(bank)
        if kind == "ud" and language in files:
            raise ValueError(f"two treebanks for {language}: {files[language][0].name}, {path.name}; name one's folder")
        files[language] = path, "" if kind == "pud" else f"{bank}:"
    return files


_READERS = dict(sib200=_sib200, tatoeba=_tatoeba, flores=_flores, csv=_csv)
_READERS |= {kind: partial(_trees, kind) for kind in ("pud", "ud")}
