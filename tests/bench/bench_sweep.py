"""A sweep of small runs one after the other, and two at a time: equal tables, speed-up, overhead.

Run: python tests/bench/bench_sweep.py [runs]     (the first so many of the 24 of notebooks/sweeps/small.yaml)

Overhead is what a run costs beyond its notebook: the workers' time less the notebooks', over the number of runs; the
start of the command is in it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import yaml

from helpers import ROOT


def main(runs: int = 24) -> int:
    """Print both sides; 1 where a table differs."""
    with tempfile.TemporaryDirectory() as folder:
        took = {workers: swept(Path(folder) / str(workers), workers, runs) for workers in (1, 2)}
        print(f"speed-up of two workers {took[1] / took[2]:.2f}")
        first, second = (tables(Path(folder) / str(workers)) for workers in (1, 2))
        different = [name for name in first if name not in second or not first[name].equals(second[name])]
    print(f"{len(first)} tables, {len(second)} from two workers; different: {', '.join(different) or 'none'}")
    return int(bool(different) or len(first) != len(second))


def swept(home: Path, workers: int, runs: int) -> float:
    """Seconds of the sweep in a home of its own."""
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    path = home / "notebooks" / "sweeps" / "small.yaml"
    spec = yaml.safe_load(path.read_text())
    grid = spec.pop("grid")
    points = [(revision, names, k) for revision in grid["revision"] for names in grid["languages"] for k in grid["k"]]
    spec["include"] = [dict(zip(("revision", "languages", "k"), point)) for point in points[:runs]]
    path.write_text(yaml.safe_dump(spec))
    start = time.perf_counter()
    command = [sys.executable, "-m", "helpers", "sweep", "small", "--workers", str(workers)]
    subprocess.run(command, env=os.environ | {"ISOGLOSS_HOME": str(home)}, check=True, capture_output=True)
    took = time.perf_counter() - start
    manifest = pd.read_parquet(home / "data" / "results" / "sweeps" / "small" / "manifest.parquet")
    beyond = (workers * took - manifest["seconds"].sum()) / len(manifest)
    print(f"{workers} at a time: {len(manifest)} runs in {took:.1f} s, {beyond:.2f} s overhead a run", flush=True)
    return took


def tables(home: Path) -> dict[str, pd.DataFrame]:
    """Every table that the runs wrote, by its path."""
    found = (home / "data" / "results" / "world").rglob("*.parquet")
    return {str(path.relative_to(home)): pd.read_parquet(path) for path in found}


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
