"""Stored log-probabilities of the base, so that measuring the distance needs no second model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness.data.tokens.encode import Encoded
from harness.models.label_logits import scored
from harness.models.views import output_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from harness.data.tokens.batches import Batch


@dataclass(frozen=True)
class LogProbs:
    """Log-probabilities of the base at every label token of an ``Encoded``, in its batches' order.

    ``values`` is (K, vocabulary) if that fits. Otherwise it has the top k of each row, with their
    ``ids`` (K, k). The rest of the mass is then one more outcome, and the KL is a lower bound.
    """

    values: Tensor
    ids: Tensor | None

    @property
    def is_cut(self) -> bool:
        """True if only the top k log-probabilities are stored."""
        return self.ids is not None

    def rows(self, index: Tensor) -> LogProbs:
        """Return the log-probabilities at some label tokens, in the order of ``index``."""
        return LogProbs(self.values[index], None if self.ids is None else self.ids[index])

    def divergence(self, logits: Tensor, start: int) -> Tensor:
        """Return (R,) KL(base ‖ tuned) in nats for (R, vocabulary) logits of rows from ``start``."""
        other = torch.log_softmax(logits.float(), dim=-1)
        base = self.values[start : start + len(logits)].to(other.device)
        if self.ids is None:
            return _terms(base, other).sum(-1)
        ids = self.ids[start : start + len(logits)].to(other.device)
        picked = other.gather(-1, ids.long())
        return _terms(base, picked).sum(-1) + _terms(_rest(base), _rest(picked))


def _terms(base: Tensor, other: Tensor) -> Tensor:
    """Return the terms p·(eᵈ − 1 − d) of KL(p ‖ q), with d = log q − log p.

    Over a whole distribution they sum to Σ p·(log p − log q). Each term is at least 0, and an error
    common to all logarithms cancels. This matters because float32 normalizes too roughly for a small
    divergence.
    """
    p, d = base.exp(), other - base
    near = p * (torch.expm1(d.clamp(max=1)) - d)
    return torch.where(d < 1, near, other.exp() - p - p * d)


def _rest(log_probs: Tensor) -> Tensor:
    """Return (R,): log of the mass outside of the (R, k) log-probabilities."""
    return torch.log1p(-log_probs.exp().sum(-1).clamp(max=1 - 1e-6))


@torch.no_grad()
def base_logprobs(
    model: nn.Module,
    encoded: Encoded,
    batch_size: int,
    device: str,
    top_k: int,
    memory_gb: float,
    beside: Encoded | None = None,
) -> LogProbs:
    """Return the base's log-probabilities at all labels of ``encoded``: all of them, or the top k.

    ``beside`` is another set measured under the same name. If that does not fit whole, the top k are
    kept for both, so that a curve and its final value are the same measure.
    """
    texts = [encoded] if beside is None else [encoded, beside]
    n_labels = max(int(each.n_labels.sum()) for each in texts)
    vocabulary = output_layer(model).weight.shape[0]
    whole = n_labels * vocabulary * 4 <= memory_gb * 2**30

    def read(batch: Batch, chunks: Iterator[tuple[slice, Tensor]]) -> list[LogProbs]:
        found = []
        for _, logits in chunks:
            log_probs = torch.log_softmax(logits.float(), dim=-1)
            if whole:
                found.append(LogProbs(log_probs.cpu(), None))
            else:
                top = log_probs.topk(min(top_k, vocabulary), dim=-1)
                found.append(LogProbs(top.values.cpu(), top.indices.int().cpu()))
        return found

    parts = [p for _, some in scored(model, encoded, batch_size, device, read) for p in some]
    values = torch.cat([part.values for part in parts])
    ids = [part.ids for part in parts if part.ids is not None]
    return LogProbs(values, torch.cat(ids) if ids else None)
