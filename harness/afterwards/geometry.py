"""Numbers that describe the update of one weight matrix: ranks, amplification, overlap, intruders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

EXACT_SIDE = 2048  # largest smaller side for which all singular values are computed
KEPT = 64  # directions computed of larger matrices, by a randomized SVD
POWER_ITERATIONS = 4
TOP_K, EPSILON = 10, 0.5  # of intruder dimensions, as in peft


@dataclass(frozen=True)
class Svd:
    """Singular value decomposition W = U·diag(σ)·Vᵀ, largest σ first: all, or the ``KEPT`` largest."""

    left: Tensor  # U (m, k)
    values: Tensor  # σ (k,)
    right: Tensor  # V (n, k)
    norm: float  # ‖W‖_F over all singular values
    exact: bool

    def first(self, k: int) -> Svd:
        return Svd(self.left[:, :k], self.values[:k], self.right[:, :k], self.norm, self.exact)

    def above(self, floor: float) -> Svd:
        """Drop directions whose singular value is within ``floor`` or the rounding error of the SVD."""
        import torch

        m, n = len(self.left), len(self.right)
        own = float(self.values[0]) * torch.finfo(self.values.dtype).eps * (m**0.5 + n**0.5)
        return self.first(int((self.values > max(floor, own)).sum()))


def svd(matrix: Tensor) -> Svd:
    """Return the exact SVD if the smaller side is at most ``EXACT_SIDE``, else the top ``KEPT``.

    The latter is randomized (Halko et al. 2009, arXiv:0909.4061) with ``POWER_ITERATIONS`` and its
    own random generator.
    """
    import torch

    matrix = matrix.float()
    norm = float(torch.linalg.matrix_norm(matrix))
    if min(matrix.shape) <= EXACT_SIDE:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return Svd(left, values, right.T, norm, exact=True)
    devices = [matrix.device] if matrix.is_cuda else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        left, values, right = torch.svd_lowrank(matrix, q=KEPT, niter=POWER_ITERATIONS)
    return Svd(left, values, right, norm, exact=False)


def rounding(tuned: Tensor) -> float:
    """Return the largest spectral norm that rounding of the (m, n) weights to their dtype can cause.

    Singular values of W₁ − W₀ below it do not count as an update. A rounding error is at most a
    unit in the last place, ε·|w|. A random matrix with entries of standard deviation s has norm
    s·(√m + √n).
    """
    import torch

    m, n = tuned.shape
    root_mean_square = float(torch.linalg.matrix_norm(tuned.float())) / math.sqrt(m * n)
    deviation = torch.finfo(tuned.dtype).eps * root_mean_square / math.sqrt(12)
    return deviation * (math.sqrt(m) + math.sqrt(n))


def stable_rank(values: Tensor) -> float:
    """Return Σσ² / max σ² (Rudelson & Vershynin 2007, arXiv:math/0503442), at most the rank."""
    return float(values.square().sum() / values.max().square())


def effective_rank(values: Tensor) -> float:
    """Return exp(−Σ p·ln p) with p = σ/Σσ (Roy & Vetterli 2007): the rank if all σ are equal."""
    share = values / values.sum()
    return float((-(share * share.clamp_min(1e-30).log()).sum()).exp())


def amplification(base: Tensor, update: Svd) -> float | None:
    """Return ‖ΔW‖_F / ‖UᵀWV‖_F, with U and V the update's directions (arXiv:2106.09685, §7.3).

    The ratio of the update to W's part in the same directions; None if that part is zero.
    """
    import torch

    there = float(torch.linalg.matrix_norm(update.left.T @ base.float() @ update.right))
    return update.norm / there if there > 0 else None


def subspace_similarity(a: Tensor, b: Tensor, i: int, j: int) -> float:
    """Return φ = ‖AᵢᵀBⱼ‖²_F / min(i, j), in [0, 1] (arXiv:2106.09685, Eq. 4).

    It compares the first ``i`` and ``j`` columns of (d, k) matrices of singular vectors. It is 1 if the
    smaller space lies within the other, 0 if they are orthogonal, and i·j / (d·min(i, j)) on average
    for random spaces.
    """
    return float((a[:, :i].T @ b[:, :j]).square().sum()) / min(i, j)


def intruders(base: Tensor, tuned: Tensor, epsilon: float = EPSILON) -> int:
    """Count the tuned singular vectors that resemble none of the base's (arXiv:2410.21228).

    ``tuned`` (m, k) holds the top left singular vectors of W + ΔW, ``base`` (m, j) all left
    singular vectors of W. A vector counts if its |cos| with every vector of the base is below
    ``epsilon``.
    """
    return int(((tuned.T @ base).abs().amax(dim=1) < epsilon).sum())
