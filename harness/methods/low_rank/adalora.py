"""AdaLoRA, Zhang et al. 2023, arXiv:2303.10512: adaptive allocation of a rank budget to layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from harness.config.strict import require
from harness.errors import InputError
from harness.methods.base import AdaptContext, Method
from harness.methods.low_rank.scaling import resolve_alpha
from harness.methods.sizing import largest_within
from harness.methods.targets import check_rank, chosen_modules, largest_rank, peft_targets
from harness.methods.with_peft import put_adapter
from harness.models.views import as_peft

if TYPE_CHECKING:
    from peft import AdaLoraModel
    from torch import Tensor, nn


@dataclass(frozen=True)
class AdaLoRA(Method):
    """Train W = W₀ + PΛQ (Eq. 3) and prune singular values of low importance as the budget shrinks.

    The budget follows the cubic schedule of the authors' code and of peft. (The printed Eq. 14
    exceeds the initial budget.) Its times are shares of the run's length.

    The update is scaled by α/init_r throughout, as in the authors' code. ``lora_alpha: 2r`` is
    twice the *initial* rank, a scale of 2 for any target rank.
    """

    init_r: int | None
    target_r: int
    lora_alpha: float | str  # α, or a multiple of the initial rank: 2r
    lora_dropout: float
    target_modules: str | list[str]
    beta1: float
    beta2: float
    initial_warmup_fraction: float
    final_fraction: float
    reallocate_every_steps: int
    orthogonality_weight: float

    size_field: ClassVar[str | None] = "target_r"

    def __post_init__(self) -> None:
        require(self.target_r >= 1, "method.target_r", self.target_r, "an integer of at least 1")
        require(
            self.init_r is None or self.init_r > self.target_r,
            "method.init_r",
            self.init_r,
            f"null or above method.target_r={self.target_r}, so that the budget can shrink",
        )
        resolve_alpha(self.lora_alpha, self.initial_r)
        require(0 <= self.lora_dropout < 1, "method.lora_dropout", self.lora_dropout, "in [0, 1)")
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            require(0 < value < 1, f"method.{name}", value, "above 0 and below 1")
        start, final = self.initial_warmup_fraction, self.final_fraction
        require(
            start >= 0 and final >= 0 and start + final < 1,
            "method.initial_warmup_fraction + method.final_fraction",
            start + final,
            "shares of the run that leave room for the budget to shrink",
        )
        require(
            self.reallocate_every_steps >= 1,
            "method.reallocate_every_steps",
            self.reallocate_every_steps,
            "at least 1",
        )
        require(
            self.orthogonality_weight >= 0,
            "method.orthogonality_weight",
            self.orthogonality_weight,
            "0 or more",
        )

    @property
    def initial_r(self) -> int:
        """Initial rank: ``init_r``, or 1.5 times ``target_r`` rounded up if that is not set."""
        return self.init_r or max(self.target_r + 1, math.ceil(1.5 * self.target_r))

    @property
    def cannot_shard(self) -> str | None:
        return "it ranks whole triplets of P, Λ and Q by their gradients at every step"

    @property
    def allows_freezing(self) -> bool:
        """False: the budget is allocated by the gradients of all triplets."""
        return False

    def final_parameters(self, model: nn.Module) -> int:
        """Return target_r·Σ (d_in + d_out + 1) over the targets.

        This is the size of P, Λ and Q if the final budget is spread evenly.
        """
        shapes = chosen_modules(model, self.target_modules).values()
        return self.target_r * sum(d_in + d_out + 1 for d_in, d_out in shapes)

    def matched(self, model: nn.Module, trainable_parameters: int) -> AdaLoRA:
        """Return the method whose *final* budget has at most ``trainable_parameters`` parameters.

        More are trained until the budget has shrunk.
        """

        def count(r: int) -> int:
            return replace(self, init_r=None, target_r=r).final_parameters(model)

        ranks = range(1, largest_rank(chosen_modules(model, self.target_modules)) + 1)
        r = largest_within(trainable_parameters, ranks, count, "method.target_r")
        return replace(self, target_r=r)

    def check(self, model: nn.Module) -> None:
        shapes = chosen_modules(model, self.target_modules)
        check_rank(shapes, "method.target_r", self.target_r)

    def comparable_from(self, model: nn.Module, context: AdaptContext) -> int:
        """Return the end of the initial phase, in which the budget has not begun to shrink."""
        return self._warmup_steps(context)

    def _warmup_steps(self, context: AdaptContext) -> int:
        """Return the number of steps before the budget starts to shrink (``tinit``)."""
        return int(context.total_steps * self.initial_warmup_fraction)

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        from peft import AdaLoraConfig, TaskType

        initial = self._warmup_steps(context)
        final = max(1, int(context.total_steps * self.final_fraction))
        if initial >= context.total_steps - final:
            raise InputError(
                f"training.max_steps={context.total_steps} is too short for AdaLoRA: its budget "
                "needs at "
                "least one step to shrink."
            )
        config = AdaLoraConfig(
            task_type=TaskType.CAUSAL_LM,
            init_r=self.initial_r,
            target_r=self.target_r,
            # annotated as int, but peft only divides it by the rank
            lora_alpha=cast(int, resolve_alpha(self.lora_alpha, self.initial_r)),
            lora_dropout=self.lora_dropout,
            **peft_targets(model, self.target_modules),
            beta1=self.beta1,
            beta2=self.beta2,
            tinit=initial,
            tfinal=final,
            deltaT=self.reallocate_every_steps,
            total_step=context.total_steps,
            orth_reg_weight=max(self.orthogonality_weight, 1e-9),  # unused: see penalty
        )
        tuned = put_adapter(model, config, chosen_modules(model, self.target_modules))
        for name, parameter in tuned.named_parameters():
            if ".ranknum." in name:  # a constant of peft that would count as trained
                parameter.requires_grad_(False)
        return tuned

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return γ times the mean of ‖PᵀP − I‖_F and ‖QQᵀ − I‖_F over all P and Q, or None if γ is 0.

        Follows the authors' code and peft. The printed Eq. 4 sums squares over modules, so its
        weight against the loss would grow with the number of modules. peft adds the penalty to
        ``outputs.loss``, which is not used here.
        """
        if self.orthogonality_weight == 0:
            return None
        terms = [orthogonality(_tall(name, p)) for name, p in _factors(model)]
        import torch

        return self.orthogonality_weight * torch.stack(terms).mean()

    def after_step(self, model: nn.Module, step: int) -> None:
        _of_peft(model).update_and_allocate(step)

    def state(self, model: nn.Module) -> dict[str, Any]:
        allocator = _of_peft(model).rankallocator
        return {
            "ipt": dict(allocator.ipt),
            "exp_avg_ipt": dict(allocator.exp_avg_ipt),
            "exp_avg_unc": dict(allocator.exp_avg_unc),
            "rank_pattern": dict(as_peft(model).peft_config["default"].rank_pattern or {}),
        }

    def load_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        allocator = _of_peft(model).rankallocator
        device = next(model.parameters()).device  # checkpoints are read on the CPU
        for name in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
            setattr(allocator, name, {n: t.to(device) for n, t in state[name].items()})
        as_peft(model).peft_config["default"].rank_pattern = dict(state["rank_pattern"])

    def describe(self, model: nn.Module) -> dict[str, Any]:
        """Return the rank of each module's update: its number of nonzero singular values."""
        named = [(n, p) for n, p in model.named_parameters() if ".lora_E." in n]
        ranks = {name.split(".lora_E.")[0]: int((p != 0).sum()) for name, p in named}
        return {"ranks": {n.removeprefix("base_model.model."): rank for n, rank in ranks.items()}}


def _factors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Return names and values of all matrices P (``lora_B``) and Q (``lora_A``)."""
    return [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if "lora_A" in name or "lora_B" in name
    ]


def _tall(name: str, factor: Tensor) -> Tensor:
    """Return the factor as (d, r): P (``lora_B``) as it is, Q (``lora_A``) transposed."""
    return factor.T if "lora_A" in name else factor


def orthogonality(factor: Tensor) -> Tensor:
    """Return the scalar ‖FᵀF − I‖_F of a (d, r) matrix F."""
    import torch

    gram = factor.T @ factor
    return torch.linalg.norm(gram - torch.eye(len(gram), device=gram.device, dtype=gram.dtype))


def _of_peft(model: nn.Module) -> AdaLoraModel:
    """Return the adapted model within peft's wrapper, which holds the rank allocator."""
    return cast("AdaLoraModel", as_peft(model).base_model)
