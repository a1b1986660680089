"""The house rules: floors, notebooks, dependencies in step, and a README whose commands exist."""

import ast
import fnmatch
import importlib
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from statistics import median

import pytest
import typer
import yaml

from helpers.running import cli as command_line
from helpers.running import parameters

ROOT = Path(__file__).resolve().parents[1]
BELOW = ["common", "models", "world", "corpora", "embeddings"]
ROOMS = {  # a room, and the rooms that it may import
    "common": [],
    "drawing": [],
    "models": ["common"],
    "world": ["common", "models"],
    "corpora": ["common", "world"],
    "embeddings": ["common", "models"],
    "steering": BELOW,
    "abx": [*BELOW, "steering"],
    "transfer": BELOW,
    "synthesis": [*BELOW, "steering", "abx", "transfer"],
    "exploring": [*BELOW, "steering", "drawing"],
    "running": ["common", "models", "world", "corpora", "steering"],
}
MODULES = sorted((ROOT / "helpers").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "figures" / "README.md"]
PLAIN = [*ROOT.glob("*.md"), *PAGES[1:], ROOT / "Makefile", ROOT / "CITATION.cff", *ROOT.glob("binder/*")]
COMMON = dict(
    model="mini", revision="", corpus="world", languages=[], seed=0, dtype="auto", device="auto", interactive=True
)


def _imports(text: str) -> list[tuple[str, ...]]:
    """The parts below `helpers` of all that a source imports, at any depth: ("steering", "hooks", "Edit")."""
    found = []
    for node in ast.walk(ast.parse(text)):
        names = [name.name for name in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute, so that they can be read"
            names = [f"{node.module}.{name}" for name in names]
        found += [tuple(name.split(".")[1:]) for name in names if name.startswith("helpers.")]
    return found


def _room(path: Path) -> str:
    return path.relative_to(ROOT / "helpers").parts[0]


def _cells(path: Path, kind: str = "code") -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def _source(cell: dict) -> str:
    return "".join(cell["source"])


def _code(path: Path) -> list[str]:
    """The Python of a notebook's cells, without magics."""
    return [re.sub(r"^[%!].*$", "", _source(cell), flags=re.M) for cell in _cells(path)]


def test_the_folder_is_the_table_of_contents():
    folders = {path.name for path in (ROOT / "helpers").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {*ROOMS}, "a room without its arrows, or arrows without a room"
    assert {path.name for path in (ROOT / "helpers").glob("*.py")} == {"__init__.py", "__main__.py"}
    assert len(MODULES) > 50, "modules are found at any depth"
    readme = (ROOT / "README.md").read_text()
    assert all(f"`{room}`" in readme for room in ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_between_rooms_run_one_way(room):
    for path in (ROOT / "helpers" / room).rglob("*.py"):
        rooms = {found[0] for found in _imports(path.read_text())} & {*ROOMS}
        assert rooms <= {room, *ROOMS[room]}, f"{path.name} imports from {rooms - {room, *ROOMS[room]}}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_face(room):
    face = importlib.import_module(f"helpers.{room}")
    inside = {path.stem for path in (ROOT / "helpers" / room).iterdir()}
    assert 2 <= len(face.__doc__.strip().splitlines()) <= 12
    assert face.__all__ and not inside & {*face.__all__}, "a name of the face would be hidden by a module of the room"
    assert {*face.__all__} <= {*dir(face)}
    for name in face.__all__:
        assert getattr(face, name) is not None


def test_the_faces_can_be_held_in_the_head():
    assert sum(len(importlib.import_module(f"helpers.{room}").__all__) for room in ROOMS) <= 120


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_imports_rooms_and_uses_what_their_faces_offer(path):
    code = "\n".join(_code(path))
    imported = _imports(code)
    assert all(len(parts) == 1 and parts[0] in ROOMS for parts in imported), imported
    rooms = {room for (room,) in imported}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in rooms:
            face = importlib.import_module(f"helpers.{node.value.id}")
            assert node.attr in face.__all__, f"{node.value.id}.{node.attr} is not on the face of its room"


def test_importing_every_face_loads_nothing_heavy():
    lines = [f"import helpers.{room}" for room in ROOMS]
    check = "import sys; print(sorted({'torch', 'transformers', 'pandas', 'matplotlib'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", "; ".join([*lines, check])], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def _nodes(path: Path) -> int:
    return sum(1 for _ in ast.walk(ast.parse(path.read_text())))


def test_the_package_is_thin():
    lines = {path: path.read_text().splitlines() for path in MODULES}
    filled = sum(bool(line.strip()) for text in lines.values() for line in text)
    running = sum(len(text) for path, text in lines.items() if _room(path) == "running")
    nodes = sum(map(_nodes, MODULES))
    assert sum(map(len, lines.values())) <= 11_920 and running <= 1_650, "what is added makes room for itself"
    assert nodes <= 119_500 and nodes / filled <= 12.45, "few lines, and not packed ones"


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
    saved = json.loads(path.read_text())["cells"]
    assert all(list(cell) == sorted(cell) for cell in saved), "a run would show in git as a change"
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


COMMANDS = {"jupyterlab", "jupyter-server", "ipykernel", "nbstripout"}  # started, never imported


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own, extras = (
        {_bounds(r)[0] for r in listed}
        for listed in (project["dependencies"], itertools.chain(*project["optional-dependencies"].values()))
    )
    homes = {
        module: {name.lower().replace("_", "-") for name in names} for module, names in packages_distributions().items()
    }
    found = {"helpers": set(), "tests": set()}
    for path in [*MODULES, *NOTEBOOKS, *ROOT.glob("tests/**/*.py")]:
        text = path.read_text() if path.suffix == ".py" else "\n".join(_code(path))
        kind = "tests" if "tests" in path.parts else "helpers"
        for node in ast.walk(ast.parse(text)):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names = [node.module] if isinstance(node, ast.ImportFrom) else names
            found[kind] |= {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"helpers"}
    local = {path.stem for path in ROOT.glob("tests/*.py")}
    imported = {
        kind: set().union(*(homes.get(name, {name}) for name in names - local)) for kind, names in found.items()
    }
    assert imported["helpers"] <= own | extras, f"not declared: {imported['helpers'] - own - extras}"
    assert own <= imported["helpers"] | COMMANDS, f"declared and never imported: {own - imported['helpers'] - COMMANDS}"
    assert imported["tests"] <= own | extras, f"not declared: {imported['tests'] - own - extras}"


def test_a_wheel_holds_every_room_and_the_pages_of_a_report():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["packages"]["find"]["include"]
    assert patterns == ["helpers*"], "data, the shipped models among them, are read from the checkout"
    assert all(fnmatch.fnmatch(f"helpers.{room}", pattern) for room in ROOMS for pattern in patterns)
    assert all((ROOT / "helpers" / room / "__init__.py").exists() for room in ROOMS)
    beside = {path for path in (ROOT / "helpers").rglob("*.*") if path.suffix not in (".py", ".pyc", ".nbi", ".nbc")}
    kept = {
        path
        for room, globs in settings["package-data"].items()
        for glob in globs
        for path in (ROOT / room.replace(".", "/")).glob(glob)
    }
    assert beside == kept


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
