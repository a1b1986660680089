"""A report opens from disk: every run, its status and figures; text from a corpus stays text, and nothing can act."""

import re
from pathlib import Path

import nbformat
import pytest
from chromium import launched
from homes import home, write_sweep
from matplotlib.figure import Figure
from typer.testing import CliRunner

from helpers.common import results, store
from helpers.running import cli as command_line
from helpers.running import records, report, runner, sweep

__all__ = ["home"]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(autouse=True)
def _here(home, monkeypatch):
    monkeypatch.setattr(report, "DATA", home / "data")
    monkeypatch.setattr(report, "ROOT", home)


def pretend(path: Path, monkeypatch, failing: str = "", figure: Figure | None = None) -> None:
    """Runs of a sweep as they lie on disk, without executing notebooks."""

    def perform(row, environment):
        folder, source, given = row["folder"], row["source"], row["given"]
        name = source.name
        folder.mkdir(parents=True, exist_ok=True)
        book = nbformat.read(source, as_version=4)
        book.cells[-1].outputs = [nbformat.v4.new_output("stream", text=f"read {EVIL}\n")]
        if given.get("language") == failing:
            nbformat.write(book, folder / name.replace(".ipynb", ".failed.ipynb"))
            raise RuntimeError(f"{source} failed in cell 2, ValueError: {EVIL}")
        nbformat.write(book, folder / name)
        results.write_figure(figure or Figure((1, 1)), "01-some", folder)
        marker = {"started": 0.0, "completed": 1.0, "asked": 1.0, "seconds": 61.0, "inputs": [], "default": True}
        output = {"notebook": row["notebook"], "output": str(folder / name), "run": row["run"]}
        store.write_json(folder / results.MARKER, store.describe(row["parameters"]) | marker | output)

    monkeypatch.setattr(runner, "perform", perform)


def links(page: Path) -> list[Path]:
    """What a page points to on disk."""
    found = re.findall(r"(?:href|src)='([^'#]+)'", page.read_text(encoding="utf-8"))
    return [page.parent / target for target in found]


def test_a_sweep_becomes_a_folder_of_pages_without_a_broken_link(home, monkeypatch):
    path = write_sweep(home, grid={"language": ["A1", EVIL, "C3"]}, defaults={"k": 3})
    pretend(path, monkeypatch, failing="C3")
    sweep.execute(path)
    outcome = CliRunner().invoke(command_line.app, ["report", "small", "--out", str(home / "out")])
    assert (outcome.exit_code, outcome.stdout.strip()) == (0, str(home / "out" / "index.html"))
    index = (home / "out" / "index.html").read_text(encoding="utf-8")
    for shown in ("2 completed", "1 failed", "A1", "1 min 01 s", "<h3>01-some</h3>", "language A1"):
        assert shown in index
    pages_made = sorted((home / "out").rglob("*.html"))
    assert len(pages_made) == 4 and len(links(home / "out" / "index.html")) == 3 + 2 * 2
    for page in pages_made:
        assert all(target.exists() for target in links(page))
        text = page.read_text(encoding="utf-8")
        assert "<script" not in text and "<img src=x" not in text and "http://" not in text
        assert "default-src 'none'" in text and str(home) not in text
    assert "&lt;script&gt;alert(1)" in index


def test_without_a_name_the_newest_default_runs_are_reported(home, monkeypatch):
    with pytest.raises(LookupError, match="run first: python -m helpers workbook"):
        report.write()
    path = write_sweep(home)
    pretend(path, monkeypatch)
    sweep.execute(path)
    index = report.write()
    assert index == home / "data/results/reports/workbook/index.html"
    assert "01_expert_discovery" in index.read_text(encoding="utf-8")
    one = records.manifest("small").run[0]
    assert one in report.write(one).parent.name
    with pytest.raises(LookupError, match="no run or sweep with results 'smal'; did you mean small"):
        report.write("smal")


def test_a_notebook_keeps_its_tables_and_loses_what_could_act():
    html = f"<style>p {{}}</style><table class='dataframe' onclick='x'><tr><th>a</th></tr><td>{EVIL}</td></table>"
    cells = [
        nbformat.v4.new_markdown_cell(f"# Title\n\n*words* {EVIL} [a](javascript:alert(3))"),
        nbformat.v4.new_code_cell("1 < 2", outputs=[nbformat.v4.new_output("display_data", {"text/html": html})]),
    ]
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider()"}
    cells[1].outputs.append(nbformat.v4.new_output("display_data", widget))
    cells[1].outputs.append(
        nbformat.v4.new_output("stream", text=" 3%|▎ | 1/38 [00:00<00:01, 30it/s]\rkept\n", name="stderr")
    )
    body, _ = report.body_of(nbformat.v4.new_notebook(cells=cells))
    assert re.search(r"<h1[^>]*>Title", body) and "<em>words</em>" in body and "<th>a</th>" in body
    assert "kept" in body and "it/s" not in body and "IntSlider" not in body
    for banned in ("<script", "onclick", "<img src=x", "javascript:", "<style"):
        assert banned not in body


def test_a_figure_is_captioned_with_the_titles_that_it_was_saved_with(home, monkeypatch):
    figure = Figure((2, 1))
    figure.suptitle("Meaning <b>rises</b>")
    for ax, title in zip(figure.subplots(1, 2), ("layer 0", "layer\n1")):
        ax.set_title(title, loc="left" if title == "layer 0" else "center")
    path = write_sweep(home)
    pretend(path, monkeypatch, figure=figure)
    sweep.execute(path)
    index = report.write("small").read_text(encoding="utf-8")
    assert "<figcaption>Meaning &lt;b&gt;rises&lt;/b&gt;; layer 0; layer 1</figcaption>" in index
    assert "alt='01-some: Meaning &lt;b&gt;rises" in index


@pytest.mark.slow
def test_pages_hold_in_a_real_browser_at_desktop_and_phone_width(home, monkeypatch):
    path = write_sweep(home, grid={"language": ["A1", "an unusually long name of a language " * 3]})
    pretend(path, monkeypatch)
    sweep.execute(path)
    index = report.write("small", home / "out")
    with launched() as browser:
        for width in (1280, 390):
            view, told = browser.new_page(viewport={"width": width, "height": 800}), []
            view.on("console", lambda message, told=told: told.append(message.text))
            view.on("dialog", lambda dialog, told=told: told.append(dialog.message))
            for place in (index, next(index.parent.glob("notebooks/*.html"))):
                view.goto(place.as_uri())
                assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")
                assert view.evaluate("[...document.images].every(i => { i.loading = 'eager'; return true })")
                view.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            assert told == []


def test_corpus_text_in_a_line_of_markdown_is_no_markup():
    shown = results.inline("<img src=x onerror=1> *a* [b](c) `d`")
    assert "<" not in shown and shown.startswith("&lt;img") and "\\*a\\*" in shown and "\\[b\\]" in shown
