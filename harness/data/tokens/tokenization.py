"""Tokenization that keeps the byte range of each token."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any

from harness.data.tokens.special_tokens import SpecialTokens

# First and last character of each token of a text; None if they are unknown.
Places = list[tuple[int, int]] | None


class TokenizedPart:
    """Tokens of one text, with the number of bytes between any two of them."""

    def __init__(
        self,
        text: str,
        ids: list[int],
        offsets: Callable[[], Places],
        tokenizer: Any,
        specials: SpecialTokens,
    ) -> None:
        """Keep a ``text`` as marked by ``specials``; ``offsets`` is called where a part is taken."""
        self.text, self.ids = text, ids
        self._offsets, self._tokenizer, self._specials = offsets, tokenizer, specials

    def bytes_between(self, start: int, stop: int) -> int:
        """Return the UTF-8 bytes of tokens start..stop. Adjacent ranges add up to the text."""
        start, stop = max(start, 0), min(stop, len(self.ids))
        if start >= stop:
            return 0
        if stop - start == len(self.ids):
            return self._n_bytes(self.text)
        places = self._places
        if places is None:  # a tokenizer written in Python has no offsets
            return len(self._tokenizer.decode(self.ids[start:stop]).encode())
        return self._n_bytes(self.text[places[start] : places[stop]])

    def bytes_of_each(self) -> list[int]:
        """Return the UTF-8 bytes of each token."""
        return [self.bytes_between(place, place + 1) for place in range(len(self.ids))]

    @cached_property
    def _places(self) -> list[int] | None:
        """Return the character at which each token begins, and the end of the text; None: unknown."""
        found = self._offsets()
        if found is None:
            return None
        return [0, *(begin for begin, _ in found[1:]), len(self.text)]

    def _n_bytes(self, text: str) -> int:
        return len(text if text.isascii() else self._specials.restored(text).encode())


def tokenize(
    texts: Iterable[str], tokenizer: Any, specials: SpecialTokens, *, in_parts: bool = False
) -> dict[str, TokenizedPart]:
    """Return `{text: its tokens}` without added special tokens. Each different text is tokenized once.

    ``specials`` has marked the parts of ``texts`` that are not tokens. ``in_parts`` keeps the place of
    each token. Without it, a text of which only a part is taken is tokenized again.
    """
    unique = list(dict.fromkeys(texts))
    found: dict[str, tuple[list[int], Callable[[], Places]]] = {}
    for text in (text for text in unique if specials.has_marks(text)):
        ids, places = specials.tokens(text)
        found[text] = ids, partial(_same, places)
    plain = [text for text in unique if text not in found]
    ids_alone = None if in_parts or not plain else _ids_alone(plain, tokenizer)
    if ids_alone is not None:
        for text, ids in zip(plain, ids_alone, strict=True):
            found[text] = ids, partial(_places_of, text, tokenizer)
    elif plain:
        batch = _by_transformers(plain, tokenizer)
        encodings = getattr(batch, "encodings", None) or [None] * len(plain)
        for text, ids, encoding in zip(plain, batch["input_ids"], encodings, strict=True):
            found[text] = ids, partial(getattr, encoding, "offsets", None)
    return {
        text: TokenizedPart(text, ids, offsets, tokenizer, specials)
        for text, (ids, offsets) in found.items()
    }


def _same(places: Places) -> Places:
    return places


def _places_of(text: str, tokenizer: Any) -> Places:
    return _by_transformers([text], tokenizer).encodings[0].offsets


def _by_transformers(texts: list[str], tokenizer: Any) -> Any:
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)


def _ids_alone(texts: list[str], tokenizer: Any) -> list[list[int]] | None:
    """Return the tokens by the library behind a fast tokenizer, which then follows no places.

    None for a tokenizer that is written in Python, or adds steps of its own to the library's.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if not hasattr(backend, "encode_batch_fast"):
        return None
    longest = max(texts, key=len)
    # Also sets the library's padding, truncation and special tokens to what transformers would use.
    (expected,) = _by_transformers([longest], tokenizer)["input_ids"]
    ids = [each.ids for each in backend.encode_batch_fast(texts, add_special_tokens=False)]
    return ids if ids[texts.index(longest)] == expected else None
