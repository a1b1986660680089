"""AUROC and average precision of 4,096 units x 5,982 sentences x 6 languages, against scikit-learn and a bare sort.

Run: python tests/bench/bench_experts.py [units]. Rounds are interleaved and medians shown. A bare np.sort runs on one
thread; ours is timed on one and on all threads. scikit-learn runs on a few units and is scaled, as it would take long.
"""

import sys
import time

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from helpers.steering import experts

SENTENCES, LANGUAGES, SLOW_UNITS, ROUNDS = 5982, 6, 8, 5


def seconds(work) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def on_threads(count, work) -> float:
    """Seconds of one call on `count` torch threads, as `helpers` uses them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return seconds(work)
    finally:
        torch.set_num_threads(before)


def loop(storage, labels) -> None:
    """Both scores of a few units for every language, one scikit-learn call each."""
    for language in np.unique(labels):
        for row in storage:
            roc_auc_score(labels == language, row)
            average_precision_score(labels == language, row)


def compare(name, storage, labels, cores) -> None:
    """Print the medians of one kind of responses."""
    work, scale = lambda: experts.scores(storage.T, labels), len(storage) / SLOW_UNITS
    times = {"bare np.sort, one thread": [], "ours, one thread": [], f"ours, {cores} threads": [], "scikit-learn": []}
    for _ in range(ROUNDS):
        rounds = [seconds(lambda: np.sort(storage, axis=1)), on_threads(1, work), on_threads(cores, work)]
        for spent, row in zip([*rounds, scale * seconds(lambda: loop(storage[:SLOW_UNITS], labels))], times.values()):
            row.append(spent)
    bare, *ours, slow = (np.median(row) for row in times.values())
    print(f"\n{name}: {len(storage)} units x {storage.shape[1]} sentences x {LANGUAGES} languages, both scores")
    for label, row in times.items():
        note = f"  (measured on {SLOW_UNITS} units, scaled)" if label == "scikit-learn" else ""
        print(f"  {label:26s} {np.median(row):8.3f} s   {1e6 * np.median(row) / len(storage):9.1f} us a unit{note}")
    for label, spent in zip(["one thread", f"{cores} threads"], ours):
        print(f"  ours on {label}: {slow / spent:.0f} x faster than scikit-learn, {spent / bare:.2f} x a bare sort")


def main() -> None:
    """Compare on continuous responses, and on rectified ones with many ties."""
    units, rng = int(sys.argv[1]) if len(sys.argv) > 1 else 4096, np.random.default_rng(0)
    storage = rng.standard_normal((units, SENTENCES), dtype=np.float32)
    labels = rng.permutation(np.repeat([f"language {i}" for i in range(LANGUAGES)], SENTENCES // LANGUAGES))
    experts.scores(storage[:2].T, labels)
    cores = torch.get_num_threads() if torch.get_num_threads() > 1 else 2
    compare("continuous", storage, labels, cores)
    compare("rectified", np.maximum(storage, 0), labels, cores)


if __name__ == "__main__":
    main()
