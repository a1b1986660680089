"""A project of a test's own: a folder with tiny notebooks and sweeps that the package takes for its home."""

import json
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

from helpers.common import results, store
from helpers.corpora import loading
from helpers.running import executors, records, runner, sweep

PARAMETERS = """\
model: str = "none"
corpus: str = "world"
revision: str = ""
k: int = 2  # rows
language: str = "A1"
strength: float = 1.0
languages: list = []
mode: str = "ok"  # or what goes wrong
interactive: bool = True
"""
FIRST = """\
import os, sys, time
from pathlib import Path
import numpy as np
import pandas as pd
from helpers.common import results, store
name = results.current_run("01_experts")
where = results.folder(name, corpus, model, revision)
seen = Path(f"seen-{mode}")
again = seen.exists()
seen.write_text(str(os.getpid()))
if mode == "exit":
    sys.exit(0)
if mode == "die" or (mode == "die once" and not again):
    os.kill(os.getpid(), 9)
if mode == "hang once" and not again:
    time.sleep(300)
if mode == "raise" and not Path("mended").exists():
    raise ValueError("no such thing")
values = strength * np.random.default_rng(k).random(k)
_ = store.write_table(where / "experts.parquet", pd.DataFrame({"unit": range(k), "value": values}))
"""
SECOND = """\
from helpers.common import results, store
path = results.latest("experts.parquet", corpus, model, revision, experts_run)
where = results.folder(results.current_run("02_steering"), corpus, model, revision)
_ = store.write_table(where / "steering.parquet", store.read_table(path).assign(value=lambda t: 2 * t.value))
"""
LOGGED = '\nwith open("log", "a") as log:\n    log.write(f"{name}\\n")'  # who came to the end, in order


def make_home(root: Path) -> Path:
    """The folder, now a project with the notebooks 01_expert_discovery and 02_steering."""
    (root / "notebooks" / "sweeps").mkdir(parents=True)
    (root / "none").mkdir()  # the model of its notebooks
    write_notebook(root, "01_expert_discovery", PARAMETERS, FIRST + LOGGED)
    write_notebook(root, "02_steering", PARAMETERS + 'experts_run: str = ""\n', SECOND)
    return root


def write_notebook(root: Path, name: str, parameters: str, *cells: str) -> Path:
    """A notebook of a parameters cell and code cells."""
    tagged = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    codes = [nbformat.v4.new_code_cell(cell) for cell in cells]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A"), tagged, *codes])
    nbformat.write(book, root / "notebooks" / f"{name}.ipynb")
    return root / "notebooks" / f"{name}.ipynb"


def write_sweep(root: Path, name: str = "small", **spec: object) -> Path:
    """A sweep's file; of notebook 01 unless told otherwise."""
    path = root / "notebooks" / "sweeps" / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"notebooks": ["01_expert_discovery"]} | spec))
    return path


def enter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process, and those it starts, take the folder for the project's."""
    for module in (runner, results, sweep, executors):
        monkeypatch.setattr(module, "ROOT", root)
    for module in (results, records, store, loading):
        monkeypatch.setattr(module, "DATA", root / "data")
    monkeypatch.setenv("ISOGLOSS_HOME", str(root))
    monkeypatch.delenv("ISOGLOSS_RUN", raising=False)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project of the test's own."""
    enter(make_home(tmp_path / "home"), monkeypatch)
    return tmp_path / "home"


def start(home: Path, *arguments: object, **options: object) -> subprocess.Popen:
    """`python -m helpers ...` in a process of its own."""
    command = [sys.executable, "-m", "helpers", *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=home, **streams, **options)


def wait_until(condition, seconds: float = 120) -> None:
    """Nothing, once the condition holds."""
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "waited in vain"
        time.sleep(0.05)


def log(home: Path) -> list[str]:
    """Runs of notebook 01 that came to their end, one entry for each time."""
    return (home / "log").read_text().split() if (home / "log").exists() else []


def record(home: Path, name: str = "small", **parameters: object) -> dict:
    """The record of the one run with these parameters; empty while there is none."""
    found = [json.loads(path.read_text()) for path in (home / "data/results/sweeps" / name / "runs").glob("*.json")]
    fitting = [r for r in found if parameters.items() <= r["parameters"].items()]
    return fitting[0] if fitting else {}
