"""The house rules: floors, notebooks, dependencies in step, and a README whose commands exist."""

import ast
import itertools
import json
import os
import re
import tomllib
from pathlib import Path
from statistics import median

import pytest
import typer
import yaml

from helpers import __main__ as command_line
from helpers import parameters

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [
    # the voice that all share
    {"names"},
    # the ground, where nothing knows of anything else: files, names, numbers, letters, words, trees, pages
    {"store", "parameters", "hub", "registry", "formats", "grammar", "text", "typology", "trees", "pages"}
    | {"stats", "sorting", "triples", "batches", "edits", "convert", "kernels", "grids", "clusters"},
    # what is analysed, where results live, and the parts of later modules
    {"world", "models", "results", "association", "folding", "units", "heads", "parsing"},
    # what makes sentences, models, activations and steered models; what is on record of runs
    {"corpora", "pretrain", "planted", "activations", "interventions", "generation", "mantel", "records"},
    # what measures them, each in one way, and what the fitting of an intervention reads
    {"experts", "alignment", "projection", "abx", "probes", "similarity", "ranking", "fitting"},
    # what brings those together: interventions fitted, profiles of form and meaning, transfer and what predicts it
    {"methods", "profiles", "transfer", "predictors", "pairs", "synthesis"},
    # what a notebook shows, and how it is run
    {"steering", "twins", "trainings", "plots", "run", "doctor"},
    # what stands side by side, what a person asks and turns, what a cluster repeats, and what is kept of it
    {"comparison", "causes", "explorer", "widgets", "workbook", "sweep", "summaries", "report"},
    # what is said of it
    {"readings", "conclusions"},
    # all of it under one hand
    {"surface"},
    {"__main__"},
]
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}
MODULES = sorted((ROOT / "helpers").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "figures" / "README.md"]
PLAIN = [*ROOT.glob("*.md"), *PAGES[1:], ROOT / "Makefile", ROOT / "CITATION.cff", *ROOT.glob("binder/*")]
COMMON = dict(
    model="mini", revision="", corpus="world", languages=[], seed=0, dtype="auto", device="auto", interactive=True
)


def _imports(path: Path) -> set[str]:
    """The helpers modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            source = ".".join(filter(None, ["helpers" if node.level else "", node.module]))
            if source == "helpers":
                found |= {name.name for name in node.names if (ROOT / "helpers" / f"{name.name}.py").exists()}
            elif source.startswith("helpers."):
                found.add(source.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("helpers.")}
    return found


def _cells(path: Path, kind: str = "code") -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def _source(cell: dict) -> str:
    return "".join(cell["source"])


@pytest.mark.parametrize("path", [p for p in MODULES if p.stem != "__init__"], ids=lambda p: p.stem)
def test_a_module_imports_only_from_floors_below(path):
    assert path.stem in FLOOR, f"{path.name} has no floor; add it to FLOORS and to the README's table"
    above = {name for name in _imports(path) if FLOOR[name] >= FLOOR[path.stem]}
    assert not above, f"{path.name} imports {above}, which stand no lower than itself"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_every_public_function_says_what_comes_back(path):
    tree = ast.parse(path.read_text())
    bodies = [tree] + [node for node in tree.body if isinstance(node, ast.ClassDef)]
    defined = [n for body in bodies for n in body.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    silent = [n.name for n in defined if not n.name.startswith("_") and not ast.get_docstring(n)]
    assert ast.get_docstring(tree) and not silent, f"no docstring: {silent or path.name}"


def test_nothing_is_pickled_and_no_remote_code_is_trusted():
    for path in [*MODULES, *NOTEBOOKS]:
        text = path.read_text()
        for banned in (
            "pickle.load",
            "pickle.dump",
            "joblib",
            "trust_remote_code=True",
            "allow_pickle=True",
            "weights_only=False",
            "yaml.load(",
        ):
            assert banned not in text, f"{path.name} has {banned!r}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_a_text(path):
    code = [_source(cell) for cell in _cells(path)]
    lines = [sum(bool(line.strip()) for line in source.splitlines()) for source in code]
    words = sum(len(_source(cell).split()) for cell in _cells(path, "markdown"))
    assert len(code) <= 25 and max(lines) <= 25 and median(lines) <= 6
    assert words >= 300, f"only {words} words of prose"
    assert not any(re.search(r"^\s*(def|class) ", source, re.M) for source in code), "logic that wants a test"
    first = _source(_cells(path, "markdown")[0])
    assert all(f"**{word}**" in first for word in ("Question", "Reads", "Writes", "Time")), (
        "question, inputs, outputs, time"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_has_one_cell_of_flat_typed_parameters(path):
    tagged = [cell for cell in _cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    given = {}
    for line, node in zip(_source(tagged[0]).splitlines(), ast.parse(_source(tagged[0])).body, strict=True):
        assert isinstance(node, ast.AnnAssign) and "  # " in line, f"{line!r}: name: type = literal  # unit or options"
        given[node.target.id] = ast.literal_eval(node.value)
    assert {name: given[name] for name in COMMON if name in given} == COMMON


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_committed_clean(path):
    book = json.loads(path.read_text())
    assert book["metadata"]["kernelspec"]["name"] == "python3" and "papermill" not in book["metadata"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in _cells(path))
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])


def _bounds(requirement: str) -> tuple[str, str]:
    name, bounds = re.match(r"([\w.-]+)(?:\[.*\])?(.*)", requirement.replace(" ", "")).groups()
    same = {
        "pytorch": "torch",
        "matplotlib-base": "matplotlib",
        "seaborn-base": "seaborn",
        "nbconvert-core": "nbconvert",
    }
    name = name.lower().replace("_", "-")
    return same.get(name, name), bounds


def test_environment_and_pyproject_are_in_step():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    conda = {*listed[:-1], *pip} - {"pip", "-e ."}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {_bounds(r) for r in project["dependencies"]} | {("python", project["requires-python"])}
    assert {_bounds(entry) for entry in conda} == wanted


def test_constraints_pin_what_the_project_asks_for_without_local_labels():
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [r for group in project["optional-dependencies"].values() for r in group]
    assert {_bounds(r)[0] for r in project["dependencies"] + extras} <= pinned
    assert "torch==2.13.0" in lines and not any("+" in line for line in lines)


def test_the_readme_names_the_commands_to_begin_with():
    readme = (ROOT / "README.md").read_text()
    assert "make workbook" in readme and "make test" in readme
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert all(page.name in readme for page in PAGES[1:]), "a page of docs that the README does not point to"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_gives_commands_that_exist(page):
    text, makefile = page.read_text(), (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target} is in {page.name} but not in the Makefile"
    declared = parameters.inspect(ROOT / "notebooks" / "02_steering_embeddings.ipynb")
    for line in re.findall(r"python -m helpers [^\n`]+", text):
        _check_command(line.split()[3:], page.name, declared)
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", text) + re.findall(r'src="(?!http)([^"]+)"', text):
        assert (page.parent / path).exists(), f"{page.name} points to {path}, which is not there"


def _check_command(words: list[str], page: str, declared: dict) -> None:
    """The command, its notebook, its options and its parameters are there."""
    group = typer.main.get_command(command_line.app)
    assert words[0] in group.commands, f"{page} has `python -m helpers {words[0]}`, which is no command"
    there = {name for option in group.commands[words[0]].params for name in option.opts}
    used = list(itertools.takewhile(lambda word: word != "#", words[1:]))
    assert {word for word in used if word.startswith("-")} <= there, f"{page} has options that {words[0]} does not take"
    for before, word in zip(words, used):
        if before == "run" and re.match(r"\d\d_", word):
            declared = parameters.inspect(ROOT / "notebooks" / f"{word}.ipynb")
        if before == "-p":
            name = word.partition("=")[0]
            assert name == "NAME" or name in declared, f"{page}: {words[1]} has no parameter {name}"


def test_no_file_names_a_place_outside_the_project():
    for path in [*MODULES, *NOTEBOOKS, *PLAIN, *ROOT.glob("tests/**/*.py")]:
        for place in ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/"):
            assert place not in path.read_text(), f"{path.name} names {place}"


def test_the_citation_can_be_read():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license", "version", "references"} <= set(cited)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    for entry in [cited, *cited["references"]]:
        assert entry["type"] and entry["title"] and entry["authors"]
        assert all("name" in author or {"family-names", "given-names"} <= set(author) for author in entry["authors"])
    studies = [entry for entry in cited["references"] if entry["type"] == "conference-paper"]
    assert len(studies) == 3 and all(entry["doi"].startswith("10.18653/v1/2025.") for entry in studies)


def test_binder_builds_what_the_project_asks_for():
    listed = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text())["dependencies"]
    build, script = ROOT / "binder" / "postBuild", (ROOT / "binder" / "postBuild").read_text()
    assert "python=3.11" in listed and os.access(build, os.X_OK) and script.startswith("#!/bin/bash")
    torch = next(line for line in (ROOT / "constraints.txt").read_text().split() if line.startswith("torch=="))
    assert f"/whl/cpu {torch}" in script and "--constraint constraints.txt --editable ." in script
    for notebook in re.findall(r"notebooks/\w+\.ipynb", script):
        assert (ROOT / notebook).exists()
    _check_command(re.search(r"python -m helpers (.+)", script)[1].split(), "postBuild", {})


def test_every_figure_is_shown_with_what_it_says():
    text = (ROOT / "figures" / "README.md").read_text()
    told = dict(re.findall(r'<img src="([^"]+)\.png" width="760" alt="([^"]+)">', text))
    assert sorted(told) == sorted(path.stem for path in (ROOT / "figures").glob("*.png"))
    assert all(len(alt.split()) >= 6 for alt in told.values())
