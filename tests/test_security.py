"""What must never be in the sources, and what must never leave the environment."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from homes import home, write_sweep

from helpers.running import report, sweep

__all__ = ["home"]
ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for folder in ("helpers", "tests") for path in (ROOT / folder).rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
REFUSED = {
    "yaml.load",
    "yaml.full_load",
    "yaml.unsafe_load",
    "pd.read_pickle",
    "torch.save",
    "os.system",
    "eval",
    "exec",
}
OPTIONS = {"allow_pickle": True, "weights_only": False, "trust_remote_code": True, "shell": True}


def code(path: Path) -> str:
    """The Python of a module or of a notebook."""
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(re.sub(r"^[%!].*$", "", cell.source, flags=re.M) for cell in cells if cell.cell_type == "code")


def dangers(text: str) -> list[str]:
    """What a source imports, calls or switches on that could run foreign code."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(name.name for name in node.names)]
            found += [name for name in names if name.split(".")[0] in PICKLERS]
        elif isinstance(node, ast.Call):
            called = node.func
            name = ast.unparse(called)
            found += [name] if name in REFUSED else []
            for option in node.keywords:
                if isinstance(option.value, ast.Constant) and option.value.value is OPTIONS.get(option.arg, ...):
                    found.append(f"{option.arg}={option.value.value}")
    return found


@pytest.mark.parametrize("path", [*SOURCES, *NOTEBOOKS], ids=lambda path: path.name)
def test_nothing_is_pickled_and_no_foreign_code_is_run(path):
    allowed = {  # what names pickle's error, and what writes the files that must be refused
        "convert.py": {"pickle"},
        "test_convert.py": {"torch.save"},
        "test_models.py": {"torch.save"},
    }
    assert set(dangers(code(path))) <= allowed.get(path.name, set())


def test_the_search_finds_what_it_looks_for():
    text = "import pickle\nfrom joblib import load\nyaml.load(x)\nf(allow_pickle=True)\neval('1')\ntorch.save(a, b)"
    assert dangers(text) == ["pickle", "joblib", "yaml.load", "allow_pickle=True", "eval", "torch.save"]


def test_jupyterlab_keeps_its_token_and_listens_here_alone():
    texts = {path: path.read_text() for path in (ROOT / "Makefile", ROOT / "README.md", *ROOT.glob("docs/*.md"))}
    for path, text in texts.items():
        assert not re.search(r"token=(''|\"\"|\s|$)|--ip=(0\.0\.0\.0|\*)|--allow-root|disable_check_xsrf", text), path
    assert "--ip=127.0.0.1" in texts[ROOT / "Makefile"]


@pytest.mark.slow
def test_a_token_of_the_environment_is_in_no_file_that_a_sweep_or_report_writes(home, monkeypatch):
    secret = "hf_" + "q7Zx" * 9
    monkeypatch.setenv("HF_TOKEN", secret)
    monkeypatch.setattr(report, "DATA", home / "data")
    sweep.execute(write_sweep(home, grid={"mode": ["ok", "raise"]}))
    report.write("small")
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path.name for path in files if secret.encode() in path.read_bytes()]


def test_no_source_holds_a_token():
    token = re.compile(
        r"\b(hf_[A-Za-z]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|sk-[A-Za-z0-9]{30,}|AKIA[A-Z0-9]{16})\b"
    )
    for path in [*SOURCES, *NOTEBOOKS, *ROOT.glob("*.[mty]*"), *ROOT.glob("notebooks/sweeps/*")]:
        assert not token.search(path.read_text(encoding="utf-8")), f"{path.name} holds what looks like a token"
