"""Samples of rows: some of them at random, the same ones in every process and every run."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def sample(items: Sequence[T], n: int | None, seed: int) -> list[T]:
    """Return ``n`` of ``items`` at random, in their order; all of them without ``n``."""
    return [items[place] for place in sampled_places(len(items), n, seed)]


def sampled_places(n_items: int, n: int | None, seed: int) -> list[int]:
    """Return ``n`` places among ``n_items`` in ascending order; all if there are no more than ``n``.

    Simple random sampling without replacement. The places depend on the arguments alone, and those of
    a smaller ``n`` are among those of a larger one.
    """
    if n is None or n >= n_items:
        return list(range(n_items))
    keys = _keys(n_items, seed)
    return sorted(heapq.nsmallest(n, range(n_items), key=keys.__getitem__))


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """Return all of ``items`` in a random order that depends on their number and ``seed`` alone."""
    keys = _keys(len(items), seed)
    return [items[place] for place in sorted(range(len(items)), key=keys.__getitem__)]


def _keys(n: int, seed: int) -> list[float]:
    draws = random.Random(f"sample-{seed}")  # Python promises the same numbers for a seed
    return [draws.random() for _ in range(n)]
