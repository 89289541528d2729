"""Largest singular vectors of matrices, remembered by the matrices' bits.

The starts of PiSSA and LoftQ decompose every weight of the base, the same ones in each trial: minutes
for a model of billions of parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.models.pool import hash_bits
from harness.records import heartbeat

if TYPE_CHECKING:
    from torch import Tensor

LEAST_RANK = 64  # kept of each matrix, so that most trials of a search over ranks find theirs
MOST_BYTES = 2 * 10**9  # of one process; the decompositions used least recently are dropped

_Factors = tuple["Tensor", "Tensor", "Tensor"]
_kept: dict[tuple[Any, ...], _Factors] = {}


def svd(matrix: Tensor, rank: int) -> _Factors:
    """Return (m, r), (r,) and (r, n): the largest r = ``rank`` singular values and their vectors.

    They have the bits that ``torch.linalg.svd`` returns for ``matrix``, (m, n), on its device.
    """
    import torch

    key = (*hash_bits(matrix), tuple(matrix.shape), matrix.dtype, matrix.device)
    factors = _kept.pop(key, None)
    if factors is None or len(factors[1]) < min(rank, *matrix.shape):
        heartbeat.mark()
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        n = max(rank, LEAST_RANK)
        factors = (left[:, :n].cpu().clone(), values[:n].cpu().clone(), right[:n].cpu().clone())
    _kept[key] = factors
    while sum(_bytes(each) for each in _kept.values()) > MOST_BYTES:
        _kept.pop(next(iter(_kept)))
    left, values, right = (factor.to(matrix.device) for factor in factors)
    return left[:, :rank].clone(), values[:rank].clone(), right[:rank].clone()


def _bytes(factors: _Factors) -> int:
    return sum(factor.nbytes for factor in factors)


@contextmanager
def remembering(rank: int) -> Iterator[None]:
    """Context in which a library's calls of ``torch.linalg.svd`` return the first ``rank`` vectors."""
    import torch

    original = torch.linalg.svd

    def remembered(matrix: Tensor, full_matrices: bool = True, **options: Any) -> Any:
        if full_matrices or options:
            return original(matrix, full_matrices=full_matrices, **options)
        with _replaced(original):
            return svd(matrix, rank)

    with _replaced(remembered):
        yield


@contextmanager
def _replaced(function: Any) -> Iterator[None]:
    import torch

    before = torch.linalg.svd
    torch.linalg.svd = function
    try:
        yield
    finally:
        torch.linalg.svd = before
