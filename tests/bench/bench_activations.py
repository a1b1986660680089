"""Throughput of `embed` and `responses` beside bare forward passes on the same batches.

Every ratio is the median over interleaved runs; on a CPU the process's own time counts, so that a busy machine does not
blur it.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny

from helpers.embeddings import activations, batching

RUNS, SENTENCES = 5, 500
POOLS = ("max", "mean", "positive")
SHAPES = {
    "llama": {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 8},
    "bert": {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 8},
}


def corpus(seed: int = 0) -> pd.DataFrame:
    """Sentences of ragged length, 3 to 30 words drawn from the tiny tokenizer's own."""
    generator = np.random.default_rng(seed)
    words = " ".join(tiny.SENTENCES).split()
    texts = [" ".join(generator.choice(words, generator.integers(3, 31))) for _ in range(SENTENCES)]
    return pd.DataFrame({"language": "A1", "sentence": range(SENTENCES), "text": texts})


def bare(lm, table: pd.DataFrame) -> None:
    """The tokenizer, and the model without its head on the batches that `embed` and `responses` use."""
    text = batching.tokenised(lm, table["text"], tiny.POSITIONS)
    for batch in batching.by_length(lm, text.ids):
        with torch.no_grad():
            lm.model.base_model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)


def main() -> None:
    table = corpus()
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    for family, shape in SHAPES.items():
        lm = tiny.language_model(family, **shape)
        lm.model.to("cuda" if torch.cuda.is_available() else "cpu")
        work = {
            "bare forward": lambda lm=lm: bare(lm, table),
            "embed": lambda lm=lm: activations.embed(lm, table),
            "responses (max)": lambda lm=lm: activations.responses(lm, table),
            "responses (max, mean, positive)": lambda lm=lm: activations.responses(
                lm, table, ("max", "mean", "positive")
            ),
        }
        seconds = {name: [] for name in work}
        for run in range(RUNS + 1):  # the first warms up
            for name, call in work.items():
                start = clock()
                call()
                seconds[name] += [clock() - start] if run else []
        for name, taken in seconds.items():
            share = np.median(np.array(seconds["bare forward"]) / taken)
            print(f"{family:6} {name:32} {SENTENCES / np.median(taken):8.0f} sentences/s   {share:6.1%} of bare")


if __name__ == "__main__":
    main()
