"""Negative log-likelihood of given text, and KL divergence from the base's predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

import numpy as np
import torch

from harness.data.tokens.batches import Batch
from harness.data.tokens.encode import Encoded
from harness.models.logprobs import LogProbs, at_targets
from harness.models.scoring import scored

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn


@overload
def sequence_nll(
    model: nn.Module, encoded: Encoded, batch_size: int, device: str, reference: None = None
) -> tuple[np.ndarray, None]: ...
@overload
def sequence_nll(
    model: nn.Module, encoded: Encoded, batch_size: int, device: str, reference: LogProbs
) -> tuple[np.ndarray, np.ndarray]: ...
def sequence_nll(
    model: nn.Module,
    encoded: Encoded,
    batch_size: int,
    device: str,
    reference: LogProbs | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (n,) summed NLL in nats of each sequence's labels, and the summed KL from ``reference``.

    See ``nll_and_divergences``.
    """
    if reference is None:
        return nll_and_divergences(model, encoded, batch_size, device)[0], None
    nll, kl = nll_and_divergences(model, encoded, batch_size, device, [reference])
    return nll, kl


@torch.no_grad()
def nll_and_divergences(
    model: nn.Module,
    encoded: Encoded,
    batch_size: int,
    device: str,
    references: Sequence[LogProbs] = (),
) -> np.ndarray:
    """Return (1 + k, n) sums over each sequence's labels in nats: NLL, and KL from k references.

    The scores come from logits, never from ``outputs.loss``, to which a method may add a penalty.
    Logits are computed in chunks. ``batch_size`` is halved if memory runs out.
    """
    model.eval()
    sums = torch.zeros(1 + len(references), len(encoded), dtype=torch.float64)
    start = 0

    def read(batch: Batch, chunks: Iterator[tuple[slice, Tensor]]) -> tuple[Tensor, Tensor]:
        found = []
        for rows, logits in chunks:
            logits = logits.float()  # frees those in 16 bits first
            log_probs = torch.log_softmax(logits, dim=-1)
            del logits  # and these before the divergences are computed
            losses = [-at_targets(log_probs, batch.targets[rows])]
            losses += [known.divergence_of(log_probs, start + rows.start) for known in references]
            found.append(torch.stack(losses))
            del log_probs  # and before the next chunk is
        return batch.rows, torch.cat(found, dim=1)

    for indices, (rows, values) in scored(model, encoded, batch_size, device, read):
        places = torch.tensor(indices)[rows.cpu()]
        sums.index_add_(1, places, values.double().cpu())
        start += len(places)
    return sums.numpy()


def by_example(encoded: Encoded, *columns: np.ndarray) -> np.ndarray:
    """Sum (n_sequences,) columns over the sequences of each example: (n_examples, k)."""
    n = int(encoded.example.max()) + 1
    sums = [np.bincount(encoded.example, weights=column, minlength=n) for column in columns]
    present = np.bincount(encoded.example, minlength=n) > 0
    return np.stack(sums, axis=1)[present]


def n_labels(encoded: Encoded) -> np.ndarray:
    """Return (n_sequences,) numbers of label tokens."""
    return encoded.n_labels
