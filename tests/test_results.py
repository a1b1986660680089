"""Where runs live: names of folders, which run is read, what a figure leaves behind."""

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from helpers.common import results, store

FRAME = pd.DataFrame({"language": ["A1", "B2"], "unit": [0, 1], "auroc": [0.5, 0.7]})
PLACE = {"corpus": "world", "model": "mini", "revision": ""}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Results in a folder of the test's own, seen by a person rather than by a headless run."""
    monkeypatch.setattr(results, "DATA", tmp_path / "data")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    for name in ("RUN", "FOLDER", "INPUTS"):
        monkeypatch.delenv(f"ISOGLOSS_{name}", raising=False)


def finish(run: str, filename: str, asked: float, **place: str) -> Path:
    """A result of a completed headless run."""
    path = results.folder(run, **place) / filename
    store.write_table(path, FRAME)
    store.write_json(path.parent / results.MARKER, {"asked": asked, "completed": asked})
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mini", "mini"), ("FacebookAI/xlm-roberta-base", "FacebookAI--xlm-roberta-base"), ("world:big", "world-big")]
    + [("", "default"), ("A.b_c-1", "A.b_c-1")],
)
def test_plain_names_stay_readable(name, expected):
    assert results.part(name) == expected


def test_odd_names_become_one_safe_part_each():
    odd = [
        "..",
        "/",
        "a b",
        "a{}b",
        "a{x}b",
        "flores:/data/flores",
        "csv:./my file.csv",
        "/models/bloom",
        "x" * 300,
        "é",
        "::",
    ]
    parts = [results.part(name) for name in odd]
    assert len(set(parts)) == len(odd)
    for part in parts:
        assert set(part) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=@.")
        assert 0 < len(part) <= 80
        assert not part.startswith(".")
    assert parts[5].startswith("flores-flores-")
    assert parts[7].startswith("bloom-")


def test_one_local_folder_has_one_name_however_it_is_written(tmp_path):
    assert results.part("./models/tiny") == results.part(str(tmp_path / "models" / "tiny"))
    assert results.part("/a/models/tiny") != results.part("/b/models/tiny")


def test_results_live_by_corpus_model_revision_and_run(tmp_path):
    path = results.folder("01-abc", "world", "org/model", "step5")
    assert path == tmp_path / "data" / "results" / "world" / "org--model@step5" / "01-abc"
    assert results.folder("01-abc", "world", "mini").parent.name == "mini@default"


def test_stamp_puts_the_keys_first_and_keeps_a_column_that_is_there():
    before = FRAME.assign(seed=[3, 4])
    stamped = results.stamp(before, run="01-abc", model="mini", revision="", corpus="world", seed=0)
    assert list(stamped) == ["run", "model", "revision", "corpus", "seed", "language", "unit", "auroc"]
    assert stamped["seed"].tolist() == [3, 4]
    assert list(before) == ["language", "unit", "auroc", "seed"]


def test_latest_is_the_run_last_asked_for_or_the_one_named():
    old, new = finish("01-a", "experts.parquet", 1.0, **PLACE), finish("01-b", "experts.parquet", 2.0, **PLACE)
    finish("01-c", "experts.parquet", 3.0, **PLACE | {"revision": "step5"})
    store.write_table(results.folder("01-unfinished", **PLACE) / "experts.parquet", FRAME)
    assert results.latest("experts.parquet", **PLACE) == new
    assert results.latest("experts.parquet", **PLACE, run="01-a") == old
    with pytest.raises(LookupError, match="01-a"):
        results.latest("experts.parquet", **PLACE, run="01-aa")


def test_a_persons_results_count_for_a_person_only(monkeypatch):
    by_run = finish("01-a", "experts.parquet", 1.0, **PLACE)
    by_person = store.write_table(results.folder(results.current_run("01_x"), **PLACE) / "experts.parquet", FRAME)
    assert results.latest("experts.parquet", **PLACE) == by_person
    monkeypatch.setenv("ISOGLOSS_RUN", "02-b")
    assert results.latest("experts.parquet", **PLACE) == by_run
    assert results.latest("experts.parquet", **PLACE, run="01-interactive") == by_person


def test_a_missing_result_names_the_notebook_to_run_and_what_there_is():
    finish("01-a", "experts.parquet", 1.0, corpus="world", model="mini-seed1", revision="")
    with pytest.raises(
        LookupError, match=r"world/mini-seed1@default.*run 01_expert_discovery -p corpus=world -p model=mini"
    ):
        results.latest("experts.parquet", "world", "mini")


def test_the_current_run_is_told_by_the_environment(monkeypatch):
    assert results.current_run("03_abx_checkpoints") == "03-interactive"
    monkeypatch.setenv("ISOGLOSS_RUN", "03-abc")
    assert results.current_run("03_abx_checkpoints") == "03-abc"


def test_a_figure_is_a_png_and_an_svg_of_the_run_alone(tmp_path, monkeypatch):
    written = results.write_figure(drawn(), "03-curve", tmp_path / "run")
    own = tmp_path / "run" / "figures"
    assert written == [own / "03-curve.png", own / "03-curve.svg"]
    assert written[0].read_bytes().startswith(b"\x89PNG") and written[1].read_text().rstrip().endswith("</svg>")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(written)
    monkeypatch.setenv("ISOGLOSS_FOLDER", str(tmp_path / "own"))
    assert results.write_figure(drawn(), "03-curve")[0] == tmp_path / "own" / "figures" / "03-curve.png"


def test_equal_figures_are_equal_files(tmp_path):
    first, second = (results.write_figure(drawn(), "03-curve", tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def drawn() -> Figure:
    """A small curve whose clip path gets an id in the SVG."""
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([0, 1])
    return figure
