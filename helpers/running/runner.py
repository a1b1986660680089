"""Notebooks without a person: a run is refused before it starts, or ends whole.

Parameters are checked against the notebook's tagged cell, and what they name must be there. The notebook executes
beside its final name, which it takes only when every cell has completed; one process at a time is at a run.
"""

import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

from filelock import Timeout
from huggingface_hub import constants

from helpers import HOUSE, ROOT, corpora
from helpers.common import results, store
from helpers.common.lookup import known
from helpers.corpora import loading, registry
from helpers.models import hub
from helpers.running import kernels, parameters
from helpers.world import recipes


def notebook(
    name: str | Path, values: Mapping | None = None, *, output: Path | None = None, force: bool = False
) -> SimpleNamespace:
    """The completed run of a notebook: its `plan`, `status` and `seconds`; skipped if complete with the same inputs.

    The executed notebook lands in the run's folder of data/results, or at `output`; relative paths in parameters are
    read from the project's root. LookupError or ValueError for a bad name or parameter, before anything starts;
    RuntimeError for a run that failed, with the cell and the error, and for one that another process is at.
    """
    planned = plan(resolve(name), values or {}, output)
    if not force and is_complete(planned):
        ask_again(planned)
        return SimpleNamespace(**planned, status="skipped", seconds=0.0)
    refuse_absent(planned["parameters"])
    try:
        with store.locked(planned["run"]):
            return SimpleNamespace(**planned, status="completed", seconds=perform(planned))
    except Timeout:
        told = "is busy in another process; wait until it has ended, or stop it there"
        raise RuntimeError(f"{planned['notebook']}: run {planned['run']} {told}") from None


def plan(source: Path, values: Mapping, output: Path | None = None) -> dict:
    """What is known of a run before it starts: notebook, source, run (its id), given, parameters, default, ..."""
    declared = parameters.inspect(source)
    given = {"interactive": False} if "interactive" in declared else {}
    given |= parameters.check(declared, values)
    full = {name: parameter.default for name, parameter in declared.items()} | given
    code = [cell["source"] for cell in parameters.cells(source) if cell["cell_type"] == "code"]
    summaries = sorted((source.parent / "sweeps").glob("*.csv")) if "read_summary" in "".join(code) else []
    identity = [code, full, store.code(), [_named(value) for value in full.values()], store.digest(summaries)]
    run = f"{source.stem.split('_')[0]}-{store.key(identity)}"
    folder = results.folder(run, *(str(full.get(name, "")) for name in ("corpus", "model", "revision")))
    output = Path(output).resolve() if output else folder / source.name
    if output.suffix != ".ipynb":
        raise ValueError(f"output {output.name!r} is not a notebook's name; end it in .ipynb")
    default = all(given[name] == declared[name].default for name in given if name != "interactive")
    found = {"notebook": source.stem, "source": source, "run": run, "given": given, "parameters": full}
    return found | {"default": default, "folder": folder, "output": output}


def is_complete(plan: Mapping) -> bool:
    """Whether the run has completed, its notebook is there, and what it read is what it would read now."""
    try:
        marker = results.read_marker(plan["folder"])
        same = all(results.found(**read["query"]) == (read["path"], read["completed"]) for read in marker["inputs"])
        same &= marker.get("sources", {}) == _sources(plan["parameters"])
        return same and marker["output"] == str(plan["output"]) and plan["output"].is_file()
    except (OSError, ValueError, LookupError):
        return False


def ask_again(plan: Mapping) -> None:
    """Make a complete run the one last asked for, which is what later notebooks read."""
    store.write_json(plan["folder"] / results.MARKER, results.read_marker(plan["folder"]) | {"asked": time.time()})


def perform(plan: Mapping, environment: Mapping[str, str] | None = None) -> float:
    """Seconds of a run, executed whatever is there, its kernel with this environment; the caller holds its lock."""
    import nbformat  # here, because what is complete is skipped at once

    output, folder = plan["output"], plan["folder"]
    partial = output.with_suffix(".partial.ipynb")
    for place in (folder, partial.parent):
        place.mkdir(parents=True, exist_ok=True)
    (folder / results.MARKER).unlink(missing_ok=True)
    started, before = time.time(), _sources(plan["parameters"])
    with tempfile.TemporaryDirectory(prefix="isogloss-", dir=kernels.SHORT, ignore_cleanup_errors=True) as scratch:
        told = _environment(plan, Path(scratch)) | dict(environment or {})
        book = kernels.execute(plan["source"], partial, plan["given"], ROOT, told, Path(scratch))
        read = Path(scratch, "inputs.jsonl")
        inputs = [json.loads(line) for line in read.read_text().splitlines()] if read.exists() else []
    book.metadata.papermill["output_path"] = str(output)
    store.write_text(output, nbformat.writes(book))
    for leftover in (partial, output.with_suffix(".failed.ipynb")):
        leftover.unlink(missing_ok=True)
    ended = time.time()
    facts = {name: plan[name] for name in ("run", "notebook", "output", "default")} | {"inputs": inputs}
    facts |= {"started": started, "completed": ended, "asked": ended, "seconds": ended - started}
    facts["sources"] = _sources(plan["parameters"]) | before  # a model may have come while it ran
    store.write_json(folder / results.MARKER, store.describe(plan["parameters"]) | facts)
    return ended - started


def refuse_absent(values: Mapping) -> None:
    """Raise LookupError or ValueError where corpus, languages, model, dtype or device is none that can be used.

    A mini model needs a recipe, any other a folder or a name that a hub can have; none is loaded or asked for.
    """
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    hub.check_place(**{name: texts[name] for name in ("dtype", "device") if name in texts})
    kind, _, where = texts.get("corpus", "").partition(":")
    if kind:  # the kernel will read a file or folder of one's own from the root
        corpus = f"{kind}:{ROOT / os.path.expanduser(where)}" if kind in loading.OWN and where else texts["corpus"]
        with contextlib.suppress(*[] if kind == "csv" else [ValueError]):  # other damage is told where it is read
            _refuse_corpus(corpus, *_languages(values))
    for model in filter(None, (texts.get(name) for name in ("model", "beside"))):
        if not hub.is_here(model, ROOT):
            check = recipes.recipe if re.fullmatch(r"mini[\w.-]*", model) else hub.refuse_absent
            check(model)


def listed() -> list[str]:
    """Names of the numbered notebooks, in order."""
    return sorted(path.stem for path in _shelf().glob("[0-9][0-9]_*.ipynb"))


def resolve(name: str | Path) -> Path:
    """Path of a notebook by its path or its name in `notebooks`; LookupError lists the nearest names."""
    path = Path(name)
    if path.suffix != ".ipynb" or not path.is_file():
        stem = path.name.removesuffix(".ipynb")
        path = _shelf() / f"{stem}.ipynb"
        if not path.is_file():
            known(stem, listed(), "notebook")
    return path.resolve()


@lru_cache(maxsize=64)
def _refuse_corpus(name: str, *languages: str) -> None:
    corpora.load(name, languages, split="test")


def _languages(values: Mapping) -> list[str]:
    languages = values.get("languages")
    return [str(language) for language in languages] if isinstance(languages, list) else []


def _named(value: object) -> list:
    """Names, sizes and times of the files that a parameter such as csv:PATH or a model's folder names."""
    name = re.sub("^[a-z0-9]+:", "", value) if isinstance(value, str) else ""
    path = ROOT / os.path.expanduser(name)
    if not name or not os.path.exists(path):  # unlike Path.exists, for any text
        return []
    return _facts(path, path.rglob("*") if path.is_dir() else [path])


def _facts(base: Path, files: Iterable[Path]) -> list:
    """Name, size and time of each file."""
    facts = [(str(path.relative_to(base)), path.stat()) for path in sorted(files) if path.is_file()]
    return [(name, about.st_size, about.st_mtime_ns) for name, about in facts]


def _sources(values: Mapping) -> dict[str, str]:
    """What stands now behind names that are no paths: the files of a fetched corpus, the commit of a hub's branch."""
    corpus, model, revision = (str(values.get(name, "")) for name in ("corpus", "model", "revision"))
    found = {}
    if corpus in registry.CORPORA:
        asked = {*_languages(values)} - {"eng_Latn" if corpus == "tatoeba" else ""}  # comes with every pair
        owner = {file.path: file.language for file in registry.files(corpus)}
        facts = [fact for folder in loading.folders() for fact in _facts(folder, folder.glob(f"{corpus}/**/*"))]
        found["corpus"] = store.key([fact for fact in facts if not asked or owner.get(fact[0]) in {None, *asked}])
    branch = Path(constants.HF_HUB_CACHE, f"models--{model.replace('/', '--')}", "refs", revision or "main")
    return found | ({"commit": branch.read_text().strip()} if os.path.isfile(branch) else {})


def _environment(plan: Mapping, scratch: Path) -> dict[str, str]:
    """What the kernel is told: where the project lives, which run it is, and where its inputs are noted."""
    return {
        "ISOGLOSS_HOME": str(ROOT),
        "ISOGLOSS_RUN": plan["run"],
        "ISOGLOSS_FOLDER": str(plan["folder"]),
        "ISOGLOSS_INPUTS": str(scratch / "inputs.jsonl"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # transformers shows one for each model that it loads
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HOUSE), os.environ.get("PYTHONPATH")])),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # an inherited Agg would leave outputs empty
    }


def _shelf() -> Path:
    return ROOT / "notebooks" if (ROOT / "notebooks").is_dir() else HOUSE / "notebooks"
