"""Overrides inferred from the data: the source, the columns and a general text.

They are added to the typed overrides, so they are shown, recorded and repeatable. A typed override is
never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override  # noqa: TID251 - this folder knows Hydra

from harness.compose import override_grammar
from harness.config import DataConfig
from harness.data.rows.files.sources import SOURCE_OF_SUFFIX, check_file, first_rows, naming
from harness.data.rows.files.web_pages import is_url
from harness.errors import InputError
from harness.paths import user_path
from harness.statistics.measurements.names import FORGETTING

__all__ = ["general_text", "missing_overrides"]

# Names that people give to columns, in the order of preference.
PROMPTS = ("prompt", "question", "instruction", "input", "query", "source", "request", "context")
PROMPTS += ("meaning_representation", "mr", "q", "質問", "入力")
ANSWERS = (
    "answer",
    "response",
    "output",
    "completion",
    "target",
    "reference",
    "references",
    "reply",
)
ANSWERS += ("human_reference", "ref", "summary", "translation", "a", "回答", "答え", "出力")
TEXTS = ("text", "sentence", "content", "document", "message", "review", "テキスト", "本文")
CLASSES = ("label", "class", "category", "intent", "topic", "sentiment", "ラベル")
CONVERSATIONS = ("messages", "conversations", "conversation")

COLUMN_KEYS = tuple(
    f"data.{key}"
    for key in ("prompt_column", "answer_column", "text_column", "label_column", "messages_column")
)
TEMPLATE = "data.prompt_template"
SHAPES = (*COLUMN_KEYS, TEMPLATE)
TABLES = ("csv", "jsonl", "json", "parquet")
_CONVERTED = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), "Save the sheet as CSV in UTF-8."),
    **dict.fromkeys((".pdf", ".docx", ".doc", ".odt", ".rtf"), "Save its text as .txt or .html."),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".zst"), "Unpack it first."),
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".npy", ".npz"), "Write its rows as JSON lines."),
    **dict.fromkeys((".yaml", ".yml", ".xml"), "Write its rows as JSON lines."),
    **dict.fromkeys((".arrow", ".feather"), "Write it as Parquet."),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), "Write the table as CSV or Parquet."),
}
_ROWS_READ = 20  # to see which columns there are; a column may be missing in the first row


def missing_overrides(arguments: Sequence[str]) -> list[str]:
    """Return the overrides that follow from the file that ``data.train`` names.

    They are ``data=`` by its suffix, and the columns by their usual names. None follow where a folder
    of one's own blocks is used, or where the file cannot be read: composing says that more clearly.
    Raises InputError if the columns have no usual names, with all that are there.
    """
    if any(argument.startswith(("--config-dir", "-cd")) for argument in arguments):
        return []
    typed = {o.key_or_group: o for o in map(_parsed, arguments) if o is not None}
    if "data" not in typed:
        _check_format(typed)
    train = _file_of(typed)
    if train is None:
        if "data" not in typed:
            _check_there(typed)
        return []
    by_suffix = "pages" if is_url(train) else SOURCE_OF_SUFFIX.get(_suffix(train))
    source = str(typed["data"].value()) if "data" in typed else by_suffix
    added = [f"data={source}"] if source is not None and "data" not in typed else []
    if source in TABLES:
        own = [key for key in SHAPES if key in typed]
        if not own or own in (["data.prompt_column"], ["data.answer_column"], [TEMPLATE]):
            added += _columns(train, str(source), own, typed)
    return added


def general_text(objectives: Iterable[str], data: DataConfig, model: str) -> list[str]:
    """Return the override for a general text, where forgetting is an objective and there is none.

    The built-in model knows nothing but its own world, so its forgetting is measured there.
    """
    asked = any(name.startswith(FORGETTING) for name in objectives)
    if not asked or data.general or data.source == "builtin":
        return []
    return ["data.general=builtin" if model.startswith("builtin") else "data.general=everyday"]


def _parsed(argument: str) -> Override | None:
    if argument.startswith("-") or "=" not in argument:
        return None
    try:
        return override_grammar.parse(argument)
    except InputError:
        return None  # composing refuses it, in the order of the command line


def _check_format(typed: Mapping[str, Any]) -> None:
    """Raise InputError for a training file in a format that no source reads, with a way out."""
    given = _train(typed)
    suffix = _suffix(given or "")
    if suffix in _CONVERTED:
        raise InputError(
            f"data.train={given} cannot be read: no source reads {suffix}. {_CONVERTED[suffix]} "
            f"Read are {', '.join(SOURCE_OF_SUFFIX)}."
        )


def _check_there(typed: Mapping[str, Any]) -> None:
    """Raise InputError for a training file that no ``data=`` explains and that does not exist."""
    given = _train(typed)
    if given is not None and _suffix(given) in SOURCE_OF_SUFFIX and not is_url(given):
        with naming("data.train"):
            check_file(user_path(given))


def _suffix(path: str) -> str:
    """Return the suffix that tells the format: that before ``.gz`` and the like, which are unpacked."""
    file = Path(path.lower())
    return (file.with_suffix("") if file.suffix in (".gz", ".bz2", ".xz") else file).suffix


def _train(typed: Mapping[str, Any]) -> str | None:
    """Return the first training file that is typed."""
    value = typed["data.train"].value() if "data.train" in typed else None
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, str) else None


def _file_of(typed: Mapping[str, Any]) -> str | None:
    """Return the first training file that is typed, if it exists, or a page's URL."""
    first = _train(typed)
    found = first is not None and (is_url(first) or user_path(first).is_file())
    return first if found else None


def _columns(path: str, source: str, own: Sequence[str], typed: Mapping[str, Any]) -> list[str]:
    with naming("data.train"):
        rows = first_rows(source, path, _ROWS_READ)
    if not rows:
        raise InputError(f"data.train: {path} holds no rows.")
    names = list(dict.fromkeys(str(name) for row in rows if isinstance(row, dict) for name in row))
    if not names or {"prompt", "answer"} <= set(names):
        return []
    if own:
        return _other_half(path, names, own[0], str(typed[own[0]].value()))
    found = _shape(names, rows)
    if found is None:
        raise InputError(
            f"data.train: {path} has the columns {', '.join(names)}. Say which hold the prompt and the "
            "answer: data.prompt_column=... data.answer_column=... Or name data.text_column for plain "
            "text, that and data.label_column for classes, or data.messages_column for conversations."
        )
    return [f"{key}={override_grammar.shown(name)}" for key, name in found.items()]


def _other_half(path: str, names: Sequence[str], key: str, given: str) -> list[str]:
    """Return the answer's column where that of the prompt or a template is typed, or the reverse."""
    other, usual = ("prompt", PROMPTS) if key == "data.answer_column" else ("answer", ANSWERS)
    used = [name for name in names if f"{{{name}}}" in given] if key == TEMPLATE else [given]
    rest = [name for name in names if name not in used]
    if other in rest or not {*used} <= {*names} or not used:
        return []
    found = _first(usual, rest) or (rest[0] if len(rest) == 1 else None)
    if found is None:
        raise InputError(
            f"data.{other}_column: name the column of {path} that holds the {other}, one of "
            f"{', '.join(rest)}."
        )
    return [f"data.{other}_column={override_grammar.shown(found)}"]


def _shape(names: Sequence[str], rows: Sequence[Any]) -> dict[str, str] | None:
    """Return the keys and columns that the names suggest; None where they suggest nothing."""
    messages = _first(CONVERSATIONS, names)
    if messages and all(isinstance(row.get(messages), list) for row in rows):
        return {"data.messages_column": messages}
    prompt, answer = _first(PROMPTS, names), _first(ANSWERS, names)
    if prompt and answer:
        return {"data.prompt_column": prompt, "data.answer_column": answer}
    text, label = _first((*TEXTS, *PROMPTS), names), _first(CLASSES, names)
    if text and label:
        return {"data.text_column": text, "data.label_column": label}
    if text and len(names) == 1:
        return {"data.text_column": text}
    return None


def _first(usual: Collection[str], names: Sequence[str]) -> str | None:
    """Return the column with the most usual name, whatever its case."""
    by_name = {name.strip().lower(): name for name in reversed(names)}
    return next((by_name[name] for name in usual if name in by_name), None)
