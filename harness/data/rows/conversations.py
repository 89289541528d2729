"""Conversations: their turns read from rows, chained from rows, and shown as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.errors import InputError, unknown


class Turn(NamedTuple):
    """One turn of a conversation."""

    role: str  # 'system', 'developer', 'user', 'assistant' or 'tool'
    content: str
    learned: bool = True  # False: the data mark this answer as not to be learned
    fields: str = ""  # all other fields of the turn, for the template, as a JSON object

    @property
    def more(self) -> dict[str, Any]:
        """Return the extra values that ``fields`` holds."""
        return json.loads(self.fields) if self.fields else {}


_ROLES = {
    "system": ("system",),
    "developer": ("developer",),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "bot", "model", "chatgpt"),
    "tool": ("tool", "function", "observation", "ipython"),
}
_ROLE_OF = {name: role for role, names in _ROLES.items() for name in names}
_SPEAKER, _SAID = ("role", "from"), ("content", "value", "text")
# Names of the field that marks a turn as to be learned or not.
_LEARNED = ("weight", "train", "training", "trainable", "loss", "loss_mask")
_YES_OR_NO = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
TOOLS = "tools"  # functions that a conversation may call; kept in the fields of its first turn


def turns_of(value: Any, where: str, as_text: Any, tools: Any = None) -> list[Turn]:
    """Parse a list of {role, content} or {from, value} into turns. In a CSV cell the list is JSON.

    ``as_text(value, where)`` checks the content of a turn. ``tools`` are the functions that may be
    called. All other fields of a turn are kept for the template. InputError names the bad turn.
    """
    value = _parsed(value, where, "a list of turns")
    if not isinstance(value, list):
        raise InputError(f"{where} is {value!r:.40}: it must be a list of turns.")
    turns = []
    for number, turn in enumerate(value, start=1):
        place = f"{where}, turn {number}"
        if not isinstance(turn, dict):
            raise InputError(
                f"{place} is {turn!r:.40}: it must be an object with role and content."
            )
        turns.append(_turn(turn, place, as_text))
    if tools and turns:
        found = _parsed(tools, f"{where}, its row's tools", "a list of tools")
        if found:
            fields = json.dumps({TOOLS: found} | turns[0].more, ensure_ascii=False, sort_keys=True)
            turns[0] = turns[0]._replace(fields=fields)
    return turns


def _parsed(value: Any, where: str, what: str) -> Any:
    """Parse a value that may be written as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise InputError(
            f"{where} is the text {value!r:.40}: it must be {what}, or one as JSON."
        ) from None


def _turn(turn: dict[str, Any], place: str, as_text: Any) -> Turn:
    speaker = _field(turn, _SPEAKER, place)
    role = _ROLE_OF.get(str(turn[speaker]).lower())
    if role is None:
        raise InputError(f"{place}: {unknown('role', turn[speaker], _ROLE_OF)}")
    more = {key: value for key, value in turn.items() if value not in (None, "", [], {})}
    learned = all([_learned(more.pop(key), f"{place}, '{key}'") for key in _LEARNED if key in more])
    calls = more.get("tool_calls") or more.get("function_call")
    said = next((name for name in _SAID if turn.get(name) is not None), None)
    if said is None and not calls:
        said = _field(turn, _SAID, place)
    content = "" if said is None else as_text(_joined(turn[said]), f"{place}, '{said}'")
    for name in (speaker, said):
        more.pop(str(name), None)
    for name in ("tool_calls", TOOLS):
        if name in more:
            more[name] = _parsed(more[name], f"{place}, '{name}'", "a list")
    try:
        fields = json.dumps(more, ensure_ascii=False, sort_keys=True) if more else ""
    except TypeError as error:
        raise InputError(f"{place} cannot be given to a chat template: {error}.") from None
    return Turn(role, content, learned, fields)


def _learned(value: Any, place: str) -> bool:
    known = _YES_OR_NO.get(str(value).strip().lower())
    if known is None:
        raise InputError(
            f"{place} is {value!r:.40}: it must be 0 or false for a turn that is not learned, "
            "1 or true for one that is."
        )
    return known


def _field(turn: dict[str, Any], names: Sequence[str], place: str) -> str:
    for name in names:
        if turn.get(name) is not None:
            return name
    raise InputError(
        f"{place} has no {' or '.join(names)}: it holds {', '.join(turn) or 'nothing'}."
    )


def _joined(content: Any) -> Any:
    """Join content that some interfaces write in parts into one text."""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        parts = [part.get("text") for part in content]
        if all(isinstance(part, str) for part in parts):
            return "".join(part for part in parts if part)
    return content


def up_to_the_answer(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], Turn] | None:
    """Return the turns before the last assistant turn to be learned, and that turn.

    None if the assistant never speaks, ends with an empty message, or speaks before any user.
    """
    spoken = (at for at, turn in enumerate(turns) if turn.role == "assistant" and turn.learned)
    last = max(spoken, default=None)
    if last is None or not turns[last].content.strip():
        return None
    before = tuple(turns[:last])
    return (before, turns[last]) if any(turn.role == "user" for turn in before) else None


def shown(turns: Sequence[Turn]) -> str:
    """Format turns for a reader: a single user turn as it is, several with their roles."""
    if len(turns) == 1 and not turns[0].fields:
        return turns[0].content
    return "\n".join(
        f"{turn.role}: {turn.content}{' ' if turn.fields else ''}{turn.fields}" for turn in turns
    )


def opening(turns: Sequence[Turn]) -> str:
    """Return the first message of a user. Conversations that share it belong to one split."""
    return next(turn.content for turn in turns if turn.role == "user")


def chained(
    ids: Sequence[str], parents: Sequence[str], fields: str, whole_only: bool
) -> list[list[int]]:
    """Return the row indices of each conversation, first to last, in the order of their last rows.

    ``parents`` holds '' where a row begins a conversation. One conversation ends at each row; with
    ``whole_only``, at each row that is not the parent of another. Raises InputError for a duplicate
    id, a missing parent, and a row that is its own ancestor.
    """
    place: dict[str, int] = {}
    for index, name in enumerate(ids):
        if name in place:
            raise InputError(
                f"{fields}: rows {place[name] + 1} and {index + 1} have the same id '{name}'."
            )
        place[name] = index
    for index, parent in enumerate(parents):
        if parent and parent not in place:
            raise InputError(
                f"{fields}: row {index + 1} has the parent '{parent}', but no row has this id."
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
                raise InputError(f"{fields}: row {index + 1} is its own ancestor.")
            chain.append(at)
        chains.append(chain[::-1])
    if not chains:
        raise InputError(f"{fields}: every row is the parent of another one.")
    return chains
