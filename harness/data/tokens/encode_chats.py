"""Conversations as token sequences, and as prompts for generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.config import DataConfig
from harness.data.rows.example import Example
from harness.data.tokens.chat import ChatFormat, Written
from harness.data.tokens.encoded import OneSequence, Tally
from harness.data.tokens.special_tokens import SpecialTokens


class Chats:
    """Conversations as token sequences.

    In training the labels are all answers that the config selects, and every reference of the last
    answer once. Otherwise they are the first reference of the last answer. Conversations that are too
    long lose their first turns.
    """

    def __init__(self, tokenizer: Any, config: DataConfig, *, training: bool) -> None:
        self._config, self._training = config, training
        self._chat = ChatFormat(tokenizer, config)

    @property
    def counts(self) -> dict[str, int]:
        """Return the counts to report about the conversations so far."""
        return self._chat.counts

    def sequences(self, examples: Sequence[Example], tally: Tally) -> Iterator[OneSequence]:
        """Yield the sequences of each conversation, counted in ``tally``."""
        config, training = self._config, self._training
        every = training and not config.only_last_answer
        room = config.max_length if config.too_long == "truncate" else None
        for index, example in enumerate(examples):
            for reference in example.references if training else example.references[:1]:
                turns = example.conversation(reference)
                for written in self._chat.sequences(turns, config.loss_on, every, room):
                    excess = tally.count(written.n_whole, config.max_length)
                    if excess <= 0 or config.too_long == "truncate":
                        yield _labelled(written, index, tally.n)


def _labelled(written: Written, example: int, pair: int) -> OneSequence:
    ids, labels = written.ids, written.labels
    first = labels.index(True) if True in labels else len(ids)
    spelled = sum(n for n, label in zip(written.n_bytes, labels, strict=True) if label)
    return OneSequence(ids, first, example, spelled, pair, labels)


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
