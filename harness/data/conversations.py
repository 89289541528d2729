"""Conversations: their turns read from rows, chained from rows, and shown as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.errors import InputError, unknown

Turn = tuple[str, str]  # who speaks ('system', 'user', 'assistant'), and what is said

_ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "bot", "model", "chatgpt"),
}
_ROLE_OF = {name: role for role, names in _ROLES.items() for name in names}
_SPEAKER, _SAID = ("role", "from"), ("content", "value", "text")


def turns_of(value: Any, where: str, as_text: Any) -> list[Turn]:
    """A list of {role, content}, or {from, value}, as turns; in a CSV cell as JSON.

    ``as_text(value, where)`` is how a turn's content is checked. InputError names the bad turn.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise InputError(
                f"{where} is the text {value!r:.40}: it must be a list of turns, or one as JSON."
            ) from None
    if not isinstance(value, list):
        raise InputError(f"{where} is {value!r:.40}: it must be a list of turns.")
    turns = []
    for number, turn in enumerate(value, start=1):
        place = f"{where}, turn {number}"
        if not isinstance(turn, dict):
            raise InputError(
                f"{place} is {turn!r:.40}: it must be an object with role and content."
            )
        speaker, said = _field(turn, _SPEAKER, place), _field(turn, _SAID, place)
        role = _ROLE_OF.get(str(turn[speaker]).lower())
        if role is None:
            raise InputError(f"{place}: {unknown('role', turn[speaker], _ROLE_OF)}")
        turns.append((role, as_text(_joined(turn[said]), f"{place}, '{said}'")))
    return turns


def _field(turn: dict[str, Any], names: Sequence[str], place: str) -> str:
    for name in names:
        if turn.get(name) is not None:
            return name
    raise InputError(
        f"{place} has no {' or '.join(names)}: it holds {', '.join(turn) or 'nothing'}."
    )


def _joined(content: Any) -> Any:
    """Text in parts, as some interfaces write it, as one text."""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        parts = [part.get("text") for part in content]
        if all(isinstance(part, str) for part in parts):
            return "".join(part for part in parts if part)
    return content


def up_to_the_answer(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], str] | None:
    """What was said before the last assistant turn, and that turn.

    None where the assistant never speaks, says nothing at last, or speaks before any user.
    """
    last = max((at for at, (role, _) in enumerate(turns) if role == "assistant"), default=None)
    if last is None or not turns[last][1].strip():
        return None
    before = tuple(turns[:last])
    return (before, turns[last][1]) if any(role == "user" for role, _ in before) else None


def shown(turns: Sequence[Turn]) -> str:
    """What was said as a person reads it: a single user turn as it stands, others with the role."""
    if len(turns) == 1:
        return turns[0][1]
    return "\n".join(f"{role}: {content}" for role, content in turns)


def opening(turns: Sequence[Turn]) -> str:
    """The first thing a user says: conversations that share it belong to one split."""
    return next(content for role, content in turns if role == "user")


def chained(
    ids: Sequence[str], parents: Sequence[str], fields: str, whole_only: bool
) -> list[list[int]]:
    """The rows of each conversation from its first one on, by index, in the order of their last rows.

    ``parents``: '' where a row begins a conversation. One conversation ends at each row;
    ``whole_only``: at each row that is no other's parent. Raises InputError for an id that is there
    twice, a parent that is not there, and a row that comes before itself.
    """
    place: dict[str, int] = {}
    for index, name in enumerate(ids):
        if name in place:
            raise InputError(
                f"{fields}: the id '{name}' is that of rows {place[name] + 1} and {index + 1}."
            )
        place[name] = index
    for index, parent in enumerate(parents):
        if parent and parent not in place:
            raise InputError(
                f"{fields}: row {index + 1} has the parent '{parent}', which no row is."
            )
    chains = []
    has_children = set(parents)
    for index in range(len(ids)):
        if whole_only and ids[index] in has_children:
            continue
        chain, at = [index], index
        while parents[at]:
            at = place[parents[at]]
            if at in chain:
                raise InputError(f"{fields}: row {index + 1} comes before itself.")
            chain.append(at)
        chains.append(chain[::-1])
    if not chains:
        raise InputError(f"{fields}: every row is the parent of another one.")
    return chains
