"""Texts as tokens that know which bytes they spell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Part:
    """The tokens of one text, and how many of its bytes lie between two of them."""

    def __init__(self, text: str, ids: list[int], encoding: Any, tokenizer: Any) -> None:
        self.text, self.ids = text, ids
        self._encoding, self._tokenizer = encoding, tokenizer

    def bytes_between(self, start: int, stop: int) -> int:
        """UTF-8 bytes that tokens start..stop spell; ranges side by side add up to the text."""
        start, stop = max(start, 0), min(stop, len(self.ids))
        if start >= stop:
            return 0
        if stop - start == len(self.ids):
            return len(self.text.encode())
        if self._encoding is None:  # a tokenizer written in Python knows no offsets
            return len(self._tokenizer.decode(self.ids[start:stop]).encode())
        places = [0, *(begin for begin, _ in self._encoding.offsets[1:]), len(self.text)]
        return len(self.text[places[start] : places[stop]].encode())


def tokenize(texts: Iterable[str], tokenizer: Any) -> dict[str, Part]:
    """`{text: its tokens}`, special tokens not added, each different text tokenized once."""
    unique = list(dict.fromkeys(texts))
    if not unique:
        return {}
    batch = tokenizer(unique, add_special_tokens=False, return_attention_mask=False, verbose=False)
    encodings = getattr(batch, "encodings", None) or [None] * len(unique)
    return {
        text: Part(text, list(ids), encoding, tokenizer)
        for text, ids, encoding in zip(unique, batch["input_ids"], encodings, strict=True)
    }


def special(token: int | None) -> list[int]:
    """A special token as the piece of a sequence it makes up; none where the tokenizer has none."""
    return [] if token is None else [int(token)]
