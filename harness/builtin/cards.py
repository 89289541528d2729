"""Model cards of the two built-in models, in the hub's format: licence, language, data and limits."""

from __future__ import annotations

from pathlib import Path

CARD = """\
---
license: apache-2.0
language:
- en
---
# {title}

A Llama of a million parameters, made by `python -m harness.builtin.build` to try fine-tuning methods
in seconds. {what}

## Training data

Generated texts about an invented world, the Vale: stories, letters, dialogues, encyclopedia entries,
recipes, lessons, market books and songs. Nothing was copied from anywhere.

## Bias, risks and limitations

It knows nothing of the real world, and its names, people and customs are invented. It is of no use but
for trying fine-tuning methods.
"""
CARDS = {
    "model": ("The built-in model", "It continues texts."),
    "chat_model": ("The built-in chat model", "It answers in conversations, with a chat template."),
}


def write_cards(output: Path) -> None:
    """Write README.md into the folders of both models."""
    for folder, (title, what) in CARDS.items():
        text = CARD.format(title=title, what=what)
        (output / folder / "README.md").write_text(text, encoding="utf-8")
