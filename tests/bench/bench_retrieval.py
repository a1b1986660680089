"""Five scores of retrieval beside one.

Run it alone on the machine: `python tests/bench/bench_retrieval.py`. Rounds are interleaved; ratios are medians of a
round's own two times, in seconds of processor time of one thread.
"""

import time

import numpy as np
import torch

from helpers.embeddings import retrieval

ROUNDS = 3


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    for languages, sentences, hidden in ((24, 200, 64), (12, 1000, 768), (20, 1000, 768)):
        meaning = torch.randn(1, sentences, hidden, generator=generator)
        states = meaning + 0.7 * torch.randn(languages, sentences, hidden, generator=generator) + 1
        ways = {"one": lambda x=states: retrieval.correct(x), "five": lambda x=states: retrieval.scores(x)}
        taken = {way: [] for way in ways}
        for turn in range(ROUNDS + 1):  # the first warms up
            for way, call in ways.items():
                start = time.process_time()
                call()
                taken[way] += [time.process_time() - start] if turn else []
        ratio = np.median(np.divide(taken["five"], taken["one"]))
        told = ", ".join(f"{way} {np.median(seconds):.3f} s" for way, seconds in taken.items())
        print(f"{languages} x {sentences} x {hidden}: {told}: {ratio:.2f} x")


if __name__ == "__main__":
    main()
