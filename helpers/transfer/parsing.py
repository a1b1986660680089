"""A small dependency parser: biaffine attention over a bidirectional LSTM (Dozat and Manning 2017), decoded exactly.

A word is what transfers, its hashed affixes or a frozen vector, and, where given, its part of speech. The best tree is
found, never the best head of each word alone: the highest spanning tree with one root (Chu and Liu 1965, Edmonds 1967),
by contracting cycles in compiled loops.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numba import njit
from scipy import sparse
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence

Words = sparse.csr_matrix | np.ndarray  # [word, feature]: binary and sparse, or dense
_CHUNK = 4000  # words in one batch of a prediction


@dataclass(frozen=True)
class Settings:
    """Sizes of the parser and how it is trained, tried out on `fit` and `dev` of the world and of PUD alone."""

    word: int = 64  # width of a word's vector
    tag: int = 24  # width of a tag's vector
    state: int = 80  # of the LSTM, each way
    arc: int = 64  # width of a word as a head or a dependent
    relation: int = 32
    dropout: float = 0.33
    hidden_words: float = 0.25  # share of training words of which only the tag is shown, so that it learns to do
    epochs: int = 15
    enough: float = 0.05  # training ends after an epoch with a smaller mean loss
    batch: int = 16  # sentences
    rate: float = 6e-3


_TRIED = Settings()


class Parser(nn.Module):
    """Scores of heads and relations for padded batches of sentences; make it with `fit`."""

    def __init__(self, words: Words, tags: list[str], relations: list[str], settings: Settings):
        super().__init__()
        self.tags, self.relations, self.settings, o = tags, relations, settings, settings
        self.sparse = sparse.issparse(words)
        self.columns = np.unique(words.indices) if self.sparse else None
        size = len(self.columns) if self.sparse else words.shape[1]
        self.word = nn.EmbeddingBag(size, o.word, mode="sum") if self.sparse else nn.Linear(size, o.word)
        self.tag = nn.Embedding(len(tags) + 1, o.tag)  # 0 for a tag that was not seen
        self.ahead, self.back = (nn.LSTM(o.word + o.tag, o.state, batch_first=True) for _ in range(2))
        self.root = nn.Parameter(torch.zeros(2 * o.state))
        self.views = nn.Linear(2 * o.state, 2 * (o.arc + o.relation))
        self.arc = nn.Parameter(torch.zeros(o.arc + 1, o.arc))
        self.label = nn.Parameter(torch.zeros(len(relations), o.relation + 1, o.relation + 1))
        self.drop = nn.Dropout(o.dropout)
        if self.sparse:
            nn.init.normal_(self.word.weight, std=0.1)

    def forward(self, words: Tensor, tags: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Arc scores [sentence, dependent, head], which dependents are words, these, and all heads, of relations.

        words [word, width], tags [word], one sentence after the other; head 0 is the root.
        """
        if self.training:
            words = words * (torch.rand(len(words), 1) >= self.settings.hidden_words)
        joined = self.drop(torch.cat([words, self.tag(tags)], 1))
        states = self._states(pad_sequence(joined.split(lengths.tolist()), batch_first=True), lengths)
        arc, relation = self.settings.arc, self.settings.relation
        parts = self.drop(torch.relu(self.views(states))).split([arc, arc, relation, relation], 2)
        scores = pad(parts[0][:, 1:], (0, 1), value=1) @ self.arc @ parts[1].transpose(1, 2)
        there = torch.arange(scores.shape[2])[None] <= lengths[:, None]
        scores, words = scores.masked_fill(~there[:, None], -1e9), there[:, 1:]
        dependents, governors = (pad(part, (0, 1), value=1) for part in parts[2:])
        return scores, words, dependents[:, 1:][words], governors

    def _states(self, padded: Tensor, lengths: Tensor) -> Tensor:
        """States [sentence, 1 + word, state], the root's first; padding comes last in both ways of reading."""
        place = torch.arange(padded.shape[1])[None]
        mirror = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)[..., None]
        back = self.back(padded.gather(1, mirror.expand_as(padded)))[0]
        states = torch.cat([self.ahead(padded)[0], back.gather(1, mirror.expand_as(back))], 2)
        return torch.cat([self.root.expand(len(states), 1, -1), states], 1)

    def labels(self, words: Tensor, dependents: Tensor, governors: Tensor, heads: Tensor) -> Tensor:
        """Scores [word, relation] of the words under their heads [word], from what `forward` returns."""
        return torch.einsum("nd,rde,ne->nr", dependents, self.label, governors[words.nonzero()[:, 0], heads])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Products this small are several times slower when threads have to wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def fit(
    words: Words, treebank: pd.DataFrame, *, tags: bool = True, seed: int = 0, settings: Settings = _TRIED
) -> Parser:
    """A parser trained on table[language, sentence, upos, head, deprel] in reading order; words [word, feature].

    `tags` shows the gold part of speech beside the word. Relations are universal ones: what follows a colon is left
    out. ValueError where words and rows differ in number.
    """
    known, relation = (sorted(set(column)) for column in (treebank["upos"], universal(treebank["deprel"])))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parser = Parser(words, known if tags else [], relation, settings)
        data = _Sentences(parser, words, treebank)
        golden = torch.from_numpy(treebank["head"].to_numpy(np.int64, copy=True))
        named = torch.from_numpy(pd.Index(relation).get_indexer(universal(treebank["deprel"])))
        _train(parser, data, golden, named)
    return parser.eval()


@_one_thread()
def predict(parser: Parser, words: Words, treebank: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Heads [word] and universal relations [word] for the sentences of a table[language, sentence, upos]."""
    data = _Sentences(parser, words, treebank)
    heads, relations = np.zeros((2, len(treebank)), np.int64)
    for chosen in data.by_length():
        with torch.no_grad():
            rows, inputs = data.inputs(chosen)
            scores, *views = parser(*inputs)
            heads[rows] = np.concatenate(decode(scores.double().numpy(), inputs[2].numpy()))
            relations[rows] = parser.labels(*views, torch.from_numpy(heads[rows])).argmax(1).numpy()
    return heads, np.array(parser.relations, dtype=object)[relations]


def universal(relations: pd.Series) -> pd.Series:
    """The relations without their language's own subtypes: `nsubj:pass` is `nsubj`."""
    return relations.str.partition(":")[0]


def decode(scores: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """For each sentence the heads [word] of its highest tree with one root; scores [sentence, dependent, head]."""
    return [maximum_tree(table[:n, : n + 1]) for table, n in zip(scores, lengths)]


@njit(cache=True)
def maximum_tree(scores: np.ndarray) -> np.ndarray:
    """Heads [word] of the highest spanning tree with one root (Chu and Liu, Edmonds); scores [word, 1 + word].

    Column 0 is the root, column 1 + i the i-th word. Where the highest tree has several roots, a penalty that outweighs
    all other scores keeps all but one out.
    """
    n = len(scores)
    square = np.full((n + 1, n + 1), -np.inf)
    square[1:] = scores
    for word in range(n + 1):
        square[word, word] = -np.inf
    heads = _arborescence(square)[1:]
    if (heads == 0).sum() > 1:
        square[1:, 0] -= 1 + n * (scores.max() - scores.min())
        heads = _arborescence(square)[1:]
    return heads


@njit(cache=True)
def _arborescence(scores: np.ndarray) -> np.ndarray:
    """Heads of the highest tree out of node 0; scores [node, head].

    Every node takes its best head; a cycle becomes one node, which pays for the edge that it gives up, and so on until
    no cycle is left. `ends` keeps the two nodes that an edge of the smaller graph stands for.
    """
    size = len(scores)
    heads = np.zeros(size, np.int64)
    for v in range(1, size):
        heads[v] = scores[v].argmax()
    cycle = _cycle(heads)
    if not cycle.any():
        return heads
    last = size - cycle.sum()
    place = np.where(cycle, last, (~cycle).cumsum() - 1)
    smaller = np.full((last + 1, last + 1), -np.inf)
    ends = np.zeros((last + 1, last + 1, 2), np.int64)
    for v in range(size):
        for head in range(size):
            score, at = scores[v, head], (place[v], place[head])
            if cycle[v]:
                score -= scores[v, heads[v]]
            if place[v] != place[head] and score > smaller[at]:
                smaller[at] = score
                ends[at] = v, head
    found = _arborescence(smaller)
    for v in range(1, last + 1):
        node, head = ends[v, found[v]]
        heads[node] = head
    return heads


@njit(cache=True)
def _cycle(heads: np.ndarray) -> np.ndarray:
    """Which nodes make up one cycle of heads; none where all lead to node 0."""
    cycle = np.zeros(len(heads), np.bool_)
    for start in range(1, len(heads)):
        node = start
        for _ in range(len(heads)):
            node = heads[node]
        while node and not cycle[node]:
            cycle[node] = True
            node = heads[node]
        if node:
            break
    return cycle


class _Sentences:
    """The words and tags of a treebank as tensors, and its sentences as runs of rows."""

    def __init__(self, parser: Parser, words: Words, treebank: pd.DataFrame):
        if words.shape[0] != len(treebank):
            raise ValueError(f"{words.shape[0]} word vectors but {len(treebank)} words; make both from one treebank")
        self.parser = parser
        key = pd.factorize(pd.MultiIndex.from_frame(treebank[["language", "sentence"]]))[0]
        self.places = np.split(np.arange(len(key)), np.flatnonzero(np.diff(key)) + 1)
        self.lengths = torch.tensor([len(place) for place in self.places])
        self.tags = torch.from_numpy(1 + pd.Index(parser.tags).get_indexer(treebank["upos"]).astype(np.int64))
        self.words = words[:, parser.columns] if parser.sparse else torch.from_numpy(np.ascontiguousarray(words))

    def inputs(self, chosen: np.ndarray) -> tuple[np.ndarray, tuple[Tensor, Tensor, Tensor]]:
        """The rows of the chosen sentences, one after the other, and what `Parser` takes of them."""
        rows = np.concatenate([self.places[i] for i in chosen])
        words = [self.words[rows]]
        if self.parser.sparse:
            words = [torch.from_numpy(part.astype(np.int64)) for part in (words[0].indices, words[0].indptr[:-1])]
        return rows, (self.parser.word(*words), self.tags[rows], self.lengths[chosen])

    def by_length(self) -> list[np.ndarray]:
        """The sentences in batches of about one length, so that little is padded."""
        order = np.argsort(self.lengths.numpy(), kind="stable")
        batch = self.lengths.numpy()[order].cumsum() // _CHUNK
        return np.split(order, np.flatnonzero(np.diff(batch)) + 1)


def _train(parser: Parser, data: _Sentences, heads: Tensor, relations: Tensor) -> None:
    """Adam with a falling rate; the loss is that of heads and of relations under the true heads."""
    o, rng = parser.settings, np.random.default_rng(torch.initial_seed())
    batches = -(-len(data.places) // o.batch)
    optimizer = torch.optim.Adam(parser.parameters(), o.rate, betas=(0.9, 0.95), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (o.epochs * batches + 1))
    parser.train()
    for _ in range(o.epochs):
        errors = []
        for chosen in np.array_split(rng.permutation(len(data.places)), batches):
            rows, inputs = data.inputs(chosen)
            scores, words, *views = parser(*inputs)
            labels = parser.labels(words, *views, heads[rows])
            loss = cross_entropy(scores[words], heads[rows]) + cross_entropy(labels, relations[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            errors.append(loss.item())
        if np.mean(errors) < o.enough:
            return
