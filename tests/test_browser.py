"""A real JupyterLab in Chromium: the notebook runs without an error and its slider moves the picture."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import median

import nbformat
import pytest
from chromium import launched

pytestmark = pytest.mark.browser

NOTEBOOKS = {  # what each runs with; "made-up points" is no notebook of the workbook
    "made-up points": {},
    "02_steering_embeddings.ipynb": dict(
        languages=["A1", "A2", "B1", "C1"], toward=["A1"], ks=[2, 5], sentences=20, samples=5, strengths=[0.0, 1.0, 2.0]
    ),
}
EXPLORER = "06_explore.ipynb"
EXPLORED = dict(
    languages=["A1", "A2", "B1", "C1"], ks=[5, 40], size=40, strengths=[0.0, 1.0], sentences=12, samples=3,
    projection="pca",
)  # fmt: skip
CHANGES = {  # knob -> the parts of the surface that a step of it must change
    "method": ["before", "after", "status", "metrics", "texts"],
    "toward": ["after", "status", "metrics", "neighbours", "texts"],
    "size": ["after", "status", "metrics"],
    "layer": ["before", "after", "status", "metrics", "neighbours"],
    "colour": ["before", "after", "key"],
    "language": ["before", "after", "chosen", "neighbours"],
    "sentence": ["before", "after", "chosen", "neighbours"],
    "strength": ["after", "status", "metrics", "neighbours", "texts"],
}
MOVES = 24
POINTS = """
import numpy as np
import pandas as pd

from helpers.exploring import widgets

rng = np.random.default_rng(0)
families = np.repeat(list("ABCDEFGH"), 125)
middles = dict(zip("ABCDEFGH", rng.normal(0, 4, (8, 2))))
spread = rng.normal(size=(1000, 2))
tables = []
for strength in np.linspace(0, 2, 9):
    x, y = ((1 - 0.4 * strength) * np.array([middles[f] for f in families]) + spread).T
    tables.append(pd.DataFrame(dict(strength=strength, family=families, x=x, y=y)))
points = pd.concat(tables, ignore_index=True)
metrics = pd.DataFrame(dict(strength=np.linspace(0, 2, 9), metric="top-1", value=np.linspace(0.2, 0.5, 9)))
widgets.strength_slider(points, metrics)
"""
# From the notebook's model: on the page an error looks like any other line of the standard error stream.
ERRORS = """
[...window.jupyterapp.shell.currentWidget.content.model.cells].flatMap(cell => cell.outputs?.toJSON() ?? [])
  .filter(output => output.output_type === "error").map(output => `${output.ename}: ${output.evalue}`)
""".strip()
IDLE = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
# From the key to the second frame after the new image has been decoded: by then its pixels are on the screen.
WATCH = """
() => {
  window.moves = []; window.pressed = null;
  document.addEventListener("keydown", () => { window.pressed = performance.now(); }, true);
  document.querySelector("img.isogloss-after").addEventListener("load", () => {
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (window.pressed !== null) window.moves.push(performance.now() - window.pressed);
      window.pressed = null;
    }));
  });
}
"""


@pytest.fixture(scope="module")  # while it stands, this thread runs an event loop, which other tests would meet
def browser():
    with launched() as started:
        yield started


@pytest.fixture
def lab(tmp_path):
    """`lab(notebook)` -> address, with its token, of a JupyterLab of its own that serves a copy of the notebook."""
    with contextlib.ExitStack() as stack:
        yield lambda notebook: _serve(notebook, tmp_path, stack)


def _serve(notebook: str, folder: Path, stack: contextlib.ExitStack) -> str:
    served, house = folder / "served", Path(__file__).resolve().parents[1]
    served.mkdir()
    nbformat.write(_book(notebook, house), served / "notebook.ipynb")
    port, token = _free_port(), secrets.token_hex(16)
    settings = ["--no-browser", f"--port={port}", "--ip=127.0.0.1", "--ServerApp.port_retries=0"]
    settings += [f"--ServerApp.root_dir={served}", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url="]
    settings += ["--allow-root"] if os.geteuid() == 0 else []
    own = {f"JUPYTER_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "RUNTIME", "DATA")}
    own |= {"IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": str(house), "JUPYTER_TOKEN": token}
    own |= {"ISOGLOSS_HOME": str(folder / "home")}
    log = stack.enter_context((folder / "lab.log").open("wb"))
    command = [sys.executable, "-m", "jupyterlab", *settings]
    server = subprocess.Popen(command, env=os.environ | own, cwd=folder, stdout=log, stderr=log)
    stack.callback(_stop, server)
    _wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, folder / "lab.log")
    return f"http://127.0.0.1:{port}/lab/tree/notebook.ipynb?token={token}&reset"


def _book(notebook: str, house: Path) -> nbformat.NotebookNode:
    """The notebook with its small parameters; or one cell of made-up points."""
    if not notebook.endswith(".ipynb"):
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(POINTS.strip())])
        book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        return book
    book = nbformat.read(house / "notebooks" / notebook, as_version=4)
    tagged = next(cell for cell in book.cells if "parameters" in cell.metadata.get("tags", []))
    given = EXPLORED if notebook == EXPLORER else NOTEBOOKS[notebook]
    tagged.source += "".join(f"\n{name} = {value!r}" for name, value in given.items())
    return book


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.3)
    raise AssertionError(f"JupyterLab did not answer within {seconds:g} s:\n{log.read_text()[-2000:]}")


def _stop(server: subprocess.Popen) -> None:
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def run_all(page, address: str, seconds: float) -> None:
    """Opens the notebook, runs all its cells and waits for the slider, or fails with the first error."""
    page.goto(address)
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=120_000)
    page.wait_for_function(IDLE, timeout=120_000)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")  # its end is not awaited
    done = f"() => document.querySelector('img.isogloss-after') || {ERRORS}.length"
    page.wait_for_function(done, timeout=1000 * seconds)
    page.wait_for_function(IDLE, timeout=1000 * seconds)
    assert errors(page) == []


def errors(page) -> list[str]:
    """The errors of cells, and what went wrong in the page itself."""
    return page.evaluate(f"() => {ERRORS}") + page.wrong


def moves(page, n: int, slider: str = "") -> list[float]:
    """Milliseconds of n moves by arrow key, each from the key to the changed picture of the right panel."""
    handle, field = page.locator(f"{slider} .noUi-handle").first, page.locator(".widget-text input[type=number]").first
    handle.scroll_into_view_if_needed()
    handle.focus()
    page.evaluate(WATCH)
    for i in range(n):
        before = field.input_value()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("count => window.moves.length > count", arg=i, timeout=20_000)
        page.wait_for_function("([field, before]) => field.value !== before", arg=[field.element_handle(), before])
    return page.evaluate("() => window.moves")


@pytest.fixture
def page(browser):
    """A page that remembers in `.wrong` what went wrong in it."""
    with contextlib.closing(browser.new_context(viewport={"width": 1400, "height": 1000})) as context:
        opened = context.new_page()
        opened.wrong = []
        opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
        yield opened


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_slider_moves_the_right_picture_alone(notebook, page, lab, record_property, capsys):
    run_all(page, lab(notebook), seconds=600 if notebook.endswith(".ipynb") else 120)
    left, right = page.locator("img.isogloss-before"), page.locator("img.isogloss-after")
    before = left.screenshot(), right.screenshot()
    taken = moves(page, MOVES)
    assert left.screenshot() == before[0] and right.screenshot() != before[1]
    record_property("slider_median_ms", round(median(taken), 1))
    with capsys.disabled():
        print(f"\n{notebook}: {len(taken)} moves, median {median(taken):.0f} ms, slowest {max(taken):.0f} ms")
    assert errors(page) == []


def shown(page) -> dict[str, str]:
    """What each part of the surface shows: the address of an image, the text of all else."""
    parts = sorted({part for changed in CHANGES.values() for part in changed})
    read = "([part]) => { const at = document.querySelector(`.isogloss-${part}`); return at.src ?? at.innerHTML; }"
    return {part: page.evaluate(read, [part]) for part in parts}


def turned(page, knob: str, seconds: float = 60) -> set[str]:
    """The parts of the surface that have changed once a step of the knob, by arrow key, has changed what it must."""
    before, handle = shown(page), page.locator(f".isogloss-{knob} .noUi-handle")
    handle.scroll_into_view_if_needed()
    handle.focus()
    page.keyboard.press("ArrowRight" if handle.get_attribute("aria-valuenow").startswith("0") else "ArrowLeft")
    until, changed = time.monotonic() + seconds, set()
    while time.monotonic() < until and not changed >= set(CHANGES[knob]):
        page.wait_for_timeout(100)
        changed = {part for part, now in shown(page).items() if now != before[part]}
    assert page.evaluate("() => document.activeElement.classList.contains('noUi-handle')"), "the focus was taken away"
    return changed


def test_every_control_of_the_explorer_does_what_it_says(page, lab, record_property, capsys):
    run_all(page, lab(EXPLORER), seconds=600)
    for knob, parts in CHANGES.items():
        changed = turned(page, knob)
        assert changed >= set(parts), f"{knob} left {set(parts) - changed} as they were"
    page.locator(".isogloss-strength input[type=number]").fill("0")
    page.keyboard.press("Enter")
    page.wait_for_timeout(2000)  # until the picture of strength 0 is there: it is not one of the moves
    taken = moves(page, 20, ".isogloss-strength")
    record_property("explorer_median_ms", round(median(taken), 1))
    with capsys.disabled():
        print(f"\n{EXPLORER}: {len(taken)} moves, median {median(taken):.0f} ms, slowest {max(taken):.0f} ms")
    assert page.locator(".isogloss-status [role=alert]").count() == 0
    assert errors(page) == []


def test_an_error_in_a_cell_is_seen(page, lab, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "POINTS", "1 / 0")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_all(page, lab("made-up points"), seconds=120)
