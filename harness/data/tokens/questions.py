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
    """(T,) int32: ``text`` after what the tokenizer itself writes before texts."""
    specials = SpecialTokens(tokenizer)
    ids, _ = specials.tokens(specials.prompt(text, ()))
    return np.array(specials.begin + ids, np.int32)


def questions(
    texts: Sequence[str], tokenizer: Any, data: DataConfig | None = None
) -> tuple[list[np.ndarray], str]:
    """(T,) int32 each: ``texts`` as a user says them, up to where the words of an answer begin.

    The second value says, for signatures, what the template writes there by itself, and with which
    arguments; '' where it writes nothing and is given none.
    """
    template, specials = Template(tokenizer, data), SpecialTokens(tokenizer)
    asked = [[Turn("user", specials.value(text))] for text in texts]
    prompts = [specials.tokens(template.question(turns))[0] for turns in asked]
    own = template.around(asked[0])[0] if asked else ""
    about = f", after {own!r}" if own else ""
    if data is not None and data.template_arguments:
        about += f", with {dict(sorted(data.template_arguments.items()))}"
    return [np.array(ids, np.int32) for ids in prompts], about


def turn_ends(tokenizer: Any, data: DataConfig | None = None) -> tuple[int, ...]:
    """The token that the chat template writes behind an answer; () if it writes none, or only text."""
    behind = Template(tokenizer, data).around([Turn("user", "a")])[1].strip()
    known = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ids = SpecialTokens(tokenizer).tokens(behind)[0] if behind else []
    return tuple([token for token in ids if token in known][:1])
