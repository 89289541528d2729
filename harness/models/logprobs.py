"""Stored log-probabilities of the base, so that no second model is needed to compute a KL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness.data.tokens.encode import Encoded
from harness.models.scoring import scored
from harness.models.views import output_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from torch import Tensor, nn

    from harness.data.tokens.batches import Batch


BLOCK = 2**17  # entries
# Log-probabilities of the whole vocabulary are kept in 16 bits, as multiples of this, in nats: off by
# at most half of it. Those of the EXACT most probable tokens, which decide a KL, are not rounded.
STEP = 2.0**-11
LOWEST = -(2**16 - 1) * STEP  # -32; a token of less probability counts as one of e^-32
EXACT = 32


@dataclass(frozen=True)
class LogProbs:
    """Log-probabilities of the base at the K label tokens of an ``Encoded``, in order of its batches.

    ``values`` is (K, vocabulary) if that fits into memory, with ``ids`` None. Otherwise both are
    (K, k), the k most probable tokens. The remaining mass then counts as one outcome, and the KL is
    a lower bound. ``values`` are floats in nats, or int16 multiples of STEP with ``exact`` beside them.
    """

    values: Tensor
    ids: Tensor | None
    exact: tuple[Tensor, Tensor] | None = None  # (K, EXACT) float32 and their tokens

    @classmethod
    def of(cls, log_probs: Tensor, top_k: int | None = None) -> LogProbs:
        """Keep (K, vocabulary) float log-probabilities, or only the ``top_k`` largest of each row."""
        top = log_probs.topk(min(top_k or EXACT, log_probs.shape[-1]), dim=-1)
        kept = (top.values, top.indices.int())
        return cls(*kept) if top_k else cls(_rounded(log_probs), None, kept)

    @classmethod
    def joined(cls, parts: Sequence[LogProbs]) -> LogProbs:
        """Return the rows of several, in order."""
        found: dict[str, Tensor | None] = {}
        for name in parts[0].tensors:
            each = [tensor for part in parts if (tensor := part.tensors[name]) is not None]
            found[name] = torch.cat(each) if each else None
        joined = cls.from_tensors(found)
        assert joined is not None
        return joined

    @property
    def tensors(self) -> dict[str, Tensor | None]:
        """Return the tensors by name, for ``from_tensors``."""
        exact, ids = self.exact or (None, None)
        return {"values": self.values, "ids": self.ids, "exact": exact, "exact_ids": ids}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor | None]) -> LogProbs | None:
        """Return what has these ``tensors``; None without any."""
        values, exact, ids = (tensors.get(name) for name in ("values", "exact", "exact_ids"))
        if values is None:
            return None
        return cls(
            values, tensors.get("ids"), None if exact is None or ids is None else (exact, ids)
        )

    @property
    def is_cut(self) -> bool:
        """True if only the k most probable tokens are stored."""
        return self.ids is not None

    @property
    def nbytes(self) -> int:
        """Return the bytes of the stored tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values() if tensor is not None)

    def rows(self, index: Tensor | slice) -> LogProbs:
        """Return the log-probabilities at the label tokens ``index``, in that order."""
        return self._of(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> LogProbs:
        """Return the same on a device."""
        return self._of(lambda tensor: tensor.to(device))

    def _of(self, change: Callable[[Tensor], Tensor]) -> LogProbs:
        tensors = {name: None if t is None else change(t) for name, t in self.tensors.items()}
        changed = LogProbs.from_tensors(tensors)
        assert changed is not None
        return changed

    def divergence(self, logits: Tensor, start: int) -> Tensor:
        """Return (R,) KL(base ‖ tuned) in nats for (R, vocabulary) logits, from row ``start``."""
        return self.divergence_of(torch.log_softmax(logits.float(), dim=-1), start)

    def divergence_of(self, other: Tensor, start: int) -> Tensor:
        """Return the same for (R, vocabulary) float32 log-probabilities."""
        base = self._of(lambda tensor: tensor[start : start + len(other)].to(other.device))
        # A CPU's cache holds a block, a GPU all rows at once.
        rows = max(1, len(other) if other.is_cuda else BLOCK // base.values.shape[-1])
        places = range(0, len(other), rows)
        return torch.cat(
            [base.rows(slice(at, at + rows))._divergence(other[at : at + rows]) for at in places]
        )

    def _divergence(self, other: Tensor) -> Tensor:
        if self.ids is not None:
            picked = other.gather(-1, self.ids.long())
            return _terms(self.values, picked).sum(-1) + _terms(_rest(self.values), _rest(picked))
        if self.exact is None:
            return _terms(self.values, other).sum(-1)
        other = other.clamp(min=LOWEST)
        steps = self.values.float() + 2**15
        # What would be kept as the same number is equal, so that a base does not differ from itself.
        base = torch.where(_steps(other) == steps, other, steps * -STEP)
        exact, ids = self.exact
        base = base.scatter(-1, ids.long(), exact.clamp(min=LOWEST))
        return _near_terms(base.exp(), other - base).sum(-1)


def _rounded(log_probs: Tensor) -> Tensor:
    """Return log-probabilities as int16: the nearest multiples of STEP."""
    return (_steps(log_probs.clamp(min=LOWEST)) - 2**15).to(torch.int16)


def _steps(log_probs: Tensor) -> Tensor:
    """Return the nearest whole multiples of −STEP, as floats."""
    return (log_probs.detach() / -STEP).round()


def _terms(base: Tensor, other: Tensor) -> Tensor:
    """Return the terms of KL(p ‖ q) at any distance, see ``_near_terms``: eᵈ may overflow."""
    p, d = base.exp(), other - base
    return torch.where(d < 1, _near_terms(p, d.clamp(max=1)), other.exp() - p - p * d)


def _near_terms(p: Tensor, d: Tensor) -> Tensor:
    """Return the terms p·(eᵈ − 1 − d) of KL(p ‖ q), with d = log q − log p of at most −LOWEST.

    Over a whole distribution they sum to Σ p·(log p − log q). Each term is at least 0, and an error
    shared by all logarithms cancels. float32 normalizes too imprecisely for small divergences
    without this.
    """
    return p * (torch.expm1(d) - d)


def _rest(log_probs: Tensor) -> Tensor:
    """Return (R,) log of the mass outside the (R, k) log-probabilities."""
    return torch.log1p(-log_probs.exp().sum(-1).clamp(max=1 - 1e-6))


def base_logprobs(
    model: nn.Module,
    encoded: Encoded,
    batch_size: int,
    device: str,
    top_k: int,
    memory_gb: float,
    beside: Encoded | None = None,
) -> LogProbs:
    """Return the base's log-probabilities at all labels of ``encoded``, see ``base_predictions``."""
    return base_predictions(model, encoded, batch_size, device, top_k, memory_gb, beside)[0]


@torch.no_grad()
def base_predictions(
    model: nn.Module,
    encoded: Encoded,
    batch_size: int,
    device: str,
    top_k: int,
    memory_gb: float,
    beside: Encoded | None = None,
) -> tuple[LogProbs, np.ndarray]:
    """Return the base's log-probabilities at all labels, and (n,) the NLL in nats of each sequence.

    Only the ``top_k`` most probable tokens are kept if all would need more than ``memory_gb`` (2³⁰
    bytes). ``beside`` is another data set measured under the same name. If either does not fit,
    both are reduced, so that a curve and its final value are the same measure.
    """
    texts = [encoded] if beside is None else [encoded, beside]
    n_labels = max(int(each.n_labels.sum()) for each in texts)
    vocabulary = output_layer(model).weight.shape[0]
    keep_all = n_labels * vocabulary * 2 <= memory_gb * 2**30
    stored: list[LogProbs] = []

    def read(
        batch: Batch, chunks: Iterator[tuple[slice, Tensor]]
    ) -> tuple[list[LogProbs], Tensor, Tensor]:
        kept, of_labels = [], []
        for rows, logits in chunks:
            logits = logits.float()  # frees those in 16 bits first
            log_probs = torch.log_softmax(logits, dim=-1)
            del logits
            kept.append(LogProbs.of(log_probs, None if keep_all else top_k).to("cpu"))
            of_labels.append(at_targets(log_probs, batch.targets[rows]))
        return kept, batch.rows, torch.cat(of_labels)

    model.eval()
    nll = torch.zeros(len(encoded), dtype=torch.float64)
    for indices, (kept, rows, of_labels) in scored(model, encoded, batch_size, device, read):
        stored += kept
        nll.index_add_(0, torch.tensor(indices)[rows.cpu()], -of_labels.double().cpu())
    return LogProbs.joined(stored), nll.numpy()


def at_targets(log_probs: Tensor, targets: Tensor) -> Tensor:
    """Return (R,) of (R, vocabulary) log-probabilities: those of the (R,) ``targets``."""
    return log_probs.gather(-1, targets[:, None])[:, 0]
