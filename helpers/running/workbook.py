"""The whole workbook: the sweep of one point, the defaults, over every numbered notebook.

Notebooks tell in their parameters what they read (`edits_run` is the run that wrote the edits), so that two that do not
read each other can run at once. The first prepares what all others share, so these wait for it.
"""

from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from helpers.common import results
from helpers.running import kernels, records, runner, sweep


def execute(names: list[str] | None = None, *, force: bool = False, workers: int = 1) -> pd.DataFrame:
    """Table [notebook, seconds, status, message] of the numbered notebooks, in order; status is as in `sweep.perform`.

    At most `workers` run at once, each with its share of the cores. A notebook that fails stops none of the others.
    """
    rows = plan(names or runner.listed(), force)
    with ThreadPoolExecutor(workers) as pool, kernels.interruptible():
        state = sweep.perform("workbook", rows, pool, slots=workers, retry_failed=True, threads=0)
    table = pd.DataFrame([records.read(row) | {"status": state[row["run"]]} for row in rows])
    table["seconds"] = table.seconds.where(table.status != "skipped", 0.0).round(1)
    return table.rename(columns={"error": "message"})[["notebook", "seconds", "status", "message"]]


def plan(names: list[str], force: bool = False) -> list[dict]:
    """The runs of notebooks with their defaults; each comes after the first and after those whose results it reads."""
    runs = {name: runner.plan(runner.resolve(name), {}) for name in names}
    for name, row in runs.items():
        read = {names[0], *(results.READERS.get(parameter) for parameter in row["parameters"])} - {name}
        after = [runs[other]["run"] for other in names if other in read]
        row |= {"sweep": "workbook", "needs": [], "after": after, "asked": True, "force": force}
    return list(runs.values())
