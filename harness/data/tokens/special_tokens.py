"""Special tokens: those that a tokenizer writes around a text, and those that a text writes itself.

The tokenizer decides how a text begins, not the name of a token. Texts for Llama begin with bos, for
GLM with ``[gMASK]<sop>``, and for Qwen and GPT-2 with nothing.

If a value of the data contains the characters of a special token, they are text, as in HTML's
``<s>struck</s>``. They are tokens if a template writes them, or if the text was made for a tokenizer:
when it begins with a special token, and for an end token at the end of any text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from harness.errors import InputError

# One character stands for each special token that is to be read as text: the last of Unicode's
# private planes, which no font gives a meaning.
_FIRST_MARK, _MARKS = 0x10E000, 0x1FFE
_MARKED = re.compile(f"[{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + _MARKS - 1)}]")


class SpecialTokens:
    """The special tokens of one tokenizer. Counts the values that contain any."""

    def __init__(self, tokenizer: Any) -> None:
        added = getattr(tokenizer, "added_tokens_decoder", {})
        ids = {token.content: number for number, token in added.items() if token.special}
        named = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=False)
        self.ids: dict[str, int] = {text: int(n) for text, n in (ids | dict(named)).items() if text}
        self._tokenizer = tokenizer
        self._texts = sorted(self.ids, key=lambda text: (-len(text), text))[:_MARKS]
        self._any = re.compile("|".join(map(re.escape, self._texts)) or r"(?!)")
        self.begin = begins_with(tokenizer)
        self.end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
        texts = {number: text for text, number in self.ids.items()}
        self._begin_text = "".join(texts.get(number, "") for number in self.begin)
        self._ends = [tokenizer.eos_token] if self.end and tokenizer.eos_token else []
        self.n_as_text = 0  # values that contain the characters of a special token, read as text
        self.n_own = 0  # values with their own begin or end token

    def also_ends(self, text: str) -> None:
        """Register ``text`` as a turn's end: at the end of an answer it is no part of the answer."""
        if text in self.ids and text not in self._ends:
            self._ends.append(text)

    @property
    def counts(self) -> dict[str, int]:
        """Return the counts to report about the values processed; empty if there are none."""
        found = {
            "values_with_special_tokens_as_text": self.n_as_text,
            "values_with_own_begin_or_end": self.n_own,
        }
        return {name: n for name, n in found.items() if n}

    def value(self, text: str) -> str:
        """Return a value of the data with every special token in it marked as text."""
        if not any(special in text for special in self._texts):
            return text
        self.n_as_text += 1
        return self._any.sub(lambda found: self._mark(found[0]), text)

    def answer(self, text: str) -> str:
        """Return an answer without its own end token, treated as ``value`` treats it."""
        return self.value(self.without_end(text))

    def without_end(self, text: str) -> str:
        """Remove a token that ends texts or turns from the end of ``text``.

        HTML's ``<s>struck</s>`` is kept: its mark closes what the same text opens.
        """
        if not any(end in text for end in self._ends):
            return text
        kept = text.rstrip()
        while found := next((end for end in self._ends if kept.endswith(end)), None):
            body = kept[: -len(found)]
            opening = _opening(found)
            if opening and body.count(opening) > body.count(found):
                break
            kept = body.rstrip()
            self.n_own += 1
            text = kept
        return text

    def prompt(self, text: str, own: Sequence[tuple[int, int]]) -> str:
        """Process the text before an answer. ``own`` marks the characters that the template writes."""
        if not any(special in text for special in self._texts):
            return text
        if any(self._any.search(text[start:stop]) for start, stop in own):
            places = [place for span in own for place in span]
            edges = [0, *places, len(text)]
            parts = [text[a:b] for a, b in pairwise(edges)]
            text = "".join(p if i % 2 else self.value(p) for i, p in enumerate(parts))
        elif not self._made_for_tokenizer(text):
            return self.value(text)
        return self._without_begin(text)

    def whole(self, text: str) -> str:
        """Return a text without the begin and the end that are written around every text."""
        if not any(special in text for special in self._texts):
            return text
        if not self._made_for_tokenizer(text):
            return self.answer(text)
        kept = text.removeprefix(self._begin_text)
        end = next((end for end in self._ends if kept.rstrip().endswith(end)), None)
        if end is not None:
            kept = kept.rstrip().removesuffix(end)
        self.n_own += 1
        return kept

    def has_marks(self, text: str) -> bool:
        """Return True if anything in ``text`` was marked."""
        return not text.isascii() and _MARKED.search(text) is not None

    def restored(self, text: str) -> str:
        """Return ``text`` as it was before anything in it was marked."""
        return _MARKED.sub(lambda found: self._texts[ord(found[0]) - _FIRST_MARK], text)

    def tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]] | None]:
        """Return the ids of a marked text, and the character range of each.

        The ranges are None if the tokenizer has no offsets. Raises InputError if the tokenizer cannot
        read a special token as text.
        """
        ids: list[int] = []
        places: list[tuple[int, int]] | None = []
        at = 0
        for found in [*self._any.finditer(text), None]:
            stop = len(text) if found is None else found.start()
            some, where = self._as_text(text[at:stop])
            ids += some
            places = None if places is None or where is None else places
            if places is not None and where is not None:
                places += [(at + begin, at + end) for begin, end in where]
            if found is not None:
                ids.append(self.ids[found[0]])
                at = found.end()
                if places is not None:
                    places.append(found.span())
        return ids, places

    def _as_text(self, marked: str) -> tuple[list[int], list[tuple[int, int]] | None]:
        text = self.restored(marked)
        if not text:
            return [], []
        fast = bool(getattr(self._tokenizer, "is_fast", False))
        part = self._tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=fast,
            return_attention_mask=False,
            verbose=False,
        )
        ids = list(part["input_ids"])
        known = {number: special for special, number in self.ids.items()}
        bad = next((known[n] for n in ids if n in known and known[n] in text), None)
        if bad is not None:
            raise InputError(
                f"The data contain {bad!r} in {text!r:.60}. The tokenizer of this model can read it "
                "only as a special token, not as text. Change the rows."
            )
        if not fast:
            return ids, None
        origin = [i for i, c in enumerate(marked) for _ in self.restored(c)]
        last = len(origin) - 1
        return ids, [
            (origin[min(begin, last)], origin[min(end, last + 1) - 1] + 1 if end > begin else at)
            for begin, end in part["offset_mapping"]
            for at in [origin[min(begin, last)]]
        ]

    def _mark(self, special: str) -> str:
        return chr(_FIRST_MARK + self._texts.index(special))

    def _without_begin(self, text: str) -> str:
        if self._begin_text and text.startswith(self._begin_text):
            self.n_own += 1
            return text[len(self._begin_text) :]
        return text

    def _made_for_tokenizer(self, text: str) -> bool:
        """Return True if a text begins with a special token that is not also an HTML tag in it."""
        first = self._any.match(text)
        if first is None:
            return False
        tag = first[0]
        closing = f"</{tag[1:]}"
        if closing not in self.ids:
            return True
        between = text.split(closing)[1:]
        return all(not part.strip() or part.lstrip().startswith(tag) for part in between)


def begins_with(tokenizer: Any) -> list[int]:
    """Return the ids that ``tokenizer`` itself writes before a text; [] if none."""
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = list(tokenizer("a")["input_ids"])
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    return []


def ends_of(tokenizer: Any) -> set[int]:
    """Return the ids that end generation: the end of a text, and the begin of another one."""
    end = {tokenizer.eos_token_id} - {None}
    return {int(number) for number in end} | set(begins_with(tokenizer))


def _opening(closing: str) -> str | None:
    """Return ``<s>`` for ``</s>``; None for a token of another form."""
    return f"<{closing[2:]}" if closing.startswith("</") else None
