"""Where runs live: one folder of tables and figures per corpus, model, revision and run.

Notebooks talk to each other through these folders, never through a kernel. What a later notebook reads is the newest
finished result that matches, and a headless run notes what it read, so that it runs again when that has changed.
"""

import json
import os
import re
from html import escape
from pathlib import Path

import pandas as pd

from helpers import DATA, HOUSE, ROOT
from helpers.common import store
from helpers.common.lookup import nearest

MARKER = "run.json"  # written last: a run folder that holds it is complete
WRITERS = {  # what later notebooks read
    "01_expert_discovery": ("experts.parquet",),
    "02_steering_embeddings": ("steering.parquet", "chosen.parquet", "edits.safetensors"),
    "03_abx_checkpoints": ("abx.parquet", "probes.parquet"),
    "04_transfer_heatmaps": ("scores.parquet", "similarity.parquet", "ranking.parquet"),
    "05_synthesis": ("pairs.parquet",),
}
READERS = {f"{Path(file).stem}_run": notebook for notebook, files in WRITERS.items() for file in files}  # whose run
_UNDATED = {".png": {"Software": None}, ".svg": {"Creator": None, "Date": None}}


def folder(run: str, corpus: str, model: str, revision: str = "") -> Path:
    """Folder of a run's results: data/results/<corpus>/<model>@<revision>/<run>, each part safe as a file name."""
    return DATA / "results" / part(corpus) / f"{part(model)}@{part(revision)}" / part(run)


def part(name: str) -> str:
    """One path part for a name: `org/model` as org--model, `kind:name` as kind-name, a folder as name and hash."""
    kind, colon, rest = name.partition(":") if re.match(r"[a-z0-9]+:", name) else ("", "", name)
    if rest.count("/") == 1 and not _is_path(rest):
        rest = rest.replace("/", "--")
    plain = f"{kind}-{rest}" if colon else rest
    if re.fullmatch(r"[\w@+=-][\w.@+=-]{0,79}", plain, flags=re.ASCII):
        return plain
    where = str((ROOT / Path(rest).expanduser()).resolve()) if _is_path(rest) else rest
    tail = re.sub(r"[^\w+=-]+", "-", Path(rest).name, flags=re.ASCII).strip("-")[:40]
    return "-".join(filter(None, [kind, tail, store.key([kind, where])[:8]])) if name else "default"


def current_run(notebook: str) -> str:
    """Id of the run that this kernel belongs to; `<number>-interactive` in a notebook that a person runs."""
    return os.environ.get("ISOGLOSS_RUN") or f"{notebook.split('_')[0]}-interactive"


def write_figure(figure: object, name: str, folder: Path | None = None) -> list[Path]:
    """The files written: `<name>.png` and `<name>.svg` in `figures` of the given folder, else of this run's.

    They bear no date, so that equal figures are equal files, and their titles as a caption that travels with them.
    """
    from matplotlib import rc_context  # here, because most of what imports this module draws nothing

    own = Path(folder or os.environ.get("ISOGLOSS_FOLDER") or DATA / "results" / "interactive") / "figures"
    figure.draw_without_rendering()
    around = figure.get_tightbbox().padded(0.1)  # inches; bbox_inches="tight" would find it for each file
    titles = [figure.get_suptitle(), *(ax.get_title(loc) for ax in figure.axes for loc in ("left", "center"))]
    caption = "; ".join(dict.fromkeys(" ".join(title.split()) for title in titles if title))
    paths = [own / f"{name}{suffix}" for suffix in _UNDATED]
    for path in paths:
        about = _UNDATED[path.suffix] | {"Description": caption}
        options = {"format": path.suffix[1:], "metadata": about, "dpi": 150, "bbox_inches": around}
        with store.whole(path) as temporary, rc_context({"svg.hashsalt": name}):
            figure.savefig(temporary, **options)
    return paths


def read_summary(name: str) -> tuple[pd.DataFrame, dict]:
    """A committed summary such as `twins-effects`, and its provenance. LookupError where there is none of this name."""
    for folder in (ROOT / "notebooks" / "sweeps", HOUSE / "notebooks" / "sweeps"):
        if (path := folder / f"{name}.csv").is_file():
            return pd.read_csv(path), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    raise LookupError(f"no summary {name}.csv in {folder}; python -m helpers summary --help says how one is made")


def inline(text: str) -> str:
    """The text for a line of Markdown that shows it as it is: nothing in it is markup, neither HTML's nor its own."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|~$:-])", r"\\\1", escape(" ".join(text.split()), quote=False))


def stamp(content: pd.DataFrame, *, run: str, model: str, revision: str, corpus: str, seed: int) -> pd.DataFrame:
    """A table with run, model, revision, corpus, seed as first columns; one that it already has keeps its values."""
    known = {"run": run, "model": model, "revision": revision, "corpus": corpus, "seed": seed}
    stamped = content.assign(**{name: value for name, value in known.items() if name not in content})
    return stamped[[*known, *(name for name in content if name not in known)]]


def latest(filename: str, corpus: str, model: str, revision: str = "", run: str = "") -> Path:
    """Path of the newest such result, or of the given run's. LookupError names the notebook that has to run first.

    For a headless run only completed headless runs count; for a person, also what a person's notebook wrote. A headless
    run notes what it found, or that it found none, so that the runner sees when that has changed.
    """
    query = {"filename": filename, "corpus": corpus, "model": model, "revision": revision, "run": run}
    path, made = found(**query, headless=bool(os.environ.get("ISOGLOSS_RUN")))
    if os.environ.get("ISOGLOSS_INPUTS"):
        with open(os.environ["ISOGLOSS_INPUTS"], "a", encoding="utf-8") as file:
            file.write(json.dumps({"query": query, "path": path, "completed": made}) + "\n")
    if path:
        return Path(path)
    if run:
        base = folder(run, corpus, model, revision).parent
        runs = [path.parent.name for path in base.glob(f"*/{filename}")]
        raise LookupError(f"run {run!r} has no {filename} in {base}; runs that have: {nearest(run, runs)}")
    raise LookupError(_missing(filename, corpus, model, revision))


def found(
    filename: str, corpus: str, model: str, revision: str, run: str, *, headless: bool = True
) -> tuple[str, float]:
    """Path of the given run's result, or that of the run last asked for, and when it was made; ("", 0) for none."""
    places = folder(run or "any", corpus, model, revision).parent.glob(f"{part(run) if run else '*'}/{filename}")
    ends = "" if headless and not run else "-interactive"  # of the folders that count although a person wrote them
    counted = [path for path in places if (path.parent / MARKER).exists() or (ends and path.parent.name.endswith(ends))]
    path = max(counted, key=lambda path: (_times(path)[0], path.parent.name), default=None)
    return (str(path), _times(path)[1]) if path else ("", 0.0)


def read_marker(place: Path) -> dict:
    """What is on record of the completed run in a folder, and the `folder`. OSError or ValueError where it is not."""
    return json.loads((place / MARKER).read_text(encoding="utf-8")) | {"folder": place}


def _times(path: Path) -> tuple[float, float]:
    """When the result's run was last asked for, and when it was made, in seconds since 1970."""
    try:
        marker = read_marker(path.parent)
        return marker["asked"], marker["completed"]
    except (OSError, ValueError, KeyError):
        return path.stat().st_mtime, path.stat().st_mtime


def _missing(filename: str, corpus: str, model: str, revision: str) -> str:
    writer = READERS.get(f"{Path(filename).stem}_run", "the notebook that writes it")
    others = sorted({f"{p.parents[2].name}/{p.parents[1].name}" for p in DATA.glob(f"results/*/*/*/{filename}")})
    elsewhere = f" (there is one for {', '.join(others[:3])})" if others else ""
    wanted = f"{part(corpus)}/{part(model)}@{part(revision)}{elsewhere}"
    move = f"python -m helpers run {writer} -p corpus={corpus} -p model={model}"
    return f"no finished {filename} for {wanted}; run first: {move}" + (f" -p revision={revision}" if revision else "")


def _is_path(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name or os.path.isdir(ROOT / name)
