"""Stored log-probabilities of the base, so that no second model is needed to compute a KL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness.data.tokens.encode import Encoded
from harness.models.scoring import scored
from harness.models.views import output_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from harness.data.tokens.batches import Batch


BLOCK = 2**17  # entries


@dataclass(frozen=True)
class LogProbs:
    """Log-probabilities of the base at the K label tokens of an ``Encoded``, in order of its batches.

    ``values`` is (K, vocabulary) if that fits into memory, with ``ids`` None. Otherwise both are
    (K, k), the k most probable tokens. The remaining mass then counts as one outcome, and the KL is
    a lower bound.
    """

    values: Tensor
    ids: Tensor | None

    @property
    def is_cut(self) -> bool:
        """True if only the k most probable tokens are stored."""
        return self.ids is not None

    @property
    def nbytes(self) -> int:
        """Return the bytes of the stored tensors."""
        return self.values.nbytes + (0 if self.ids is None else self.ids.nbytes)

    def rows(self, index: Tensor) -> LogProbs:
        """Return the log-probabilities at the label tokens ``index``, in that order."""
        return LogProbs(self.values[index], None if self.ids is None else self.ids[index])

    def divergence(self, logits: Tensor, start: int) -> Tensor:
        """Return (R,) KL(base ‖ tuned) in nats for (R, vocabulary) logits, from row ``start``."""
        other = torch.log_softmax(logits.float(), dim=-1)
        base = self.values[start : start + len(logits)].to(other.device)
        if self.ids is None:
            return _divergence(base, other)
        ids = self.ids[start : start + len(logits)].to(other.device)
        picked = other.gather(-1, ids.long())
        return _divergence(base, picked) + _terms(_rest(base), _rest(picked))


def _divergence(base: Tensor, other: Tensor) -> Tensor:
    """Return (R,) sums of the terms over (R, n) log-probabilities, in blocks that fit a CPU's cache."""
    rows = max(1, len(base) if base.is_cuda else BLOCK // base.shape[-1])
    blocks = zip(base.split(rows), other.split(rows), strict=True)
    return torch.cat([_terms(p, q).sum(-1) for p, q in blocks])


def _terms(base: Tensor, other: Tensor) -> Tensor:
    """Return the terms p·(eᵈ − 1 − d) of KL(p ‖ q), with d = log q − log p.

    Over a whole distribution they sum to Σ p·(log p − log q). Each term is at least 0, and an error
    shared by all logarithms cancels. float32 normalizes too imprecisely for small divergences
    without this.
    """
    p, d = base.exp(), other - base
    near = p * (torch.expm1(d.clamp(max=1)) - d)
    return torch.where(d < 1, near, other.exp() - p - p * d)


def _rest(log_probs: Tensor) -> Tensor:
    """Return (R,) log of the mass outside the (R, k) log-probabilities."""
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
    """Return the base's log-probabilities at all labels of ``encoded``.

    Only the ``top_k`` most probable tokens are kept if all would need more than ``memory_gb`` (2³⁰
    bytes). ``beside`` is another data set measured under the same name. If either does not fit,
    both are reduced, so that a curve and its final value are the same measure.
    """
    texts = [encoded] if beside is None else [encoded, beside]
    n_labels = max(int(each.n_labels.sum()) for each in texts)
    vocabulary = output_layer(model).weight.shape[0]
    keep_all = n_labels * vocabulary * 4 <= memory_gb * 2**30

    def read(batch: Batch, chunks: Iterator[tuple[slice, Tensor]]) -> list[LogProbs]:
        stored = []
        for _, logits in chunks:
            log_probs = torch.log_softmax(logits.float(), dim=-1)
            if keep_all:
                stored.append(LogProbs(log_probs.cpu(), None))
            else:
                top = log_probs.topk(min(top_k, vocabulary), dim=-1)
                stored.append(LogProbs(top.values.cpu(), top.indices.int().cpu()))
        return stored

    batches = scored(model, encoded, batch_size, device, read)
    parts = [part for _, batch_parts in batches for part in batch_parts]
    values = torch.cat([part.values for part in parts])
    ids = [part.ids for part in parts if part.ids is not None]
    return LogProbs(values, torch.cat(ids) if ids else None)
