"""Conversations that are too long, shortened by turns before the last answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from harness.data.rows.conversations import TOOLS, Turn

_SETTING = ("system", "developer")  # instructions for the whole conversation: removed last


def shortened(
    turns: list[Turn], excess: int, begins_of: Callable[[str], list[int]]
) -> list[Turn] | None:
    """Shorten ``turns`` before the last answer; None if all fits or nothing can be removed.

    First the oldest turns are removed, up to the next one of the user. Then the longest remaining
    turn loses its beginning. If that is not enough, the system's turn is removed. ``excess`` is the
    number of tokens too many, ``begins_of`` the characters at which the tokens of a text begin.
    """
    if excess <= 0:
        return None
    *before, last = turns
    n_head = next((i for i, turn in enumerate(before) if turn.role not in _SETTING), 0)
    users = [i for i, turn in enumerate(before) if turn.role == "user" and i > n_head]
    if users:
        kept = [*before[:n_head], *before[users[0] :]]
        return [*_with_tools(kept, turns), last]
    at = max(range(len(before)), key=lambda i: len(before[i].content))
    begins = begins_of(before[at].content)
    if excess >= len(begins) and n_head:
        return [*_with_tools(before[n_head:], turns), last]
    rest = before[at].content[begins[min(excess, len(begins) - 1)] :] if begins else ""
    if rest == before[at].content:
        return None
    before[at] = before[at]._replace(content=rest)
    return [*before, last]


def _with_tools(turns: list[Turn], before: Sequence[Turn]) -> list[Turn]:
    """Return ``turns`` with the tools of the conversation ``before``, kept in its first turn."""
    tools = before[0].more.get(TOOLS)
    if tools is None or TOOLS in turns[0].more:
        return turns
    fields = json.dumps({TOOLS: tools} | turns[0].more, ensure_ascii=False, sort_keys=True)
    return [turns[0]._replace(fields=fields), *turns[1:]]
