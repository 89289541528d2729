"""Negative log-likelihood of given text, and distance from the base's own distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

import numpy as np
import torch

from harness.data.tokens.batches import evaluation_batches
from harness.data.tokens.encode import Encoded
from harness.models.logits import logits_at
from harness.models.logprobs import LogProbs

if TYPE_CHECKING:
    from torch import nn


@overload
def sequence_nll(
    model: nn.Module, encoded: Encoded, batch_size: int, device: str, reference: None = None
) -> tuple[np.ndarray, None]: ...
@overload
def sequence_nll(
    model: nn.Module, encoded: Encoded, batch_size: int, device: str, reference: LogProbs
) -> tuple[np.ndarray, np.ndarray]: ...
@torch.no_grad()
def sequence_nll(
    model: nn.Module,
    encoded: Encoded,
    batch_size: int,
    device: str,
    reference: LogProbs | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (n,) summed NLL in nats of each sequence's labels, and the summed KL from ``reference``.

    Scored from logits, never from ``outputs.loss``, to which a method may add a penalty.
    """
    model.eval()
    nll = torch.zeros(len(encoded), dtype=torch.float64)
    kl = torch.zeros(len(encoded), dtype=torch.float64)
    start = 0
    for indices, batch in evaluation_batches(encoded, batch_size):
        batch = batch.to(device)
        logits = logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)
        rows = torch.tensor(indices)[batch.rows.cpu()]
        losses = torch.nn.functional.cross_entropy(logits.float(), batch.targets, reduction="none")
        nll.index_add_(0, rows, losses.double().cpu())
        if reference is not None:
            divergence = reference.divergence(logits, start)
            kl.index_add_(0, rows, divergence.double().cpu())
        start += len(rows)
    return nll.numpy(), None if reference is None else kl.numpy()


def by_example(encoded: Encoded, *columns: np.ndarray) -> np.ndarray:
    """Sum (n_sequences,) columns over the sequences of each example: (n_examples, k)."""
    n = int(encoded.example.max()) + 1
    sums = [np.bincount(encoded.example, weights=column, minlength=n) for column in columns]
    present = np.bincount(encoded.example, minlength=n) > 0
    return np.stack(sums, axis=1)[present]


def n_labels(encoded: Encoded) -> np.ndarray:
    """Return (n_sequences,) numbers of label tokens."""
    return encoded.n_labels
