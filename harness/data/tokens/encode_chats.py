"""Conversations as token sequences, and as prompts for generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from harness.config import DataConfig
from harness.data.rows.example import Example
from harness.data.tokens.chat import ChatFormat
from harness.data.tokens.encoded import OneSequence
from harness.data.tokens.special_tokens import SpecialTokens


class Chats(NamedTuple):
    """Conversations as token sequences."""

    sequences: list[OneSequence]
    n_asked: int  # number of sequences, including those that are too long
    counts: dict[str, int]  # for the record


def encode_chats(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig, *, training: bool
) -> Chats:
    """Encode conversations, with the number of sequences asked for and counts for the record.

    ``training``: the labels are all answers that the config selects, and every reference of the last
    answer once. Otherwise they are the first reference of the last answer. Conversations that are too
    long lose their first turns.
    """
    chat, every = ChatFormat(tokenizer, config), training and not config.only_last_answer
    room = config.max_length if config.too_long == "truncate" else None
    found, n_too_long, longest, n_asked = [], 0, 0, 0
    for index, example in enumerate(examples):
        for reference in example.references if training else example.references[:1]:
            turns = example.conversation(reference)
            for written in chat.sequences(turns, config.loss_on, every, room):
                n_asked += 1
                longest = max(longest, written.n_whole)
                too_long = written.n_whole > config.max_length
                n_too_long += too_long
                if too_long and config.too_long != "truncate":
                    continue
                ids, labels = written.ids, written.labels
                first = labels.index(True) if True in labels else len(ids)
                pairs = zip(written.n_bytes, labels, strict=True)
                spelled = sum(n for n, is_label in pairs if is_label)
                found.append(
                    OneSequence(
                        ids=ids,
                        first_label=first,
                        example=index,
                        label_bytes=spelled,
                        pair=n_asked,
                        labels=labels,
                    )
                )
    counts = {"n_too_long": n_too_long, "longest_tokens": longest, **chat.counts}
    return Chats(sequences=found, n_asked=n_asked, counts=counts)


def chat_prompts(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig, room: int
) -> list[np.ndarray]:
    """Return (T,) int32 prompts: the tokens before each last answer, the same as in training.

    Prompts of more than ``room`` tokens lose their first turns.
    """
    chat = ChatFormat(tokenizer, config)
    found = []
    for example in examples:
        turns = example.conversation(example.references[0])
        (written, *_) = chat.sequences(turns, "answer", every_answer=False, room_of_prompt=room)
        found.append(np.array(written.ids[: written.n_prompt][-room:], np.int32))
    return found


def as_scored(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig
) -> tuple[Example, ...]:
    """Return ``examples`` with references in the form that answers are compared with.

    They lose an end mark that they contain. A turn with reasoning or tool calls becomes the full text
    that the template writes for it."""
    if config.is_plain_text or config.is_classification:
        return tuple(examples)
    chat = ChatFormat(tokenizer, config) if config.is_chat else None
    specials = SpecialTokens(tokenizer)
    scored = []
    for example in examples:
        references = [
            specials.without_end(text) if chat is None else chat.said(example, text)
            for text in example.references
        ]
        changed = tuple(references) != example.references
        scored.append(replace(example, references=tuple(references)) if changed else example)
    return tuple(scored)
