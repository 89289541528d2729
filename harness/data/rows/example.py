"""Example: an input, every accepted answer, and the identity of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from harness.data.rows.conversations import Turn, opening

_AT_ONCE = 1000  # items that are written as JSON at a time


@dataclass(frozen=True, slots=True)  # a data set has millions
class Example:
    """One input and every accepted answer.

    Plain text: the prompt is "" and the document is the reference.
    Classification: the text is the prompt and the name of its class is the reference.
    Conversation: the turns before the last answer are in ``turns``, and as text in ``prompt``.
    """

    prompt: str
    references: tuple[str, ...]
    label: int | None = None  # classification: index of its class in ``Splits.labels``
    turns: tuple[Turn, ...] = ()  # of a conversation, with earlier answers
    fields: str = ""  # of a conversation's last answer, as in Turn: reasoning, tool calls
    # Characters of the prompt that the template wrote. Special tokens count as tokens only in these.
    template: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)

    def conversation(self, reference: str) -> tuple[Turn, ...]:
        """Return all turns, with one of the references as the last answer."""
        return (*self.turns, Turn("assistant", reference, fields=self.fields))

    @property
    def key(self) -> str:
        """Return a value that is equal for examples with the same input."""
        return self.prompt or self.references[0]

    @property
    def group(self) -> str:
        """Return a value that no two drawn splits may share: the input, or a chat's beginning."""
        return opening(self.turns) if self.turns else self.key


def merge(examples: Sequence[Example]) -> list[Example]:
    """Merge the examples of one prompt into one, with all references in order and without repeats."""
    merged: dict[tuple[str, tuple[Turn, ...], str], tuple[Example, dict[str, None]]] = {}
    for example in examples:
        key = (example.prompt, example.turns, example.fields)
        _, references = merged.setdefault(key, (example, {}))
        references.update(dict.fromkeys(example.references))
    return [replace(first, references=tuple(found)) for first, found in merged.values()]


def fingerprint_examples(examples: Sequence[Example]) -> str:
    """Return the sha256 over prompts, references and classes, in order."""
    classes = [example.label for example in examples if example.label is not None]
    return digest([plain(examples), classes] if classes else plain(examples))


def plain(examples: Iterable[Example]) -> Iterator[list[object]]:
    """Yield prompt and references of each example, with the turns of conversations."""
    for example in examples:
        yield [
            example.prompt,
            *example.references,
            *([example.turns] if example.turns else []),
            *([example.fields] if example.fields else []),
        ]


def digest(content: object) -> str:
    """Return the sha256 of a value that can be written as JSON.

    Iterators in it count as lists, and are never a list in memory.
    """
    found = hashlib.sha256()
    for part in _json(content):
        found.update(part.encode())
    return found.hexdigest()


def _json(content: object) -> Iterator[str]:
    """Yield the compact JSON of ``content``, with sorted keys, in parts."""
    if isinstance(content, Iterator):
        between = "["
        while some := list(islice(content, _AT_ONCE)):
            yield between + _written(some)[1:-1]
            between = ","
        yield "]" if between == "," else "[]"
    elif isinstance(content, dict):
        for number, key in enumerate(sorted(content)):
            yield ("," if number else "{") + _written(key) + ":"
            yield from _json(content[key])
        yield "}" if content else "{}"
    elif isinstance(content, list) and any(isinstance(item, Iterator) for item in content):
        for number, item in enumerate(content):
            yield "," if number else "["
            yield from _json(item)
        yield "]"
    else:
        yield _written(content)


def _written(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
