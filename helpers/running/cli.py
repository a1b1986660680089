"""The command line: `python -m helpers run | workbook | figures | sweep | report | doctor | fetch | prefetch | ...`.

Exit codes: 0 all well, 1 the work failed, 2 the command, a parameter or a file that it names was wrong. Each command
imports what it needs, so that `--help` answers at once.
"""

import os
from pathlib import Path

try:
    import typer
except ModuleNotFoundError as error:
    raise SystemExit(f"{error}: not set up in this Python; after make workbook: source .venv/bin/activate") from None


class _Commands(typer.core.TyperGroup):
    """Commands whose errors are one message on stderr."""

    def invoke(self, context: typer.Context) -> object:
        """What the command returns; exit code 2 for what the user wrote, 1 for what failed."""
        try:
            return super().invoke(context)
        except typer.Exit:
            raise
        except (ValueError, LookupError) as error:
            told, code = error.args[0] if error.args else repr(error), 2
        except (RuntimeError, OSError, ImportError) as error:
            told, code = error, 1
        except KeyboardInterrupt:
            told, code = "stopped; what had completed is kept", 130
        typer.echo(told, err=True)
        raise typer.Exit(code)


_PLAIN = {"add_completion": False, "pretty_exceptions_enable": False, "no_args_is_help": True}
app = typer.Typer(cls=_Commands, help=__doc__.splitlines()[0], **_PLAIN)


def _close(table, facts: str) -> None:
    """Print what failed, then the facts; exit code 1 unless every run of the table is complete."""
    for row in table[table.status == "failed"].itertuples():
        typer.echo(f"\n{row.notebook} {row.run}: {row.error}", err=True)
    typer.echo(f"\n{facts}")
    raise typer.Exit(int(not table.status.isin(["completed", "skipped"]).all()))


@app.command()
def run(
    name: str = typer.Argument(help="a notebook's name, such as 01_expert_discovery, or its path"),
    parameters: list[str] = typer.Option([], "-p", help="name=value; lists as a,b,c or JSON"),
    output: Path | None = typer.Option(None, help="executed notebook; default: in the run's folder of data/results"),
    force: bool = typer.Option(False, "--force", help="run again although the same run is complete"),
) -> None:
    """Execute one notebook headless with checked parameters."""
    from helpers.common import progress
    from helpers.running import runner
    from helpers.running.parameters import inspect, read_options

    progress.tell()
    values = read_options(inspect(runner.resolve(name)), parameters)
    result = runner.notebook(name, values, output=output, force=force)
    typer.echo(f"{result.notebook} {result.status} in {result.seconds:.1f} s: {result.output}")


@app.command()
def workbook(
    force: bool = typer.Option(False, "--force", help="run again what is complete"),
    workers: int = typer.Option(2, min=1, help="notebooks at a time, where none reads what the other writes"),
    dry_run: bool = typer.Option(False, "--dry-run", help="print the table of runs, start none"),
) -> None:
    """Execute every notebook with its defaults, and close with a table."""
    from helpers.common import progress
    from helpers.running import sweep as sweeps

    if dry_run:
        return typer.echo(sweeps.status(sweeps.plan_workbook()).to_string(index=False))
    progress.tell()
    table = sweeps.execute_workbook(force=force, workers=workers)
    _close(table, table[["notebook", "seconds", "status"]].to_string(index=False))


@app.command()
def figures() -> None:
    """Copy the figures of the latest default runs to figures/, which the README shows."""
    from helpers import FIGURES
    from helpers.running import records

    typer.echo(f"{len(records.show_figures(FIGURES))} figures are in {FIGURES}")


@app.command()
def sweep(
    file: str = typer.Argument(help="a sweep's YAML file, or its name in notebooks/sweeps"),
    dry_run: bool = typer.Option(False, "--dry-run", help="check everything, print the table of runs, start none"),
    retry_failed: bool = typer.Option(False, "--retry-failed", help="run again what failed before"),
    workers: int = typer.Option(1, help="runs at a time on this machine"),
    threads: int = typer.Option(1, help="threads of each run; results may differ in the last bits between counts"),
    cluster: Path | None = typer.Option(None, help="a profile in YAML: several workers, SLURM, PBS or LSF, GPUs"),
    job_script: bool = typer.Option(False, "--job-script", help="print the script each job of --cluster would be"),
) -> None:
    """Run notebooks over a grid of parameters; what is complete is not run again."""
    from helpers.common import progress
    from helpers.running import executors, grids, records
    from helpers.running import sweep as sweeps

    given = grids.read(cluster, executors.PROFILE) if cluster else {"workers": workers, "cores": threads}
    profile = executors.check(given)
    if job_script:
        return typer.echo(executors.job_script(profile))
    if dry_run:
        return typer.echo(sweeps.status(sweeps.plan(file)).to_string(index=False))
    progress.tell()
    table = sweeps.execute(file, profile, retry_failed=retry_failed)
    counts = ", ".join(f"{count} {status}" for status, count in table.status.value_counts().items())
    _close(table, f"{counts}; manifest and records: {records.home(Path(file).stem)}")


@app.command()
def summary(
    name: str = typer.Argument(help="a sweep that has run"),
    table: str = typer.Argument(help="a table that its runs wrote, such as steering.parquet"),
    keys: str = typer.Option(help="columns of the summary, such as units,k,layer,metric"),
    value: str = typer.Option(help="the column to average"),
    over: str = typer.Option("model", help="the column whose groups are independent, such as trainings"),
    contrast: str = typer.Option("", help="a key whose first level is also set against each other level"),
) -> None:
    """Write means and intervals over a sweep's runs beside its YAML file, with their provenance."""
    from helpers import ROOT
    from helpers.running import records

    options = {"value": value, "over": over, "contrast": contrast, "folder": ROOT / "notebooks" / "sweeps"}
    typer.echo(records.write_summary(name, table, keys.split(","), **options))


@app.command()
def report(
    what: str = typer.Argument("", help="a sweep's name or a run's id; default: the workbook"),
    out: Path | None = typer.Option(None, help="the folder to write; default: in data/results/reports"),
) -> None:
    """Write a folder of pages, figures and executed notebooks that opens from disk."""
    from helpers.running import report as reports

    typer.echo(reports.write(what, out))


@app.command()
def doctor() -> None:
    """Look at this machine and this installation; each line says what to do."""
    from helpers.running import doctor as doctors

    table = doctors.examine()
    for row in table.itertuples():
        typer.echo(f"{row.verdict:5} {row.what}: {row.found}" + (f"\n      {row.advice}" if row.advice else ""))
    raise typer.Exit(int((table.verdict == "wrong").any()))


@app.command()
def fetch(
    name: str = typer.Argument(help="sib200, pud or tatoeba"),
    languages: str = typer.Option("", help="such as deu_Latn,fra_Latn; default: all"),
    folder: Path | None = typer.Option(None, help="where to; default: data/sources"),
) -> None:
    """Download a corpus against its checksums."""
    from helpers import corpora

    files = corpora.fetch(name, [code for code in languages.split(",") if code] or None, folder=folder)
    typer.echo(f"{len(files)} files of {name} are in {os.path.commonpath([file.parent for file in files])}")


@app.command()
def prefetch(
    model: str = typer.Argument(help="a hub id, such as bigscience/bloom-560m"),
    revision: str = typer.Option("", help="branch, tag or commit; default: main"),
) -> None:
    """Download a model once; everything after works offline."""
    from helpers import models

    typer.echo(models.prefetch(model, revision))


@app.command()
def pretrain(
    names: list[str] = typer.Argument(None, help="mini models, such as mini-seed1; default: the two that are shipped"),
) -> None:
    """Train mini models on the world: the shipped ones anew into data/models, others into the cache unless there."""
    from helpers.world import mini

    shipped = ("mini", "mini-encoder")
    for name in names or shipped:
        typer.echo(mini.pretrain(name) if name in shipped else mini.ensure(name))


@app.command()
def fold(
    run: str = typer.Argument(help="the id of a run of notebook 02, such as 02-7f9b963780bc"),
    edit: str = typer.Argument(help="the name of one of its edits, such as 'overwrite k=20'"),
    folder: Path = typer.Argument(help="the model folder to write"),
    strength: float = typer.Option(1.0, help="1 is the edit in full"),
) -> None:
    """Write a steered model as an ordinary model folder, the edit held in its weights."""
    from helpers import DATA
    from helpers.common import lookup, results
    from helpers.models import loading
    from helpers.steering import hooks

    runs = {path.parent.name: path.parent for path in DATA.glob(f"results/*/*/*/{results.MARKER}")}
    place = runs[lookup.known(run, [name for name in runs if name.startswith("02")], "completed run of notebook 02")]
    given, plans = results.read_marker(place)["parameters"], hooks.load(place / "edits.safetensors")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds {len(list(folder.iterdir()))} files already; name a new folder")
    lm = loading.load(given["model"], given["revision"], dtype=given["dtype"], device="cpu")
    made = hooks.folded(lm, plans[lookup.known(edit, plans, "edit of this run")], strength)
    made.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    typer.echo(f"{given['model']} with {edit} at strength {strength:g} is in {folder}")


@app.command()
def convert(
    file: Path = typer.Argument(help="a .pt file of weights"),
    out: Path = typer.Argument(help="the folder to write, safetensors"),
    config: Path | None = typer.Option(None, help="a config.json, or a folder with one, to copy beside the weights"),
    tokenizer: Path | None = typer.Option(None, help="a tokenizer's folder to copy; default: that of --config"),
) -> None:
    """Turn a pickled checkpoint into a folder of safetensors, in a process of its own."""
    from helpers.models import convert as converter

    typer.echo(converter.convert(file, out, config=config, tokenizer=tokenizer))
