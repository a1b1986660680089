"""Notebooks without a person: papermill with guards.

One idea: a run is refused before it starts or ends whole. Parameters are checked by name and type against the
notebook's tagged cell, and what they name must be there; the notebook executes beside its final name, which it takes
only when every cell has completed.
"""

import contextlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError

from helpers import FIGURES, HOUSE, ROOT, corpora
from helpers.common import results, store
from helpers.corpora import loading
from helpers.models import hub
from helpers.running import kernels
from helpers.running.parameters import Parameter, check, inspect, nearest

logging.getLogger("papermill.translators").setLevel(logging.ERROR)  # its own reader of parameters is not used here


@dataclass(frozen=True)
class Run:
    """What became of a run: notebook, id, `completed` or `skipped`, seconds, results folder, executed notebook."""

    notebook: str
    run: str
    status: str
    seconds: float
    folder: Path
    output: Path


def notebook(
    name: str | Path,
    parameters: Mapping | None = None,
    *,
    output: Path | None = None,
    force: bool = False,
    quiet: bool = False,
) -> Run:
    """The completed run of a notebook; skipped when the same run is complete and its inputs are still the latest.

    The executed notebook lands in the run's folder of data/results, or at `output`; relative paths in parameters are
    read from the project's root; `quiet` shows no progress bar. LookupError or ValueError for a bad name or parameter,
    before anything starts; RuntimeError for a run that failed, with the cell, the error and the path of the notebook as
    far as it came.
    """
    source = resolve(name)
    declared = inspect(source)
    given = check(declared, parameters or {})
    if "interactive" in declared:
        given = {"interactive": False} | given
    plan = _plan(source, declared, given, output)
    if not force and _is_complete(plan):
        store.write_json(plan["folder"] / results.MARKER, _marker(plan) | {"asked": time.time()})
        return _result(plan, "skipped", 0.0)
    refuse_absent(plan["parameters"])
    started = time.time()
    _execute(plan, given, quiet)
    return _result(plan, "completed", time.time() - started)


def refuse_absent(values: Mapping) -> None:
    """LookupError where the values of `corpus`, `languages` or `model` name nothing that is there; ValueError for a CSV
    file that cannot be read.

    A mini model needs a recipe, any other a folder or a name that a hub can have; none is loaded or asked for.
    """
    corpus, languages, model = (values.get(name) for name in ("corpus", "languages", "model"))
    if isinstance(corpus, str):
        damage = [] if corpus.startswith("csv:") else [ValueError]  # is told where it is read, if it is
        with contextlib.suppress(*damage):
            _refuse_corpus(_placed(corpus), *map(str, languages if isinstance(languages, list) else []))
    if not isinstance(model, str) or not model or hub.is_here(model, ROOT):
        return
    if re.fullmatch(r"mini[\w.-]*", model):
        from helpers.world import mini  # here: torch takes seconds to import, and most models are there

        mini.recipe(model)
    else:
        hub.refuse_absent(model)


def listed() -> list[str]:
    """Names of the numbered notebooks, in order."""
    return sorted(path.stem for path in _shelf().glob("[0-9][0-9]_*.ipynb"))


def resolve(name: str | Path) -> Path:
    """Path of a notebook by its path or its name in `notebooks`; LookupError lists the nearest names."""
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path.resolve()
    path = _shelf() / f"{path.name.removesuffix('.ipynb')}.ipynb"
    if path.is_file():
        return path.resolve()
    raise LookupError(f"no notebook {str(name)!r}; nearest: {nearest(str(name), listed())}")


@lru_cache(maxsize=64)
def _refuse_corpus(name: str, *languages: str) -> None:
    corpora.load(name, languages, split="test")


def _placed(corpus: str) -> str:
    """The corpus, a file or folder of one's own by its path from the root, from which the kernel will read it."""
    kind, _, where = corpus.partition(":")
    return f"{kind}:{ROOT / os.path.expanduser(where)}" if kind in loading.OWN and where else corpus


def _plan(source: Path, declared: Mapping[str, Parameter], given: Mapping, output: Path | None) -> dict:
    """Everything about a run that is known before it starts."""
    values = {name: parameter.default for name, parameter in declared.items()} | given
    code = _code(source)
    identity = [code, values, store.code(), [_seen(value) for value in values.values()], _conclusions(source, code)]
    run = f"{source.stem.split('_')[0]}-{store.key(identity)}"
    place = results.folder(run, *(str(values.get(name, "")) for name in ("corpus", "model", "revision")))
    default = all(given[name] == declared[name].default for name in given if name != "interactive")
    output = Path(output).resolve() if output else place / source.name
    if output.suffix != ".ipynb":
        raise ValueError(f"output {output.name!r} is not a notebook's name; end it in .ipynb")
    return {"source": source, "run": run, "parameters": values, "default": default, "folder": place, "output": output}


def _code(source: Path) -> list[str]:
    """What a notebook does, whatever its outputs and metadata."""
    return [cell.source for cell in nbformat.read(source, as_version=4).cells if cell.cell_type == "code"]


def _conclusions(source: Path, code: list[str]) -> str:
    """The committed summaries of sweeps, for a notebook that draws them."""
    reads = any("read_summary" in cell for cell in code)
    return store.digest(sorted((source.parent / "sweeps").glob("*.csv"))) if reads else ""


def _seen(value: object) -> list:
    """Names, sizes and times of the files that a parameter such as csv:PATH or a model's folder names."""
    name = re.sub("^[a-z0-9]+:", "", value) if isinstance(value, str) else ""
    path = ROOT / os.path.expanduser(name)
    if not name or not os.path.exists(path):  # unlike Path.exists, for any text
        return []
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    facts = [(str(file.relative_to(path)), file.stat()) for file in files if file.is_file()]
    return [(name, about.st_size, about.st_mtime_ns) for name, about in facts]


def _marker(plan: dict) -> dict:
    return json.loads((plan["folder"] / results.MARKER).read_text(encoding="utf-8"))


def _is_complete(plan: dict) -> bool:
    """Whether the same run has completed, its notebook is there, and what it read is what it would read now."""
    try:
        marker = _marker(plan)
        for read in marker["inputs"]:
            path = results.latest(**read["query"], headless=True)
            if (str(path), results.times(path)[1]) != (read["path"], read["completed"]):
                return False
        return marker["output"] == str(plan["output"]) and plan["output"].is_file()
    except (OSError, ValueError, LookupError):
        return False


def _result(plan: dict, status: str, seconds: float) -> Run:
    return Run(plan["source"].stem, plan["run"], status, seconds, plan["folder"], plan["output"])


def _execute(plan: dict, given: Mapping, quiet: bool) -> None:
    """Run the notebook beside its final name, and give it that name and the run its marker once all is well."""
    partial = plan["output"].with_suffix(".partial.ipynb")
    for place in (plan["folder"], partial.parent):
        place.mkdir(parents=True, exist_ok=True)
    (plan["folder"] / results.MARKER).unlink(missing_ok=True)
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="isogloss-", dir=kernels.short(), ignore_cleanup_errors=True) as scratch:
        book = _papermill(plan, given, quiet, partial, Path(scratch))
        read = Path(scratch, "inputs.jsonl")
        inputs = [json.loads(line) for line in read.read_text().splitlines()] if read.exists() else []
    book.metadata.papermill["output_path"] = str(plan["output"])
    store.write_text(plan["output"], nbformat.writes(book))
    for leftover in (partial, plan["output"].with_suffix(".failed.ipynb")):
        leftover.unlink(missing_ok=True)
    finished = time.time()
    times = {"started": started, "completed": finished, "asked": finished, "seconds": finished - started}
    facts = {"notebook": plan["source"].stem, "output": str(plan["output"]), "default": plan["default"]}
    about = store.describe(plan["parameters"]) | {"run": plan["run"]}
    store.write_json(plan["folder"] / results.MARKER, about | facts | times | {"inputs": inputs})


def _papermill(plan: dict, given: Mapping, quiet: bool, partial: Path, scratch: Path) -> nbformat.NotebookNode:
    """The executed notebook, every code cell complete; RuntimeError otherwise, the notebook kept as `.failed.ipynb`."""
    kernel = kernels.kind(scratch, ROOT, _environment(plan, scratch))
    options = {"kernel_name": "python3", "language": "python", "kernel_manager_class": kernel, "start_timeout": 120}
    bar = {"desc": plan["source"].stem, "disable": quiet or None}
    # papermill fills {} in paths, so those of a folder's own name are doubled
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (plan["source"], partial)]
    try:
        with store.room_for(partial), kernels.interruptible(kernel):
            book = papermill.execute_notebook(
                *paths, parameters=dict(given), progress_bar=bar, store_widget_state=False, **options
            )
    except papermill.PapermillExecutionError as error:
        raise _failure(partial, error.cell_index, f"{error.ename}: {error.evalue}") from None
    except DeadKernelError:
        started = [i for i, cell in enumerate(_cells(partial)) if cell.metadata.papermill.start_time]
        why = "the kernel was killed, most often for lack of memory; ask for fewer languages, layers or units"
        last = (scratch / "kernel.log").read_text(errors="replace").strip()[-300:]
        raise _failure(partial, started[-1], f"{why}\n{last}".strip()) from None
    for index, cell in enumerate(book.cells):
        if cell.cell_type == "code" and cell.metadata.papermill.status != "completed":
            raise _failure(partial, index, "the notebook left early (sys.exit?); let it run to its last cell")
    return book


def _cells(path: Path) -> list:
    return nbformat.read(path, as_version=4).cells


def _failure(partial: Path, index: int, why: str) -> RuntimeError:
    failed = partial.with_name(partial.name.replace(".partial.", ".failed."))
    os.replace(partial, failed)
    name = failed.name.removesuffix(".failed.ipynb")
    return RuntimeError(f"{name} failed in cell {index}, {why}\nThe notebook as far as it came: {failed}")


def _environment(plan: dict, scratch: Path) -> dict[str, str]:
    """What the kernel is told: where the project lives, which run it is, and where figures and inputs are noted."""
    return {
        "ISOGLOSS_HOME": str(ROOT),
        "ISOGLOSS_RUN": plan["run"],
        "ISOGLOSS_FOLDER": str(plan["folder"]),
        "ISOGLOSS_FIGURES": str(FIGURES) if plan["default"] else "",
        "ISOGLOSS_INPUTS": str(scratch / "inputs.jsonl"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HOUSE), os.environ.get("PYTHONPATH")])),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # an inherited Agg would leave outputs empty
    }


def _shelf() -> Path:
    return ROOT / "notebooks" if (ROOT / "notebooks").is_dir() else HOUSE / "notebooks"
