"""Penalties on the distance of weights from their start: L2-SP and elastic weight consolidation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.data.tokens.batches import collate
from harness.data.tokens.encode import Encoded
from harness.models.logits import logits_at
from harness.models.quantization import CLASS_HEAD

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class QuadraticPenalty:
    """Penalty ½ Σ_i k_i (θ_i − θ⁰_i)² on one parameter θ."""

    parameter: nn.Parameter
    start: Tensor  # θ⁰, in the parameter's dtype
    weight: Tensor | float  # k, of the parameter's shape or one number


class Anchor:
    """Quadratic penalties on the distance of trained parameters from their initial values θ⁰.

    L2-SP has k = λ (Li et al. 2018, arXiv:1802.01483, Eq. 4, with α as λ). Elastic weight
    consolidation has k = λ·F_i (Kirkpatrick et al. 2017, arXiv:1612.00796, Eq. 3). With both, the
    terms are added.

    θ⁰ is taken after adaptation and before the first step. If the base's weights are trained, θ⁰ is
    the base. LoRA and its variants start at the base too, virtual tokens do not. A classification
    head is not penalized, because the base has none.

    Memory: one copy of the trained parameters, one for F, and one more in the backward pass.
    """

    def __init__(
        self, model: nn.Module, l2_sp_weight: float, ewc_weight: float, fisher: dict[str, Tensor]
    ) -> None:
        """``fisher`` maps parameter name → F, and is required if ``ewc_weight`` is not 0."""
        self._penalties = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.startswith(CLASS_HEAD):
                k = l2_sp_weight + ewc_weight * fisher[name] if ewc_weight else l2_sp_weight
                self._penalties.append(QuadraticPenalty(parameter, parameter.detach().clone(), k))

    def penalty(self) -> Tensor:
        """Return the sum of all penalties, a float32 scalar."""
        import torch

        penalties = [
            (term.weight * (term.parameter - term.start).float().square()).sum()
            for term in self._penalties
        ]
        return 0.5 * torch.stack(penalties).sum()


def diagonal_fisher(
    model: nn.Module, encoded: Encoded, indices: Sequence[int], device: str
) -> dict[str, Tensor]:
    """Return F_i = Σ_x (∂ log p(x)/∂θ_i)² / Σ_x |x| of each trained parameter by name, in float32.

    This is the diagonal of the empirical Fisher information. x are the sequences at ``indices``,
    processed one at a time, and log p(x) is summed over their |x| label tokens.

    To second order, ½ (θ − θ⁰)ᵀF(θ − θ⁰) with the full matrix F is the KL per token. The diagonal
    is a small part of it, because parameters change together. EWC therefore needs weights some
    orders of magnitude above those of the KL penalty.

    F is 0 where a parameter has no gradient at its start. LoRA starts with B = 0, so F of A is 0
    and EWC penalizes only B.
    """
    import torch

    model.eval()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in trained.items()}
    n_tokens = 0
    for index in indices:
        batch = collate(encoded, [index], pad_id=0).to(device)
        logits = logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)
        nll = torch.nn.functional.cross_entropy(logits.float(), batch.targets, reduction="sum")
        gradients = torch.autograd.grad(nll, list(trained.values()), allow_unused=True)
        for name, gradient in zip(trained, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient.float().square()
        n_tokens += len(batch.targets)
    return {name: squares / n_tokens for name, squares in total.items()}
