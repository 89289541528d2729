"""Examples that are conversations as token sequences, and as prompts for generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.config import DataConfig
from harness.data.chat import ChatFormat
from harness.data.encoded import OneSequence
from harness.data.example import Example
from harness.data.specials import begins_with


def encode_chats(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig, *, training: bool
) -> tuple[list[OneSequence], int, dict[str, int]]:
    """Sequences of conversations, how many were asked for, and what is to be said of them.

    ``training``: every answer that the config wants learned, and once each reference of the last one;
    otherwise the first reference of the last answer alone. What is too long loses its beginning.
    """
    chat, every = ChatFormat(tokenizer, config), training and not config.only_last_answer
    found, n_too_long, longest, n_asked = [], 0, 0, 0
    for index, example in enumerate(examples):
        for reference in example.references if training else example.references[:1]:
            turns = [*example.turns, ("assistant", reference)]
            for written in chat.sequences(turns, config.loss_on, every):
                n_asked += 1
                longest = max(longest, len(written.ids))
                too_long = len(written.ids) > config.max_length
                n_too_long += too_long
                if too_long and config.too_long != "truncate":
                    continue
                if too_long:
                    written = written.shortened(config.max_length, _n_bos(written.ids, tokenizer))
                ids, labels = written.ids, written.labels
                first = labels.index(True) if True in labels else len(ids)
                pairs = zip(written.n_bytes, labels, strict=True)
                spelled = sum(n for n, is_label in pairs if is_label)
                found.append(OneSequence(ids, first, index, spelled, n_asked, labels))
    counts = {
        "n_too_long": n_too_long,
        "longest_tokens": longest,
        "prompts_tokenized_apart": chat.n_tokenized_apart,
        "conversations_turn_by_turn": chat.n_turn_by_turn,
    }
    return found, n_asked, counts


def chat_prompts(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig
) -> list[tuple[list[int], int]]:
    """The tokens before each last answer, those that training has there; how many of them to keep
    where they are cut from their left."""
    chat = ChatFormat(tokenizer, config)
    found = []
    for example in examples:
        turns = [*example.turns, ("assistant", example.references[0])]
        (written, *_) = chat.sequences(turns, "answer", every_answer=False)
        ids = written.ids[: written.n_prompt]
        found.append((ids, _n_bos(ids, tokenizer)))
    return found


def cut_left(ids: Sequence[int], n_bos: int, room: int) -> np.ndarray:
    """(T,) int32, at most ``room`` tokens: the first ``n_bos``, then the last."""
    gone = max(len(ids) - room, 0)
    return np.array([*ids[:n_bos], *ids[n_bos + gone :]], np.int32)


def _n_bos(ids: Sequence[int], tokenizer: Any) -> int:
    """1 where a text begins with the token that begins texts, else 0."""
    return int(list(ids[:1]) == begins_with(tokenizer) != [])
