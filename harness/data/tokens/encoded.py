"""Token sequences stored end to end, with marks for the tokens to predict."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.errors import InputError


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

    @property
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
        return np.add.reduceat(self.label_mask.astype(np.int64), self.offsets[:-1])

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
    segments: list[int] | None = (
        None  # for each token, the number of its text in the packed sequence
    )

    @property
    def mask(self) -> list[bool]:
        """Return for each token whether it is a label."""
        if self.labels is not None:
            return self.labels
        return [place >= self.first_label for place in range(len(self.ids))]


def assemble(
    sequences: Sequence[OneSequence],
    n_asked: int,
    counts: dict[str, int | str],
    pack_into: int | None = None,
) -> Encoded:
    """Store sequences end to end, without those that have no label. InputError if none is left.

    ``pack_into``: combine several sequences into one of up to that many tokens.
    """
    kept = [item for item in sequences if len(item.ids) > item.first_label]
    if not kept:
        raise InputError(
            f"None of {n_asked} sequences can be used: {counts['n_too_long']} are too long "
            f"(the longest has {counts['longest_tokens']} tokens), and the others have no token to "
            "predict. Raise data.max_length or set data.too_long=truncate."
        )
    n_dropped = n_asked - len({item.pair for item in kept})
    packed: dict[str, int | str] = {}
    if pack_into is not None:
        packed = {"texts_packed": len(kept)}
        kept = pack(kept, pack_into)
    lengths = np.array([len(item.ids) for item in kept])
    first_label = np.array([item.first_label for item in kept], np.int32)
    encoded = Encoded(
        tokens=np.concatenate([np.array(item.ids, np.int32) for item in kept]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        first_label=first_label,
        example=np.array([item.example for item in kept], np.int32),
        label_bytes=np.array([item.label_bytes for item in kept], np.int64),
        counts=counts,
        label_mask=_mask(kept),
        segments=_segments(kept),
    )
    found = {
        "n_sequences": len(kept),
        "n_dropped": n_dropped,
        "tokens": int(lengths.sum()),
        "label_tokens": int(encoded.n_labels.sum()),
    }
    return replace(encoded, counts=counts | found | packed)


def _mask(sequences: Sequence[OneSequence]) -> np.ndarray | None:
    if all(item.labels is None for item in sequences):
        return None
    return np.concatenate([np.array(item.mask, bool) for item in sequences])


def _segments(sequences: Sequence[OneSequence]) -> np.ndarray | None:
    if all(item.segments is None for item in sequences):
        return None
    each = (item.segments or [1] * len(item.ids) for item in sequences)
    return np.concatenate([np.array(numbers, np.int32) for numbers in each])


def pack(sequences: Sequence[OneSequence], length: int) -> list[OneSequence]:
    """Combine whole sequences into few of at most ``length`` tokens, without losing a token.

    Best fit decreasing: the longest first, each where it leaves the least room.
    """
    rooms: list[tuple[int, int]] = []  # (remaining room, block), sorted
    blocks: list[list[int]] = []
    lengths = [len(item.ids) for item in sequences]
    for index in sorted(range(len(sequences)), key=lambda i: (-lengths[i], i)):
        at = bisect_left(rooms, (lengths[index], -1))
        if at == len(rooms):
            blocks.append([index])
            insort(rooms, (length - lengths[index], len(blocks) - 1))
        else:
            room, block = rooms.pop(at)
            blocks[block].append(index)
            insort(rooms, (room - lengths[index], block))
    return [_joined([sequences[i] for i in sorted(block)]) for block in sorted(map(sorted, blocks))]


def _joined(parts: Sequence[OneSequence]) -> OneSequence:
    return OneSequence(
        ids=[token for part in parts for token in part.ids],
        first_label=parts[0].first_label,
        example=parts[0].example,
        label_bytes=sum(part.label_bytes for part in parts),
        pair=parts[0].pair,
        labels=[is_label for part in parts for is_label in part.mask],
        segments=[number for number, part in enumerate(parts, start=1) for _ in part.ids],
    )
