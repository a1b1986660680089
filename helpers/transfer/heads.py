"""Linear heads on frozen features: a support vector machine for each class against the rest.

One idea: the weights of a source's features, their inverse document frequencies included, go into the head, so that all
test rows of all targets meet it in one product over features that were made once.
"""

from collections.abc import Iterable

import numpy as np
from scipy import sparse
from sklearn.svm import LinearSVC

from helpers.corpora import text

Features = sparse.csr_matrix | np.ndarray  # [row, feature]
_DENSE = 0.3  # how dear errors are for dense features: the best of .03 to 3 on the `dev` sentences of SIB-200


def classified(X: Features, labels: Iterable, T: Features, *, weigh: bool = False, seed: int = 0) -> np.ndarray:
    """The class of every row of T by a linear support vector machine on X, one against the rest.

    `weigh` makes counts TF-IDF with the frequencies of X. Test rows need no weighing of their own: the weights go into
    the head, and a row's length is one more product, so that scores equal those of a pipeline fitted on this source.
    """
    if len(set(labels)) < 2:
        raise ValueError(f"{X.shape[0]} training rows have 1 class only, {next(iter(labels))!r}; a head needs 2")
    if not sparse.issparse(X):
        return _dense(X, labels, T, seed)
    columns, X = _own(X)
    idf = np.ones(len(columns), np.float32)
    if weigh:
        idf = (np.log((1 + X.shape[0]) / (1 + np.bincount(X.indices))) + 1).astype(np.float32)
        X = text.tfidf(X)
    head = LinearSVC(random_state=seed).fit(X, labels)
    weights = np.zeros((T.shape[1], len(head.coef_)), np.float32)
    weights[columns] = head.coef_.T * idf[:, None]
    scores = T @ weights
    if weigh:
        square = np.zeros(T.shape[1], np.float32)
        square[columns] = idf**2
        length = np.sqrt(sparse.csr_matrix((T.data**2, T.indices, T.indptr), T.shape) @ square)
        scores = scores / np.where(length > 0, length, 1)[:, None]
    return _chosen(head, scores + head.intercept_)


def _dense(X: np.ndarray, labels: Iterable, T: np.ndarray, seed: int) -> np.ndarray:
    """The same for dense features, of rows about as long as those of TF-IDF."""
    X, T = (values / np.float32(np.sqrt(X.shape[1])) for values in scaled(X, T))
    head = LinearSVC(C=_DENSE, random_state=seed, dual="auto").fit(X, labels)
    return _chosen(head, T @ head.coef_.T + head.intercept_)


def scaled(X: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in standard deviations of X about its mean."""
    mean, scale = X.mean(0), X.std(0)
    return tuple((values - mean) / np.where(scale > 0, scale, 1) for values in (X, T))


def _chosen(head: LinearSVC, scores: np.ndarray) -> np.ndarray:
    return head.classes_[scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(int)]


def _own(X: sparse.csr_matrix) -> tuple[np.ndarray, sparse.csr_matrix]:
    """The columns that X has entries in, and X with these alone."""
    columns, place = np.unique(X.indices, return_inverse=True)
    return columns, sparse.csr_matrix((X.data, place, X.indptr), (X.shape[0], len(columns)))
