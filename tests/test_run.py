"""Runs are refused before they start or end whole; tiny notebooks are really executed here."""

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from homes import enter, start, wait_until
from huggingface_hub import constants
from matplotlib.figure import Figure
from nbclient.exceptions import DeadKernelError
from psutil import pid_exists
from typer.testing import CliRunner

from helpers import HOUSE, corpora
from helpers.common import results, store
from helpers.running import cli as command_line
from helpers.running import kernels, records, runner
from helpers.world import mini

pytestmark = pytest.mark.slow

PARAMETERS = """\
model: str = "mini"
corpus: str = "world"
languages: list = []
k: int = 5  # experts per language
dtype: str = "auto"
device: str = "auto"
interactive: bool = True
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project of the test's own; its name holds what path templates would trip over."""
    root = tmp_path / "{home} of a test"
    (root / "notebooks").mkdir(parents=True)
    enter(root, monkeypatch)
    return root


def make(home: Path, name: str, *cells: str) -> Path:
    """A notebook with a parameters cell and the given code cells."""
    book = nbformat.v4.new_notebook()
    tagged = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    book.cells = [nbformat.v4.new_markdown_cell("# A"), tagged, *map(nbformat.v4.new_code_cell, cells)]
    path = home / "notebooks" / f"{name}.ipynb"
    nbformat.write(book, path)
    return path


def printed(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_an_unknown_notebook_names_the_nearest(home):
    make(home, "01_first")
    with pytest.raises(LookupError, match="did you mean 01_first"):
        runner.resolve("01_frist")


GOOD = """\
import os, sys
import ipywidgets
from helpers.common import results, store
display(ipywidgets.IntSlider())
folder = results.folder(results.current_run("01_first"), corpus, model)
print(k, interactive, os.getcwd(), sys.executable)
_ = store.write_json(folder / "experts.json", {"k": k})
"""


READER = 'from helpers.common import results\nprint(results.latest("experts.json", corpus, model))'


def test_a_default_run_ends_whole_and_is_skipped_until_its_inputs_change(home, monkeypatch):
    make(home, "01_first", GOOD)
    result = runner.notebook("01_first")
    place = home / "data" / "results" / "world" / "mini@default" / result.run
    assert (result.status, result.folder, result.output) == ("completed", place, place / "01_first.ipynb")
    assert sorted(path.name for path in place.iterdir()) == ["01_first.ipynb", "experts.json", "run.json"]
    assert printed(result.output) == f"5 False {home} {sys.executable}\n"
    assert "widgets" not in nbformat.read(result.output, as_version=4).metadata
    marker = json.loads((place / "run.json").read_text())
    assert marker["default"] is True
    assert marker["parameters"]["k"] == 5
    assert runner.notebook("01_first").status == "skipped"
    _check_reader(home, place / "run.json", monkeypatch)


def _check_reader(home: Path, upstream: Path, monkeypatch) -> None:
    """A notebook that reads another's result runs again when, and only when, that result was made again."""
    make(home, "02_second", READER)
    read = runner.notebook("02_second")
    assert printed(read.output).strip() == str(upstream.parent / "experts.json")
    assert runner.notebook("01_first").status == "skipped"
    assert runner.notebook("02_second").status == "skipped"
    store.write_json(upstream, json.loads(upstream.read_text()) | {"completed": time.time()})
    monkeypatch.setattr(runner, "perform", lambda plan: 1.0)
    assert runner.notebook("02_second").status == "completed"


QUICK = """\
import os
from pathlib import Path
Path(os.environ["ISOGLOSS_FOLDER"], "k.txt").write_text(str(k))
print(k)
"""


def test_two_runs_at_once_with_other_parameters_stay_apart(home):
    make(home, "01_first", QUICK)
    with ThreadPoolExecutor(2) as both:
        runs = list(both.map(lambda k: runner.notebook("01_first", {"k": k}), [6, 7]))
    assert [printed(done.output) for done in runs] == ["6\n", "7\n"]
    assert [(done.folder / "k.txt").read_text() for done in runs] == ["6", "7"]


@pytest.mark.parametrize(
    ("cell", "told"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("import sys; sys.exit(0)", "left early")]
    + [("import os; os.kill(os.getpid(), 9)", "kernel was killed")],
)
def test_a_run_that_fails_says_where_and_leaves_no_result(home, cell, told):
    make(home, "01_first", "x = 1", cell, "y = 2")
    with pytest.raises(RuntimeError, match=f"01_first failed in cell 4, .*{told}") as failure:
        runner.notebook("01_first")
    kept = Path(str(failure.value).rpartition(": ")[2])
    assert [path.name for path in kept.parent.iterdir()] == ["01_first.failed.ipynb"]
    assert kept.is_file()


def test_an_interrupted_run_leaves_only_the_partial_notebook(home):
    make(home, "01_first", "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    process = start(home, "run", "01_first")
    wait_until(lambda: (home / "pid").exists() and (home / "pid").read_text())
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130, told
    assert re.fullmatch(r"\d\d:\d\d:\d\d 01_first \+\d+ s: A", told.splitlines()[0]), "a line at each heading"
    assert told.splitlines()[-1] == "stopped; what had completed is kept"
    assert "Traceback" not in told
    assert [path.name for path in home.glob("data/results/*/*/*/*")] == ["01_first.partial.ipynb"]
    wait_until(lambda: not pid_exists(int((home / "pid").read_text())))


def test_an_interrupt_ends_the_kernels_of_other_threads_too(home):
    make(home, "01_first", "import os, time\nopen(f'pid{k}', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    with ThreadPoolExecutor(2) as both, pytest.raises(KeyboardInterrupt), kernels.interruptible():
        runs = [both.submit(runner.notebook, "01_first", {"k": k}) for k in (1, 2)]
        wait_until(lambda: all((home / f"pid{k}").exists() and (home / f"pid{k}").read_text() for k in (1, 2)))
        raise KeyboardInterrupt
    assert [type(run.exception()) for run in runs] == [KeyboardInterrupt] * 2
    for k in (1, 2):
        wait_until(lambda k=k: not pid_exists(int((home / f"pid{k}").read_text())))


@pytest.mark.parametrize(
    "arguments",
    [["01_frist"], ["01_first", "-p", "kk=3"], ["01_first", "-p", "k=three"], ["01_first", "-p", "token=x"]]
    + [["01_first", "--output", "a.txt"], ["01_first", "-p", "corpus=wolrd"], ["01_first", "-p", "languages=A1,Z9"]]
    + [["01_first", "-p", "k=0"], ["01_first", "-p", "dtype=float8"], ["01_first", "-p", "device=gpu"]]
    + [
        ["01_first", "-p", "model=minii"],
        ["01_first", "-p", "model=./gone"],
        ["01_first", "-p", "corpus=csv:gone.csv"],
    ],
)
def test_the_command_line_exits_with_2_for_what_the_user_wrote(home, arguments):
    make(home, "01_first")
    outcome = CliRunner().invoke(command_line.app, ["run", *arguments])
    assert outcome.exit_code == 2
    assert len(outcome.stderr.splitlines()) == 1
    assert list(home.glob("data/**/*.ipynb")) == []


def test_what_parameters_name_is_looked_up_from_the_projects_root(home, monkeypatch, tmp_path):
    (home / "own.csv").write_text("language,sentence,text,split\nA1,1,ka,test\n")
    for folder in (home / "weights", home / "world", tmp_path / "elsewhere"):
        folder.mkdir()
    runner.refuse_absent({"corpus": "csv:own.csv", "languages": ["A1"], "model": "weights"})
    runner.refuse_absent({"corpus": "world", "model": "org/name"})
    runner.refuse_absent({"k": 3, "model": ["of another type"]})
    with pytest.raises(LookupError, match="language of csv.*own.csv 'B1'"):
        runner.refuse_absent({"corpus": "csv:own.csv", "languages": ["B1"]})
    with pytest.raises(LookupError, match="no recipe 'minii'; did you mean mini"):
        runner.refuse_absent({"model": "minii"})
    with pytest.raises(LookupError, match="no recipe 'mini-encodr'; did you mean mini-encoder"):
        runner.refuse_absent({"model": "weights", "beside": "mini-encodr"})
    runner.refuse_absent({"model": "weights", "beside": ""})
    (home / "holed.csv").write_text("language,text\nA1,ka\n")
    with pytest.raises(ValueError, match="no column sentence"):
        runner.refuse_absent({"corpus": "csv:holed.csv"})
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("here.csv").write_text("language,sentence,text,split\nA1,1,ka,test\n")
    Path("mini-here").mkdir()
    runner.refuse_absent({"corpus": "csv:own.csv", "model": "weights"})
    for values in (
        {"corpus": "csv:here.csv"},
        {"model": "mini-here"},
        {"corpus": "csv:."},
        {"corpus": "csv:" + "x" * 300},
    ):
        with pytest.raises(LookupError):
            runner.refuse_absent(values)


def test_a_file_in_the_home_folder_is_found_by_its_tilde(home, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.csv").write_text("language,sentence,text,split\nA1,1,ka,test\n")
    runner.refuse_absent({"corpus": "csv:~/own.csv"})
    assert len(corpora.load("csv:~/own.csv")) == 1


def test_the_command_line_exits_with_1_for_a_run_that_failed(home, monkeypatch):
    make(home, "01_first")

    def fail(*_, **__):
        raise RuntimeError("01_first failed in cell 3")

    monkeypatch.setattr(runner, "notebook", fail)
    outcome = CliRunner().invoke(command_line.app, ["run", "01_first"])
    assert (outcome.exit_code, outcome.stderr) == (1, "01_first failed in cell 3\n")


def test_the_command_trains_the_two_shipped_models_or_those_that_are_named(monkeypatch):
    for name in ("pretrain", "ensure"):
        monkeypatch.setattr(mini, name, lambda name, how=name: Path(how, name), raising=False)
    told = [CliRunner().invoke(command_line.app, ["pretrain", *names]) for names in ([], ["mini-seed1", "mini"])]
    assert [outcome.stdout.split() for outcome in told] == [
        ["pretrain/mini", "pretrain/mini-encoder"],
        ["ensure/mini-seed1", "pretrain/mini"],
    ]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["doctor"], ["sweep", "small", "--dry-run"], ["workbook", "--dry-run"]], ids=" ".join
)
def test_what_starts_no_notebook_answers_without_loading_torch(arguments):
    code = f"""
import sys, helpers.__main__
try:
    helpers.__main__.app({arguments})
except SystemExit:
    print("loaded:", *{{"torch", "papermill", "nbformat"}} & {{*sys.modules}})"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HOUSE)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_the_death_of_a_kernel_told_to_stop_is_left_unsaid():
    def record(error):
        return logging.LogRecord("asyncio", logging.ERROR, "", 0, "never retrieved", None, (type(error), error, None))

    assert not kernels._unexpected(record(DeadKernelError("Kernel died")))
    assert kernels._unexpected(record(ValueError("else")))


def test_a_run_is_another_one_when_a_file_it_names_has_changed(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("a")
    before = runner._named(f"csv:{path}")
    path.write_text("a, b")
    assert before and runner._named(f"csv:{path}") != before and len(runner._named(str(tmp_path))) == 1
    assert runner._named("world") == runner._named("~nobody/x") == runner._named("x" * 5000) == runner._named(3) == []


@pytest.fixture
def at_once(home, monkeypatch):
    """Notebooks that end at once, without a kernel; what is appended is called as their cells would be."""
    cells = []

    def execute(source, partial, given, place, environment, scratch):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            for cell in cells:
                cell()
        return nbformat.v4.new_notebook(metadata={"papermill": {}})

    monkeypatch.setattr(kernels, "execute", execute)
    monkeypatch.setattr(runner, "refuse_absent", lambda values: None)
    make(home, "01_first")
    make(home, "02_second")
    return cells


FILES = {
    "sib200": "sib200/{}_Latn/test.tsv",
    "pud": "pud/{:.2}_pud-ud-test.conllu",
    "tatoeba": "tatoeba/tatoeba.{0}-eng.{0}",
}


@pytest.mark.parametrize("corpus", FILES)
def test_a_run_is_done_again_when_files_of_its_corpus_have_come_or_changed(at_once, tmp_path, monkeypatch, corpus):
    def fetch(language: str, content: str) -> None:
        path = tmp_path / "data" / FILES[corpus].format(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def statuses() -> list[str]:
        chosen = ([], ["fin_Latn"])
        return [runner.notebook("01_first", {"corpus": corpus, "languages": names}).status for names in chosen]

    monkeypatch.setenv("ISOGLOSS_DATA", str(tmp_path / "data"))
    fetch("fin", "yksi")
    assert statuses() == ["completed", "completed"]
    assert statuses() == ["skipped", "skipped"]
    fetch("fra", "un")
    assert statuses() == ["completed", "skipped"], "the second reads Finnish alone"
    fetch("fin", "kaksi")
    assert statuses() == ["completed", "completed"]
    assert statuses() == ["skipped", "skipped"]


def test_a_run_is_done_again_when_the_branch_of_its_model_has_moved(at_once, tmp_path, monkeypatch):
    refs = tmp_path / "hub" / "models--org--name" / "refs"
    refs.mkdir(parents=True)

    def status(**values) -> str:
        return runner.notebook("01_first", {"model": "org/name"} | values).status

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    at_once.append(lambda: (refs / "main").exists() or (refs / "main").write_text("c1"))
    assert [status(), status()] == ["completed", "skipped"], "the model that it fetched is the one it has read"
    assert json.loads(next(refs.parents[2].rglob("run.json")).read_text())["sources"] == {"commit": "c1"}
    (refs / "main").write_text("c2")
    assert [status(), status()] == ["completed", "skipped"]


def test_a_look_up_that_found_nothing_is_an_input_too(at_once):
    place = {"corpus": "world", "model": "mini"}
    ahead = runner.notebook("01_first")

    def look() -> None:
        with contextlib.suppress(LookupError):
            results.latest("edits.safetensors", **place)

    at_once.append(look)
    assert [runner.notebook("02_second").status for _ in range(2)] == ["completed", "skipped"]
    (ahead.folder / "edits.safetensors").touch()
    assert [runner.notebook("02_second").status for _ in range(2)] == ["completed", "skipped"]
    (ahead.folder / "edits.safetensors").unlink()
    assert runner.notebook("02_second").status == "completed"


def test_one_process_at_a_time_is_at_a_run(at_once):
    run = runner.notebook("01_first").run
    with store.locked(run), pytest.raises(RuntimeError, match=f"01_first: run {run} is busy in another process; wait"):
        runner.notebook("01_first", force=True)
    assert runner.notebook("01_first", force=True).status == "completed"


def test_other_code_in_any_room_makes_another_run(home, tmp_path, monkeypatch):
    path = make(home, "01_first")
    for room in ("common", "steering"):
        (tmp_path / "package" / room).mkdir(parents=True)
        (tmp_path / "package" / room / "code.py").write_text("1")
    monkeypatch.setattr(store, "__file__", str(tmp_path / "package" / "common" / "store.py"))
    runs = []
    for text in ("1", "2", "1"):
        (tmp_path / "package" / "steering" / "code.py").write_text(text)
        store.code.cache_clear()
        runs.append(runner.plan(path, {})["run"])
    store.code.cache_clear()
    assert runs[0] == runs[2] != runs[1]


def test_figures_are_those_of_the_latest_default_runs(at_once, home, monkeypatch):
    with pytest.raises(LookupError, match="run first: python -m helpers workbook"):
        records.show_figures(home / "figures")
    at_once.append(lambda: results.write_figure(Figure((1, 1)), f"{os.environ['ISOGLOSS_RUN'][:2]}-some"))
    first, second = runner.notebook("01_first"), runner.notebook("02_second")
    other = runner.notebook("01_first", {"k": 7}).folder / "figures" / "01-other.png"
    other.write_text("of no default run")
    assert not (home / "figures").exists()
    monkeypatch.setattr("helpers.FIGURES", home / "figures")
    outcome = CliRunner().invoke(command_line.app, ["figures"])
    assert outcome.stdout == f"2 figures are in {home / 'figures'}\n"
    shown = {path.name: path.read_bytes() for path in (home / "figures").iterdir()}
    own = [run.folder / "figures" / f"{run.run[:2]}-some.png" for run in (first, second)]
    assert shown == {path.name: path.read_bytes() for path in own}


def test_on_a_terminal_a_run_shows_one_bar_with_the_current_heading(home):
    termios = pytest.importorskip("termios", reason="terminals of POSIX")
    make(home, "01_first", "k")
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, "-m", "helpers", "run", "01_first"]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, cwd=home, check=True, timeout=120)
    os.set_blocking(ours, False)
    told = os.read(ours, 10_000).decode()
    assert re.search(r"\r01_first: .*, A\]", told) and "+0 s" not in told
