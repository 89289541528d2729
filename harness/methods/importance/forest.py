"""Parts of a model to train, selected by a random forest's importance of layers and modules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.config.strict import require
from harness.errors import InputError
from harness.methods.base import AdaptContext, Method

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

REPEATS = 10  # permutations that an importance is the mean of

IMPORTANCE = "group_importance"  # where the adapted model keeps it, group by group


@dataclass(frozen=True)
class ForestImportance(Method):
    """The groups of parameters that matter most are trained, the others stay frozen.

    ``masks`` random z ∈ {0, 1}^G switch groups on and off. Those switched on make one signed step of
    their gradient, θ − ``probe_rate``·sign(g): what Adam's first step is. The change of the loss on
    other training sequences is what a random forest (Breiman 2001) learns to tell from z; how much
    worse it tells it with a group's column permuted is that group's importance. Half of ``samples``
    sequences give the gradient, the other half the loss.
    """

    size_field: ClassVar[str | None] = "keep_ratio"

    groups: Literal["modules", "layers"]
    keep_ratio: float | None
    n_groups: int | None
    masks: int
    samples: int
    probe_rate: float
    trees: int

    def __post_init__(self) -> None:
        ratio, n = self.keep_ratio, self.n_groups
        require(ratio is None or 0 < ratio <= 1, "method.keep_ratio", ratio, "null or in (0, 1]")
        require(n is None or n >= 1, "method.n_groups", n, "null or at least 1")
        if (ratio is None) == (n is None):
            raise InputError(
                f"method.keep_ratio={ratio} and method.n_groups={n} cannot be used together: exactly "
                "one of them says how much is trained, the other must be null."
            )
        for name, least in (("masks", 2), ("samples", 2), ("trees", 1)):
            value = getattr(self, name)
            require(value >= least, f"method.{name}", value, f"at least {least}")
        require(self.probe_rate > 0, "method.probe_rate", self.probe_rate, "above 0")

    @property
    def trains_base_weights(self) -> bool:
        return True

    def check(self, model: nn.Module) -> None:
        sizes = _sizes(groups_of(model, self.groups))
        if self.n_groups is not None:
            n, most = self.n_groups, len(sizes)
            require(n <= most, "method.n_groups", n, f"at most {most}, the groups of this model")
        else:
            least, total = min(sizes.values()), sum(sizes.values())
            accepted = f"at least {least / total:.2g}, the share of the smallest group"
            require(self._budget(total) >= least, "method.keep_ratio", self.keep_ratio, accepted)

    def matched(self, model: nn.Module, trainable_parameters: int) -> ForestImportance:
        """At most that many parameters: whole groups, the important ones first."""
        total = sum(_sizes(groups_of(model, self.groups)).values())
        field = "method.match.trainable_parameters"
        if self.n_groups is not None:
            raise InputError(f"{field} and method.n_groups both say how many: set one of them.")
        n, accepted = trainable_parameters, f"from 1 to {total:,}"
        require(1 <= n <= total, field, n, accepted)
        return replace(self, keep_ratio=n / total)

    def adapt(self, model: nn.Module, plan: AdaptContext) -> nn.Module:
        groups = groups_of(model, self.groups)
        masks, changes = self._probe(model, plan, groups)
        importance = forest_importance(masks, changes, self.trees, plan.seed)
        found = dict(zip(groups, importance, strict=True))
        setattr(model, IMPORTANCE, found)  # for describe
        wanted = set(self.selected(found, _sizes(groups)))
        for group, parameters in groups.items():
            for parameter in parameters.values():
                parameter.requires_grad_(group in wanted)
        return model

    def selected(self, importance: Mapping[str, float], sizes: Mapping[str, int]) -> list[str]:
        """By importance: the first ``n_groups`` groups, or each that the share still has room for."""
        ranked = sorted(importance, key=lambda group: -importance[group])
        if self.n_groups is not None:
            return ranked[: self.n_groups]
        left, found = self._budget(sum(sizes.values())), []
        for group in ranked:
            if sizes[group] <= left:
                found.append(group)
                left -= sizes[group]
        return found

    def describe(self, model: nn.Module) -> dict[str, Any]:
        """By group how much R² the forest loses without it; below 0: its step raises the loss."""
        return {"importance": dict(getattr(model, IMPORTANCE))}

    def _budget(self, total: int) -> int:
        assert self.keep_ratio is not None
        return round(self.keep_ratio * total)

    def _probe(
        self, model: nn.Module, plan: AdaptContext, groups: Mapping[str, Mapping[str, nn.Parameter]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(K, G) masks and (K,) changes of the mean loss in nats; the model's bits stay as they are."""
        import numpy as np
        import torch

        from harness.methods.importance.scores import (
            GRADIENT_BATCH,
            gradient_sums,
            mean_nll,
            summed_nll,
        )

        n = min(self.samples, len(plan.train))
        if n < 2:
            raise InputError("method=forest_importance needs at least 2 training sequences.")
        batches = list(plan.calibration(n, min(GRADIENT_BATCH, n // 2)))
        probing, measuring = batches[::2], batches[1::2]
        named = {name: p for group in groups.values() for name, p in group.items()}
        with gradient_sums(named) as gradients:
            for batch in probing:
                summed_nll(model, batch).backward()
        signs = {name: gradients.pop(name).sign().to(torch.int8) for name in named}
        # Tensors are exchanged, never added to and subtracted from: what was there comes back exactly.
        # In float32 all of them: 16 bits would round such a step away.
        before = {name: p.data for name, p in named.items()}

        def stepped(name: str) -> Tensor:
            return before[name].float() - self.probe_rate * signs[name].float()

        n_signed = sum(int((sign != 0).sum()) for sign in signs.values())
        moved = sum(int((stepped(name) != before[name]).sum()) for name in named)
        if moved < n_signed / 2:
            raise InputError(
                f"method.probe_rate={self.probe_rate:g} cannot be used: float32 rounds it away for "
                f"{1 - moved / n_signed:.0%} of the weights. Set a larger one."
            )
        rng = np.random.default_rng((plan.seed, 11))
        masks = rng.integers(0, 2, (self.masks, len(groups)))
        changes = np.zeros(self.masks)
        with torch.no_grad():
            try:
                for name, parameter in named.items():
                    parameter.data = before[name].float()
                at_base = mean_nll(model, measuring)
                for row, mask in enumerate(masks):
                    for on, group in zip(mask, groups.values(), strict=True):
                        for name, parameter in group.items():
                            parameter.data = stepped(name) if on else before[name].float()
                    changes[row] = mean_nll(model, measuring) - at_base
            finally:
                for name, parameter in named.items():
                    parameter.data = before[name]
        if not np.isfinite(changes).all():
            raise InputError(
                f"method.probe_rate={self.probe_rate:g} cannot be used: the loss is no number after it."
            )
        return masks, changes


def groups_of(model: nn.Module, by: str) -> dict[str, dict[str, nn.Parameter]]:
    """Group → its parameters by name; tied ones once.

    by layers ``model.layers.3``, by modules ``model.layers.3.self_attn``; what is in no numbered
    layer is a group by its module's name, as ``model.embed_tokens``.
    """
    found: dict[str, dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        module = name.rpartition(".")[0]
        within = re.match(r"(.*?\.\d+)(\.[^.]+)?", module)
        if within:
            module = within[1] if by == "layers" else within[0]
        found.setdefault(module, {})[name] = parameter
    return found


def forest_importance(
    masks: np.ndarray, changes: np.ndarray, trees: int, seed: int
) -> Sequence[float]:
    """(G,) permutation importance of each column of (K, G) ``masks`` for (K,) ``changes`` of the loss.

    The fall of the forest's R² when the column is permuted, mean over ``REPEATS``; negative for a group
    with which the loss is higher than without.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    forest = RandomForestRegressor(trees, random_state=seed, n_jobs=1).fit(masks, changes)
    found = permutation_importance(
        forest, masks, changes, n_repeats=REPEATS, random_state=seed, n_jobs=1
    )
    importance = []
    for column, value in zip(masks.T, found.importances_mean, strict=True):
        on, off = changes[column == 1], changes[column == 0]
        harmful = len(on) and len(off) and on.mean() > off.mean()
        importance.append(-abs(float(value)) if harmful else float(value))
    return importance


def _sizes(groups: Mapping[str, Mapping[str, nn.Parameter]]) -> dict[str, int]:
    return {group: sum(p.numel() for p in held.values()) for group, held in groups.items()}
