"""Examples as token sequences, each with the place of its first label.

A sequence is `begin prompt answer [eos]`, prompt and answer tokenized apart, so that the prompt's
tokens are the same ones in training and in generation. ``begin`` is what the tokenizer itself writes
before a text: bos, several tokens, or nothing. Then nothing predicts a text's first token, which is
no label. A tokenizer without eos goes without.
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
    """One sequence a reference, or only for the first one of each example.

    ``all_references`` is for training: with it several texts become one sequence where
    ``config.packing`` says so, and every assistant turn of a conversation is a label; without it the
    last turn alone. Plain text longer than ``max_length`` becomes several sequences and
    loses nothing. Anything else too long is treated as ``config.too_long`` says.
    Raises InputError for too_long=error, and where nothing is left.
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
        # Nothing predicts a sequence's first token, even where that is the answer's.
        first = max(1, len(head if config.loss_on == "answer" else bos))
        n_bytes = prompt_part.bytes_between(first - len(bos) + left, right)
        n_bytes += answer_part.bytes_between(first - len(head), len(ids) - len(head))
        sequences.append(OneSequence(ids, first, index, n_bytes, pair))
    counts = _lengths(config, len(pairs), n_too_long, longest) | specials.counts
    return assemble(sequences, len(pairs), counts, pack_into)


def _encode_classes(examples: Sequence[Example], tokenizer: Any, config: DataConfig) -> Encoded:
    """`begin text` of each example and its class; a text that is too long is cut."""
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
    """The same texts, every token of them a label: prompts and answers, or texts without classes."""
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
    """`begin text`, cut to ``max_length``, one sequence a document.

    All of a text is predicted, but for its first token where nothing is written before it.
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
    """The prompts alone as documents, those of conversations as their template writes them.

    None where there are none: plain text.
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
    """`bos prompt` of each example, (T,) int32, cut so that ``reserve`` tokens fit.

    Of a conversation all that is written before the last answer. Raises InputError where no room is
    left, and for a prompt of no token at all.
    """
    specials = SpecialTokens(tokenizer)
    bos = specials.begin
    room = config.max_length - reserve - len(bos)
    if room < 1:
        raise InputError(
            f"data.max_length={config.max_length} leaves no room for a prompt beside "
            f"{reserve} generated tokens: raise it, or lower evaluation.max_new_tokens."
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


def _encode_texts(
    texts: Sequence[str], tokenizer: Any, max_length: int, packing: str = "none"
) -> Encoded:
    """`begin text eos` in blocks: every token of a text is a label exactly once.

    The very first is none where nothing is written before it. Each block begins as a text does; where
    that is with nothing, with the last token of the block before. Packed by documents, blocks are put
    together whole; as a stream, blocks begin anywhere, with the last token of the one before.
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
            at = start - len(bos)  # the same place, counted in the text's own tokens
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
    """All texts, each `begin text eos`, as one, cut at every ``max_length``; the same labels."""
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
    about = {"n_too_long": n_too_long, "longest_tokens": max(lengths), "too_long": "blocks"}
    about |= {"texts_packed": len(texts)} | specials.counts
    return assemble(sequences, len(sequences), about)
