"""One example, with its input, every accepted answer, and its identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from harness.data.rows.conversations import Turn, opening


@dataclass(frozen=True)
class Example:
    """One input and every accepted answer. Plain text has prompt "" and the document as reference.

    Classification: the text as prompt, the name of its class as reference.
    A conversation: what was said before the last answer as ``turns``, and as text in ``prompt``.
    """

    prompt: str
    references: tuple[str, ...]
    label: int | None = None  # classification: the place of its class in ``Splits.labels``
    turns: tuple[Turn, ...] = ()  # of a conversation, earlier answers included
    fields: str = ""  # of a conversation's last answer, see Turn: reasoning, calls of tools
    # Which characters of the prompt the template writes: special tokens are tokens in these alone.
    template: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)

    def conversation(self, reference: str) -> tuple[Turn, ...]:
        """All turns, with one of the references as the last answer."""
        return (*self.turns, Turn("assistant", reference, fields=self.fields))

    @property
    def key(self) -> str:
        """Return the value that two examples with the same input share."""
        return self.prompt or self.references[0]

    @property
    def group(self) -> str:
        """Return the value that drawn splits must not share: the input, or a chat's beginning."""
        return opening(self.turns) if self.turns else self.key


def merge(examples: Sequence[Example]) -> list[Example]:
    """Examples of one prompt become one, with all references in order and none twice."""
    merged: dict[tuple[str, tuple[Turn, ...], str], tuple[Example, dict[str, None]]] = {}
    for example in examples:
        about = (example.prompt, example.turns, example.fields)
        _, references = merged.setdefault(about, (example, {}))
        references.update(dict.fromkeys(example.references))
    return [replace(first, references=tuple(found)) for first, found in merged.values()]


def fingerprint_examples(examples: Sequence[Example]) -> str:
    """sha256 over prompts, references and classes, in order."""
    classes = [example.label for example in examples if example.label is not None]
    return digest([plain(examples), classes] if classes else plain(examples))


def plain(examples: Sequence[Example]) -> list[list[object]]:
    """Prompt and references of each, and the turns of conversations."""
    return [
        [
            example.prompt,
            *example.references,
            *([example.turns] if example.turns else []),
            *([example.fields] if example.fields else []),
        ]
        for example in examples
    ]


def digest(content: object) -> str:
    """sha256 of anything that is JSON."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
