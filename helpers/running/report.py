"""Reports: a run, a sweep or the whole workbook as one folder of pages that opens from disk.

One idea: a report is made from what lies in data/results, never from a kernel, so that it can be made of failed and
half-finished work too, and made again at any time.
"""

import json
import re
import shutil
import time
from fnmatch import fnmatchcase
from html import escape
from pathlib import Path

import nbformat

from helpers import DATA, ROOT
from helpers.common import results, store
from helpers.common.lookup import known
from helpers.running import pages, records


def write(what: str = "", out: Path | None = None) -> Path:
    """The index page of a report on a sweep, by its name, or on a run, by its id; by default on the workbook.

    It lies in data/results/reports unless `out` names a folder, with one page for each executed notebook and the
    figures beside it. LookupError, with what there is, for an unknown name.
    """
    name, rows = _rows(Path(what).stem if what.endswith(".yaml") else what)
    folder = Path(out) if out else DATA / "results" / "reports" / results.part(name)
    folder.mkdir(parents=True, exist_ok=True)
    varied = _varied(rows)
    for row in rows:
        _write_notebook(folder, row)
        _copy_figures(folder, row)
    return store.write_text(folder / "index.html", pages.page(f"Isogloss: {name}", _index(name, rows, varied)))


def _rows(what: str) -> tuple[str, list[dict]]:
    """Name of the report, and for each run what a record tells: notebook, run, status, seconds, parameters, folder."""
    sweeps = [path.parent.name for path in (DATA / "results" / "sweeps").glob("*/sweep.json")]
    if what in sweeps:
        table = records.manifest(what)
        rows = table.assign(parameters=table.parameters.map(json.loads)).to_dict("records")
        return what, [row | {"folder": Path(row["folder"])} for row in rows]
    runs = {path.parent.name: path for path in DATA.glob(f"results/*/*/*/{results.MARKER}")}
    if what:
        return what, [_row(runs[known(what, [*runs, *sweeps], "run or sweep with results")])]
    newest: dict[str, dict] = {}
    for row in sorted(map(_row, runs.values()), key=lambda row: row["asked"]):
        if row["default"]:
            newest[row["notebook"]] = row
    if not newest:
        raise LookupError("no default run has completed; run first: python -m helpers workbook")
    return "workbook", [newest[name] for name in sorted(newest)]


def _row(path: Path) -> dict:
    """A completed run from the marker in its folder."""
    marker = json.loads(path.read_text(encoding="utf-8"))
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(marker["started"]))
    return marker | {"status": "completed", "error": "", "folder": path.parent, "started": started}


def _varied(rows: list[dict]) -> list[str]:
    """Parameters that differ between runs of one notebook; ids of earlier runs among them tell a reader nothing."""
    seen: dict[tuple, set] = {}
    for row in rows:
        for name, value in row["parameters"].items():
            seen.setdefault((name, row["notebook"]), set()).add(repr(value))
    varied = dict.fromkeys(name for (name, _), values in seen.items() if len(values) > 1)
    return [name for name in varied if not name.endswith("_run")]


def _write_notebook(folder: Path, row: dict) -> None:
    """The page of a run's notebook, as far as it came; none where it never started."""
    found = [row["folder"] / f"{row['notebook']}{end}" for end in (".ipynb", ".failed.ipynb", ".partial.ipynb")]
    source = next((path for path in found if path.is_file()), None)
    row["page"] = f"notebooks/{row['run']}.html" if source else ""
    row["readings"] = {}
    if not source:
        return
    book = nbformat.read(source, as_version=4)
    row["readings"] = _readings(book)
    head = f"<p><a href='../index.html'>← all runs</a> {pages.chip(row['status'])}</p>"
    head += (
        f"<details><summary>parameters of {escape(row['run'])}</summary>{pages.parameters(row['parameters'])}</details>"
    )
    body = head + _error(row) + pages.notebook(book)
    store.write_text(folder / row["page"], pages.page(row["notebook"], body, narrow=True))


def _readings(book: nbformat.NotebookNode) -> dict[str, str]:
    """Name of a figure -> what the notebook says of it: the next text among its section's outputs, in plain words.

    Names that the notebook fills in stand as patterns: `05-doses_{kin}` is `05-doses_*`.
    """
    found, open_names = {}, []
    for cell in book.cells:
        if cell.cell_type == "markdown":
            open_names = [] if cell.source.startswith("#") else open_names
            continue
        written = re.findall(r"write_figure\([^\n]*?\"([\w-]+(?:\{[^}]*\}[\w-]*)*)\"", cell.source)
        open_names += [re.sub(r"\{[^}]*\}", "*", name) for name in written]
        texts = [out.data["text/markdown"] for out in cell.outputs if "text/markdown" in out.get("data", {})]
        if texts:
            found |= dict.fromkeys(open_names, pages.plain(texts[0]))
            open_names = []
    return found


def _copy_figures(folder: Path, row: dict) -> None:
    row["figures"] = []
    for source in sorted((row["folder"] / "figures").glob("*.png")):
        target = Path("figures", row["run"], source.name)
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / target)
        row["figures"].append(target.as_posix())


def _index(name: str, rows: list[dict], varied: list[str]) -> str:
    """Body of the index page: what ran and how it went, then every figure beside those of its name."""
    counts = {
        status: sum(row["status"] == status for row in rows) for status in dict.fromkeys(r["status"] for r in rows)
    }
    chips = "".join(f"<li>{pages.chip(f'{count} {status}', status)}</li>" for status, count in counts.items())
    seconds = sum(row["seconds"] for row in rows)
    about = f"{len(rows)} runs, {_duration(seconds)} of work; helpers {rows[0]['helpers']}" if rows else "no runs yet"
    commit = f", commit {rows[0]['commit'][:10]}" if rows and rows[0]["commit"] else ""
    same = _shared(rows)
    fixed = pages.folded("parameters that all share", pages.parameters(same)) if same else ""
    lines = pages.table((_line(row, varied) for row in rows), numbers=["time"])
    return (
        f"<h1>{escape(name.capitalize())}</h1><p class='about'>{escape(about + commit)}</p>"
        f"<ul class='chips'>{chips}</ul>{fixed}<h2>Runs</h2>{lines}{_gallery(rows, varied)}"
        f"<footer>Written {time.strftime('%Y-%m-%d %H:%M')} by Isogloss, python -m helpers report</footer>"
    )


def _shared(rows: list[dict]) -> dict:
    """Parameters that have one value in all runs that have them."""
    seen: dict[str, list] = {}
    for row in rows:
        for name, value in row["parameters"].items():
            seen.setdefault(name, []).append(value)
    return {name: values[0] for name, values in seen.items() if all(value == values[0] for value in values)}


def _line(row: dict, varied: list[str]) -> dict[str, str]:
    """Cells of a run in the table of runs."""
    title = escape(row["notebook"])
    cells = {"notebook": f"<a href='{row['page']}'>{title}</a>" if row["page"] else title}
    cells |= {name: escape(str(row["parameters"].get(name, ""))) for name in varied}
    cells |= {"status": pages.chip(row["status"]) + _error(row), "time": _duration(row["seconds"])}
    return cells | {"started": escape(row["started"].replace("T", " ").rstrip("Z"))}


def _error(row: dict) -> str:
    """What went wrong, folded away; without this machine's own paths."""
    if not row["error"]:
        return ""
    told = row["error"].replace(f"{ROOT}/", "")
    return pages.folded("why", f"<pre>{escape(told)}</pre>")


def _gallery(rows: list[dict], varied: list[str]) -> str:
    """All figures, those of one name side by side."""
    found: dict[str, list[str]] = {}
    for row in rows:
        about = ", ".join(f"{name} {row['parameters'][name]}" for name in varied if name in row["parameters"])
        for path in row["figures"]:
            name = Path(path).stem
            said = next((text for figure, text in row["readings"].items() if fnmatchcase(name, figure)), "")
            caption = about or said or f"{name} · {row['notebook']}"
            alt = ": ".join(filter(None, [", ".join(filter(None, [name, about])), said]))
            found.setdefault(name, []).append(pages.figure(path, caption, alt))
    parts = [f"<h3>{escape(name)}</h3><div class='figures'>{''.join(each)}</div>" for name, each in found.items()]
    if found and all(len(each) == 1 for each in found.values()):
        parts = [f"<div class='figures'>{''.join(each[0] for each in found.values())}</div>"]
    return f"<h2>Figures</h2>{''.join(parts)}" if parts else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
