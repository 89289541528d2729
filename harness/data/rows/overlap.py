"""Overlap of held-out data with train: equal prompts, near-duplicates and shared word n-grams.

A held-out item (an example or a document) is compared in three ways, by its words in lower case.

- *prompt*: train has the same prompt; for plain text, the same document.
- *near*: train has a text (prompt and one of its answers) whose set of 5-character runs has a Jaccard
  similarity |A ∩ B| / |A ∪ B| of at least ``least``. Candidates are found by MinHash (see shingles),
  then their similarity is computed. At 0.8 about one pair in 300 is missed, but never equal texts.
- *ngram*: the item shares a run of ``n`` words with train, the check of GPT-3 (arXiv:2005.14165,
  appendix C, n = 13). A run is ignored if half as many of its words, in sequence, occur in more than
  10 items and in 1 % of all: those are a template or a set phrase. Texts of fewer words have no runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from harness.data.rows.example import Example
from harness.data.rows.shingles import (
    Sets,
    Words,
    agreements,
    bands,
    candidates,
    char_shingles,
    normalized,
    signatures,
    similarity,
)
from harness.errors import InputError

T = TypeVar("T")
OVERLAP_KINDS = ("prompt", "near", "ngram")  # each finds more than the one before
COMMON = (10, 0.01)  # words in more items than this number and this share of all are ignored
AT_ONCE = 2**23  # characters, whose sets of runs take half a gigabyte
_PER_BAND, _VERIFIED, _SLACK = 8, 4, 0.2
_SHOWN, _SHOWN_CHARACTERS = 2, 240


@dataclass(frozen=True)
class TextMatch:
    """A held-out text and the most similar text of train."""

    item: int
    other: int
    similarity: float
    texts: tuple[str, str]  # unchanged


class Side:
    """Items of one split, each as one text or several, in the forms that are compared."""

    def __init__(self, examples: Sequence[Example], n: int) -> None:
        self.n_items, self.n, self.half = len(examples), n, max(1, n // 2)
        self.prompts = [normalized(example.key) for example in examples]
        self.written: list[str] = []
        self.texts: list[str] = []
        owners = []
        for place, (example, key) in enumerate(zip(examples, self.prompts, strict=True)):
            # The class is not compared: one text under two classes is the same text.
            answers = example.references if example.label is None else ("",)
            begin = key if example.prompt else ""
            for answer in dict.fromkeys(answers):
                self.written.append(f"{example.prompt}\n{answer}".strip())
                self.texts.append(f"{begin} {normalized(answer)}".strip())
                owners.append(place)
        self.owner = np.array(owners, np.int64)

    @cached_property
    def signatures(self) -> np.ndarray:
        parts = chunks_of(self.texts, len)
        return np.concatenate([signatures(char_shingles(part)) for part in parts])

    @cached_property
    def bands(self) -> np.ndarray:
        return bands(self.signatures)

    @cached_property
    def words(self) -> Words:
        return Words.of(self.texts)

    @cached_property
    def ngrams(self) -> Sets:
        return self.words.ngrams(self.n)

    @cached_property
    def halves(self) -> Sets:
        return self.words.ngrams(self.half)


def same_prompt(side: Side, other: Side) -> set[int]:
    """Find the items of ``side`` whose prompt is in ``other``."""
    known = set(other.prompts)
    return {place for place, prompt in enumerate(side.prompts) if prompt in known}


def near(side: Side, other: Side, least: float) -> dict[int, TextMatch]:
    """Find the items of ``side`` similar enough to one of ``other``, each with its best match."""
    if not side.texts or not other.texts:
        return {}
    pairs = candidates(side.bands, other.bands, _PER_BAND)
    equal: dict[str, int] = {text: place for place, text in reversed(list(enumerate(other.texts)))}
    alike = [(place, equal[text]) for place, text in enumerate(side.texts) if text in equal]
    found = {place: (1.0, at) for place, at in alike}
    pairs = pairs[~np.isin(pairs[:, 0], list(found))]
    agreement = agreements(side.signatures, other.signatures, pairs)
    pairs, agreement = (array[agreement >= least - _SLACK] for array in (pairs, agreement))
    order = np.lexsort((-agreement, pairs[:, 0]))
    begins = np.searchsorted(pairs[order, 0], pairs[order, 0])
    order = order[np.arange(len(order)) - begins < _VERIFIED]  # only the best candidates of each
    for a, b in pairs[order].tolist():
        value = similarity(side.texts[a], other.texts[b])
        if value >= least and value > found.get(a, (0.0, 0))[0]:
            found[a] = (value, b)
    best: dict[int, TextMatch] = {}
    for a, (value, b) in sorted(found.items()):
        item = int(side.owner[a])
        if item not in best or value > best[item].similarity:
            texts = (side.written[a], other.written[b])
            best[item] = TextMatch(item, int(other.owner[b]), value, texts)
    return best


def sharing_ngrams(side: Side, other: Side) -> set[int]:
    """Find the items of ``side`` that share an n-gram with ``other`` that holds no common run."""
    found = Comparison(side, 1.0)
    found.look_for_ngrams(other)
    return found.ngram


class Comparison:
    """Overlap of one split with others, which may be the parts of a split that is too large at once.

    ``prompt`` and ``ngram`` are items of ``side``, ``near`` has the best match of each.
    """

    def __init__(self, side: Side, least: float) -> None:
        self.side, self.least = side, least
        self.prompt: set[int] = set()
        self.near: dict[int, TextMatch] = {}
        self._n_others = 0
        self._shared = np.zeros(0, np.uint64)  # n-grams
        self._items: np.ndarray | None = None  # that hold each of the side's runs of n/2 words

    def look(self, other: Side) -> None:
        """Compare with the texts of ``other``."""
        self.prompt |= same_prompt(self.side, other)
        for item, match in near(self.side, other, self.least).items():
            best = self.near.get(item)
            if best is None or match.similarity > best.similarity:
                self.near[item] = replace(match, other=match.other + self._n_others)
        self.look_for_ngrams(other)

    def look_for_ngrams(self, other: Side) -> None:
        side = self.side
        self._n_others += other.n_items
        shared = np.intersect1d(side.ngrams.values, other.ngrams.values)
        self._shared = np.union1d(self._shared, shared)
        if self._items is None:
            self._items = _items_with(self._runs, side.halves, side.owner)
        self._items = self._items + _items_with(self._runs, other.halves, other.owner)

    @cached_property
    def _runs(self) -> np.ndarray:
        return np.unique(self.side.halves.values)

    @property
    def ngram(self) -> set[int]:
        """Return the items that share an n-gram that holds no common run."""
        side = self.side
        telling = np.isin(side.ngrams.values, self._shared)
        if self._items is None or not telling.any():
            return set()
        number, share = COMMON
        most = max(number, share * (side.n_items + self._n_others))
        telling &= ~_holds_common(side, self._runs[self._items > most])
        return set(side.owner[side.ngrams.owners[telling]].tolist())


def parts(examples: Sequence[Example], n: int) -> Iterator[Side]:
    """Yield the sides of parts of ``examples``."""

    def size(example: Example) -> int:
        return len(example.prompt) + sum(map(len, example.references))

    for part in chunks_of(examples, size):
        yield Side(part, n)


def chunks_of(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield ``items`` in lists, each of about AT_ONCE characters. ``size`` counts those of an item."""
    some: list[T] = []
    characters = 0
    for item in items:
        some.append(item)
        characters += size(item)
        if characters >= AT_ONCE:
            yield some
            some, characters = [], 0
    if some:
        yield some


def _holds_common(side: Side, common: np.ndarray) -> np.ndarray:
    """Return (N_total,) flags: True if an n-gram contains a common run of n/2 words."""
    before = np.concatenate([[0], np.cumsum(np.isin(side.halves.values, common))])
    # The i-th n-gram of a text begins where the i-th run of that text begins.
    ngrams = side.ngrams
    place = np.arange(len(ngrams.values)) - ngrams.offsets[ngrams.owners]
    first = side.halves.offsets[ngrams.owners] + place
    return before[first + side.n - side.half + 1] > before[first]


def _items_with(values: np.ndarray, sets: Sets, owner: np.ndarray) -> np.ndarray:
    """Count the items that contain each of the sorted ``values``."""
    among = np.isin(sets.values, values)
    places = np.searchsorted(values, sets.values[among])
    items = owner[sets.owners[among]]
    both = np.unique(places * (owner.max(initial=0) + 1) + items)
    return np.bincount(both // (owner.max(initial=0) + 1), minlength=len(values))


def without_overlap(
    train: Sequence[Example],
    held_out: Mapping[str, Sequence[Example]],
    kind: str,
    n: int,
    least: float,
) -> list[Example]:
    """Return ``train`` without items that overlap with ``held_out``, by ``kind`` or a stricter one.

    Raises InputError if nothing is left.
    """
    side, dropped = Side(train, n), set()
    for examples in held_out.values():
        other = Side(examples, n)
        dropped |= same_prompt(side, other)
        if kind in ("near", "ngram"):
            dropped |= set(near(side, other, least))
        if kind == "ngram":
            dropped |= sharing_ngrams(side, other)
    if len(dropped) == len(train):
        weaker = ["none", *OVERLAP_KINDS[: OVERLAP_KINDS.index(kind)]]
        raise InputError(
            f"data.drop_overlap={kind!r} removes all of data.train: its {len(train)} rows overlap "
            f"with {' or '.join(held_out)}. Use {' or '.join(weaker)}."
        )
    return [example for place, example in enumerate(train) if place not in dropped]


def as_examples(*sets: Mapping[str, Sequence[str]]) -> list[Example]:
    """Convert documents by domain to examples of plain text."""
    return [Example("", (text,)) for of in sets for texts in of.values() for text in texts]
