"""Texts as sets of numbers, many at a time: n-grams of words, shingles of characters, MinHash."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

SHINGLE = 5  # characters
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Japanese, Chinese
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_ODD = np.uint64(0x9E3779B97F4A7C15)
_AT_ONCE = 10_000  # pairs; their signatures are copied
_BINS, _BAND = 256, 8  # two texts of similarity 0.8 share one of the 32 bands with p = 0.997


@dataclass(frozen=True)
class Sets:
    """n sets of hashes. Set i is ``values[offsets[i]:offsets[i + 1]]``, which may contain repeats."""

    values: np.ndarray  # (N_total,) uint64
    offsets: np.ndarray  # (n + 1,) int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def owners(self) -> np.ndarray:
        """Return (N_total,) indices of the set that each value belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


def normalized(text: str) -> str:
    """Return the words of a text in lower case with single spaces, without punctuation.

    In scripts without spaces each character counts as a word.
    """
    return " ".join(_WORD.findall(text.casefold()))


class _WordNumbers(dict[str, int]):
    """Numbers of words, each computed once."""

    def __missing__(self, word: str) -> int:
        self[word] = number = _number_of(word)
        return number


@dataclass(frozen=True)
class Words:
    """Words of n texts, end to end, as numbers that are the same in every call."""

    numbers: np.ndarray  # (N_total,) uint64
    lengths: np.ndarray  # (n,) int64

    @classmethod
    def of(cls, texts: Sequence[str]) -> Words:
        """Build from ``normalized`` texts."""
        lengths, known = np.zeros(len(texts), np.int64), _WordNumbers()

        def flat() -> Iterator[int]:
            for place, text in enumerate(texts):
                words = text.split()
                lengths[place] = len(words)
                yield from map(known.__getitem__, words)

        return cls(np.fromiter(flat(), np.uint64), lengths)

    def ngrams(self, n: int) -> Sets:
        """Return the runs of ``n`` words of each text, in order; none if it is shorter."""
        return _windows(self.numbers, self.lengths, n)


def char_shingles(texts: Sequence[str]) -> Sets:
    """Return the runs of SHINGLE characters of each ``normalized`` text; a shorter text is one run."""
    padded = [text.ljust(SHINGLE, "\0") for text in texts]
    lengths = np.array([len(text) for text in padded], np.int64)
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32)
    return _windows(codes.astype(np.uint64), lengths, SHINGLE)


def similarity(one: str, other: str) -> float:
    """Return Jaccard's |A ∩ B| / |A ∪ B| of the runs of SHINGLE characters of two texts."""
    a, b = _runs(one), _runs(other)
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def _runs(text: str) -> set[str]:
    padded = text.ljust(SHINGLE, "\0")
    return {padded[at : at + SHINGLE] for at in range(len(padded) - SHINGLE + 1)}


def signatures(sets: Sets) -> np.ndarray:
    """Return (n, bins) uint32 signatures. The share of equal bins estimates Jaccard similarity.

    One permutation hashing (Shrivastava & Li, arXiv:1406.4784): each value is hashed once instead of
    once for every bin, and an empty bin is filled from the next. Sets must not be empty.
    """
    hashed = _mixed(sets.values)
    nothing = np.iinfo(np.uint32).max
    lowest = np.full((_BINS, len(sets)), nothing, np.uint32)
    place = (hashed % np.uint64(_BINS)).astype(np.int64) * len(sets) + sets.owners
    np.minimum.at(lowest.reshape(-1), place, (hashed >> np.uint64(33)).astype(np.uint32))
    for at in reversed(range(2 * _BINS - 1)):  # two rounds, from right to left
        here, beside = lowest[at % _BINS], lowest[(at + 1) % _BINS]
        taken = (here == nothing) & (beside != nothing)
        here[taken] = beside[taken] + np.uint32(1)  # differs from the value of the bin itself
    return lowest[np.random.default_rng(0).permutation(_BINS)].T


def bands(rows: np.ndarray) -> np.ndarray:
    """Return (n, bands) uint64 of (n, bins) signatures: one number for each run of bins."""
    parts = rows.reshape(len(rows), -1, _BAND).astype(np.uint64)
    hashes = np.zeros(parts.shape[:2], np.uint64)
    for place in range(_BAND):
        hashes = _mixed(hashes + parts[:, :, place])
    return hashes


def candidates(some: np.ndarray, others: np.ndarray, most: int) -> np.ndarray:
    """Return (m, 2) indices of pairs that share one of ``bands``, at most ``most`` a text and band."""
    found = [np.empty((0, 2), np.int64)]
    for left, right in zip(some.T, others.T, strict=True):
        order = np.argsort(right, kind="stable")
        ordered = right[order]
        start = np.searchsorted(ordered, left, "left")
        n = np.minimum(np.searchsorted(ordered, left, "right") - start, most)
        which = np.repeat(np.arange(len(left)), n)
        found.append(np.stack([which, order[np.repeat(start, n) + _counted(n)]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def agreements(some: np.ndarray, others: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return (m,) shares of bins in which the signatures of each pair agree."""
    parts = np.array_split(pairs, len(pairs) // _AT_ONCE + 1)
    return np.concatenate([(some[p[:, 0]] == others[p[:, 1]]).mean(axis=1) for p in parts])


def _windows(numbers: np.ndarray, lengths: np.ndarray, n: int) -> Sets:
    """Return the runs of ``n`` numbers in each of the sequences that lie end to end."""
    total = max(0, len(numbers) - n + 1)
    hashes = np.zeros(total, np.uint64)
    for place in range(n):
        hashes = hashes * _ODD + numbers[place : place + total]
    hashes = _mixed(hashes)
    ends = np.cumsum(lengths)
    counts = np.maximum(lengths - n + 1, 0)
    starts = np.repeat(ends - lengths, counts) + _counted(counts)
    return Sets(hashes[starts], np.concatenate([[0], np.cumsum(counts)]))


def _counted(counts: np.ndarray) -> np.ndarray:
    """Return 0, 1, ... counts[0] − 1, 0, 1, ... counts[1] − 1, ..."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Apply a bijection of 64 bits in which every bit depends on every other (splitmix64)."""
    values = (values + _ODD).astype(np.uint64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _number_of(word: str) -> int:
    raw = word.encode("utf-8", "surrogatepass")
    return zlib.crc32(raw) << 32 | zlib.crc32(raw[::-1], 0x9E3779B9)
