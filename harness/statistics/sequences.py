"""Scores of tasks learned in sequence: retention, loss and transfer. Pure functions of a matrix.

``scores`` is (T, T), higher is better. Row i holds the scores on every task after training on task i,
so the diagonal holds each task just after it was learned. ``start`` is (T,), the scores of the
untouched base.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from harness.statistics.scores import Array

CONVENTIONS = {
    "ACC": "mean score over all tasks after the last one, Lopez-Paz & Ranzato 2017 (arXiv:1706.08840)",
    "BWT": "backward transfer: mean over earlier tasks of last score minus score when it was just "
    "learned; below 0 is forgetting (same paper)",
    "FWT": "forward transfer: mean over later tasks of the score just before a task is trained on, "
    "minus the untouched base's; above 0 means that earlier tasks helped (same paper, with the base "
    "in the place of random weights)",
    "F": "forgetting: mean over earlier tasks of the best score it had after any earlier stage minus "
    "the last one; above 0 is forgetting (Chaudhry et al. 2018, arXiv:1801.10112, max over all stages "
    "before the last)",
    "FG": "mean over stages and general abilities of the share of the untouched base's score that is "
    "gone, (R0 − Rm) / R0; above 0 is forgetting (Luo et al. 2023, arXiv:2308.08747)",
}


def _square(scores: ArrayLike) -> Array:
    matrix = np.asarray(scores, dtype=float)
    assert matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0, f"not T×T: {matrix.shape}"
    return matrix


def average_accuracy(scores: ArrayLike) -> float:
    """Return ACC = 1/T Σ_i R[T, i] (arXiv:1706.08840, Eq. 2)."""
    return float(_square(scores)[-1].mean())


def backward_transfer(scores: ArrayLike) -> float:
    """Return BWT = 1/(T−1) Σ_{i<T} R[T, i] − R[i, i] (arXiv:1706.08840, Eq. 3); NaN for one task."""
    matrix = _square(scores)
    changes = matrix[-1, :-1] - np.diag(matrix)[:-1]
    return float(changes.mean()) if len(changes) else float("nan")


def forward_transfer(scores: ArrayLike, start: ArrayLike) -> float:
    """Return FWT = 1/(T−1) Σ_{i>1} R[i−1, i] − b[i] (arXiv:1706.08840, Eq. 4); NaN for one task.

    b is ``start``, the scores of the pretrained base. The paper uses random weights instead.
    """
    matrix = _square(scores)
    before = np.diag(matrix, k=1)
    gains = before - np.asarray(start, dtype=float)[1:]
    return float(gains.mean()) if len(gains) else float("nan")


def forgetting_measure(scores: ArrayLike) -> float:
    """Return F = 1/(T−1) Σ_{j<T} max_{l<T} R[l, j] − R[T, j] (arXiv:1801.10112); NaN for one task.

    The maximum is over all stages before the last, also those before task j was trained on. F can
    therefore be above 0 while BWT is too: a gain from transfer that a later task removes is forgetting.
    """
    matrix = _square(scores)
    if len(matrix) < 2:
        return float("nan")
    return float((matrix[:-1, :-1].max(axis=0) - matrix[-1, :-1]).mean())


def general_forgetting(start: float, after: ArrayLike) -> float:
    """Return FG = 1/T Σ_m (R_0 − R_m) / R_0 (arXiv:2308.08747), the mean share that is lost.

    ``after`` holds (T,) scores of one general ability after each task, ``start`` the base's score.
    """
    assert start > 0, "the share of a score of 0 is not defined"
    return float(((start - np.asarray(after, dtype=float)) / start).mean())
