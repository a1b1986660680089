"""How time and memory grow: each main computation at several sizes, its log-log slope, and what the design promises.

Run: make scale, or python tests/scale.py [computation ...]. Each size runs in a process of its own, on one thread, so
that peak memory is its own. A slope is the fit of log time on log size over the three larger sizes, where fixed costs
hide it least.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

LANGUAGES = [f"language {i:03d}" for i in range(200)]


def experts_by_units(size: int) -> Callable:
    """Both scores of `size` units on 2,400 sentences of 6 languages."""
    from helpers.steering import experts

    storage = np.random.default_rng(0).standard_normal((size, 2400), dtype=np.float32)
    labels = np.repeat(LANGUAGES[:6], 400)
    return lambda: experts.scores(storage.T, labels)


def experts_by_sentences(size: int) -> Callable:
    """Both scores of 500 units on `size` sentences of 6 languages."""
    from helpers.steering import experts

    storage = np.random.default_rng(0).standard_normal((500, size), dtype=np.float32)
    labels = np.resize(LANGUAGES[:6], size)
    return lambda: experts.scores(storage.T, labels)


def experts_by_languages(size: int) -> Callable:
    """Both scores of 500 units on 4,000 sentences that are dealt out to `size` languages."""
    from helpers.steering import experts

    storage = np.random.default_rng(0).standard_normal((500, 4000), dtype=np.float32)
    labels = np.resize(LANGUAGES[:size], 4000)
    return lambda: experts.scores(storage.T, labels)


def abx_by_languages(size: int) -> Callable:
    """Meaning and form of all ordered pairs of `size` languages, 200 sentences, 256 wide."""
    from helpers.abx import scoring

    points = _points(size, 200, 256)
    return lambda: scoring.scores(points, LANGUAGES[:size])


def abx_by_sentences(size: int) -> Callable:
    """Meaning and form of all ordered pairs of 6 languages, `size` sentences, 256 wide."""
    from helpers.abx import scoring

    points = _points(6, size, 256)
    return lambda: scoring.scores(points, LANGUAGES[:6])


def retrieval_by_languages(size: int) -> Callable:
    """Top-1 retrieval of all ordered pairs of `size` languages, 300 sentences, 256 wide."""
    from helpers.embeddings import retrieval

    points = _points(size, 300, 256)
    return lambda: retrieval.correct(points)


def retrieval_by_sentences(size: int) -> Callable:
    """Top-1 retrieval of all ordered pairs of 6 languages, `size` sentences, 256 wide."""
    from helpers.embeddings import retrieval

    points = _points(6, size, 256)
    return lambda: retrieval.correct(points)


def embed_by_sentences(size: int) -> Callable:
    """All layers of `size` sentences through a Llama of 4 layers, 128 wide."""
    from helpers.embeddings import activations

    lm, table = _language_model(4, 128), _sentences(size)
    return lambda: activations.embed(lm, table)


def embed_by_parameters(size: int) -> Callable:
    """All layers of 300 sentences through a Llama `size` wide, so size squared parameters a layer."""
    from helpers.embeddings import activations

    lm, table = _language_model(4, size), _sentences(300)
    return lambda: activations.embed(lm, table)


def responses_by_sentences(size: int) -> Callable:
    """All units of `size` sentences through a Llama of 4 layers, 128 wide."""
    from helpers.embeddings import activations

    lm, table = _language_model(4, 128), _sentences(size)
    return lambda: activations.responses(lm, table)


def transfer_by_languages(size: int) -> Callable:
    """Topics by n-grams, every one of `size` sources on every target of the world; the size^2 cells are the product."""
    from helpers.transfer import training
    from helpers.world import worlds

    names = worlds.build().languages.language.tolist()[:size]
    return lambda: training.run("topics", "world", "ngrams", names)


CASES = {  # computation: (sizes, the steepest slope that the design allows, why)
    experts_by_units: ((500, 1000, 2000, 4000), 1.1, "a sort for each unit"),
    experts_by_sentences: ((1500, 3000, 6000, 12000), 1.2, "n log n"),
    experts_by_languages: ((2, 8, 32, 128), 0.6, "one sort for all languages; only the scores themselves grow"),
    abx_by_languages: ((6, 12, 24, 48), 2.1, "all ordered pairs"),
    abx_by_sentences: ((250, 500, 1000, 2000), 2.2, "all pairs of sentences"),
    retrieval_by_languages: ((6, 12, 24, 48), 2.1, "all ordered pairs"),
    retrieval_by_sentences: ((250, 500, 1000, 2000), 2.1, "all pairs of sentences"),
    embed_by_sentences: ((1000, 2000, 4000), 1.1, "a forward pass each"),
    embed_by_parameters: ((256, 512, 1024), 2.1, "the products of the forward pass"),
    responses_by_sentences: ((1000, 2000, 4000), 1.1, "a forward pass each"),
    transfer_by_languages: ((6, 12, 24), 1.6, "one fit a source; all targets in one product"),
}


def _points(languages: int, sentences: int, hidden: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((languages, sentences, hidden), dtype=np.float32)


def _language_model(layers: int, hidden: int):
    import tiny

    shape = {"hidden_size": hidden, "num_hidden_layers": layers, "intermediate_size": 3 * hidden}
    return tiny.language_model("llama", **shape, num_attention_heads=4, num_key_value_heads=4)


def _sentences(size: int):
    import pandas as pd
    import tiny

    text = [tiny.SENTENCES[i % 4] for i in range(size)]
    return pd.DataFrame({"language": "A1", "sentence": np.arange(size), "text": text})


def once(name: str, size: int) -> dict:
    """Seconds, and MiB beyond the inputs, of one computation in this process; the shorter of two calls counts."""
    import torch

    torch.set_num_threads(1)
    work, spent = globals()[name](size), []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    beyond = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": min(spent), "MiB": beyond}


def slope(sizes: list, values: list) -> float:
    """Exponent of a power law through the points."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-9)), 1)[0])


def main() -> int:
    """Print the table; 1 if a slope is steeper than the design allows."""
    if sys.argv[1:2] == ["--once"]:
        print(json.dumps(once(sys.argv[2], int(sys.argv[3]))))
        return 0
    wanted, steep = sys.argv[1:], []
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    print(f"{'computation':24s} {'size':>6s} {'seconds':>9s} {'MiB':>7s}   slope of time (larger sizes), allowed, why")
    for case, (sizes, allowed, why) in CASES.items():
        if wanted and not any(word in case.__name__ for word in wanted):
            continue
        found = []
        for size in sizes:
            command = [sys.executable, __file__, "--once", case.__name__, str(size)]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ | single, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{case.__name__:24s} {size:6d} {found[-1]['seconds']:9.3f} {found[-1]['MiB']:7.0f}", flush=True)
        grown = slope(sizes[-3:], [row["seconds"] for row in found[-3:]])
        print(f"{'':49s} {grown:5.2f}, {allowed}: {why}", flush=True)
        steep += [case.__name__] if grown > allowed else []
    print(f"\nsteeper than allowed: {', '.join(steep) or 'none'}")
    return int(bool(steep))


if __name__ == "__main__":
    sys.exit(main())
