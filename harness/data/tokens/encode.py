"""Examples as token sequences, each with the position of its first label.

A sequence is `begin prompt answer [eos]`. Prompt and answer are tokenized separately, so that the
prompt has the same tokens in training and in generation. ``begin`` is what the tokenizer itself writes
before a text: bos, several tokens, or nothing. If it is nothing, no token predicts the first token of a
text, which is then no label. If the tokenizer has no eos, none is added.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import DataConfig
from harness.data.rows.example import Example
from harness.data.tokens.encode_chats import Chats, chat_prompts
from harness.data.tokens.encoded import AT_ONCE, Encoded, OneSequence, Tally, assemble, chunks
from harness.data.tokens.special_tokens import SpecialTokens
from harness.data.tokens.tokenization import TokenizedPart, tokenize
from harness.errors import InputError


def encode(
    examples: Sequence[Example],
    tokenizer: Any,
    config: DataConfig,
    *,
    all_references: bool,
    folder: Path | None = None,
) -> Encoded:
    """Encode one sequence for each reference, or only for the first reference of each example.

    ``all_references`` is for training: texts are packed as ``config.packing`` asks, and every assistant
    turn of a conversation is a label. Without it only the last turn is. Plain text longer than
    ``max_length`` becomes several sequences without loss. ``config.too_long`` decides about everything
    else that is too long. With a ``folder`` the result is files in it. Raises InputError for
    too_long=error, and if no sequence is left.
    """
    if config.is_plain_text and not config.is_classification:
        texts = [example.references[0] for example in examples]
        packing = config.packing if all_references else "none"
        return _encode_texts(texts, tokenizer, config.max_length, packing, folder)
    tally = Tally()
    if config.is_chat:
        chats = Chats(tokenizer, config, training=all_references)
        sequences, own = chats.sequences(examples, tally), lambda: chats.counts
    else:
        specials = SpecialTokens(tokenizer)
        form = _classified if config.is_classification else _answered
        sequences = form(examples, tokenizer, config, specials, tally, all_references)
        own = lambda: specials.counts  # noqa: E731
    packs = all_references and config.packing == "documents"
    encoded = assemble(
        sequences,
        tally,
        counts=lambda: _lengths(config, tally) | own(),
        pack_into=config.max_length if packs else None,
        folder=folder,
    )
    if not config.is_classification:
        return encoded
    labels = np.array([-1 if e.label is None else e.label for e in examples], np.int64)
    assert labels.min() >= 0
    return replace(encoded, classes=labels[encoded.example])


def _answered(
    examples: Sequence[Example],
    tokenizer: Any,
    config: DataConfig,
    specials: SpecialTokens,
    tally: Tally,
    all_references: bool,
) -> Iterator[OneSequence]:
    """Yield `begin prompt answer [eos]` of each reference."""
    bos, eos = specials.begin, specials.end
    for some in chunks(enumerate(examples), AT_ONCE):
        asked = {index: specials.prompt(each.prompt, each.template) for index, each in some}
        answers = [
            (index, specials.answer(reference))
            for index, example in some
            for reference in (example.references if all_references else example.references[:1])
        ]
        prompt_parts = tokenize(asked.values(), tokenizer, specials)
        answer_parts = tokenize((answer for _, answer in answers), tokenizer, specials)
        for index, answer in answers:
            prompt_part, answer_part = prompt_parts[asked[index]], answer_parts[answer]
            n_prompt, n_answer = len(prompt_part.ids), len(answer_part.ids)
            n_tokens = len(bos) + n_prompt + n_answer + len(eos)
            excess = tally.count(n_tokens, config.max_length)
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
            yield OneSequence(ids, first, index, n_bytes, tally.n)


def _classified(
    examples: Sequence[Example],
    tokenizer: Any,
    config: DataConfig,
    specials: SpecialTokens,
    tally: Tally,
    all_references: bool,
) -> Iterator[OneSequence]:
    """Yield `begin text` of each example, whose last token stands for its class; cut if too long."""
    bos = specials.begin
    room = config.max_length - len(bos)
    for some in chunks(enumerate(examples), AT_ONCE):
        asked = [specials.prompt(example.prompt, example.template) for _, example in some]
        parts = tokenize(asked, tokenizer, specials)
        for (index, _), text in zip(some, asked, strict=True):
            ids = parts[text].ids
            excess = tally.count(len(bos) + len(ids), config.max_length)
            if excess <= 0 or config.too_long == "truncate":
                ids = bos + (ids[-room:] if config.truncate == "left" else ids[:room])
                yield OneSequence(ids, len(ids) - 1, index, 0, index)


def encode_for_language_modelling(
    examples: Sequence[Example], tokenizer: Any, config: DataConfig
) -> Encoded:
    """Encode the same texts with every token as a label, and without classes."""
    if config.is_classification:
        texts = [example.prompt for example in examples]
        return _encode_texts(texts, tokenizer, config.max_length)
    plain = replace(config, loss_on="all", packing="none")
    return encode(examples, tokenizer, plain, all_references=True)


def _lengths(config: DataConfig, tally: Tally) -> dict[str, int | str]:
    """Return the length counts to report. Raises InputError for data.too_long=error."""
    if tally.n_too_long and config.too_long == "error":
        raise InputError(
            f"{tally.n_too_long} of {tally.n} sequences are longer than "
            f"data.max_length={config.max_length} tokens; the longest has {tally.longest}. Raise "
            "data.max_length, or set data.too_long to truncate or drop."
        )
    return tally.counts(config.too_long)


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
    bos, tally = specials.begin, Tally()
    first = max(1, len(bos))

    def sequences() -> Iterator[OneSequence]:
        for index, part in enumerate(_tokenized(texts, tokenizer, specials)):
            tally.count(len(bos) + len(part.ids), max_length)
            ids = (bos + part.ids)[:max_length]
            n_bytes = part.bytes_between(first - len(bos), len(ids) - len(bos))
            yield OneSequence(ids, first, index, n_bytes, index)

    return assemble(sequences(), tally, lambda: tally.counts("truncate") | specials.counts)


def _tokenized(
    texts: Sequence[str], tokenizer: Any, specials: SpecialTokens
) -> Iterator[TokenizedPart]:
    """Yield the tokens of each of ``texts``. Only some are in memory at a time."""
    for some in chunks(texts, AT_ONCE):
        parts = tokenize(some, tokenizer, specials, in_parts=True)
        yield from map(parts.__getitem__, some)


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
    return assemble(sequences, Tally(len(found)), lambda: {"n_too_long": 0, "longest_tokens": 0})


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
    texts: Sequence[str],
    tokenizer: Any,
    max_length: int,
    packing: str = "none",
    folder: Path | None = None,
) -> Encoded:
    """Encode `begin text eos` in blocks, so that every token of a text is a label exactly once.

    Only the very first token is no label, if ``begin`` is empty. Each block starts with ``begin``, or
    if that is empty with the last token of the block before. Packed by documents, whole blocks are
    combined. As a stream, a block starts anywhere, with the last token of the one before.
    """
    specials, tally = SpecialTokens(tokenizer), Tally()
    marked = [specials.whole(text) for text in texts]
    counts = lambda: tally.counts("blocks") | specials.counts  # noqa: E731
    if packing == "stream":
        stream = _streamed(marked, tokenizer, specials, max_length, tally)
        packed = {"texts_packed": len(texts)}
        return assemble(stream, tally, lambda: counts() | packed, folder=folder)
    pack_into = max_length if packing == "documents" else None
    blocks = _blocks(marked, tokenizer, specials, max_length, tally)
    return assemble(blocks, tally, counts, pack_into, folder)


def _blocks(
    texts: Sequence[str], tokenizer: Any, specials: SpecialTokens, max_length: int, tally: Tally
) -> Iterator[OneSequence]:
    bos, eos = specials.begin, specials.end
    first = max(1, len(bos))
    step = max(1, max_length - first)
    for index, part in enumerate(_tokenized(texts, tokenizer, specials)):
        ids = bos + part.ids + eos
        tally.count(len(ids), max_length)
        for start in range(first, len(ids), step):
            labels = ids[start : start + step]
            before = bos or ids[start - 1 : start]
            at = start - len(bos)  # the same position in the tokens of the text alone
            n_bytes = part.bytes_between(at, at + len(labels))
            yield OneSequence(before + labels, first, index, n_bytes, index)


def _streamed(
    texts: Sequence[str], tokenizer: Any, specials: SpecialTokens, max_length: int, tally: Tally
) -> Iterator[OneSequence]:
    """Yield all texts, each `begin text eos`, as one stream that is cut at every ``max_length``."""
    bos, eos = specials.begin, specials.end
    # Of the tokens that are not cut off yet: id, is a label, bytes, text.
    waiting: list[tuple[int, bool, int, int]] = []

    def sequence(here: list[tuple[int, bool, int, int]]) -> OneSequence:
        mask = [False, *(is_label for _, is_label, _, _ in here[1:])]
        spelled = sum(n for (_, _, n, _), is_label in zip(here, mask, strict=True) if is_label)
        first = mask.index(True) if True in mask else len(mask)
        tally.n += 1
        ids = [token for token, *_ in here]
        return OneSequence(ids, first, here[0][3], spelled, pair=tally.n, labels=mask)

    for index, part in enumerate(_tokenized(texts, tokenizer, specials)):
        ids = bos + part.ids + eos
        tally.measure(len(ids), max_length)
        n_bytes = [0] * len(bos) + part.bytes_of_each() + [0] * len(eos)
        for place, (token, n) in enumerate(zip(ids, n_bytes, strict=True)):
            waiting.append((token, place >= max(1, len(bos)), n, index))
        start = 0
        while len(waiting) - start >= max_length:
            yield sequence(waiting[start : start + max_length])
            start += max_length - 1
        del waiting[:start]
    if len(waiting) > 1:
        yield sequence(waiting)
