"""A method's size from a number of trainable parameters: comparisons at equal size."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from harness.errors import InputError


def largest_within(
    wanted: int, sizes: Sequence[int], count: Callable[[int], int], field: str
) -> int:
    """The largest of ``sizes`` that trains at most ``wanted`` parameters.

    ``count(size)`` says how many, more for each size than for the one before. Raises InputError where
    the smallest has more than ``wanted``, or even the largest has fewer than it.
    """
    how_many = "method.match.trainable_parameters"
    n_within = bisect_right(sizes, wanted, key=count)
    if n_within == 0:
        raise InputError(
            f"{how_many}={wanted} cannot be reached: {field}={sizes[0]} already trains "
            f"{count(sizes[0])}, the least possible here."
        )
    most = count(sizes[-1])
    if n_within == len(sizes) and wanted > most:
        raise InputError(
            f"{how_many}={wanted} cannot be reached: {field}={sizes[-1]} trains {most}, the most "
            "possible here."
        )
    return sizes[n_within - 1]
