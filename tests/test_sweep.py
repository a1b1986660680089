"""Sweeps are checked whole before they start; each run is on record, and none that is complete runs again."""

import json
from pathlib import Path

import pytest
from homes import home, log, record, write_notebook, write_sweep
from typer.testing import CliRunner

from helpers import HOUSE
from helpers.common import store
from helpers.running import cli as command_line
from helpers.running import records, runner, sweep

pytestmark = pytest.mark.slow

__all__ = ["home"]
BOTH = ["01_expert_discovery", "02_steering"]


def invoke(*arguments: object):
    return CliRunner().invoke(command_line.app, ["sweep", *map(str, arguments)])


def test_a_plan_goes_point_by_point_and_gives_each_notebook_what_it_declares(home):
    write_notebook(home, "00_start", 'model: str = "none"\n')
    path = write_sweep(home, notebooks=["00_start", *BOTH], defaults={"strength": 2}, grid={"k": [1, 2]})
    rows = sweep.plan(path)
    assert [row["notebook"] for row in rows] == ["00_start", *BOTH, *BOTH]
    assert rows[0]["given"] == {}
    assert rows[1]["given"] == {"interactive": False, "strength": 2.0, "k": 1}
    assert rows[1]["needs"] == [rows[0]["run"]]
    assert rows[4]["given"]["experts_run"] == rows[3]["run"]
    assert rows[4]["needs"] == [rows[0]["run"], rows[3]["run"]]
    assert len({row["run"] for row in rows}) == 5


def test_what_has_completed_needs_its_corpus_no_more(home, monkeypatch):
    (home / "own.csv").write_text("language,sentence,text,split\nA1,1,ka,test\n")
    path = write_sweep(home, defaults={"corpus": "csv:own.csv"})
    assert len(sweep.plan(path)) == 1
    (home / "own.csv").unlink()
    runner._refuse_corpus.cache_clear()
    with pytest.raises(LookupError, match="small.yaml: 'csv:.*own.csv' names no file"):
        sweep.plan(path)
    monkeypatch.setattr(runner, "is_complete", lambda planned: True)
    assert len(sweep.plan(path)) == 1


def test_the_dry_run_prints_what_varies_and_starts_nothing(home):
    write_sweep(home, defaults={"strength": 0.5}, grid={"language": ["A1", "no"], "languages": [["A1"], ["B2", "C3"]]})
    outcome = invoke("small", "--dry-run")
    assert outcome.exit_code == 0
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["run", "notebook", "status", "language", "languages"]
    assert len(lines) == 5
    assert "planned" in lines[4] and "[B2, C3]" in lines[4]
    assert not (home / "data" / "results").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("grid: {language: [true]}", "'language' is str, not True: Input should be a valid string; put a text"),
        ("grid: {k: [007]}", "'k' is int, not '007'"),
        ("grid: {language: [7]}", "'language' is str, not 7: Input should be a valid string; put a text in quotes"),
        ("grid: {languages: [A1, B2]}", "'languages' is list, not 'A1': Input should be a valid list; put a text"),
        ("grid: {strength: [.nan]}", "'strength' is float, not nan: Input should be a finite number"),
        ("grid: {k: [0]}", "'k' is int, not 0: Input should be greater than 0"),
        ("grid: {langage: [A1]}", "'langage'; did you mean language"),
        ("grid: {k: [2026-01-01]}", "'k' is int, not '2026-01-01'"),
        ("include: [{language: hf_abcdefghijklmnopqrstuv}]", "looks like an access token"),
        ("notebooks: [01_expert]", "no notebook '01_expert'; did you mean 01_expert_discovery"),
        ("notebooks: []", "no notebooks"),
        ("grid: {languages: [[A1, Z9]]}", "language of world 'Z9'"),
    ],
)
def test_every_value_is_checked_before_anything_starts(home, text, told):
    path = home / "wrong.yaml"
    path.write_text(text if "notebooks" in text else f"notebooks: [01_expert_discovery]\n{text}\n")
    outcome = invoke(path)
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("wrong.yaml: ") and told in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert not (home / "data").exists()


def test_failures_are_on_record_block_what_needs_them_and_are_retried_on_request(home, monkeypatch):
    write_sweep(home, notebooks=BOTH, grid={"mode": ["raise", "ok"]})
    outcome = invoke("small")
    assert outcome.exit_code == 1
    assert "ValueError: no such thing" in outcome.stderr
    assert "2 completed, 1 failed, 1 blocked" in outcome.stdout
    assert len(log(home)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(runner, "perform", lambda *_, **__: pytest.fail("started again"))
        table = sweep.execute("small")
    assert table.status.tolist() == ["failed", "blocked", "completed", "completed"]
    assert table.attempts.tolist() == [1, 0, 1, 1]
    (home / "mended").touch()
    outcome = invoke("small", "--retry-failed")
    assert (outcome.exit_code, outcome.stdout.split(";")[0].strip()) == (0, "4 completed")
    assert len(log(home)) == 2
    _check_manifest(home)


def _check_manifest(home: Path) -> None:
    """One row a run, with all that is asked of it, on disk and as gathered results."""
    table = store.read_table(home / "data/results/sweeps/small/manifest.parquet")
    assert list(table) == list(records.COLUMNS)
    assert table.attempts.tolist() == [2, 1, 1, 1]
    assert not table.duplicated("run").any()
    first = table.iloc[0]
    assert json.loads(first.parameters)["mode"] == "raise"
    assert json.loads(first.versions)["numpy"]
    assert first.seconds > 0 and first.started.endswith("Z") and first.error == ""
    assert first.outputs == "01_expert_discovery.ipynb, experts.parquet"
    assert table.reads.tolist() == ["", table.run[0], "", table.run[2]]
    gathered = records.gather("small", "steering.parquet")
    assert list(gathered) == ["run", "mode", "experts_run", "unit", "value"]
    assert gathered["mode"].tolist() == ["raise"] * 2 + ["ok"] * 2


def test_a_run_that_another_command_completed_is_taken_over(home):
    path = write_sweep(home)
    done = runner.notebook("01_expert_discovery")
    table = sweep.execute(path)
    assert table.run.tolist() == [done.run]
    assert table.attempts.tolist() == [0] and table.seconds[0] > 0
    assert len(log(home)) == 1


def test_a_run_that_read_the_result_of_another_point_is_no_result(home):
    path = write_sweep(home, notebooks=BOTH, grid={"k": [1, 2]})
    own, other = (row["run"] for row in sweep.plan(path) if row["notebook"] == BOTH[0])
    row = sweep.plan(path)[1]
    marker = store.describe(row["parameters"]) | {"seconds": 1.0, "started": 0.0, "completed": 1.0}
    for read, status in ((own, "completed"), (other, "failed"), ("00-0123", "completed")):
        entry = {"query": {}, "path": f"somewhere/{read}/experts.parquet", "completed": 0}
        store.write_json(Path(row["folder"], "run.json"), marker | {"inputs": [entry]})
        assert records.completed(row) == status
    store.write_json(Path(row["folder"], "run.json"), marker | {"inputs": [entry | {"path": f"x/{other}/y"}]})
    records.completed(row)
    assert f"read {other}, the latest, and not {own}" in record(home, k=1)["error"]


def test_an_unknown_sweep_or_result_is_told(home):
    write_sweep(home)
    with pytest.raises(LookupError, match="no sweep that was started 'smal'"):
        records.manifest("smal")
    store.write_json(records.home("small") / "sweep.json", {"runs": []})
    with pytest.raises(LookupError, match="no completed run of sweep 'small' has 'experts.parquet'"):
        records.gather("small", "experts.parquet")


@pytest.mark.parametrize(("arguments", "told"), [(["smal"], "no file"), (["small", "--workers", "0"], "0 workers")])
def test_the_command_line_exits_with_2_for_what_the_user_wrote(home, arguments, told):
    write_sweep(home)
    outcome = invoke(*arguments)
    assert outcome.exit_code == 2
    assert told in outcome.stderr


OWN = sorted((HOUSE / "notebooks" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_the_projects_own_sweeps_pass_every_check(path):
    runs = [row["run"] for row in sweep.plan(path)]
    assert runs and len(set(runs)) == len(runs)
