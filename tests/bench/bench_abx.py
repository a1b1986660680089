"""Meaning and form ABX of all ordered pairs against the bare matrix products, the tensor of triples, and fastabx.

Run: python tests/bench/bench_abx.py [languages sentences hidden]
"""

import importlib.util
import multiprocessing
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from helpers.abx import scoring

ROUNDS = 3


def main(languages: int = 20, sentences: int = 1000, hidden: int = 768) -> None:
    """Print both sides of every ratio, from the same run."""
    embeddings = gaussian(languages, sentences, hidden)
    print(f"{languages} languages x {sentences} sentences x {hidden}, float32, {torch.get_num_threads()} threads")
    scoring.scores(embeddings[:2, :10], names(2))  # compiles
    units = torch.nn.functional.normalize(embeddings, dim=-1)
    bare, ours = interleaved(lambda: products(units), lambda: scoring.scores(embeddings, names(languages)))
    report("bare matrix products", bare, "meaning + form", ours, ours / bare)
    process = multiprocessing.get_context("spawn").Process(target=peak, args=(languages, sentences, hidden))
    process.start()
    process.join()
    against_triples(4, 100, hidden)
    against_fastabx(4, 60, hidden)


def gaussian(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def names(languages: int) -> list[str]:
    return [f"L{n}" for n in range(languages)]


def interleaved(*works: Callable[[], object]) -> list[float]:
    """Median seconds of each, taken in turns."""
    seconds = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, taken in zip(works, seconds):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def report(first: str, first_seconds: float, second: str, second_seconds: float, ratio: float) -> None:
    print(f"{first} {first_seconds:.3f} s, {second} {second_seconds:.3f} s, ratio {ratio:.2f}")


def products(units: torch.Tensor) -> None:
    """All similarities, thrown away: what no comparison can do without."""
    everything = units.flatten(0, 1).T
    for unit in units:
        unit @ everything


def peak(languages: int, sentences: int, hidden: int) -> None:
    """Print peak resident memory beyond what was there, the input included; meant for a process of its own."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        print("peak memory is read from Linux's /proc, which is not here: not measured")
        return
    embeddings = gaussian(languages, sentences, hidden)
    scoring.scores(embeddings[:2, :10], names(2))
    reset.write_text("5")  # the high-water mark starts from here
    before = int(re.search(r"VmRSS:\s+(\d+)", status.read_text())[1])
    scoring.scores(embeddings, names(languages))
    after = int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])
    print(f"peak memory beyond the input ({embeddings.nbytes / 2**20:.0f} MB): {(after - before) / 2**10:.0f} MB")


def triples(embeddings: torch.Tensor) -> float:
    """Mean of meaning and form by distances of every triple, all [x, a, b] at once."""
    units = torch.nn.functional.normalize(embeddings, dim=-1)
    n, values = embeddings.shape[1], []
    i, j = (~torch.eye(n, dtype=torch.bool)).nonzero().T
    for p in range(len(units)):
        for q in set(range(len(units))) - {p}:
            for a, b, x in ((units[p, i], units[p, j], units[q, i]), (units[p, i], units[q, i], units[p, j])):
                near, far = (x * a).sum(-1), (x * b).sum(-1)
                values.append((near > far).double().mean() + (near == far).double().mean() / 2)
    return torch.stack(values).mean().item()


def against_triples(languages: int, sentences: int, hidden: int) -> None:
    embeddings = gaussian(languages, sentences, hidden)
    slow, ours = interleaved(lambda: triples(embeddings), lambda: scoring.scores(embeddings, names(languages)))
    size = f"{languages} x {sentences} x {hidden}"
    report(f"{size}: every triple as a tensor", slow, "meaning + form", ours, slow / ours)


def against_fastabx(languages: int, sentences: int, hidden: int) -> None:
    if importlib.util.find_spec("fastabx") is None:
        print("fastabx is not installed (it needs Python 3.12): not compared")
        return
    from fastabx import Dataset, Score, Task

    embeddings = gaussian(languages, sentences, hidden)
    language, sentence = np.indices((languages, sentences)).reshape(2, -1)
    labels = {"language": language.tolist(), "sentence": sentence.tolist()}

    def theirs() -> None:
        for on, across in (("sentence", "language"), ("language", "sentence")):
            dataset = Dataset.from_numpy(embeddings.flatten(0, 1).numpy().copy(), labels)
            Score(Task(dataset, on=on, across=[across]), "angular").collapse(levels=[across])

    slow, ours = interleaved(theirs, lambda: scoring.scores(embeddings, names(languages)))
    report(f"{languages} x {sentences} x {hidden}: fastabx", slow, "meaning + form", ours, slow / ours)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
