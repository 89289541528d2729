"""Examples as token sequences, each with the position of its first label.

A sequence is `begin prompt answer [eos]`. Prompt and answer are tokenized separately, so that the
prompt has the same tokens in training and in generation. ``begin`` is what the tokenizer itself writes
before a text: bos, several tokens, or nothing. If it is nothing, no token predicts the first token of a
text, which is then no label. If the tokenizer has no eos, none is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.config import DataConfig
from harness.data.rows.example import Example
from harness.data.tokens.encode_chats import chat_prompts, encode_chats
from harness.data.tokens.encoded import Encoded, OneSequence, assemble
from harness.data.tokens.special_tokens import SpecialTokens
from harness.data.tokens.tokenization import tokenize
from harness.errors import InputError


def encode(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig, *, all_references: bool
) -> Encoded:
    """Encode one sequence for each reference, or only for the first reference of each example.

    ``all_references`` is for training: texts are packed as ``config.packing`` asks, and every assistant
    turn of a conversation is a label. Without it only the last turn is. Plain text longer than
    ``max_length`` becomes several sequences without loss. ``config.too_long`` decides about everything
    else that is too long. Raises InputError for too_long=error, and if no sequence is left.
    """
    if config.is_classification:
        return _encode_classes(examples, tokenizer, config)
    if config.is_plain_text:
        texts = [example.references[0] for example in examples]
        packing = config.packing if all_references else "none"
        return _encode_texts(texts, tokenizer, config.max_length, packing)
    pack_into = config.max_length if all_references and config.packing == "documents" else None
    if config.is_chat:
        chats = encode_chats(examples, tokenizer, config, training=all_references)
        n_asked, said = chats.n_asked, chats.counts
        lengths = _lengths(config, n_asked, said.pop("n_too_long"), said.pop("longest_tokens"))
        return assemble(chats.sequences, n_asked, lengths | said, pack_into)
    pairs = [
        (index, reference)
        for index, example in enumerate(examples)
        for reference in (example.references if all_references else example.references[:1])
    ]
    specials = SpecialTokens(tokenizer)
    asked = [specials.prompt(example.prompt, example.template) for example in examples]
    answers = [specials.answer(reference) for _, reference in pairs]
    prompt_parts = tokenize((asked[index] for index, _ in pairs), tokenizer, specials)
    answer_parts = tokenize(answers, tokenizer, specials)
    bos, eos = specials.begin, specials.end
    sequences, n_too_long, longest = [], 0, 0
    for pair, (index, _) in enumerate(pairs):
        prompt_part = prompt_parts[asked[index]]
        answer_part = answer_parts[answers[pair]]
        n_prompt, n_answer = len(prompt_part.ids), len(answer_part.ids)
        excess = len(bos) + n_prompt + n_answer + len(eos) - config.max_length
        longest = max(longest, config.max_length + excess)
        n_too_long += excess > 0
        if excess > 0 and config.too_long != "truncate":
            continue
        cut = min(max(excess, 0), max(n_prompt - 1, 0))
        left, right = (cut, n_prompt) if config.truncate == "left" else (0, n_prompt - cut)
        head = bos + prompt_part.ids[left:right]
        ids = (head + answer_part.ids + eos)[: config.max_length]
        # No token predicts the first token of a sequence, even if it belongs to the answer.
        first = max(1, len(head if config.loss_on == "answer" else bos))
        n_bytes = prompt_part.bytes_between(first - len(bos) + left, right)
        n_bytes += answer_part.bytes_between(first - len(head), len(ids) - len(head))
        sequences.append(OneSequence(ids, first, index, n_bytes, pair))
    counts = _lengths(config, len(pairs), n_too_long, longest) | specials.counts
    return assemble(sequences, len(pairs), counts, pack_into)


def _encode_classes(examples: Sequence[Example], tokenizer: Any, config: DataConfig) -> Encoded:
    """Encode `begin text` and the class of each example. Texts that are too long are cut."""
    specials = SpecialTokens(tokenizer)
    asked = [specials.prompt(example.prompt, example.template) for example in examples]
    parts, bos = tokenize(asked, tokenizer, specials), specials.begin
    sequences, n_too_long, longest = [], 0, 0
    for index, text in enumerate(asked):
        ids = parts[text].ids
        room = config.max_length - len(bos)
        longest = max(longest, len(bos) + len(ids))
        n_too_long += len(ids) > room
        if len(ids) <= room or config.too_long == "truncate":
            ids = bos + (ids[-room:] if config.truncate == "left" else ids[:room])
            sequences.append(OneSequence(ids, len(ids) - 1, index, 0, index))
    counts = _lengths(config, len(examples), n_too_long, longest) | specials.counts
    packed = assemble(sequences, len(examples), counts)
    labels = np.array([-1 if e.label is None else e.label for e in examples], np.int64)
    assert labels.min() >= 0
    return replace(packed, classes=labels[packed.example])


def encode_for_language_modelling(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig
) -> Encoded:
    """Encode the same texts with every token as a label, and without classes."""
    if config.is_classification:
        texts = [example.prompt for example in examples]
        return _encode_texts(texts, tokenizer, config.max_length)
    plain = replace(config, loss_on="all", packing="none")
    return encode(examples, tokenizer, plain, all_references=True)


def _lengths(config: DataConfig, n: int, n_too_long: int, longest: int) -> dict[str, int | str]:
    """Return the length counts to report. Raises InputError for data.too_long=error."""
    if n_too_long and config.too_long == "error":
        raise InputError(
            f"{n_too_long} of {n} sequences are longer than data.max_length={config.max_length} "
            f"tokens; the longest has {longest}. Raise data.max_length, or set data.too_long to "
            "truncate or drop."
        )
    return {"n_too_long": n_too_long, "longest_tokens": longest, "too_long": config.too_long}


def encode_documents(texts: Sequence[str], tokenizer: Any, max_length: int) -> Encoded:
    """Encode `begin text`, cut to ``max_length``, as one sequence for each document.

    Every token of a text is predicted, except the first if ``begin`` is empty.
    """
    specials = SpecialTokens(tokenizer)
    return _documents([specials.whole(text) for text in texts], tokenizer, specials, max_length)


def _encode_prompts(examples: Sequence[Example], tokenizer: Any, max_length: int) -> Encoded:
    specials = SpecialTokens(tokenizer)
    texts = [specials.prompt(example.prompt, example.template) for example in examples]
    return _documents(texts, tokenizer, specials, max_length)


def _documents(
    texts: Sequence[str], tokenizer: Any, specials: SpecialTokens, max_length: int
) -> Encoded:
    parts, bos = tokenize(texts, tokenizer, specials), specials.begin
    first = max(1, len(bos))
    sequences, lengths = [], [0]
    for index, text in enumerate(texts):
        part = parts[text]
        ids = (bos + part.ids)[:max_length]
        n_bytes = part.bytes_between(first - len(bos), len(ids) - len(bos))
        sequences.append(OneSequence(ids, first, index, n_bytes, index))
        lengths.append(len(bos) + len(part.ids))
    n_too_long = sum(length > max_length for length in lengths)
    counts = {"n_too_long": n_too_long, "longest_tokens": max(lengths), "too_long": "truncate"}
    return assemble(sequences, len(texts), counts | specials.counts)


def encode_prompts(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig
) -> Encoded | None:
    """Encode only the prompts, as documents; those of conversations as the template writes them.

    None for plain text, which has no prompts.
    """
    if not config.is_chat:
        asked = [example for example in examples if example.prompt.strip()]
        return _encode_prompts(asked, tokenizer, config.max_length) if asked else None
    asked = chat_prompts(examples, tokenizer, config, config.max_length)
    found = [prompt.tolist() for prompt in asked]
    n_bytes = [len(tokenizer.decode(ids[1:]).encode()) for ids in found]
    sequences = [
        OneSequence(ids, 1, index, n, index)
        for index, (ids, n) in enumerate(zip(found, n_bytes, strict=True))
    ]
    return assemble(sequences, len(found), {"n_too_long": 0, "longest_tokens": 0})


def prompts(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig, *, reserve: int
) -> list[np.ndarray]:
    """Return (T,) int32 `bos prompt` of each example, cut so that ``reserve`` more tokens fit.

    For a conversation this is all text before the last answer. Raises InputError if no room is left,
    and for a prompt without any token.
    """
    specials = SpecialTokens(tokenizer)
    bos = specials.begin
    room = config.max_length - reserve - len(bos)
    if room < 1:
        raise InputError(
            f"data.max_length={config.max_length} leaves no room for a prompt before "
            f"{reserve} generated tokens. Raise it, or lower evaluation.max_new_tokens."
        )
    if config.is_chat:
        return chat_prompts(examples, tokenizer, config, config.max_length - reserve)
    texts = [specials.prompt(example.prompt, example.template) for example in examples]
    parts = tokenize(texts, tokenizer, specials)
    kept = slice(-room, None) if config.truncate == "left" else slice(room)
    found = [np.array(bos + parts[text].ids[kept], np.int32) for text in texts]
    for example, ids in zip(examples, found, strict=True):
        if len(ids) == 0:
            raise InputError(
                f"The prompt {example.prompt!r} has no tokens, and this tokenizer adds none at the "
                "beginning. Put some text into data.prompt_template."
            )
    return found


def pad_id(tokenizer: Any) -> int:
    """Return the id for padding, which is masked: the tokenizer's own, else its eos, else 0."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def _encode_texts(
    texts: Sequence[str], tokenizer: Any, max_length: int, packing: str = "none"
) -> Encoded:
    """Encode `begin text eos` in blocks, so that every token of a text is a label exactly once.

    Only the very first token is no label, if ``begin`` is empty. Each block starts with ``begin``, or
    if that is empty with the last token of the block before. Packed by documents, whole blocks are
    combined. As a stream, a block starts anywhere, with the last token of the one before.
    """
    specials = SpecialTokens(tokenizer)
    texts = [specials.whole(text) for text in texts]
    if packing == "stream":
        return _encode_stream(texts, tokenizer, specials, max_length)
    parts = tokenize(texts, tokenizer, specials)
    bos, eos = specials.begin, specials.end
    first = max(1, len(bos))
    step = max(1, max_length - first)
    sequences, n_too_long, longest = [], 0, 0
    for index, text in enumerate(texts):
        part = parts[text]
        ids = bos + part.ids + eos
        n_too_long += len(ids) > max_length
        longest = max(longest, len(ids))
        for start in range(first, len(ids), step):
            labels = ids[start : start + step]
            before = bos or ids[start - 1 : start]
            at = start - len(bos)  # the same position in the tokens of the text alone
            n_bytes = part.bytes_between(at, at + len(labels))
            sequences.append(
                OneSequence(
                    ids=before + labels,
                    first_label=first,
                    example=index,
                    label_bytes=n_bytes,
                    pair=index,
                )
            )
    counts = {"n_too_long": n_too_long, "longest_tokens": longest, "too_long": "blocks"}
    pack_into = max_length if packing == "documents" else None
    return assemble(sequences, len(texts), counts | specials.counts, pack_into)


def _encode_stream(
    texts: Sequence[str], tokenizer: Any, specials: SpecialTokens, max_length: int
) -> Encoded:
    """Encode all texts, each `begin text eos`, as one stream that is cut at every ``max_length``."""
    parts = tokenize(texts, tokenizer, specials)
    bos, eos = specials.begin, specials.end
    stream: list[int] = []
    labels: list[bool] = []
    n_bytes: list[int] = []
    owners: list[int] = []
    lengths = []
    for index, text in enumerate(texts):
        part = parts[text]
        ids = bos + part.ids + eos
        each = [part.bytes_between(place, place + 1) for place in range(len(part.ids))]
        stream += ids
        labels += [place >= max(1, len(bos)) for place in range(len(ids))]
        n_bytes += [0] * len(bos) + each + [0] * len(eos)
        owners += [index] * len(ids)
        lengths.append(len(ids))
    sequences = []
    for start in range(0, len(stream) - 1, max_length - 1):
        here = slice(start, start + max_length)
        mask = [False, *labels[here][1:]]
        spelled = sum(n for n, is_label in zip(n_bytes[here], mask, strict=True) if is_label)
        first = mask.index(True) if True in mask else len(mask)
        sequences.append(
            OneSequence(
                ids=stream[here],
                first_label=first,
                example=owners[start],
                label_bytes=spelled,
                pair=start,
                labels=mask,
            )
        )
    n_too_long = sum(length > max_length for length in lengths)
    counts = {"n_too_long": n_too_long, "longest_tokens": max(lengths), "too_long": "blocks"}
    counts |= {"texts_packed": len(texts)} | specials.counts
    return assemble(sequences, len(sequences), counts)
