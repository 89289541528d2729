"""Token sequences stored end to end, with marks for the tokens to predict."""

from __future__ import annotations

import gc
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heappop, heappush
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from harness.data.collection import uncollected
from harness.data.tokens.columns import Columns
from harness.errors import InputError
from harness.records import heartbeat

T = TypeVar("T")
AT_ONCE = 4096  # sequences that are Python objects at a time


@dataclass(frozen=True)
class Encoded:
    """n token sequences stored end to end. Sequence i is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: np.ndarray  # (N_total,) int32
    offsets: np.ndarray  # (n + 1,) int64
    first_label: np.ndarray  # (n,) int32, >= 1: index in the sequence of the first token to predict
    example: np.ndarray  # (n,) int32: index of its example or document
    label_bytes: np.ndarray  # (n,) int64: UTF-8 bytes of the text of the labels
    counts: dict[str, int | str]
    # (n,) int64: the class of each sequence, which is its one label, at its last token. None: tokens
    # are predicted.
    classes: np.ndarray | None = None
    # (N_total,) bool: True for predicted tokens. None: all tokens from ``first_label`` on are.
    label_mask: np.ndarray | None = None
    # (N_total,) int32: which of the texts packed into a sequence a token is of, from 1; no text sees
    # another. None: each sequence is one text.
    segments: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.first_label)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Return the (n,) lengths of the sequences in tokens."""
        return np.diff(self.offsets)

    @property
    def longest_text(self) -> int:
        """Return the tokens of the longest text. Packed texts are counted one by one."""
        if self.segments is None:
            return int(self.lengths.max())
        begins = np.flatnonzero(np.diff(self.segments)) + 1
        edges = np.union1d(np.concatenate([[0], begins, [len(self.segments)]]), self.offsets)
        return int(np.diff(edges).max())

    @property
    def n_labels(self) -> np.ndarray:
        """Return the (n,) numbers of predicted tokens of the sequences."""
        if self.label_mask is None:
            return self.lengths - self.first_label
        return np.add.reduceat(self.label_mask, self.offsets[:-1], dtype=np.int64)

    def sequence(self, index: int) -> np.ndarray:
        """Return the (T,) int32 token ids of one sequence."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def labels(self, index: int) -> np.ndarray:
        """Return (T,) bool: True for the predicted tokens of one sequence."""
        if self.label_mask is not None:
            return self.label_mask[self.offsets[index] : self.offsets[index + 1]]
        return np.arange(self.lengths[index]) >= self.first_label[index]

    def of_tokens(self, array: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Return the entries of ``array``, (N_total,), for the tokens of some sequences, end to end."""
        begins, ends = self.offsets[indices], self.offsets[indices + 1]
        return np.concatenate([array[a:b] for a, b in zip(begins, ends, strict=True)])

    def _of_some(self, array: np.ndarray | None, indices: np.ndarray) -> np.ndarray | None:
        return None if array is None else self.of_tokens(array, indices)

    def take(self, indices: Sequence[int]) -> Encoded:
        """Return some of the sequences, in the given order."""
        chosen = np.asarray(indices)
        return Encoded(
            tokens=self.of_tokens(self.tokens, chosen),
            offsets=np.concatenate([[0], np.cumsum(self.lengths[chosen])]),
            first_label=self.first_label[chosen],
            example=self.example[chosen],
            label_bytes=self.label_bytes[chosen],
            counts=self.counts,
            classes=None if self.classes is None else self.classes[chosen],
            label_mask=self._of_some(self.label_mask, chosen),
            segments=self._of_some(self.segments, chosen),
        )


@dataclass(frozen=True)
class OneSequence:
    """One sequence, before it is stored in an ``Encoded``."""

    ids: list[int]
    first_label: int
    example: int
    label_bytes: int
    pair: int  # index of the requested sequence; for plain text, of the document
    labels: list[bool] | None = None  # of each token; None: all from first_label on


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield ``items`` in lists of up to ``size``."""
    remaining = iter(items)
    while some := list(islice(remaining, size)):
        yield some


@dataclass
class Tally:
    """Sequences that were asked for, and their lengths in tokens before anything was cut."""

    n: int = 0
    n_too_long: int = 0
    longest: int = 0

    def count(self, n_tokens: int, room: int) -> int:
        """Count one sequence. Returns how many of its tokens are too many for ``room``; may be < 0."""
        self.n += 1
        return self.measure(n_tokens, room)

    def measure(self, n_tokens: int, room: int) -> int:
        """Count a length without a sequence."""
        self.n_too_long += n_tokens > room
        self.longest = max(self.longest, n_tokens)
        return n_tokens - room

    def counts(self, too_long: str) -> dict[str, int | str]:
        """Return the counts to report, with what was done about sequences that are too long."""
        found = {"n_too_long": self.n_too_long, "longest_tokens": self.longest}
        return {**found, "too_long": too_long}


def assemble(
    sequences: Iterable[OneSequence],
    tally: Tally,
    counts: Callable[[], dict[str, int | str]],
    pack_into: int | None = None,
    folder: Path | None = None,
) -> Encoded:
    """Store sequences end to end, without those that have no label. InputError if none is left.

    ``counts`` is called when all are taken, and by then ``tally`` has counted them. ``pack_into``:
    combine several sequences into one of up to that many tokens. With a ``folder`` the columns are
    files in it, not memory.
    """
    columns, n_kept = Columns(folder), 0
    with uncollected():
        for some in chunks(sequences, AT_ONCE):
            kept = [item for item in some if len(item.ids) > item.first_label]
            n_kept += len({item.pair for item in kept})
            if kept:
                columns.append(_columns(kept))
            gc.collect(0)  # only new objects: templates may leave cycles
            heartbeat.mark()
    told = counts()
    if columns.is_empty:
        raise InputError(
            f"None of {tally.n} sequences can be used: {told['n_too_long']} are too long "
            f"(the longest has {told['longest_tokens']} tokens), and the others have no token to "
            "predict. Raise data.max_length or set data.too_long=truncate."
        )
    encoded = encoded_of(columns.close(), told)
    n_dropped = tally.n - n_kept
    packed: dict[str, int | str] = {}
    if pack_into is not None:
        packed = {"texts_packed": len(encoded)}
        encoded = _packed(encoded, pack_into, folder)
    found = {
        "n_sequences": len(encoded),
        "n_dropped": n_dropped,
        "tokens": int(encoded.offsets[-1]),
        "label_tokens": int(encoded.n_labels.sum()),
    }
    return replace(encoded, counts=told | found | packed)


def _columns(items: Sequence[OneSequence]) -> dict[str, np.ndarray]:
    """Return the columns of some sequences: those of an ``Encoded``, with lengths for offsets."""
    found = {
        "tokens": np.fromiter(chain.from_iterable(item.ids for item in items), np.int32),
        "lengths": np.array([len(item.ids) for item in items], np.int64),
        "first_label": np.array([item.first_label for item in items], np.int32),
        "example": np.array([item.example for item in items], np.int32),
        "label_bytes": np.array([item.label_bytes for item in items], np.int64),
    }
    if items[0].labels is not None:  # then all have them
        labels = chain.from_iterable(item.labels or () for item in items)
        found["label_mask"] = np.fromiter(labels, np.bool_)
    return found


def encoded_of(columns: Mapping[str, np.ndarray], counts: dict[str, int | str]) -> Encoded:
    """Return the ``Encoded`` of columns, of which ``lengths`` give its offsets."""
    others = {name: array for name, array in columns.items() if name != "lengths"}
    offsets = np.concatenate([[0], np.cumsum(columns["lengths"])]).astype(np.int64)
    return Encoded(offsets=offsets, counts=counts, **others)


def _packed(encoded: Encoded, length: int, folder: Path | None) -> Encoded:
    """Combine sequences, each a text that sees no other, into few of at most ``length`` tokens."""
    columns, blocks = Columns(folder), pack(encoded.lengths.tolist(), length)
    for at in range(0, len(blocks), AT_ONCE):
        some = blocks[at : at + AT_ONCE]
        order = np.concatenate(some)
        begins = np.concatenate([[0], np.cumsum([len(block) for block in some])])[:-1]
        texts, lengths = encoded.take(order.tolist()), encoded.lengths[order]
        mask = texts.label_mask
        if mask is None:
            places = np.arange(len(texts.tokens)) - np.repeat(texts.offsets[:-1], lengths)
            mask = places >= np.repeat(texts.first_label, lengths)
        number = np.arange(len(order)) - np.repeat(begins, [len(block) for block in some]) + 1
        part = {
            "tokens": texts.tokens,
            "lengths": np.add.reduceat(lengths, begins),
            "first_label": texts.first_label[begins],
            "example": texts.example[begins],
            "label_bytes": np.add.reduceat(texts.label_bytes, begins),
            "label_mask": mask,
            "segments": np.repeat(number, lengths).astype(np.int32),
        }
        columns.append(part)
        heartbeat.mark()
    return encoded_of(columns.close(), encoded.counts)


def pack(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Divide texts of some lengths in tokens into few blocks of at most ``room``, none cut.

    Best fit decreasing: the longest first, each where it leaves the least room, and among those in the
    first block.
    """
    open_blocks: dict[int, list[int]] = {}  # remaining room → heap of its blocks
    rooms: list[int] = []  # those remaining, sorted: no more than there are lengths
    blocks: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        at = bisect_left(rooms, lengths[index])
        if at == len(rooms):
            block, left = len(blocks), room
            blocks.append([])
        else:
            left = rooms[at]
            block = heappop(open_blocks[left])
            if not open_blocks[left]:
                del open_blocks[left], rooms[at]
        blocks[block].append(index)
        left -= lengths[index]
        if left not in open_blocks:
            open_blocks[left] = []
            insort(rooms, left)
        heappush(open_blocks[left], block)
    return sorted(map(sorted, blocks))
