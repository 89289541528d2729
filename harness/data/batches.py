"""Batches: which sequences a step sees, and how they become padded tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from harness.data.encode import Encoded

# Sorted by length together. On E2E eight leave 6 % padding instead of 25 %; fifty leave 1 %, but make
# batches so uniform that 100-step runs scored lower over seeds.
CHUNK_BATCHES = 8


@dataclass
class Batch:
    """B sequences padded on the right to the longest, T tokens."""

    input_ids: torch.Tensor  # (B, T) int64
    attention_mask: torch.Tensor  # (B, T) int64, 0 at padding
    predict: torch.Tensor  # (B, T) bool: the logits at t predict a label, token t + 1
    targets: torch.Tensor  # (K,) int64: those labels, in row-major order of `predict`
    rows: torch.Tensor  # (K,) int64: the row of each

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(
            *(
                getattr(self, name).to(device, non_blocking=True)
                for name in ("input_ids", "attention_mask", "predict", "targets", "rows")
            )
        )


def plan_epoch(
    lengths: np.ndarray | Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Batches of similar length in random order; every index once, the last partial batch kept.

    Depends on the arguments alone.
    """
    assert batch_size >= 1 and len(lengths) > 0
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths))
    lengths = np.asarray(lengths)
    batches = []
    for start in range(0, len(order), CHUNK_BATCHES * batch_size):
        chunk = order[start : start + CHUNK_BATCHES * batch_size]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        batches += [chunk[at : at + batch_size].tolist() for at in range(0, len(chunk), batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]


class BatchPlan:
    """Which sequences each step sees: a function of the step, so a resumed run replays nothing."""

    def __init__(self, lengths: np.ndarray | Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = np.asarray(lengths), batch_size, seed
        self._epoch, self._batches = -1, []

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self._lengths) // self._batch_size)

    def indices(self, step: int) -> list[int]:
        """The sequences of step 0, 1, ...; each epoch in an order of its own."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._batches = plan_epoch(self._lengths, self._batch_size, self._seed, epoch)
            self._epoch = epoch
        return self._batches[place]


def collate(encoded: Encoded, indices: Sequence[int], pad_id: int) -> Batch:
    """The sequences of ``indices``, in that order."""
    chosen = np.asarray(indices)
    lengths = encoded.lengths[chosen]
    places = np.arange(lengths.max())
    real = places < lengths[:, None]
    input_ids = np.full(real.shape, pad_id, np.int64)
    input_ids[real] = np.concatenate([encoded.sequence(index) for index in chosen])
    labels = real & (places >= encoded.first_label[chosen][:, None])
    predict = np.zeros_like(labels)
    predict[:, :-1] = labels[:, 1:]
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(real.astype(np.int64)),
        predict=torch.from_numpy(predict),
        targets=torch.from_numpy(input_ids[labels]),
        rows=torch.from_numpy(np.nonzero(predict)[0]),
    )


def evaluation_batches(
    encoded: Encoded, batch_size: int, pad_id: int = 0
) -> Iterator[tuple[list[int], Batch]]:
    """All sequences once, the longest first, so that running out of memory shows at once."""
    order = np.argsort(-encoded.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size].tolist()
        yield indices, collate(encoded, indices, pad_id)


def left_padded(prompts: Sequence[np.ndarray], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`input_ids, attention_mask`, both (B, T) int64, padded on the left for generation."""
    lengths = np.array([len(prompt) for prompt in prompts])
    real = np.arange(lengths.max()) >= lengths.max() - lengths[:, None]
    input_ids = np.full(real.shape, pad_id, np.int64)
    input_ids[real] = np.concatenate(list(prompts))
    return torch.from_numpy(input_ids), torch.from_numpy(real.astype(np.int64))
