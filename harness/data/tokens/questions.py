"""Prompts for probes: questions in the chat template, and beginnings of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.config import DataConfig
from harness.data.rows.chat_template import Template
from harness.data.rows.conversations import Turn
from harness.data.tokens.special_tokens import SpecialTokens


def beginning(text: str, tokenizer: Any) -> np.ndarray:
    """Return (T,) int32 tokens of ``text`` after what the tokenizer itself writes before texts."""
    specials = SpecialTokens(tokenizer)
    ids, _ = specials.tokens(specials.prompt(text, ()))
    return np.array(specials.begin + ids, np.int32)


def questions(
    texts: Sequence[str], tokenizer: Any, data: DataConfig | None = None
) -> tuple[list[np.ndarray], str]:
    """Return (T,) int32 prompts: each of ``texts`` as a user's turn, up to the begin of the answer.

    The second value is for signatures: the text that the template itself writes there, and its
    arguments; '' if there are neither.
    """
    template, specials = Template(tokenizer, data), SpecialTokens(tokenizer)
    asked = [[Turn("user", specials.value(text))] for text in texts]
    prompts = [specials.tokens(template.question(turns))[0] for turns in asked]
    own = template.around(asked[0])[0] if asked else ""
    added = f", after {own!r}" if own else ""
    if data is not None and data.template_arguments:
        added += f", with {dict(sorted(data.template_arguments.items()))}"
    return [np.array(ids, np.int32) for ids in prompts], added


def turn_ends(tokenizer: Any, data: DataConfig | None = None) -> tuple[int, ...]:
    """Return the token that the chat template writes after an answer; () if it writes none."""
    behind = Template(tokenizer, data).around([Turn("user", "a")])[1].strip()
    known = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ids = SpecialTokens(tokenizer).tokens(behind)[0] if behind else []
    return tuple([token for token in ids if token in known][:1])
