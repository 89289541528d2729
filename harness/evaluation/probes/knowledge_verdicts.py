"""Classify an answer to a knowledge question as recalled, invented or neither, and check its form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["recalled", "invented", "neither"]

REPEATED = 4  # tokens of an n-gram
_UNSPACED = re.compile(
    "[\u3040-\u30ff\u3400-\u9fff]"
)  # Chinese and Japanese: no space between words


@dataclass(frozen=True)
class MatchedValue:
    """Verdict on an answer, and the characters of the value that decided it.

    ``start`` equals ``end`` if no value was found.
    """

    verdict: Verdict
    start: int = 0
    end: int = 0


def verdict(text: str, accepted: Sequence[str], wrong: Sequence[str]) -> MatchedValue:
    """Classify an answer by the first value in it; of two at the same place the longer one decides.

    Values are matched as whole words, ignoring case. A long answer is therefore judged by the value
    that it names first, and no answer is both recalled and invented.
    """
    sides: tuple[tuple[Verdict, Sequence[str]], ...] = (("recalled", accepted), ("invented", wrong))
    named = [
        MatchedValue(side, start=match.start(), end=match.end())
        for side, values in sides
        for value in values
        if (match := _first(value, text))
    ]
    return min(named, key=lambda found: (found.start, -found.end), default=MatchedValue("neither"))


def _first(value: str, text: str) -> re.Match[str] | None:
    bounds = ("", "") if _UNSPACED.search(value) else (r"(?<!\w)", r"(?!\w)")
    return re.search(bounds[0] + re.escape(value) + bounds[1], text, re.IGNORECASE)


def repetition(tokens: Sequence[int], n: int = REPEATED) -> float:
    """Return seq-rep-n: 1 − distinct n-grams / all n-grams, 0 to 1; 0 for fewer than n tokens.

    Welleck et al. 2019, arXiv:1908.04319.
    """
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def role_markers(tokenizer: Any) -> tuple[str, ...]:
    """Return the chat template's text around a message, such as '<|user|>' or 'ASSISTANT:'.

    Two turns of each role are rendered and the messages removed. Empty without a template.
    """
    if not getattr(tokenizer, "chat_template", None):
        return ()
    contents = [f"content{number}" for number in range(4)]
    messages = [
        {"role": ("user", "assistant")[number % 2], "content": text}
        for number, text in enumerate(contents)
    ]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    # Text before the first turn may be the template's default system message, which is no marker.
    pieces = re.split("|".join(contents), whole)[1:]
    lines = [line.strip() for piece in pieces for line in piece.splitlines()]
    return tuple(dict.fromkeys(line for line in lines if len(line) > 1))


def one_turn(raw: str, ended: bool, markers: Sequence[str], end: str | None) -> bool:
    """Return True if an answer is not empty, ends its turn by itself and begins no other turn.

    ``raw`` is the answer with its special tokens, without the one that ended it.
    """
    own = [marker.replace(end or "\0", "").strip() for marker in markers]
    return ended and bool(raw.strip()) and not any(mark in raw for mark in own if len(mark) > 1)
