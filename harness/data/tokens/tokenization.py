"""Tokenization that keeps the byte range of each token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.data.tokens.special_tokens import SpecialTokens


@dataclass(frozen=True)
class _Places:
    """Token offsets in a text, used like an encoding of the tokenizers library."""

    offsets: list[tuple[int, int]]


class TokenizedPart:
    """Tokens of one text, with the number of bytes between any two of them."""

    def __init__(
        self, text: str, ids: list[int], encoding: Any, tokenizer: Any, specials: SpecialTokens
    ) -> None:
        """Keep a ``text`` as marked by ``specials``. ``encoding`` is None if offsets are unknown."""
        self.text, self.ids = text, ids
        self._encoding, self._tokenizer, self._specials = encoding, tokenizer, specials

    def bytes_between(self, start: int, stop: int) -> int:
        """Return the UTF-8 bytes of tokens start..stop. Adjacent ranges add up to the text."""
        start, stop = max(start, 0), min(stop, len(self.ids))
        if start >= stop:
            return 0
        if stop - start == len(self.ids):
            return self._n_bytes(self.text)
        if self._encoding is None:  # a tokenizer written in Python has no offsets
            return len(self._tokenizer.decode(self.ids[start:stop]).encode())
        return self._n_bytes(self.text[self._places[start] : self._places[stop]])

    def bytes_of_each(self) -> list[int]:
        """Return the UTF-8 bytes of each token."""
        return [self.bytes_between(place, place + 1) for place in range(len(self.ids))]

    @cached_property
    def _places(self) -> list[int]:
        """Return the character at which each token begins, and the end of the text."""
        return [0, *(begin for begin, _ in self._encoding.offsets[1:]), len(self.text)]

    def _n_bytes(self, text: str) -> int:
        return len(text if text.isascii() else self._specials.restored(text).encode())


def tokenize(
    texts: Iterable[str], tokenizer: Any, specials: SpecialTokens
) -> dict[str, TokenizedPart]:
    """Return `{text: its tokens}` without added special tokens. Each different text is tokenized once.

    ``specials`` has marked the parts of ``texts`` that are not tokens.
    """
    unique = list(dict.fromkeys(texts))
    marked = [text for text in unique if specials.has_marks(text)]
    parts = {}
    for text in marked:
        ids, places = specials.tokens(text)
        parts[text] = TokenizedPart(text, ids, places and _Places(places), tokenizer, specials)
    plain = [text for text in unique if text not in parts]
    if not plain:
        return parts
    batch = tokenizer(plain, add_special_tokens=False, return_attention_mask=False, verbose=False)
    encodings = getattr(batch, "encodings", None) or [None] * len(plain)
    return parts | {
        text: TokenizedPart(text, ids, encoding, tokenizer, specials)
        for text, ids, encoding in zip(plain, batch["input_ids"], encodings, strict=True)
    }
