"""Corpora: what each loader gives, how it is divided, what damage says, and the download against checksums."""

import hashlib
import http.server
import json
import os
import shutil
import threading
from functools import partial
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pooch
import pytest

from helpers import corpora
from helpers.corpora import loading, registry, typology
from helpers.world import worlds

COLUMNS = ["language", "sentence", "text", "topic"]
WORDS = ["language", "sentence", "token", "form", "upos", "head", "deprel"]
SPLITS = ("fit", "dev", "test")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def sib(folder: Path, language: str, rows: list[str], split: str = "test") -> Path:
    return write(folder / f"sib200/{language}/{split}.tsv", "\n".join(["index_id\tcategory\ttext", *rows]) + "\n")


TREE = """# sent_id = s1
# text = Ja, im Haus.
1\tJa\tja\tINTJ\t_\t_\t5\tdiscourse\t_\t_
2\t,\t,\tPUNCT\t_\t_\t1\tpunct\t_\t_
3-4\tim\t_\t_\t_\t_\t_\t_\t_\t_
3\tin\tin\tADP\t_\t_\t5\tcase\t_\t_
4\tdem\tder\tDET\t_\t_\t5\tdet\t_\t_
4.1\tleer\t_\tX\t_\t_\t_\t_\t_\t_
5\tHaus\tHaus\tNOUN\t_\t_\t0\troot\t_\t_
6\t.\t.\tPUNCT\t_\t_\t5\tpunct\t_\t_

"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder, and no other."""
    monkeypatch.setenv("ISOGLOSS_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(loading, "DATA", tmp_path / "home")
    return tmp_path / "data"


@pytest.fixture
def real(monkeypatch):
    """The folder of real corpora, or a skip."""
    if not os.environ.get("ISOGLOSS_DATA"):
        pytest.skip("ISOGLOSS_DATA names no folder with real corpora")
    return Path(os.environ["ISOGLOSS_DATA"])


# the made-up world


def test_the_world_loads_by_languages_in_the_order_asked_for():
    table = corpora.load("world", ["B1", "A1"])
    assert list(table.columns) == COLUMNS and list(table["language"].unique()) == ["B1", "A1"]
    assert not table.duplicated(["language", "sentence"]).any()
    assert (
        table["sentence"][table["language"] == "A1"].tolist() == table["sentence"][table["language"] == "B1"].tolist()
    )


def test_a_world_treebank_has_the_sentences_of_its_table():
    trees = corpora.treebank("world", "A1", "dev")
    assert list(trees.columns) == WORDS
    assert set(trees["sentence"]) == set(corpora.load("world", ["A1"], "dev")["sentence"])


# SIB-200


def test_sib_keeps_stray_quotes_and_unusual_line_characters(folder):
    sib(folder, "deu_Latn", ['7\ttravel\tEr sagte: "Komm', "8\tsports\tTor\u2028und\u0085Tor"])
    table = corpora.load("sib200")
    assert table["text"].tolist() == ['Er sagte: "Komm', "Tor\u2028und\u0085Tor"]
    assert table["topic"].tolist() == ["travel", "sports"] and table["sentence"].tolist() == ["7", "8"]


def test_sentences_come_in_one_order_in_every_language(folder):
    sib(folder, "deu_Latn", ["7\ttravel\ta", "8\ttravel\tb"])
    sib(folder, "fra_Latn", ["8\ttravel\tc", "7\ttravel\td"])
    table = corpora.load("sib200", ["fra_Latn", "deu_Latn"])
    assert table["text"].tolist() == ["c", "d", "b", "a"]
    assert corpora.load("sib200", [])["text"].tolist() == ["a", "b", "d", "c"]


def test_a_language_without_all_sentences_is_named_with_both_counts(folder):
    sib(folder, "deu_Latn", ["7\ttravel\ta", "8\ttravel\tb"])
    sib(folder, "fra_Latn", ["8\ttravel\tc"])
    with pytest.raises(ValueError, match="fra_Latn has 1 of 2 sentences"):
        corpora.load("sib200")


@pytest.mark.parametrize(
    "rows, message",
    [
        (["7\ttravel"], r"test.tsv, line 2: 2 fields, not 3"),
        (["7\ttravel\ta", "8\ttravel\tb\tc"], r"line 3: 4 fields, not 3"),
        (["7\ttravel\ta", "7\ttravel\tb"], "'7' of deu_Latn is there twice"),
        (["7\ttravel\t "], "'7' of deu_Latn has an empty text"),
    ],
)
def test_damage_in_a_table_is_named(folder, rows, message):
    sib(folder, "deu_Latn", rows)
    with pytest.raises(ValueError, match=message):
        corpora.load("sib200")


def test_a_file_cut_inside_a_line_or_a_letter_is_refused(folder):
    path = sib(folder, "deu_Latn", ["7\ttravel\tein Satz über"])
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(ValueError, match="line 2: the file ends inside a line"):
        corpora.load("sib200")
    path.write_bytes(whole[: whole.index("ü".encode()) + 1])
    with pytest.raises(ValueError, match="line 2: not UTF-8 at byte"):
        corpora.load("sib200")


def test_what_is_not_there_says_how_to_fetch_it(folder):
    with pytest.raises(LookupError, match=r"no file for isl_Latn.*`python -m helpers fetch pud --languages isl_Latn`"):
        corpora.load("pud", ["isl_Latn"])
    with pytest.raises(LookupError, match="`python -m helpers fetch sib200`"):
        corpora.load("sib200")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: corpora.load("sib20"), "corpus 'sib20'.*sib200"),
        (lambda: corpora.load("sib200", split="train"), "split 'train'.*fit, dev, test"),
        (lambda: corpora.load("sib200", ["deu_Lat"]), "'deu_Lat'.*deu_Latn"),
        (lambda: corpora.load("world", ["A9"]), "'A9'.*A3"),
        (lambda: corpora.load("world:nowhere"), "nowhere"),
        (lambda: corpora.load("ud:nowhere"), "no folder that exists; write ud:PATH"),
        (lambda: corpora.load("csv"), "no file that exists; write csv:PATH"),
        (lambda: corpora.load("pud:here"), "set ISOGLOSS_DATA"),
        (lambda: corpora.treebank("sib200", "deu_Latn"), "no trees"),
        (lambda: corpora.fetch("flores"), "no corpus to fetch 'flores'.*sib200.*read where they lie"),
        (lambda: corpora.fetch("pud", ["mlt_Latn"]), "'mlt_Latn'"),
    ],
)
def test_unknown_names_list_the_nearest(call, message):
    with pytest.raises(LookupError, match=message):
        call()


def test_a_folder_of_ones_own_wins_over_the_fetched_files(folder, tmp_path):
    sib(tmp_path / "home/sources", "deu_Latn", ["7\ttravel\tfetched"])
    sib(tmp_path / "home/sources", "fra_Latn", ["7\ttravel\tfetched"])
    sib(folder, "deu_Latn", ["7\ttravel\town"])
    assert corpora.load("sib200")["text"].tolist() == ["own", "fetched"]


# FLORES


def test_flores_dev_is_divided_and_devtest_is_test(tmp_path):
    for language in ("deu_Latn", "fra_Latn"):
        write(tmp_path / f"dev/{language}.dev", "".join(f"{language} {i}\n" for i in range(200)))
        write(tmp_path / f"devtest/{language}.devtest", "".join(f"{language} test {i}\n" for i in range(9)))
    parts = {split: corpora.load(f"flores:{tmp_path}", split=split) for split in SPLITS}
    assert not set(parts["fit"]["sentence"]) & set(parts["dev"]["sentence"])
    assert len(parts["fit"]) + len(parts["dev"]) == 400 and len(parts["test"]) == 18
    assert 0.6 < len(parts["fit"]) / 400 < 0.9
    assert parts["test"]["topic"].isna().all()


def test_flores_reads_json_lines_too_and_names_a_bad_one(tmp_path):
    path = write(tmp_path / "devtest/deu_Latn.jsonl", json.dumps({"id": 1, "text": "Ja."}) + "\n")
    assert corpora.load(f"flores:{tmp_path}")["text"].tolist() == ["Ja."]
    write(path, '{"text": "Ja."}\n{"id": 3}\n')
    with pytest.raises(ValueError, match=r"deu_Latn.jsonl, line 2: no JSON object with a text"):
        corpora.load(f"flores:{tmp_path}")


# Tatoeba


def tatoeba(folder: Path, code: str, own: list[str], english: list[str]):
    write(folder / f"tatoeba/tatoeba.{code}-eng.{code}", "".join(f"{x}\n" for x in own))
    write(folder / f"tatoeba/tatoeba.{code}-eng.eng", "".join(f"{x}\n" for x in english))


def test_tatoeba_scopes_ids_by_pair_and_splits_by_the_english_text(folder):
    english = [f"Sentence {i}." for i in range(60)]
    tatoeba(folder, "deu", [f"Satz {i}." for i in range(60)], english)
    tatoeba(folder, "cmn", [f"句{i}" for i in range(60)], english[::-1])
    parts = {split: corpora.load("tatoeba", split=split) for split in SPLITS}
    assert list(parts["test"]["language"].unique()) == ["zho_Hans", "eng_Latn", "deu_Latn"]
    assert sum(map(len, parts.values())) == 4 * 60
    texts = [set(part["text"][part["language"] == "eng_Latn"]) for part in parts.values()]
    assert not any(a & b for a, b in pairwise([*texts, texts[0]]))
    german = corpora.load("tatoeba", ["deu_Latn", "eng_Latn"]).set_index(["language", "sentence"])["text"]
    for pair in german["deu_Latn"].index:
        line = int(pair.removeprefix("deu-eng:"))
        assert german["deu_Latn", pair] == f"Satz {line - 1}." and german["eng_Latn", pair] == english[line - 1]


def test_sides_of_different_length_and_a_missing_side_are_refused(folder):
    tatoeba(folder, "deu", ["Ja.", "Nein."], ["Yes."])
    with pytest.raises(ValueError, match=r"has 2 lines but tatoeba.deu-eng.eng has 1"):
        corpora.load("tatoeba")
    (folder / "tatoeba/tatoeba.deu-eng.eng").unlink()
    with pytest.raises(LookupError, match="fetch tatoeba --languages deu_Latn"):
        corpora.load("tatoeba")


def test_all_codes_of_the_registries_become_flores_ids():
    for name in registry.CORPORA:
        files = registry.files(name)
        assert all(len(file.language) == 8 and file.language[3] == "_" for file in files)
        assert len({file.path for file in files}) == len(files) == len({file.source for file in files})
    languages = {file.path: file.language for file in registry.files("pud")}
    assert languages["pud/zh_pud-ud-test.conllu"] == "zho_Hant" and languages["pud/ar_pud-ud-test.conllu"] == "arb_Arab"
    assert len(set(languages.values())) == 20
    assert registry.flores_id("cmn") == "zho_Hans" and registry.flores_id("hin") == "hin_Deva"
    assert registry.treebank_id("no_nynorsk") == "nno_Latn" and registry.treebank_id("xyz_bank") == "xyz"


# treebanks


def test_conllu_keeps_integer_ids_only(tmp_path):
    write(tmp_path / "UD_German-X/de_x-ud-test.conllu", TREE)
    trees = corpora.treebank(f"ud:{tmp_path}", "deu_Latn")
    assert list(trees.columns) == WORDS and trees["token"].tolist() == [1, 2, 3, 4, 5, 6]
    assert trees["form"].tolist() == ["Ja", ",", "in", "dem", "Haus", "."]
    assert trees["head"].tolist() == [5, 1, 5, 5, 0, 5] and trees["sentence"].unique().tolist() == ["de_x:s1"]
    assert corpora.load(f"ud:{tmp_path}").iloc[0].tolist()[:3] == ["deu_Latn", "de_x:s1", "Ja, im Haus."]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("in\tin\tADP", "in in\tADP", r"de_x-ud-test.conllu, line 6: 9 columns, not 10"),
        ("\t0\troot", "\tzero\troot", "line 9: head 'zero' is no integer"),
        ("\t0\troot", "\t7\troot", "line 9: head 7 in a sentence of 6 words"),
        ("\n5\tHaus", "\n8\tHaus", "line 9: token id '8' where 5 is due"),
        ("punct\t_\t_\n\n", "punct\t_\t_\n", "line 10: no empty line after the last sentence"),
        ("\n\n", "\n\n" + TREE, "line 12: sent_id 's1' was there before"),
    ],
)
def test_a_malformed_conllu_line_is_named(tmp_path, old, new, message):
    write(tmp_path / "de_x-ud-test.conllu", TREE.replace(old, new))
    for read in (corpora.load, partial(corpora.treebank, language="deu_Latn")):
        with pytest.raises(ValueError, match=message):
            read(f"ud:{tmp_path}")


def test_two_treebanks_of_one_language_need_a_choice(tmp_path):
    write(tmp_path / "a/de_x-ud-test.conllu", TREE)
    write(tmp_path / "b/de_y-ud-test.conllu", TREE)
    with pytest.raises(ValueError, match=r"two treebanks for deu_Latn: de_x.*de_y"):
        corpora.load(f"ud:{tmp_path}")
    assert len(corpora.load(f"ud:{tmp_path}/a")) == 1
    with pytest.raises(LookupError, match="no file for this split"):
        corpora.load(f"ud:{tmp_path}", split="dev")


# the user's own table


def test_a_csv_without_splits_is_divided_the_same_in_every_language(tmp_path):
    rows = [f'{language},s{i},"Text, {i}"' for i in range(100) for language in ("xx", "yy")]
    path = write(tmp_path / "own.csv", "\n".join(["language,sentence,text", *rows]) + "\n")
    parts = {split: corpora.load(f"csv:{path}", split=split) for split in SPLITS}
    assert sum(map(len, parts.values())) == 200 and parts["test"]["text"].str.startswith("Text, ").all()
    meanings = [set(part["sentence"]) for part in parts.values()]
    assert not any(a & b for a, b in pairwise([*meanings, meanings[0]]))
    for part in parts.values():
        assert (part.groupby("sentence")["language"].nunique() == 2).all()


def test_a_csv_may_bring_topics_and_splits(tmp_path):
    lines = ["text\tlanguage\tsentence\tsplit\ttopic", "a\txx\t1\tpretrain\tt", "b\txx\t2\ttest\tu"]
    path = write(tmp_path / "own.tsv", "\n".join(lines) + "\n")
    assert corpora.load(f"csv:{path}", split="pretrain").values.tolist() == [["xx", "1", "a", "t"]]
    with pytest.raises(LookupError, match="no sentence in split 'dev'"):
        corpora.load(f"csv:{path}", split="dev")


def test_a_csv_without_splits_has_none_for_pretraining(tmp_path):
    path = write(tmp_path / "own.csv", "language,sentence,text\nxx,1,a\n")
    with pytest.raises(LookupError, match="no sentence in split 'pretrain'"):
        corpora.load(f"csv:{path}", split="pretrain")


def test_the_first_sentences_are_the_same_in_every_language():
    table = corpora.first(corpora.load("world", ["B1", "A1"]), 3)
    assert table["sentence"].tolist() == ["test-000", "test-001", "test-002"] * 2 and table.index.tolist() == [
        *range(6)
    ]


def test_a_world_is_found_by_the_name_of_its_corpus_and_no_other_corpus_has_one():
    assert corpora.world_of("world") is worlds.build("default")
    assert corpora.world_of("world:default").name == "default" and corpora.world_of("worldly") is None
    assert corpora.world_of("csv:world.csv") is None


def test_families_beyond_the_26th_have_names_of_two_letters(monkeypatch):
    monkeypatch.setitem(worlds.NAMED, "wide", worlds.Options(families=28, per_family=2))
    assert corpora.groups("world:wide", ["A1", "AA1", "AB2"]) == {"A1": "A", "AA1": "AA", "AB2": "AB"}
    for notebook in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb"):
        assert "language.str[0]" not in notebook.read_text(), f"{notebook.name} reads a family off a name"


@pytest.mark.parametrize(
    "text, message",
    [
        ("language,sentence,text\n", "line 1: no row after the header"),
        ("language,text\nxx,a\n", "line 1: no column sentence; it has language, text"),
        ("language,sentence,text\nxx,1,a\nxx,2\n", "own.csv, line 3: 2 fields but 3 columns"),
        ("language,sentence,text\nxx,1,a\nxx,2,b", "line 3: the file ends inside a line"),
        ('language,sentence,text\nxx,1,"a\nxx,2,b\n', "unexpected end of data"),
        ("language,sentence,text,split\nxx,1,a,train\n", "line 2: split 'train'; it is one of pretrain, fit"),
        ("language,sentence,text,split\nxx,1,a,fit\nyy,1,b,test\n", "'1' is in 2 splits"),
    ],
)
def test_a_damaged_csv_is_named(tmp_path, text, message):
    path = write(tmp_path / "own.csv", text)
    with pytest.raises(ValueError, match=message):
        corpora.load(f"csv:{path}")


# the real files


def test_real_sib_is_parallel_in_all_splits(real):
    languages = ["deu_Latn", "eng_Latn", "tha_Thai"]
    for split, count in zip(SPLITS, (701, 99, 204)):
        table = corpora.load("sib200", languages, split)
        assert len(table) == 3 * count and table["topic"].nunique() == 7


def test_real_pud_has_700_100_and_200_sentences_the_same_in_every_language(real):
    parts = {split: corpora.load("pud", ["deu_Latn", "ces_Latn", "zho_Hant"], split) for split in SPLITS}
    assert [len(part) for part in parts.values()] == [2100, 300, 600]
    trees = corpora.treebank("pud", "ces_Latn", "dev")
    assert set(trees["sentence"]) == set(parts["dev"]["sentence"])
    assert (trees["head"] == 0).groupby(trees["sentence"]).sum().eq(1).all()


def test_real_tatoeba_and_ud_load(real):
    table = corpora.load("tatoeba", ["jpn_Jpan", "eng_Latn"])
    assert set(table["language"]) == {"jpn_Jpan", "eng_Latn"} and len(table) > 300
    assert len(corpora.load(f"ud:{real}/ud", ["mlt_Latn"])) == 518


# fetch


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; files named in `cut` are announced whole and end early."""

    cut, asked = set(), []

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        self.asked.append(name)
        if name not in self.cut:
            return super().do_GET()
        body = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A site on this machine in place of GitHub: (its folder, its address)."""
    monkeypatch.setattr(pooch.core.time, "sleep", lambda _: None)
    monkeypatch.setattr(Quiet, "cut", set())
    monkeypatch.setattr(Quiet, "asked", [])
    (tmp_path / "site").mkdir()
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield tmp_path / "site", f"http://127.0.0.1:{site.server_port}"
    site.shutdown()
    thread.join()
    site.server_close()


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    """Two made-up PUD files on the site, and their registry."""
    lines = ["# UniversalDependencies/<repository> at commit; repository commit path sha256"]
    for repository, code in (("UD_German-PUD", "de"), ("UD_French-PUD", "fr")):
        text = TREE.replace("s1", f"{code}1")
        path = write(server[0] / f"UniversalDependencies/{repository}/abc123/{code}_pud-ud-test.conllu", text)
        lines.append(f"{repository} abc123 {path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}")
    write(tmp_path / "registry/pud.txt", "\n".join(lines) + "\n")
    shutil.copy(registry.FOLDER / "sib200.txt", tmp_path / "registry")
    monkeypatch.setattr(registry, "FOLDER", tmp_path / "registry")
    registry.files.cache_clear()
    yield server
    registry.files.cache_clear()


def test_fetched_files_are_where_load_looks_and_are_not_fetched_twice(published, folder, tmp_path):
    paths = corpora.fetch("pud", base_url=published[1])
    assert [path.name for path in paths] == ["de_pud-ud-test.conllu", "fr_pud-ud-test.conllu"]
    assert paths[0].parent == tmp_path / "home/sources/pud"
    assert sum(len(corpora.treebank("pud", "deu_Latn", split)) for split in SPLITS) == 6
    paths[0].unlink()
    Quiet.asked.clear()
    assert corpora.fetch("pud", base_url=published[1]) == paths
    assert Quiet.asked == ["de_pud-ud-test.conllu"]


def test_only_the_languages_asked_for_are_fetched(published, tmp_path):
    paths = corpora.fetch("pud", ["fra_Latn"], base_url=published[1], folder=tmp_path / "here")
    assert [path.relative_to(tmp_path / "here").as_posix() for path in paths] == ["pud/fr_pud-ud-test.conllu"]


def test_a_tampered_file_gets_no_name_and_both_checksums_are_told(published, tmp_path):
    path = published[0] / "UniversalDependencies/UD_German-PUD/abc123/de_pud-ud-test.conllu"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    write(path, TREE + TREE)
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"(?s){expected}.*{actual}.*run the same fetch again"):
        corpora.fetch("pud", ["deu_Latn"], base_url=published[1], folder=tmp_path / "here")
    assert not [file for file in (tmp_path / "here").rglob("*") if file.is_file()]


def test_a_file_cut_on_the_way_gets_no_name_and_the_next_fetch_completes(published, tmp_path):
    Quiet.cut.add("de_pud-ud-test.conllu")
    fetch = partial(corpora.fetch, "pud", base_url=published[1], folder=tmp_path / "here")
    with pytest.raises(ValueError, match=r"de_pud-ud-test.conllu from http.*Nothing was kept under that name"):
        fetch()
    assert not (tmp_path / "here/pud/de_pud-ud-test.conllu").exists()
    Quiet.cut.clear()
    assert all(path.exists() for path in fetch())


def test_a_file_that_is_gone_says_where_it_was_looked_for(published, tmp_path):
    (published[0] / "UniversalDependencies/UD_German-PUD/abc123/de_pud-ud-test.conllu").unlink()
    with pytest.raises(ValueError, match="404"):
        corpora.fetch("pud", ["deu_Latn"], base_url=published[1], folder=tmp_path / "here")


def test_real_files_pass_the_shipped_checksums(real, server, tmp_path):
    wanted = {"sib200": ["mlt_Latn"], "pud": ["zho_Hant"], "tatoeba": ["hin_Deva"]}
    for name, languages in wanted.items():
        for file in registry.files(name):
            if file.language in languages:
                write(server[0] / file.source, (real / file.path).read_bytes().decode())
    counts = [
        len(corpora.fetch(name, languages, base_url=server[1], folder=tmp_path / "here"))
        for name, languages in wanted.items()
    ]
    assert counts == [3, 1, 2]


def test_annotated_sentences_of_the_world_have_the_family_script_and_gloss_of_its_key():
    table = corpora.load("world", ["B2", "A1"], split="dev").iloc[::7].reset_index(drop=True)
    found, grown = corpora.annotated("world", table, "dev"), worlds.build("default")
    pd.testing.assert_frame_equal(found[COLUMNS], table)
    key = {row.language: row for row in grown.languages.itertuples()}
    for row in found.itertuples():
        assert (row.family, row.script) == (key[row.language].family, key[row.language].script)
        assert row.gloss == grown.meanings("dev")[row.sentence].gloss


def test_annotated_sentences_of_a_corpus_are_glossed_in_english_where_it_has_english(folder, monkeypatch):
    for language, text in {"eng_Latn": "yes", "deu_Latn": "ja", "rus_Cyrl": "да"}.items():
        sib(folder, language, [f"1\ttravel\t{text}", f"2\thealth\t{text} {text}"])
    found = corpora.annotated("sib200", corpora.load("sib200", ["eng_Latn", "deu_Latn", "rus_Cyrl"]))
    assert found.gloss.tolist() == ["yes", "yes yes"] * 3 and found.script.tolist() == ["Latn"] * 4 + ["Cyrl"] * 2
    without = corpora.annotated("sib200", corpora.load("sib200", ["deu_Latn", "rus_Cyrl"]))
    assert without.gloss.tolist() == [""] * 4
    monkeypatch.setattr(typology, "languages", lambda ids: (_ for _ in ()).throw(LookupError("no urielplus")))
    assert corpora.annotated("sib200", corpora.load("sib200", ["deu_Latn"])).family.tolist() == ["", ""]


def test_a_file_without_its_kind_is_told_how_to_write_it(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text("language,sentence,text")
    with pytest.raises(LookupError, match=r"is a file; write csv:.*my\.csv"):
        corpora.load(str(path))


def test_a_language_that_is_no_plain_name_is_refused(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("language,sentence,text,split\n<b>x</b>,1,yes,test\n")
    with pytest.raises(ValueError, match="<b>x</b> is of a language that is no plain name; take letters"):
        corpora.load(f"csv:{path}")
