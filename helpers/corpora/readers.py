"""Readers of the file formats that corpora come in: lines, TSV, CSV, JSON lines, CoNLL-U.

A damaged file never becomes a smaller corpus: each reader checks what its format promises and raises ValueError with
the file, the line and what to do. (The `conllu` package was tried: its errors name neither file nor line, it lets
heads beyond the sentence pass, and takes five times as long.)
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple


def lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file; one that ends inside a line was cut."""
    return _text(path).replace("\r\n", "\n").split("\n")[:-1]  # splitlines splits at characters that texts hold


def _text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 at byte {error.start}; get or save the file again") from error
    if not text.endswith("\n"):
        line, move = text.count("\n") + 1, "get it again, or end the line if it is whole"
        raise ValueError(f"{path}, line {line}: the file ends inside a line; {move}")
    return text


def tsv(path: Path, columns: int) -> list[list[str]]:
    """The rows after the header of a TSV without quoting: a quote is a character like others."""
    rows = [line.split("\t") for line in lines(path)[1:]]
    for number, row in enumerate(rows, 2):
        if len(row) != columns:
            raise ValueError(f"{path}, line {number}: {len(row)} fields, not {columns}; get the file again")
    return rows


def texts(path: Path) -> list[str]:
    """One text per line; of JSON lines, their `text`."""
    rows = lines(path)
    if path.suffix != ".jsonl":
        return rows
    for number, row in enumerate(rows):
        try:
            rows[number] = json.loads(row)["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number + 1}: no JSON object with a text ({error!r})") from error
    return rows


def records(path: Path, splits: Sequence[str]) -> list[dict[str, str]]:
    """One dict per row of a CSV (a TSV by its suffix) with a header, at least language, sentence and text."""
    delimiter = "\t" if path.suffix == ".tsv" else ","
    rows, found = csv.reader(io.StringIO(_text(path), newline=""), delimiter=delimiter, strict=True), []
    try:
        header = next(rows)
        if lacking := {"language", "sentence", "text"} - {*header}:
            raise ValueError(f"no column {', '.join(sorted(lacking))}; it has {', '.join(header)}")
        for row in rows:
            if len(row) != len(header):
                raise ValueError(f"{len(row)} fields but {len(header)} columns; quote texts that hold a comma")
            found.append(dict(zip(header, row)))
            if (split := found[-1].get("split", splits[0])) not in splits:
                raise ValueError(f"split {split!r}; it is one of {', '.join(splits)}")
        if not found:
            raise ValueError("no row after the header")
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}, line {rows.line_num}: {error}") from error
    return found


class Word(NamedTuple):
    """One syntactic word of a CoNLL-U sentence."""

    token: int  # from 1
    form: str
    upos: str
    head: int  # 0 is the root
    deprel: str


def conllu(path: Path) -> Iterator[tuple[str, str, list[Word]]]:
    """(sentence id, text, words) of every sentence; ids that the file lacks are counted from 1."""
    block, seen, number = [], set(), 0
    for number, line in enumerate(lines(path), 1):
        if line:
            block.append(line)
            continue
        first = number - len(block)
        facts = dict(fact.split(" = ", 1) for fact in block if fact.startswith("# ") and " = " in fact)
        words = _words(path, [(at, row) for at, row in enumerate(block, first) if row[0] != "#"])
        sentence = facts.get("# sent_id", str(len(seen) + 1)).strip()
        if words and sentence in seen:
            raise ValueError(f"{path}, line {first}: sent_id {sentence!r} was there before; ids must differ")
        if words:
            seen.add(sentence)
            yield sentence, facts.get("# text", " ".join(word.form for word in words)), words
        block = []
    if block:
        raise ValueError(f"{path}, line {number}: no empty line after the last sentence, it may be cut; get it again")


def _words(path: Path, rows: list[tuple[int, str]]) -> list[Word]:
    """The integer ids of a sentence, checked; multiword ranges (1-2) and empty nodes (1.1) are passed over."""
    words, at = [], []
    for number, row in rows:
        columns = row.split("\t")
        due = len(words) + 1
        if len(columns) != 10:
            raise ValueError(f"{path}, line {number}: {len(columns)} columns, not 10; tabs separate them")
        if columns[0] != str(due):
            if re.fullmatch(r"\d+[-.]\d+", columns[0]):
                continue
            raise ValueError(f"{path}, line {number}: token id {columns[0]!r} where {due} is due; mend or get it again")
        if not columns[6].isdecimal():
            raise ValueError(f"{path}, line {number}: head {columns[6]!r} is no integer; the file must be annotated")
        words.append(Word(due, columns[1], columns[3], int(columns[6]), columns[7]))
        at.append(number)
    for number, word in zip(at, words):
        if word.head > len(words):
            what = f"head {word.head} in a sentence of {len(words)} words"
            raise ValueError(f"{path}, line {number}: {what}; the sentence may be cut, get the file again")
    return words
