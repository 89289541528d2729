"""Penalties on the distance in weights from the start: L2-SP and elastic weight consolidation."""

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
class Spring:
    """Pulls a parameter θ back to where it started: ½ Σ_i k_i (θ_i − θ⁰_i)²."""

    parameter: nn.Parameter
    start: Tensor  # θ⁰, as the parameter is
    stiffness: Tensor | float  # k, of the parameter's shape or one for all


class Anchor:
    """Springs from every trained parameter to its value in the adapted model before the first step.

    L2-SP (Li et al. 2018, arXiv:1802.01483, Eq. 4 with α as λ) has k = λ; elastic weight
    consolidation (Kirkpatrick et al. 2017, arXiv:1612.00796, Eq. 3) has k = λ·F_i; both add up.
    Where the base's own weights are trained, θ⁰ is the base. Where a method trains parameters
    beside it, θ⁰ is their start: that is the base too for LoRA and its relatives, and is not for
    virtual tokens, which no start leaves without effect. A head for classes has no start in the base
    and is left free.

    Costs a copy of the trained parameters, one more for F, and one more in the backward pass.
    """

    def __init__(
        self, model: nn.Module, l2_sp_weight: float, ewc_weight: float, fisher: dict[str, Tensor]
    ) -> None:
        """``fisher``: by parameter name, required if ``ewc_weight`` is not 0."""
        self._springs = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.startswith(CLASS_HEAD):
                k = l2_sp_weight + ewc_weight * fisher[name] if ewc_weight else l2_sp_weight
                self._springs.append(Spring(parameter, parameter.detach().clone(), k))

    def penalty(self) -> Tensor:
        """Return the energy of all springs, a float32 scalar."""
        import torch

        energies = [
            (spring.stiffness * (spring.parameter - spring.start).float().square()).sum()
            for spring in self._springs
        ]
        return 0.5 * torch.stack(energies).sum()


def diagonal_fisher(
    model: nn.Module, encoded: Encoded, indices: Sequence[int], device: str
) -> dict[str, Tensor]:
    """F_i = Σ_x (∂ log p(x)/∂θ_i)² / Σ_x |x| of each trained parameter, float32, by its name.

    The diagonal empirical Fisher information: x are the sequences of ``indices``, one at a time,
    log p(x) is summed over the |x| label tokens. Divided by tokens, ½ (θ − θ⁰)ᵀF(θ − θ⁰) is to second
    order the KL a token; the diagonal alone is a small part of it, as parameters move together, so
    that EWC wants weights some orders of magnitude above the KL's.

    Where a parameter has no gradient at its start F is zero, and EWC does not hold it: of LoRA's
    BA, B starts at zero, so F of A is zero and it is B that is held.
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
