"""Examples as token sequences, each with the place of its first label.

A sequence is `[bos] prompt answer [eos]`, prompt and answer tokenized apart, so that the prompt's
tokens are the same ones in training and in generation. A tokenizer without bos or eos goes without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.config import DataConfig
from harness.data.examples import Example
from harness.data.tokenization import special, tokenize
from harness.errors import InputError


@dataclass(frozen=True)
class Encoded:
    """n sequences end to end; sequence i is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: np.ndarray  # (N_total,) int32
    offsets: np.ndarray  # (n + 1,) int64
    first_label: np.ndarray  # (n,) int32, >= 1: index in the sequence of the first token to predict
    example: np.ndarray  # (n,) int32: which example or document it comes from
    label_bytes: np.ndarray  # (n,) int64: UTF-8 bytes of the text that the labels spell
    counts: dict[str, int | str]
    # (n,) int64: the class of each sequence, instead of tokens to predict; its one label counts at its
    # last token. None: tokens are predicted.
    classes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.first_label)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) tokens of each sequence."""
        return np.diff(self.offsets)

    def sequence(self, index: int) -> np.ndarray:
        """(T,) int32 token ids of one sequence."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def take(self, indices: Sequence[int]) -> Encoded:
        """Some of the sequences, in that order."""
        chosen = np.asarray(indices)
        return Encoded(
            tokens=np.concatenate([self.sequence(index) for index in chosen]),
            offsets=np.concatenate([[0], np.cumsum(self.lengths[chosen])]),
            first_label=self.first_label[chosen],
            example=self.example[chosen],
            label_bytes=self.label_bytes[chosen],
            counts=self.counts,
            classes=None if self.classes is None else self.classes[chosen],
        )


@dataclass(frozen=True)
class _Sequence:
    ids: list[int]
    first_label: int
    example: int
    label_bytes: int
    pair: int  # which of the sequences asked for; plain text: which document


def encode(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig, *, all_references: bool
) -> Encoded:
    """One sequence a reference, or only for the first one of each example.

    Plain text longer than ``max_length`` becomes several sequences and
    loses nothing. Anything else too long is treated as ``config.too_long`` says.
    Raises InputError for too_long=error, and where nothing is left.
    """
    if config.is_classification:
        return _encode_classes(examples, tokenizer, config)
    if config.is_plain_text:
        texts = [example.references[0] for example in examples]
        return _encode_texts(texts, tokenizer, config.max_length)
    pairs = [
        (index, reference)
        for index, example in enumerate(examples)
        for reference in (example.references if all_references else example.references[:1])
    ]
    prompt_parts = tokenize((examples[index].prompt for index, _ in pairs), tokenizer)
    answer_parts = tokenize((reference for _, reference in pairs), tokenizer)
    bos, eos = special(tokenizer.bos_token_id), special(tokenizer.eos_token_id)
    sequences, n_too_long, longest = [], 0, 0
    for pair, (index, answer) in enumerate(pairs):
        prompt_part = prompt_parts[examples[index].prompt]
        answer_part = answer_parts[answer]
        n_prompt, n_answer = len(prompt_part.ids), len(answer_part.ids)
        excess = len(bos) + n_prompt + n_answer + len(eos) - config.max_length
        longest = max(longest, config.max_length + excess)
        n_too_long += excess > 0
        if excess > 0 and config.too_long != "truncate":
            continue
        cut = min(max(excess, 0), max(n_prompt - 1, 0))
        head = bos + prompt_part.ids[cut:]
        ids = (head + answer_part.ids + eos)[: config.max_length]
        # Nothing predicts a sequence's first token, even where that is the answer's.
        first = max(1, len(head)) if config.loss_on == "answer" else 1
        n_bytes = prompt_part.bytes_between(first - len(bos) + cut, n_prompt)
        n_bytes += answer_part.bytes_between(first - len(head), len(ids) - len(head))
        sequences.append(_Sequence(ids, first, index, n_bytes, pair))
    counts = _lengths(config, len(pairs), n_too_long, longest)
    return _packed(sequences, len(pairs), counts)


def _encode_classes(examples: Sequence[Example], tokenizer: Any, config: DataConfig) -> Encoded:
    """`bos text` of each example and its class; a text that is too long is cut from its left."""
    parts = tokenize((example.prompt for example in examples), tokenizer)
    bos = special(tokenizer.bos_token_id)
    sequences, n_too_long, longest = [], 0, 0
    for index, example in enumerate(examples):
        ids = parts[example.prompt].ids
        room = config.max_length - len(bos)
        longest = max(longest, len(bos) + len(ids))
        n_too_long += len(ids) > room
        if len(ids) <= room or config.too_long == "truncate":
            ids = bos + ids[-room:]
            sequences.append(_Sequence(ids, len(ids) - 1, index, 0, index))
    counts = _lengths(config, len(examples), n_too_long, longest)
    packed = _packed(sequences, len(examples), counts)
    labels = np.array([-1 if e.label is None else e.label for e in examples], np.int64)
    assert labels.min() >= 0
    return replace(packed, classes=labels[packed.example])


def encode_for_language_modelling(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig
) -> Encoded:
    """The same texts, every token of them a label: prompts and answers, or texts without classes."""
    if config.is_classification:
        texts = [example.prompt for example in examples]
        return _encode_texts(texts, tokenizer, config.max_length)
    return encode(examples, tokenizer, replace(config, loss_on="all"), all_references=True)


def _lengths(config: DataConfig, n: int, n_too_long: int, longest: int) -> dict[str, int | str]:
    """What is said of lengths. Raises InputError where the user wants none cut or dropped."""
    if n_too_long and config.too_long == "error":
        raise InputError(
            f"{n_too_long} of {n} sequences are longer than data.max_length={config.max_length} "
            f"tokens; the longest has {longest}. Raise data.max_length, or set data.too_long to "
            "truncate or drop."
        )
    return {"n_too_long": n_too_long, "longest_tokens": longest, "too_long": config.too_long}


def encode_documents(texts: Sequence[str], tokenizer: Any, max_length: int) -> Encoded:
    """`bos text`, cut to ``max_length``, one sequence a document; all but the first are labels."""
    parts = tokenize(texts, tokenizer)
    bos = special(tokenizer.bos_token_id)
    sequences, lengths = [], [0]
    for index, text in enumerate(texts):
        part = parts[text]
        ids = (bos + part.ids)[:max_length]
        n_bytes = part.bytes_between(1 - len(bos), len(ids) - len(bos))
        sequences.append(_Sequence(ids, 1, index, n_bytes, index))
        lengths.append(len(bos) + len(part.ids))
    n_too_long = sum(length > max_length for length in lengths)
    counts = {"n_too_long": n_too_long, "longest_tokens": max(lengths), "too_long": "truncate"}
    return _packed(sequences, len(texts), counts)


def prompts(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig, *, reserve: int
) -> list[np.ndarray]:
    """`bos prompt` of each example, (T,) int32, cut from its left so that ``reserve`` tokens fit.

    Raises InputError where no room is left, and for a prompt of no token at all.
    """
    bos = special(tokenizer.bos_token_id)
    room = config.max_length - reserve - len(bos)
    if room < 1:
        raise InputError(
            f"data.max_length={config.max_length} leaves no room for a prompt beside "
            f"{reserve} generated tokens: raise it, or lower evaluation.max_new_tokens."
        )
    parts = tokenize((example.prompt for example in examples), tokenizer)
    found = [np.array(bos + parts[example.prompt].ids[-room:], np.int32) for example in examples]
    for example, ids in zip(examples, found, strict=True):
        if len(ids) == 0:
            raise InputError(
                f"The prompt {example.prompt!r} has no tokens, and this tokenizer has no token to "
                "begin with: put some text into data.prompt_template."
            )
    return found


def pad_id(tokenizer: Any) -> int:
    """Any valid id does: padding is masked. A tokenizer without one takes its eos, else 0."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def _encode_texts(texts: Sequence[str], tokenizer: Any, max_length: int) -> Encoded:
    """`bos text eos` in blocks: every token but a document's very first is a label exactly once.

    Each block begins with bos; without one, with the last token of the block before.
    """
    parts = tokenize(texts, tokenizer)
    bos, eos = special(tokenizer.bos_token_id), special(tokenizer.eos_token_id)
    sequences, n_too_long, longest = [], 0, 0
    for index, text in enumerate(texts):
        part = parts[text]
        ids = bos + part.ids + eos
        n_too_long += len(ids) > max_length
        longest = max(longest, len(ids))
        for start in range(1, len(ids), max_length - 1):
            labels = ids[start : start + max_length - 1]
            before = bos or ids[start - 1 : start]
            at = start - len(bos)  # the same place, counted in the text's own tokens
            n_bytes = part.bytes_between(at, at + len(labels))
            sequences.append(_Sequence(before + labels, 1, index, n_bytes, index))
    counts = {"n_too_long": n_too_long, "longest_tokens": longest, "too_long": "blocks"}
    return _packed(sequences, len(texts), counts)


def _packed(sequences: list[_Sequence], n_asked: int, counts: dict[str, int | str]) -> Encoded:
    """Sequences end to end, those without any label left out. InputError if none is left."""
    kept = [item for item in sequences if len(item.ids) > item.first_label]
    if not kept:
        raise InputError(
            f"None of {n_asked} sequences can be used: {counts['n_too_long']} are too long "
            f"(the longest has {counts['longest_tokens']} tokens), the others have no token to "
            "predict. Raise data.max_length or set data.too_long=truncate."
        )
    lengths = np.array([len(item.ids) for item in kept])
    first_label = np.array([item.first_label for item in kept], np.int32)
    example = np.array([item.example for item in kept], np.int32)
    return Encoded(
        tokens=np.concatenate([np.array(item.ids, np.int32) for item in kept]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        first_label=first_label,
        example=example,
        label_bytes=np.array([item.label_bytes for item in kept], np.int64),
        counts=counts
        | {
            "n_sequences": len(kept),
            "n_dropped": n_asked - len({item.pair for item in kept}),
            "tokens": int(lengths.sum()),
            "label_tokens": int((lengths - first_label).sum()),
        },
    )
