"""LoRA, Hu et al. 2021, arXiv:2106.09685, and QLoRA, Dettmers et al. 2023, arXiv:2305.14314."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from harness.config.strict import require
from harness.errors import InputError
from harness.language import recorded
from harness.methods.base import AdaptContext, Method, trainable
from harness.methods.low_rank import lora_starts
from harness.methods.low_rank.remembered_svd import remembering
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
    """Train h = W₀x + (α/r)·BAx with W₀ frozen, B = 0 and A uniform at the start (Eq. 3).

    Variants are fields. rsLoRA (arXiv:2312.03732) scales by α/√r. DoRA (arXiv:2402.09353) learns
    the norm of each row separately. LoRA+ (arXiv:2402.12354) multiplies the rate of B by
    ``lora_plus_ratio``. LoRA-FA (arXiv:2308.03303) freezes A. ``init`` selects the initial A and B:
    see ``lora_starts``.
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
                "method.init='loftq' makes up for the error of quantization: use method=loftq, or "
                "another method over a quantized base."
            )

    @property
    def trains_base_weights(self) -> bool:
        """True for PiSSA and OLoRA, which subtract the initial BA from the base's weights."""
        return self.init in lora_starts.TAKEN_FROM_BASE

    @property
    def packs(self) -> bool:
        """True without DoRA, PiSSA and OLoRA, see ``harness.training.packed``."""
        return not self.use_dora and not self.trains_base_weights

    @property
    def trains_in_base_dtype(self) -> bool:
        return False  # A and B are float32 with every initialization

    @property
    def starts_at_base(self) -> bool:
        return self.init != "loftq"

    @property
    def cannot_merge(self) -> str | None:
        if self.init != "loftq":
            return None
        return recorded(
            "its adapter contains the error of quantization, which a base at full precision does not "
            "have"
        )

    def trainable_parameters(self, model: nn.Module) -> int:
        """Return Σ r·(d_in + d_out) over the targets: r·d_out with A frozen, plus d_out for DoRA."""
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
        """True if A and B start as a decomposition of each weight, truncated to rank r."""
        return self.init in (*lora_starts.TAKEN_FROM_BASE, "loftq")

    def check(self, model: nn.Module) -> None:
        shapes = chosen_modules(model, self.target_modules)
        check_rank(shapes, "method.r", self.r, every=self._cut_to_rank)
        lora_starts.check(model, shapes, self.init, self.r, self.eva_rho)

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        from peft import EvaConfig, LoraConfig, TaskType

        peft_names: dict[str, Any] = {"default": True, "loftq": True}
        config = LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=self.r,
            # annotated as int, but peft only divides it by r
            lora_alpha=cast(int, resolve_alpha(self.lora_alpha, self.r)),
            lora_dropout=self.lora_dropout,
            **peft_targets(model, self.target_modules),
            use_rslora=self.use_rslora,
            use_dora=self.use_dora,
            init_lora_weights=peft_names.get(self.init, self.init),
            eva_config=EvaConfig(rho=self.eva_rho) if self.init == "eva" else None,
        )
        # EVA creates its factors later, so no memory is allocated for them here.
        chosen = chosen_modules(model, self.target_modules)
        with remembering(self.r) if self.init == "pissa" else nullcontext():
            tuned = put_adapter(model, config, chosen, low_cpu_mem_usage=self.init == "eva")
        if self.use_dora:
            lora_starts.check_directions(tuned)
        if self.init in lora_starts.TAKEN_FROM_BASE:
            lora_starts.remember(tuned)
        elif self.init == "eva":
            lora_starts.eva(tuned, context, self.eva_sequences, round(self.r * self.eva_rho))
        elif self.init == "loftq":
            lora_starts.loftq(tuned)
        for name, parameter in tuned.named_parameters():
            if self.freeze_a and ".lora_A." in name:
                parameter.requires_grad_(False)
        return tuned

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, context: AdaptContext
    ) -> list[dict[str, Any]]:
        """Return optimizer groups with rate η for A, and ``lora_plus_ratio``·η for the rest.

        The rest are B and DoRA's norms.
        """
        if self.lora_plus_ratio == 1:
            return super().parameter_groups(model, learning_rate, context)
        a = [p for n, p in model.named_parameters() if p.requires_grad and ".lora_A." in n]
        ids_of_a = set(map(id, a))
        b = [parameter for parameter in trainable(model) if id(parameter) not in ids_of_a]
        faster = {"params": b, "lr": learning_rate * self.lora_plus_ratio}
        return [{"params": a, "lr": learning_rate}, faster] if a else [faster]

    def save(self, model: nn.Module, folder: Path) -> None:
        """Save the adapter in ``folder``.

        It fits the untouched base, also for PiSSA and OLoRA, which change the base's weights.
        """
        if self.init in lora_starts.TAKEN_FROM_BASE:
            lora_starts.save_as_lora(model, folder)
        else:
            super().save(model, folder)


@dataclass(frozen=True)
class QLoRA(LoRA):
    """LoRA on a quantized base, Y = X·dequantize(W^NF4) + (α/r)·X·A·B (Eq. 5).

    The 8-bit base is that of LLM.int8(), arXiv:2208.07339.
    """

    quantization: Literal["nf4", "fp4", "int8"]
    double_quantization: bool  # of the scales; has no effect for int8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init in lora_starts.TAKEN_FROM_BASE:
            raise InputError(
                f"method.init={self.init!r} cannot be used: it changes the base's weights, and "
                "quantized weights cannot change. Use default, gaussian, eva or loftq."
            )

    @property
    def packs(self) -> bool:
        """True except in int8, which rounds a text by the others in its batch."""
        return super().packs and self.quantization != "int8"

    @property
    def base_quantization(self) -> Quantization:
        return Quantization.of(self.quantization, self.double_quantization)
