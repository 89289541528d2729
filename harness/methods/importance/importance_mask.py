"""Training of selected entries of the base's weights: FISH Mask, SIFT and similar, or random ones."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.config.strict import require
from harness.errors import InputError
from harness.methods.base import AdaptContext, Method
from harness.methods.targets import chosen_modules
from harness.models.quantization import CLASS_HEAD

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


@dataclass(frozen=True)
class Mask(Method):
    """Train the entries with the largest scores and leave all others bit-identical.

    Their number is ``keep_ratio`` of all entries, or Σ r·(d_in + d_out) over the linear layers, as
    LoRA of rank ``like_lora_r`` trains. Entries are ``ranked`` over the whole model, or within each
    tensor with the same share everywhere. With ``like_lora_r`` and ranking by tensor, each linear
    layer gets its own r·(d_in + d_out) entries and other tensors get none.
    """

    size_field: ClassVar[str | None] = "keep_ratio"

    ranked: Literal["model", "tensor"]
    keep_ratio: float | None
    like_lora_r: int | None

    def __post_init__(self) -> None:
        ratio, rank = self.keep_ratio, self.like_lora_r
        require(ratio is None or 0 < ratio <= 1, "method.keep_ratio", ratio, "null or in (0, 1]")
        require(rank is None or rank >= 1, "method.like_lora_r", rank, "null or at least 1")
        if (ratio is None) == (rank is None):
            raise InputError(
                f"method.keep_ratio={ratio} and method.like_lora_r={rank} cannot be used together: "
                "set exactly one of them, the other must be null."
            )

    @property
    def trains_base_weights(self) -> bool:
        return True

    @property
    def cannot_shard(self) -> str | None:
        return "trained entries are written into whole weights after every step"

    def scores(self, model: nn.Module, context: AdaptContext) -> dict[str, Tensor]:
        """Return parameter name → non-negative scores of its shape, tied parameters once."""
        raise NotImplementedError

    def check(self, model: nn.Module) -> None:
        sizes = _sizes(model)
        if self.like_lora_r is not None:
            for name, n in self._like_lora(model).items():
                reason = f"{n:,} entries are more than the {sizes[name]:,} of {name}"
                require(n <= sizes[name], "method.like_lora_r", self.like_lora_r, f"less: {reason}")
        total = sum(sizes.values())
        require(
            self.n_entries(model) >= 1,
            "method.keep_ratio",
            self.keep_ratio,
            f"enough for one of the {total:,} entries",
        )

    def matched(self, model: nn.Module, trainable_parameters: int) -> Mask:
        """Return the method with exactly ``trainable_parameters`` entries."""
        total = sum(_sizes(model).values())
        field = "method.match.trainable_parameters"
        if self.like_lora_r is not None:
            raise InputError(
                f"{field} and method.like_lora_r both determine the size: set one of them."
            )
        require(
            1 <= trainable_parameters <= total, field, trainable_parameters, f"from 1 to {total:,}"
        )
        return replace(self, keep_ratio=trainable_parameters / total)

    def n_entries(self, model: nn.Module) -> int:
        """Return the number of entries of ``model`` to train."""
        if self.keep_ratio is None:
            return sum(self._like_lora(model).values())
        return round(self.keep_ratio * sum(_sizes(model).values()))

    def n_by_tensor(self, model: nn.Module) -> dict[str, int]:
        """Return tensor name → number of entries to train, for ranking by tensor."""
        from harness.methods.importance.entry_scores import apportioned

        if self.keep_ratio is None:
            return self._like_lora(model)
        return apportioned(self.n_entries(model), _sizes(model))

    def _like_lora(self, model: nn.Module) -> dict[str, int]:
        """Return weight name → number of parameters that LoRA would train beside it."""
        assert self.like_lora_r is not None
        linear = chosen_modules(model, "all-linear").items()
        return {f"{name}.weight": self.like_lora_r * sum(shape) for name, shape in linear}

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        from harness.methods.importance.entry_scores import largest
        from harness.models.weights import masked_entries

        scores = self.scores(model, context)
        if self.ranked == "model":
            k = self.n_entries(model)
            chosen = dict(zip(scores, largest(list(scores.values()), k), strict=True))
        else:
            by_tensor = {name: n for name, n in self.n_by_tensor(model).items() if n}
            chosen = {name: largest([scores[name]], n)[0] for name, n in by_tensor.items()}
        masked_entries.attach(model, chosen)
        return model

    def after_step(self, model: nn.Module, step: int) -> None:
        from harness.models.weights import masked_entries

        masked_entries.write(model)

    def state(self, model: nn.Module) -> dict[str, Any]:
        """The mask, although it could be found again: other hardware may round scores otherwise."""
        from harness.models.weights import masked_entries

        return {"places": {name: at.cpu() for name, at in masked_entries.places(model).items()}}

    def load_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        from harness.models.weights import masked_entries

        for name, indices in masked_entries.places(model).items():
            indices.copy_(state["places"][name])
        masked_entries.write(model)

    def merged(self, model: nn.Module) -> nn.Module:
        from harness.models.weights import masked_entries

        masked_entries.take_off(model)
        return model

    def save(self, model: nn.Module, folder: Path) -> None:
        """Save the whole tuned model in the base's form, and separately the entries that changed."""
        from harness.models.weights import masked_entries
        from harness.models.weights.master_weights import save_whole

        save_whole(model, masked_entries.base_state(model), folder)
        masked_entries.save(model, folder)

    def describe(self, model: nn.Module) -> dict[str, Any]:
        """Return the share of trained entries for each kind of tensor, layer numbers as ``*``."""
        from harness.models.weights import masked_entries

        chosen, places = {}, masked_entries.places(model)
        names_by_kind: dict[str, list[str]] = {}
        sizes = {masked_entries.base_name(name): n for name, n in _sizes(model).items()}
        for name in sizes:
            if not name.endswith(".0.values") and not name.startswith(CLASS_HEAD):
                names_by_kind.setdefault(re.sub(r"\.\d+\.", ".*.", name), []).append(name)
        for kind, names in names_by_kind.items():
            n = sum(len(places[name]) for name in names if name in places)
            chosen[kind] = n / sum(sizes[name] for name in names)
        return {"chosen": chosen}


@dataclass(frozen=True)
class ImportanceMask(Mask):
    """Select entries by scores from the base's gradients on training sequences.

    ``samples`` sequences are used; see ``entry_scores.importance``. score=fisher with ranked=model
    is FISH Mask, Sung et al. 2021, arXiv:2111.09839. score=gradient with ranked=tensor is the
    selection of SIFT, Song et al. 2023, arXiv:2312.11875.
    """

    score: Literal[
        "gradient", "gradient_squared", "weight_gradient", "fisher", "empirical_fisher", "magnitude"
    ]
    samples: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.samples >= 1, "method.samples", self.samples, "at least 1")

    def scores(self, model: nn.Module, context: AdaptContext) -> dict[str, Tensor]:
        from harness.methods.importance.entry_scores import importance

        return importance(model, context, self.score, self.samples)


@dataclass(frozen=True)
class RandomMask(Mask):
    """Select random entries, drawn by the run's seed.

    The baseline that any score must beat at the same size.
    """

    def scores(self, model: nn.Module, context: AdaptContext) -> dict[str, Tensor]:
        """Return uniform scores in [0, 1), drawn on the device: a CPU would take minutes for billions.

        A seed has another mask on another kind of device. Checkpoints hold the mask itself.
        """
        import torch

        from harness.records import heartbeat

        generator, scores = torch.Generator(context.device).manual_seed(context.seed), {}
        for name, parameter in model.named_parameters():
            scores[name] = torch.rand(parameter.shape, generator=generator, device=context.device)
            heartbeat.mark()
        return scores


def _sizes(model: nn.Module) -> dict[str, int]:
    """Return the number of entries of each parameter."""
    return {name: parameter.numel() for name, parameter in model.named_parameters()}
