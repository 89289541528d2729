"""Texts as tokens that know which bytes they spell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.data.tokens.special_tokens import SpecialTokens


@dataclass(frozen=True)
class _Places:
    """Token offsets in a text, in place of an encoding of the tokenizers library."""

    offsets: list[tuple[int, int]]


class Part:
    """The tokens of one text, and how many of its bytes lie between two of them."""

    def __init__(
        self, text: str, ids: list[int], encoding: Any, tokenizer: Any, specials: SpecialTokens
    ) -> None:
        """``text``: as ``specials`` marked it; ``encoding``: None where offsets are not known."""
        self.text, self.ids = text, ids
        self._encoding, self._tokenizer, self._specials = encoding, tokenizer, specials

    def bytes_between(self, start: int, stop: int) -> int:
        """UTF-8 bytes that tokens start..stop spell; ranges side by side add up to the text."""
        start, stop = max(start, 0), min(stop, len(self.ids))
        if start >= stop:
            return 0
        if stop - start == len(self.ids):
            return self._n_bytes(self.text)
        if self._encoding is None:  # a tokenizer written in Python knows no offsets
            return len(self._tokenizer.decode(self.ids[start:stop]).encode())
        places = [0, *(begin for begin, _ in self._encoding.offsets[1:]), len(self.text)]
        return self._n_bytes(self.text[places[start] : places[stop]])

    def _n_bytes(self, text: str) -> int:
        return len(self._specials.restored(text).encode())


def tokenize(texts: Iterable[str], tokenizer: Any, specials: SpecialTokens) -> dict[str, Part]:
    """`{text: its tokens}`, special tokens not added, each different text tokenized once.

    ``texts`` went through ``specials``, which marked what is no token in them.
    """
    unique = list(dict.fromkeys(texts))
    marked = [text for text in unique if specials.has_marks(text)]
    parts = {}
    for text in marked:
        ids, places = specials.tokens(text)
        parts[text] = Part(text, ids, places and _Places(places), tokenizer, specials)
    plain = [text for text in unique if text not in parts]
    if not plain:
        return parts
    batch = tokenizer(plain, add_special_tokens=False, return_attention_mask=False, verbose=False)
    encodings = getattr(batch, "encodings", None) or [None] * len(plain)
    return parts | {
        text: Part(text, list(ids), encoding, tokenizer, specials)
        for text, ids, encoding in zip(plain, batch["input_ids"], encodings, strict=True)
    }
