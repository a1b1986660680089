"""Reports: a run, a sweep or the whole workbook as one folder of pages that opens from disk.

A report is made from what lies in data/results, never from a kernel, so it can be made of failed and half-finished work
too. nbconvert lays out the notebooks, `report.html.j2` the index; text is escaped where it enters a page, and each page
forbids scripts and remote content to its browser.
"""

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import bleach
import nbformat
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
    gallery: dict[str, list] = {}
    for row in rows:
        row |= {"error": row["error"].replace(f"{ROOT}/", ""), "time": _duration(row["seconds"])}
        row["page"] = _write_notebook(folder, row)
        about = ", ".join(f"{name} {row['parameters'][name]}" for name in varied if name in row["parameters"])
        for figure, path, caption in _copied_figures(folder, row):
            gallery.setdefault(figure, []).append((path, about or caption or row["notebook"]))
    about = f"{len(rows)} runs, {_duration(sum(row['seconds'] for row in rows))} of work"
    about += "".join(f"; helpers {row['helpers']}, commit {row['commit'][:10] or 'unknown'}" for row in rows[:1])
    content = dict(name=name, about=about, counts=Counter(row["status"] for row in rows), shared=shared)
    content |= dict(rows=rows, varied=varied, gallery=gallery, now=time.strftime("%Y-%m-%d %H:%M"))
    return _write_page(folder / "index.html", title=f"Isogloss: {name}", **content)


def _rows(what: str) -> tuple[str, list[dict]]:
    """Name of the report, and for each run what a record tells: notebook, run, status, seconds, parameters, folder."""
    sweeps = [path.parent.name for path in (DATA / "results" / "sweeps").glob("*/sweep.json")]
    if what in sweeps:
        table = records.manifest(what)
        rows = table.assign(parameters=table.parameters.map(json.loads)).to_dict("records")
        return what, [row | {"folder": Path(row["folder"])} for row in rows]
    if not what:
        return "workbook", list(map(_row, records.defaults()))
    runs = {path.parent.name: path.parent for path in DATA.glob(f"results/*/*/*/{results.MARKER}")}
    return what, [_row(results.read_marker(runs[known(what, [*runs, *sweeps], "run or sweep with results")]))]


def _row(marker: dict) -> dict:
    """What a record tells, of a completed run's marker."""
    return marker | {"status": "completed", "error": "", "started": records.now(marker["started"])}


def _parameters(rows: list[dict]) -> tuple[list[str], dict]:
    """Names of the parameters that differ between runs of one notebook, and those with one value in all that have them.

    Ids of earlier runs are left out of the first: they tell a reader nothing.
    """
    seen: dict[str, list] = {}
    for row in rows:
        for name, value in row["parameters"].items():
            seen.setdefault(name, []).append((row["notebook"], value))
    varied = [
        name
        for name, found in seen.items()
        if not name.endswith("_run") and any(a == b and x != y for a, x in found for b, y in found)
    ]
    return varied, {name: found[0][1] for name, found in seen.items() if all(v == found[0][1] for _, v in found)}


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


def _copied_figures(folder: Path, row: dict) -> list[tuple[str, str, str]]:
    """(name, path in the report, caption) of each figure of a run; the caption travels in the picture."""
    copied = []
    for source in sorted((row["folder"] / "figures").glob("*.png")):
        target = Path("figures", row["run"], source.name)
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / target)
        with Image.open(source) as image:
            copied.append((source.stem, target.as_posix(), image.info.get("Description", "")))
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


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
