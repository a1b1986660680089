"""Each line of the doctor says how things stand and, where they fall short, what to do."""

import importlib.util
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from helpers.corpora import loading
from helpers.running import cli as command_line
from helpers.running import doctor

TOPICS = "packages extras threads memory accelerator disk caches fonts hub corpora".split()  # noqa: SIM905


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Data of the test's own, and an empty cache of the hub."""
    for module in (doctor, loading):
        monkeypatch.setattr(module, "DATA", tmp_path / "data")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def look(what: str) -> tuple[str, str, str]:
    """Verdict, what was found and the advice on one topic."""
    return getattr(doctor, f"_{what}")()


def test_every_line_that_is_not_ok_says_what_to_do():
    table = doctor.examine()
    assert table.what.tolist() == TOPICS
    assert set(table.verdict) <= {"ok", "note", "wrong"}
    assert table.advice[table.verdict != "ok"].str.len().gt(10).all()


def test_the_command_prints_them_and_its_exit_code_tells(monkeypatch):
    outcome = CliRunner().invoke(command_line.app, ["doctor"])
    assert [line.split()[1].rstrip(":") for line in outcome.stdout.splitlines() if not line.startswith(" ")] == TOPICS
    assert outcome.exit_code == int("wrong" in outcome.stdout)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    outcome = CliRunner().invoke(command_line.app, ["doctor"])
    assert outcome.exit_code == 1
    assert "wrong disk: 1 MiB free" in outcome.stdout and "ISOGLOSS_HOME" in outcome.stdout


def test_packages_are_held_against_the_constraints(monkeypatch):
    pinned = {
        doctor._plain(name): version for name, version in doctor._pinned(doctor.HOUSE / "constraints.txt").items()
    }
    assert pinned["huggingface-hub"] and pinned["torch"]
    monkeypatch.setattr(doctor, "_version", lambda name: pinned.get(doctor._plain(name), "1"))
    assert look("packages")[0] == "ok"
    monkeypatch.setattr(
        doctor, "_version", lambda name: "1" if name == "scipy" else pinned.get(doctor._plain(name), "1")
    )
    assert f"scipy 1 (tested: {pinned['scipy']})" in look("packages")[1]
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name == "scipy" else "1")
    assert look("packages")[:2] == ("wrong", "missing: scipy")


def test_more_threads_than_cores_and_a_torch_without_cuda_are_noted(monkeypatch, place):
    monkeypatch.setenv("OMP_NUM_THREADS", "10000")
    assert look("threads")[0] == "note" and "export OMP_NUM_THREADS=" in look("threads")[2]
    (place / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA A100, 40960 MiB'\n")
    (place / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=":")
    (place / "version.py").write_text("cuda: Optional[str] = None\n")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: SimpleNamespace(origin=str(place / "__init__.py")))
    assert look("accelerator")[0] == "wrong" and "NVIDIA A100" in look("accelerator")[1]
    (place / "version.py").write_text("cuda: Optional[str] = '12.8'\n")
    assert look("accelerator") == ("ok", "NVIDIA A100, 40960 MiB", "")


@pytest.mark.slow
def test_looking_loads_no_torch():
    check = "import sys; from helpers.running import doctor; doctor.examine(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout.strip() == "False"


def test_hub_access_and_caches_are_told(monkeypatch, place):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert look("hub")[1] == "off (HF_HUB_OFFLINE)" and "prefetch" in look("hub")[2]
    (place / "data" / "cache").mkdir(parents=True)
    (place / "data" / "cache" / "a").write_bytes(bytes(3 * 2**20))
    assert "cache 3 MiB" in look("caches")[1]


def test_scripts_without_a_font_are_named(monkeypatch):
    from matplotlib import font_manager

    dejavu = [font for font in font_manager.fontManager.ttflist if font.name == "DejaVu Sans"][:1]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", dejavu)
    verdict, found, advice = look("fonts")
    assert verdict == "note" and "Japanese" in found and "Greek" not in found and "Noto" in advice
