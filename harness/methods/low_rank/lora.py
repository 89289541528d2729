"""LoRA, Hu et al. 2021, arXiv:2106.09685, and QLoRA, Dettmers et al. 2023, arXiv:2305.14314."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from harness.config.strict import require
from harness.errors import InputError
from harness.methods.base import AdaptContext, Method, trainable
from harness.methods.low_rank import lora_starts
from harness.methods.low_rank.scaling import resolve_alpha
from harness.methods.sizing import largest_within
from harness.methods.targets import check_rank, chosen_modules, largest_rank, peft_targets
from harness.methods.with_peft import put_adapter
from harness.models.quantization import Quantization

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


@dataclass(frozen=True)
class LoRA(Method):
    """h = W₀x + (α/r)·BAx, B zero and A uniform at the start, W₀ frozen (Eq. 3).

    Its relatives are fields of it: rsLoRA (arXiv:2312.03732) scales by α/√r; DoRA (2402.09353) learns
    the norm of each row apart; LoRA+ (2402.12354) has a rate for B that is ``lora_plus_ratio`` times
    A's; LoRA-FA (2308.03303) leaves A as it began; ``init`` says how A and B begin: see lora_starts.
    """

    r: int
    lora_alpha: float | str  # α, or a multiple of the rank: 2r
    lora_dropout: float
    target_modules: str | list[str]
    use_rslora: bool
    use_dora: bool
    init: Literal["default", "gaussian", "pissa", "olora", "eva", "loftq"]
    eva_rho: float
    eva_sequences: int
    lora_plus_ratio: float
    freeze_a: bool

    size_field: ClassVar[str | None] = "r"

    def __post_init__(self) -> None:
        require(self.r >= 1, "method.r", self.r, "an integer of at least 1")
        resolve_alpha(self.lora_alpha, self.r)
        require(0 <= self.lora_dropout < 1, "method.lora_dropout", self.lora_dropout, "in [0, 1)")
        require(self.eva_rho >= 1, "method.eva_rho", self.eva_rho, "at least 1 (1: equal ranks)")
        require(self.eva_sequences >= 1, "method.eva_sequences", self.eva_sequences, "at least 1")
        ratio = self.lora_plus_ratio
        require(ratio >= 1, "method.lora_plus_ratio", ratio, "at least 1 (1: one rate)")
        if self.init == "loftq" and self.base_quantization is None:
            raise InputError(
                "method.init='loftq' makes up for what quantization takes away: use method=loftq, or "
                "another method over a quantized base."
            )

    @property
    def trains_base_weights(self) -> bool:
        """PiSSA and OLoRA take what A and B begin with out of the base's weights."""
        return self.init in lora_starts.TAKEN_FROM_BASE

    @property
    def trains_in_base_dtype(self) -> bool:
        return False  # A and B are in float32, however they begin

    @property
    def starts_at_base(self) -> bool:
        return self.init != "loftq"

    @property
    def cannot_merge(self) -> str | None:
        if self.init != "loftq":
            return None
        return (
            "its adapter holds what quantization rounded off: into the base at full precision it would "
            "be merged a second time"
        )

    def trainable_parameters(self, model: nn.Module) -> int:
        """Σ r·(d_in + d_out) over the targets, only r·d_out of it with A frozen; DoRA's + d_out."""
        shapes = chosen_modules(model, self.target_modules).values()
        factors = sum(self.r * (d_out if self.freeze_a else d_in + d_out) for d_in, d_out in shapes)
        return factors + self.use_dora * sum(d_out for _, d_out in shapes)

    def matched(self, model: nn.Module, trainable_parameters: int) -> LoRA:
        most = largest_rank(chosen_modules(model, self.target_modules), every=self._cut_to_rank)

        def count(r: int) -> int:
            return replace(self, r=r).trainable_parameters(model)

        ranks = range(1, most + 1)
        return replace(self, r=largest_within(trainable_parameters, ranks, count, "method.r"))

    @property
    def _cut_to_rank(self) -> bool:
        return self.init in (*lora_starts.TAKEN_FROM_BASE, "loftq")

    def check(self, model: nn.Module) -> None:
        shapes = chosen_modules(model, self.target_modules)
        check_rank(shapes, "method.r", self.r, every=self._cut_to_rank)
        lora_starts.check(model, shapes, self.init, self.r, self.eva_rho)

    def adapt(self, model: nn.Module, plan: AdaptContext) -> nn.Module:
        from peft import EvaConfig, LoraConfig, TaskType

        own: dict[str, Any] = {"default": True, "loftq": True}
        config = LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=self.r,
            # peft divides it by r: a fraction serves as well as an integer
            lora_alpha=cast(int, resolve_alpha(self.lora_alpha, self.r)),
            lora_dropout=self.lora_dropout,
            **peft_targets(model, self.target_modules),
            use_rslora=self.use_rslora,
            use_dora=self.use_dora,
            init_lora_weights=own.get(self.init, self.init),
            eva_config=EvaConfig(rho=self.eva_rho) if self.init == "eva" else None,
        )
        # EVA makes its factors itself: none need to be held before.
        chosen = chosen_modules(model, self.target_modules)
        tuned = put_adapter(model, config, chosen, low_cpu_mem_usage=self.init == "eva")
        if self.use_dora:
            lora_starts.check_directions(tuned)
        if self.init in lora_starts.TAKEN_FROM_BASE:
            lora_starts.remember(tuned)
        elif self.init == "eva":
            lora_starts.eva(tuned, plan, self.eva_sequences, round(self.r * self.eva_rho))
        elif self.init == "loftq":
            lora_starts.loftq(tuned)
        for name, parameter in tuned.named_parameters():
            if self.freeze_a and ".lora_A." in name:
                parameter.requires_grad_(False)
        return tuned

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, plan: AdaptContext
    ) -> list[dict[str, Any]]:
        """η_A, and η_B = ratio·η_A for B and DoRA's norms."""
        if self.lora_plus_ratio == 1:
            return super().parameter_groups(model, learning_rate, plan)
        a = [p for n, p in model.named_parameters() if p.requires_grad and ".lora_A." in n]
        seen = set(map(id, a))
        b = [parameter for parameter in trainable(model) if id(parameter) not in seen]
        faster = {"params": b, "lr": learning_rate * self.lora_plus_ratio}
        return [{"params": a, "lr": learning_rate}, faster] if a else [faster]

    def save(self, model: nn.Module, folder: Path) -> None:
        """An adapter for the base as it was, whatever the start took out of it."""
        if self.init in lora_starts.TAKEN_FROM_BASE:
            lora_starts.save_as_lora(model, folder)
        else:
            super().save(model, folder)


@dataclass(frozen=True)
class QLoRA(LoRA):
    """LoRA beside a quantized base: Y = X·dequantize(W^NF4) + (α/r)·X·A·B (Eq. 5).

    In 8 bits the base is LLM.int8()'s, arXiv:2208.07339.
    """

    quantization: Literal["nf4", "fp4", "int8"]
    double_quantization: bool  # int8 has a scale a row, and nothing to quantize twice

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init in lora_starts.TAKEN_FROM_BASE:
            raise InputError(
                f"method.init={self.init!r} cannot be used: it changes the base's weights, which "
                "quantized ones cannot. Over a quantized base: default, gaussian, eva or loftq."
            )

    @property
    def base_quantization(self) -> Quantization:
        return Quantization.of(self.quantization, self.double_quantization)
