"""Compact letter display of significant differences, valid for every pair."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

import numpy as np


def compact_letters(different: np.ndarray) -> list[str]:
    """Return (k,) letters such as 'A', 'AB' from a symmetric (k, k) matrix, true where two differ.

    Rows are ordered best first. Two candidates share a letter if and only if they do not differ
    (insert and absorb, Piepho 2004, J. Comput. Graph. Stat. 13:456). Beyond 26 letters: A1, B1, and so
    on, separated by a space.
    """
    k = len(different)
    groups = [frozenset(range(k))] if k else []
    for i in range(k):
        for j in range(i + 1, k):
            if different[i, j]:
                groups = _insert(groups, i, j)
    groups.sort(key=lambda group: sorted(group))
    own = [[_letter(place) for place, g in enumerate(groups) if i in g] for i in range(k)]
    return [("" if len(groups) <= 26 else " ").join(letters) for letters in own]


def _insert(groups: Sequence[frozenset[int]], i: int, j: int) -> list[frozenset[int]]:
    """Split each group that holds both, and absorb groups that another group contains."""
    kept = [group for group in groups if not (i in group and j in group)]
    for group in groups:
        if i in group and j in group:
            for half in (group - {i}, group - {j}):
                if not any(half <= other for other in kept):
                    kept = [other for other in kept if not other <= half]
                    kept.append(half)
    return kept


def _letter(place: int) -> str:
    turn, letter = divmod(place, 26)
    return ascii_uppercase[letter] + (str(turn) if turn else "")
