"""Choice of a method's size from a number of trainable parameters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from harness.errors import InputError


def largest_within(
    wanted: int, sizes: Sequence[int], count: Callable[[int], int], field: str
) -> int:
    """Return the largest of ``sizes`` that trains at most ``wanted`` parameters.

    ``sizes`` ascend, and ``count(size)`` returns the number of trained parameters of each.
    ``field`` is the configuration key of the size. Raises InputError if the smallest size exceeds
    ``wanted``, or if the largest size trains fewer.
    """
    key = "method.match.trainable_parameters"
    n_within = bisect_right(sizes, wanted, key=count)
    if n_within == 0:
        raise InputError(
            f"{key}={wanted} cannot be reached: {field}={sizes[0]} already trains "
            f"{count(sizes[0])}, the least possible here."
        )
    most = count(sizes[-1])
    if n_within == len(sizes) and wanted > most:
        raise InputError(
            f"{key}={wanted} cannot be reached: {field}={sizes[-1]} trains {most}, the most "
            "possible here."
        )
    return sizes[n_within - 1]
