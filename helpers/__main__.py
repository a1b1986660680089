"""The command line: `python -m helpers run | workbook | fetch | prefetch | pretrain | convert`.

Exit codes: 0 all well, 1 the work failed, 2 the command or a parameter was wrong. Each command imports what it needs,
so that `--help` answers at once.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

app = typer.Typer(
    help=__doc__.splitlines()[0], add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True
)


@app.command()
def run(
    name: str = typer.Argument(help="a notebook's name, such as 01_expert_discovery, or its path"),
    parameters: list[str] = typer.Option([], "-p", help="name=value; lists as a,b,c or JSON"),
    output: Path | None = typer.Option(None, help="executed notebook; default: in the run's folder of data/results"),
    force: bool = typer.Option(False, "--force", help="run again although the same run is complete"),
) -> None:
    """Execute one notebook headless with checked parameters."""
    with _readable():
        from helpers import run as runner
        from helpers.parameters import inspect, read_options

        values = read_options(inspect(runner.resolve(name)), parameters)
        result = runner.notebook(name, values, output=output, force=force)
        typer.echo(f"{result.notebook} {result.status} in {result.seconds:.1f} s: {result.output}")


@app.command()
def workbook(force: bool = typer.Option(False, "--force", help="run again what is complete")) -> None:
    """Execute every notebook in order with its defaults, and close with a table."""
    with _readable():
        from helpers import run as runner

        logging.basicConfig(format="%(message)s")
        logging.getLogger("helpers").setLevel(logging.INFO)
        table = runner.workbook(force=force)
        for row in table[table.status == "failed"].itertuples():
            typer.echo(f"\n{row.message}", err=True)
        typer.echo("\n" + table.drop(columns="message").to_string(index=False))
    if (table.status == "failed").any():
        raise typer.Exit(1)


@app.command()
def fetch(
    name: str = typer.Argument(help="sib200, pud or tatoeba"),
    languages: str = typer.Option("", help="such as deu_Latn,fra_Latn; default: all"),
    folder: Path | None = typer.Option(None, help="where to; default: data/sources"),
) -> None:
    """Download a corpus against its checksums."""
    with _readable():
        from helpers import corpora

        files = corpora.fetch(name, [code for code in languages.split(",") if code] or None, folder=folder)
        typer.echo(f"{len(files)} files of {name} are in {os.path.commonpath([file.parent for file in files])}")


@app.command()
def prefetch(
    model: str = typer.Argument(help="a hub id, such as bigscience/bloom-560m"),
    revision: str = typer.Option("", help="branch, tag or commit; default: main"),
) -> None:
    """Download a model once; everything after works offline."""
    with _readable():
        from helpers import models

        typer.echo(models.prefetch(model, revision))


@app.command()
def pretrain(name: str = typer.Argument("mini", help="a mini model, such as mini or mini-seed1")) -> None:
    """Train a mini model on the world; skipped when its checkpoints are there, resumed when it was stopped."""
    with _readable():
        from helpers import pretrain as training

        typer.echo(training.ensure(name))


@app.command()
def convert(
    file: Path = typer.Argument(help="a .pt file of weights"),
    out: Path = typer.Argument(help="the folder to write, safetensors"),
    config: Path | None = typer.Option(None, help="a config.json, or a folder with one, to copy beside the weights"),
    tokenizer: Path | None = typer.Option(None, help="a tokenizer's folder to copy; default: that of --config"),
) -> None:
    """Turn a pickled checkpoint into a folder of safetensors, in a process of its own."""
    with _readable():
        from helpers import convert as converter

        typer.echo(converter.convert(file, out, config=config, tokenizer=tokenizer))


@contextmanager
def _readable() -> Iterator[None]:
    """Errors as one message on stderr: exit code 2 for what the user wrote, 1 for what failed."""
    try:
        yield
    except (ValueError, LookupError) as error:
        typer.echo(error.args[0] if error.args else repr(error), err=True)
        raise typer.Exit(2) from None
    except (RuntimeError, OSError, ImportError) as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped; what had completed is kept", err=True)
        raise typer.Exit(130) from None


if __name__ == "__main__":
    app()
