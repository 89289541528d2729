"""Columns of a row: required names, accepted values, and the conversion to a prompt."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from harness.config import DataConfig
from harness.data.rows.conversations import Turn, turns_of
from harness.data.rows.files.garbled import Garbled
from harness.errors import InputError, unknown

_NONE = (
    "None",
    "nan",
    "NaN",
    "null",
    "NULL",
    "N/A",
    "#N/A",
)  # written by programs for a missing value
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")


class Repeated:
    """Value of a column whose name several columns of the table have."""

    def __repr__(self) -> str:
        return "named twice in the header"


Row = dict[str, str | list[str] | list[Turn]]


def template_columns(config: DataConfig) -> list[str]:
    """Return the columns that the prompt is made of.

    ``{prompt}`` stands for the prompt column, ``{system}`` for the system column if one is configured.

    Raises InputError if there are none, or if the prompt would contain the answer.
    """
    names = [match[1] for match in _PLACEHOLDER.finditer(config.prompt_template) if match[1]]
    if not names:
        raise InputError(
            f"data.prompt_template={config.prompt_template!r} cannot be used: it must name at "
            "least one column in braces, e.g. '{prompt}'."
        )
    columns = [_column(config, name) for name in names]
    column, field = answer_field(config)
    if column in columns:
        raise InputError(
            f"data.prompt_template={config.prompt_template!r} cannot be used: "
            f"the prompt would contain {field} '{column}'."
        )
    return list(dict.fromkeys(columns))


def _column(config: DataConfig, name: str) -> str:
    """Return the column that a name in the template stands for."""
    own = {"prompt": str(config.prompt_column), "system": config.system_column or "system"}
    return own.get(name, name)


def system_turn(config: DataConfig, row: Row) -> str:
    """Return the system text of a row, '' if there is none or if the prompt template contains it."""
    column = config.system_column
    if column is None or column in template_columns(config):
        return ""
    return str(row[column]).strip()


def answer_field(config: DataConfig) -> tuple[str, str]:
    """Return the column of the text to be learned, and the field that names it."""
    if config.is_plain_text:
        return str(config.text_column), "data.text_column"
    if config.is_classification:
        return str(config.label_column), "data.label_column"
    if config.messages_column is not None:
        return config.messages_column, "data.messages_column"
    return str(config.answer_column), "data.answer_column"


def needed_columns(config: DataConfig) -> dict[str, str]:
    """Return the needed columns as `{column: the field that names it}`."""
    if config.text_column is not None:
        return {config.text_column: "data.text_column"} | dict([answer_field(config)])
    if config.messages_column is not None:
        return dict([answer_field(config)])
    fields = {}
    for column in template_columns(config):
        own = column == config.prompt_column
        fields[column] = "data.prompt_column" if own else "data.prompt_template"
    for name in ("system_column", "id_column", "parent_id_column"):
        column = getattr(config, name)
        if column is not None:
            fields[column] = f"data.{name}"
    return fields | dict([answer_field(config)])


def checked_rows(
    records: Iterable[tuple[str, Any]], config: DataConfig, seen: Counter[str] | None = None
) -> Iterator[Row]:
    """Yield the needed columns of every row as text, and count oddities in ``seen``.

    Raises InputError with the place of the first bad row, or of text decoded with a wrong encoding.
    """
    needed = needed_columns(config)
    seen = Counter() if seen is None else seen
    n_rows, garbled = 0, Garbled()
    for n_rows, (where, row) in enumerate(records, start=1):  # noqa: B007
        if not isinstance(row, dict):
            raise InputError(
                f"{where} is {_kind(row)}: a row must be an object with named columns."
            )
        checked: Row = {}
        for column, field in needed.items():
            if column not in row:
                raise InputError(
                    f"{where} has no such column ({field}). {unknown('column', column, row)}"
                )
            value, place = row[column], f"{where}, column '{column}' ({field})"
            if field == "data.messages_column":
                tools = next((row[name] for name in ("tools", "functions") if row.get(name)), None)
                checked[column] = turns_of(value, place, as_text, tools)
            elif value is None and field in ("data.system_column", "data.parent_id_column"):
                checked[column] = ""
            elif isinstance(value, list) and field == "data.answer_column":
                checked[column] = [as_text(item, place + " in its list") for item in value]
            else:
                checked[column] = as_text(value, place)
        garbled.look(where, checked.values())
        answer = checked.get(answer_field(config)[0])
        seen["answers_that_say_none_rows"] += isinstance(answer, str) and answer.strip() in _NONE
        yield checked
    seen["garbled_rows"] += garbled.check(n_rows)


def as_text(value: Any, where: str) -> str:
    """Return text unchanged and a number as its digits. Raises InputError for anything else."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{where} holds half a surrogate pair (\\u{ord(value[error.start]):04x}) "
                f"at character {error.start}: that is not text."
            ) from None
        return value
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if (is_number and math.isfinite(value)) or isinstance(value, date | time | timedelta):
        return str(value)
    raise InputError(f"{where} is {_kind(value)}: it must be text or a number.")


def _kind(value: Any) -> str:
    """Describe a value for a message: its type and its contents."""
    if value is None or isinstance(value, Repeated):
        return "null" if value is None else repr(value)
    kinds = {bool: "a truth value", list: "a list", dict: "an object", str: "text"}
    return f"{kinds.get(type(value), type(value).__name__)} ({value!r:.40})"


def render(config: DataConfig, row: Row) -> str:
    """Return the prompt of a row. For classification this is the text itself.

    A regex instead of `str.format`, because values and templates may contain any braces.
    """
    return rendered(config, row)[0]


def rendered(config: DataConfig, row: Row) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the prompt of a row, and which of its characters the template wrote."""
    if config.text_column is not None:
        return str(row[config.text_column]), ()
    system = "" if config.chat else system_turn(config, row)
    prompt, own = f"{system}\n" if system else "", []
    for words, name in template_parts(config.prompt_template):
        own.append((len(prompt), len(prompt) + len(words)))
        prompt += words + ("" if name is None else str(row[_column(config, name)]))
    return prompt, tuple(own)


def template_parts(template: str) -> list[tuple[str, str | None]]:
    """Split ``template`` into its words and the placeholder after each; None after the last.

    ``{{`` and ``}}`` are braces among the words.
    """
    parts: list[tuple[str, str | None]] = []
    words, at = "", 0
    for match in _PLACEHOLDER.finditer(template):
        words += template[at : match.start()] + (match[0][0] if match[1] is None else "")
        at = match.end()
        if match[1] is not None:
            parts.append((words, match[1]))
            words = ""
    return [*parts, (words + template[at:], None)]
