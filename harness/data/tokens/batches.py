"""Batches: the choice of sequences for each step, and their padding to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from harness.data.tokens.encode import Encoded

FORWARD_TOKENS = 256  # cost of one more forward pass on a CPU, in padding tokens


@dataclass
class Batch:
    """B sequences padded on the right to the longest, T tokens.

    If ``predict`` is None, the ``targets`` are the classes of the B sequences.
    """

    input_ids: torch.Tensor  # (B, T) int64
    # (B, T) int64: 0 at padding, else 1. In packed rows: the number of the text in its row, from 1.
    attention_mask: torch.Tensor
    predict: torch.Tensor | None  # (B, T) bool: True at t if token t + 1 is a label
    targets: torch.Tensor  # (K,) int64: those labels, in row-major order of `predict`
    rows: torch.Tensor  # (K,) int64: the row of each

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with the tensors that a model computes with on ``device``.

        ``attention_mask`` and ``predict`` stay: they decide what is computed, and to read them on a
        device would wait for all work that is queued there.
        """
        ids, targets, rows = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.input_ids, self.targets, self.rows)
        )
        return replace(self, input_ids=ids, targets=targets, rows=rows)


def plan_epoch(n: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return batches of n sequences in random order: every index once, with the last partial batch.

    Depends on the arguments alone.
    """
    assert batch_size >= 1 and n > 0
    order = _epoch_order(n, seed, epoch)
    return [order[at : at + batch_size].tolist() for at in range(0, n, batch_size)]


def _epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(n)


def micro_batches(
    indices: Sequence[int], lengths: np.ndarray, most: int, forward_tokens: int = FORWARD_TOKENS
) -> list[list[int]]:
    """Divide one step's sequences into micro-batches of at most ``most``, longest first.

    Sequences of similar length go together, at the least cost: padded tokens plus ``forward_tokens``
    for each pass. The sequences of a step stay random. If all sequences of a step had one length, the
    steps of an epoch would differ so much that short runs end measurably worse.
    """
    order = sorted(indices, key=lambda index: (-lengths[index], index))
    furthest = np.minimum(np.arange(len(order)) + most, len(order))
    return _divided(order, _cheapest_ends(lengths[order], furthest, forward_tokens))


def step_cost(
    indices: Sequence[int],
    lengths: np.ndarray,
    most: int,
    forward_tokens: int = FORWARD_TOKENS,
    padded: bool = True,
) -> int:
    """Return the cost of a step in tokens, padded or not, with ``forward_tokens`` for each pass."""
    groups = micro_batches(indices, lengths, most, forward_tokens)
    if not padded:
        return int(lengths[list(indices)].sum()) + forward_tokens * len(groups)
    return sum(len(group) * int(lengths[group].max()) + forward_tokens for group in groups)


def _divided(order: list[int], ends: list[int]) -> list[list[int]]:
    return [order[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def _cheapest_ends(lengths: np.ndarray, furthest: np.ndarray, forward_tokens: int) -> list[int]:
    """Return the end of each batch of sequences in order, at the least cost for all of them.

    ``lengths`` (n,) fall. A batch that begins at place i ends at ``furthest[i]`` at the latest.
    """
    n = len(lengths)
    cost = np.zeros(n + 1)  # cost[i]: of the sequences from i on
    until = np.zeros(n, int)
    for i in reversed(range(n)):
        ends = np.arange(i + 1, furthest[i] + 1)
        costs = (ends - i) * lengths[i] + forward_tokens + cost[ends]
        until[i] = ends[np.argmin(costs)]
        cost[i] = costs.min()
    found = [0]
    while found[-1] < n:
        found.append(int(until[found[-1]]))
    return found[1:]


class BatchPlan:
    """Sequences of each step as a function of the step, so a resumed run repeats no data."""

    def __init__(self, n_sequences: int, batch_size: int, seed: int) -> None:
        self._n, self._batch_size, self._seed = n_sequences, batch_size, seed
        self._epoch, self._order = -1, np.zeros(0, int)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self._n // self._batch_size)

    def indices(self, step: int) -> list[int]:
        """Yield the sequences of step 0, 1, ...; each epoch has its own order."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order = _epoch_order(self._n, self._seed, epoch)
            self._epoch = epoch
        return self._order[place * self._batch_size :][: self._batch_size].tolist()


class Stream:
    """Endless stream of ``size`` sequences for each step, reshuffled after every pass.

    Like a BatchPlan it is a function of the step. With the same seed, its orders are different.
    """

    def __init__(self, n_sequences: int, size: int, seed: int) -> None:
        self._n, self._size, self._seed = n_sequences, size, seed

    def indices(self, step: int) -> list[int]:
        """Yield the sequences of step 0, 1, ..."""
        first = step * self._size
        rounds = range(first // self._n, (first + self._size - 1) // self._n + 1)
        orders = [_order(self._n, self._seed, number) for number in rounds]
        start = first - rounds[0] * self._n
        return np.concatenate(orders)[start : start + self._size].tolist()


@lru_cache(maxsize=4)
def _order(n: int, seed: int, number: int) -> np.ndarray:
    return np.random.default_rng((seed, number, 11)).permutation(n)


def longest_kept(lengths: np.ndarray, quantile: float) -> int | None:
    """Return the quantile of a step's ``lengths`` in tokens, rounded up; None if nothing is cut.

    This is H2O LLM Studio's padding quantile, taken over a step instead of over one micro-batch, so
    that the division into micro-batches does not change it.
    """
    if quantile == 1:
        return None
    return max(2, int(np.ceil(np.quantile(lengths, quantile) - 1e-6)))  # 28.0000000001 stays 28


def _shortened(encoded: Encoded, longest: int) -> Encoded:
    """Keep the last ``longest`` tokens of each sequence, the first of which is then no label."""
    lengths = encoded.lengths
    cuts = np.maximum(lengths - longest, 0)
    places = np.arange(len(encoded.tokens)) - np.repeat(encoded.offsets[:-1], lengths)
    kept = places >= np.repeat(cuts, lengths)
    mask = encoded.label_mask
    if mask is not None:
        mask = (mask & (places > np.repeat(cuts, lengths)))[kept]
    return replace(
        encoded,
        tokens=encoded.tokens[kept],
        offsets=np.concatenate([[0], np.cumsum(lengths - cuts)]),
        first_label=np.maximum(encoded.first_label - cuts, 1).astype(np.int32),
        label_mask=mask,
    )


def count_labels(encoded: Encoded, indices: Sequence[int], longest: int | None = None) -> int:
    """Count the label tokens in the sequences of ``indices`` after ``collate`` truncates them."""
    if encoded.classes is not None:
        return len(indices)
    some = encoded.take(indices)
    return int((some if longest is None else _shortened(some, longest)).n_labels.sum())


def collate(
    encoded: Encoded, indices: Sequence[int], pad_id: int, longest: int | None = None
) -> Batch:
    """Pad the sequences of ``indices``, in order. Longer ones lose their first tokens."""
    if longest is not None:
        encoded, indices = _shortened(encoded.take(indices), longest), range(len(indices))
    chosen = np.asarray(indices)
    lengths = encoded.lengths[chosen]
    places = np.arange(lengths.max())
    real = places < lengths[:, None]
    input_ids = np.full(real.shape, pad_id, np.int64)
    input_ids[real] = encoded.of_tokens(encoded.tokens, chosen)
    mask = real.astype(np.int64)
    if encoded.segments is not None:
        mask[real] = encoded.of_tokens(encoded.segments, chosen)
    if encoded.classes is not None:
        return Batch(
            input_ids=torch.from_numpy(input_ids),
            attention_mask=torch.from_numpy(mask),
            predict=None,
            targets=torch.from_numpy(encoded.classes[chosen]),
            rows=torch.arange(len(chosen)),
        )
    labels = real & (places >= encoded.first_label[chosen][:, None])
    if encoded.label_mask is not None:
        labels[real] = encoded.of_tokens(encoded.label_mask, chosen)
    predict = np.zeros_like(labels)
    predict[:, :-1] = labels[:, 1:]
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(mask),
        predict=torch.from_numpy(predict),
        targets=torch.from_numpy(input_ids[labels]),
        rows=torch.from_numpy(np.nonzero(predict)[0]),
    )


def longest_first(encoded: Encoded) -> list[int]:
    """Return all sequences in the order of evaluation, in which lack of memory shows at once."""
    return np.argsort(-encoded.lengths, kind="stable").tolist()


def evaluation_batches(
    encoded: Encoded,
    order: list[int],
    batch_size: int,
    forward_tokens: int = FORWARD_TOKENS,
) -> list[list[int]]:
    """Divide the sequences ``order``, the longest first, into batches.

    They are split where that costs least, counting padded tokens and passes as in ``micro_batches``.
    No batch holds more padded tokens or more labels than the largest one would if each had
    ``batch_size`` sequences. Shorter sequences may therefore come in larger batches.
    """
    lengths = encoded.lengths[order]
    labels = np.concatenate([[0], np.cumsum(encoded.n_labels[order])])
    starts = np.arange(len(order))
    most_labels = np.diff(labels[np.append(starts[::batch_size], len(order))]).max()
    most_rows = batch_size * lengths[0] // lengths
    furthest = np.minimum(
        np.minimum(starts + most_rows, len(order)),
        np.searchsorted(labels, labels[:-1] + most_labels, side="right") - 1,
    )
    furthest = np.maximum(furthest, starts + 1)
    return _divided(order, _cheapest_ends(lengths, furthest, forward_tokens))


def left_padded(prompts: Sequence[np.ndarray], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `input_ids, attention_mask`, both (B, T) int64, padded on the left for generation."""
    lengths = np.array([len(prompt) for prompt in prompts])
    real = np.arange(lengths.max()) >= lengths.max() - lengths[:, None]
    input_ids = np.full(real.shape, pad_id, np.int64)
    input_ids[real] = np.concatenate(list(prompts))
    return torch.from_numpy(input_ids), torch.from_numpy(real.astype(np.int64))
