"""LoRA, Hu et al. 2021, arXiv:2106.09685, and QLoRA, Dettmers et al. 2023, arXiv:2305.14314."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import InputError, unknown
from harness.methods.base import AdaptPlan, Method, Quantization
from harness.strict import require

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LoRA(Method):
    """h = W₀x + (α/r)·BAx, B zero and A uniform at the start, W₀ frozen (Eq. 3)."""

    r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: str | list[str]
    use_rslora: bool
    use_dora: bool

    def __post_init__(self) -> None:
        require(self.r >= 1, "method.r", self.r, "an integer of at least 1")
        require(self.lora_alpha > 0, "method.lora_alpha", self.lora_alpha, "above 0")
        require(0 <= self.lora_dropout < 1, "method.lora_dropout", self.lora_dropout, "in [0, 1)")

    def check(self, model: nn.Module) -> None:
        check_rank(model, resolve_targets(model, self.target_modules), "method.r", self.r)

    def adapt(self, model: nn.Module, plan: AdaptPlan) -> nn.Module:
        from peft import LoraConfig, TaskType, get_peft_model

        targets = resolve_targets(model, self.target_modules)
        config = LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=self.r,
            lora_alpha=self.lora_alpha,  # peft divides it by r
            lora_dropout=self.lora_dropout,
            target_modules=targets,
            use_rslora=self.use_rslora,
            use_dora=self.use_dora,
        )
        tuned = get_peft_model(model, config)
        if self.use_dora:
            _check_directions(tuned)
        return tuned


@dataclass(frozen=True)
class QLoRA(LoRA):
    """LoRA beside a base in 4 bits: Y = X·dequantize(W^NF4) + (α/r)·X·A·B (Eq. 5)."""

    quantization: Literal["nf4", "fp4"]
    double_quantization: bool

    @property
    def base_quantization(self) -> Quantization:
        return Quantization(self.quantization, self.double_quantization)

    @property
    def cannot_merge(self) -> str:
        return (
            "merging into a 4-bit base rounds the adapter away with the weights; it is merged into the "
            "base at full precision instead, and evaluated again"
        )


def _check_directions(model: nn.Module) -> None:
    """DoRA divides each row of W₀ by its norm: a row of zeros would make every output NaN."""
    for name, magnitude in model.named_parameters():
        if "lora_magnitude_vector" in name and not magnitude.is_meta and not magnitude.all():
            module = name.removeprefix("base_model.model.").split(".lora_magnitude_vector")[0]
            n = int((magnitude == 0).sum())
            raise InputError(
                f"method.use_dora=true cannot be used: {n} rows of the base's {module} are zero "
                "and have no direction. Leave it out of method.target_modules."
            )


def linear_modules(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Name → (in, out) features of all linear layers but the output one; GPT-2's are Conv1D."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    found: dict[str, tuple[int, int]] = {}
    for name, module in model.named_modules():
        features: Any = (
            getattr(module, "in_features", None),
            getattr(module, "out_features", None),
        )
        if isinstance(module, Conv1D):
            features = tuple(module.weight.shape)
        if None not in features and module is not head:
            found[name] = features
    return found


def resolve_targets(model: nn.Module, targets: str | list[str]) -> list[str]:
    """The last parts of module names to adapt. Raises InputError with those the model has."""
    known = sorted({name.rsplit(".", 1)[-1] for name in linear_modules(model)})
    if targets == "all-linear":
        return known
    wanted = [targets] if isinstance(targets, str) else list(targets)
    if not wanted:
        raise InputError(f"method.target_modules is empty; this model has: {', '.join(known)}.")
    for target in wanted:
        if target not in known:
            raise unknown("module in method.target_modules", target, [*known, "all-linear"])
    return wanted


def check_rank(model: nn.Module, targets: list[str], field: str, rank: int) -> None:
    """A rank above the smaller side of every target cannot be used by any of them."""
    sides = [
        min(shape)
        for name, shape in linear_modules(model).items()
        if name.rsplit(".", 1)[-1] in targets
    ]
    require(
        rank <= max(sides), field, rank, f"at most {max(sides)}, the largest rank a target can have"
    )
