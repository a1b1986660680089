"""Reports: a run, a sweep or the whole workbook as one folder of pages that opens from disk.

A report is made from what lies in data/results, never from a kernel, so it can be made of failed and half-finished work
too. nbconvert lays out the notebooks, `report.html.j2` the index; text is escaped where it enters a page, and each page
forbids scripts and remote content to its browser.
"""

import json
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import bleach
import nbformat
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from PIL import Image

from helpers import DATA, ROOT
from helpers.common import results, store
from helpers.common.lookup import known
from helpers.running import records

_TAGS = """
    a abbr b blockquote br code dd div dl dt em h1 h2 h3 h4 h5 h6 hr i img li ol p pre s span strong sub sup
    table tbody td tfoot th thead tr ul
""".split()  # noqa: SIM905
_SPANS = ["colspan", "rowspan"]
_ATTRIBUTES = {"*": ["class", "id"], "a": ["href", "title"], "img": ["src", "alt"], "td": _SPANS, "th": _SPANS}


def write(what: str = "", out: Path | None = None) -> Path:
    """The index page of a report on a sweep, by its name, or on a run, by its id; by default on the workbook.

    It lies in data/results/reports unless `out` names a folder, with one page for each executed notebook and the
    figures beside it. LookupError, with what there is, for an unknown name.
    """
    name, rows = _rows(Path(what).stem if what.endswith(".yaml") else what)
    folder = Path(out) if out else DATA / "results" / "reports" / results.part(name)
    varied, shared = _parameters(rows)
    figures = []
    for row in rows:
        row["error"] = row["error"].replace(f"{ROOT}/", "")
        row["page"] = _write_notebook(folder, row)
        about = ", ".join(f"{name} {row['parameters'][name]}" for name in varied if name in row["parameters"])
        figures += _copied_figures(folder, row, about)
    content = dict(name=name, rows=rows, varied=varied, shared=shared, figures=figures)
    return _write_page(folder / "index.html", title=f"Isogloss: {name}", now=time.strftime("%Y-%m-%d %H:%M"), **content)


def _rows(what: str) -> tuple[str, list[dict]]:
    """Name of the report, and for each run what a record tells: notebook, run, status, seconds, parameters, folder."""
    if what in records.sweeps():
        table = records.manifest(what)
        rows = table.assign(parameters=table.parameters.map(json.loads)).to_dict("records")
        return what, [row | {"folder": Path(row["folder"])} for row in rows]
    runs = records.markers()
    found = [runs[known(what, [*runs, *records.sweeps()], "run or sweep with results")]] if what else records.defaults()
    told = {"status": "completed", "error": ""}
    return what or "workbook", [run | told | {"started": records.now(run["started"])} for run in found]


def _parameters(rows: list[dict]) -> tuple[list[str], dict]:
    """Names of the parameters that differ between runs of one notebook, and those with one value in all that have them.

    Ids of earlier runs are left out of the first: they tell a reader nothing.
    """
    given = pd.DataFrame([row["parameters"] for row in rows], dtype=object)
    texts = given.map(repr).where(given.notna())
    differ = texts.groupby([row["notebook"] for row in rows]).nunique().max() > 1
    varied = [name for name in given if differ[name] and not name.endswith("_run")]
    return varied, {name: given[name].dropna().iloc[0] for name in given if texts[name].nunique() == 1}


def _write_notebook(folder: Path, row: dict) -> str:
    """The page of a run's notebook, as far as it came; none where it never started."""
    found = [row["folder"] / f"{row['notebook']}{end}" for end in (".ipynb", ".failed.ipynb", ".partial.ipynb")]
    source = next((path for path in found if path.is_file()), None)
    if not source:
        return ""
    body, colours = body_of(nbformat.read(source, as_version=4))
    page = f"notebooks/{row['run']}.html"
    _write_page(folder / page, title=row["notebook"], row=row, body=body, colours=colours)
    return page


def _copied_figures(folder: Path, row: dict, about: str) -> list[dict]:
    """Name, path in the report and caption of each figure: what the run is about, or what travels in the picture."""
    copied = []
    for source in sorted((row["folder"] / "figures").glob("*.png")):
        target = Path("figures", row["run"], source.name)
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / target)
        with Image.open(source) as image:
            caption = about or image.info.get("Description") or row["notebook"]
        copied.append({"name": source.stem, "path": target, "caption": caption})
    return copied


def _write_page(path: Path, **content: object) -> Path:
    layout = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    return store.write_text(path, layout.get_template("report.html.j2").render(content))


def body_of(book: nbformat.NotebookNode) -> tuple[str, str]:
    """An executed notebook as HTML, reduced to harmless tags, and the style sheet of its code."""
    exporter = HTMLExporter(template_name="basic", sanitize_html=True, filters={"clean_html": _clean})
    cells = [cell | {"outputs": list(filter(None, map(_output, cell.get("outputs", []))))} for cell in book.cells]
    body, resources = exporter.from_notebook_node(nbformat.from_dict(book | {"cells": cells}))
    return body, "\n".join(resources["inlining"]["css"])


def _clean(html: str | bytes) -> str:
    """The HTML with any tag that is not for text, tables and pictures shown as the text it is."""
    text = html.decode() if isinstance(html, bytes) else html
    return bleach.clean(text, tags={*_TAGS}, attributes=_ATTRIBUTES, protocols={"https", "mailto"})


def _output(output: Mapping) -> dict | None:
    """The output as it goes on a page; None for what means nothing on paper: widgets and progress bars."""
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data and "image/png" not in data:
        return None
    if output.get("output_type") == "stream":
        lines = [line.rpartition("\r")[2] for line in output["text"].split("\n")]
        text = "\n".join(line for line in lines if not re.search(r"\d%\||it/s\]", line))
        return output | {"text": text} if text.strip() else None
    if "text/html" in data:
        html = re.sub(r"<(style|script)\b.*?</\1\s*>", "", "".join(data["text/html"]), flags=re.S | re.I)
        return output | {"data": data | {"text/html": html}}
    return output
