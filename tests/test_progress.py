"""A person sees one bar at a time; a headless run leaves none behind."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr

import pytest

from helpers.common.progress import progress
from helpers.running import runner


@pytest.fixture
def screen(monkeypatch):
    """What a person watches, once stderr is redirected to it."""
    monkeypatch.delenv("ISOGLOSS_RUN", raising=False)
    watched = io.StringIO()
    watched.isatty = lambda: True
    return watched


def test_a_person_sees_one_bar_and_none_inside_it(screen):
    with redirect_stderr(screen):
        for _ in progress(range(2), "outer"):
            assert list(progress(range(3), "inner")) == [0, 1, 2]
        assert "outer" in screen.getvalue() and "inner" not in screen.getvalue()
        with progress(None, "after", 4, done=1) as bar:
            bar.update(3)
    assert "after" in screen.getvalue() and "1/4" in screen.getvalue()


def test_a_bar_that_was_left_half_way_hides_no_later_one(screen):
    with redirect_stderr(screen):
        with pytest.raises(ZeroDivisionError):
            for i in progress(range(2), "first"):
                1 / i
        list(progress(range(2), "second"))
    assert "second" in screen.getvalue()


def test_a_headless_run_shows_none(screen, monkeypatch, capsys):
    monkeypatch.setenv("ISOGLOSS_RUN", "02-abc")
    with redirect_stderr(screen):
        assert list(progress(range(3), "label")) == [0, 1, 2]
        with progress(total=5) as bar:
            bar.update(5)
    assert screen.getvalue() == "" and capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_transformers_shows_none_in_a_headless_run(tmp_path):
    told = runner._environment({"run": "02-abc", "folder": tmp_path}, tmp_path)
    code = "from transformers.utils import logging; print(logging.is_progress_bar_enabled())"
    shown = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **more}).stdout
        for more in ({}, told)
    ]
    assert shown == ["True\n", "False\n"]
