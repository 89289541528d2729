"""Questions of the knowledge probe: read from a file, and tokenized as a completion or a chat turn.

A base model completes the beginning of a sentence. A chat model is asked a question in its template.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from harness import builtin
from harness.config import DataConfig
from harness.data.rows.chat_template import template_of
from harness.data.tokens.questions import beginning, questions
from harness.errors import InputError
from harness.paths import user_path

QuestionKind = Literal["new", "old", "unanswerable"]
QUESTION_KINDS: tuple[QuestionKind, ...] = ("new", "old", "unanswerable")


@dataclass(frozen=True)
class KnowledgeQuestion:
    """One question in both forms, with accepted and wrong values.

    For an unanswerable question, ``accepted`` are words that admit it, such as 'do not know'.
    """

    completion: str
    chat: str | None  # None: a chat model is also given the completion
    accepted: tuple[str, ...]
    wrong: tuple[str, ...]
    kind: QuestionKind


@dataclass(frozen=True)
class KnowledgeQuestions:
    """All questions of one file."""

    name: str  # for signatures: file stem and hash of the content
    rows: tuple[KnowledgeQuestion, ...]


@lru_cache(maxsize=4)
def read_probes(source: str) -> KnowledgeQuestions:
    """Read ``builtin`` or a JSONL file with one question a line.

    Raises InputError with file and line for an unusable row.
    """
    path = builtin.ISLE_PROBES if source == "builtin" else user_path(source)
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"evaluation.probes={source!r} cannot be read ({error}): "
            "give null, builtin or a JSONL file."
        ) from error
    rows = tuple(_row(line, f"{path}:{n}") for n, line in enumerate(lines, 1) if line.strip())
    if not rows:
        raise InputError(f"evaluation.probes={source!r} holds no rows.")
    return KnowledgeQuestions(f"{path.stem}@{hashlib.sha256(content).hexdigest()[:8]}", rows)


def _row(line: str, where: str) -> KnowledgeQuestion:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error}).") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: a row is an object, not {row!r:.60}.")
    unknown_keys = set(row) - {"completion", "chat", "accepted", "wrong", "kind"}
    if unknown_keys:
        raise InputError(f"{where}: no key {sorted(unknown_keys)[0]!r} is known in a probe.")
    completion, chat = row.get("completion"), row.get("chat")
    if not isinstance(completion, str) or not completion.strip():
        raise InputError(f"{where}: 'completion' must be the beginning of a sentence.")
    if chat is not None and (not isinstance(chat, str) or not chat.strip()):
        raise InputError(f"{where}: 'chat' must be a question, or left out.")
    kind = row.get("kind", "new")
    if kind not in QUESTION_KINDS:
        raise InputError(
            f"{where}: 'kind' is {kind!r}; it must be one of {', '.join(QUESTION_KINDS)}."
        )
    accepted, wrong = _texts(row, "accepted", where), _texts(row, "wrong", where)
    if not accepted and kind != "unanswerable":
        raise InputError(f"{where}: 'accepted' must hold an answer.")
    return KnowledgeQuestion(completion, chat, accepted, wrong, kind)


def _texts(row: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    values = row.get(key) or []
    if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
        raise InputError(f"{where}: {key!r} must be a list of texts.")
    return tuple(values)


class AskedQuestion(NamedTuple):
    """One question as it is put to the model."""

    form: Literal["chat", "completion"]
    prompt: str
    tokens: np.ndarray


def asked(
    probes: KnowledgeQuestions, tokenizer: Any, data: DataConfig | None = None
) -> list[AskedQuestion]:
    """Return each question as this tokenizer's model is asked: in its chat template if it has one."""
    has_template = template_of(tokenizer, data) is not None
    found = []
    for probe in probes.rows:
        if probe.chat is not None and has_template:
            ((ids,), _) = questions([probe.chat], tokenizer, data)
            found.append(AskedQuestion(form="chat", prompt=probe.chat, tokens=ids))
        else:
            tokens = beginning(probe.completion, tokenizer)
            found.append(AskedQuestion(form="completion", prompt=probe.completion, tokens=tokens))
    return found
