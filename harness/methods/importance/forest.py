"""Training of the layers or modules that a random forest ranks as most important for the loss."""

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

REPEATS = 10  # permutations over which an importance is averaged

IMPORTANCE = "group_importance"  # attribute of the adapted model: group → importance


@dataclass(frozen=True)
class ForestImportance(Method):
    """Train the most important groups of parameters and freeze the others.

    Random masks z ∈ {0, 1}^G, ``masks`` of them, switch groups on and off. Groups that are on take
    one step θ − ``probe_rate``·sign(g), as in Adam's first step. A random forest (Breiman 2001)
    then predicts from z the change of the loss on other training sequences. The importance of a
    group is the fall of the forest's R² when its column of z is permuted.

    Half of the ``samples`` sequences give the gradient g, the other half the loss.
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
                f"method.keep_ratio={ratio} and method.n_groups={n} cannot be used together: set "
                "exactly "
                "one of them, the other must be null."
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
        """Return the method with a share of ``trainable_parameters`` of all parameters."""
        total = sum(_sizes(groups_of(model, self.groups)).values())
        field = "method.match.trainable_parameters"
        if self.n_groups is not None:
            raise InputError(
                f"{field} and method.n_groups both determine the size: set one of them."
            )
        n, accepted = trainable_parameters, f"from 1 to {total:,}"
        require(1 <= n <= total, field, n, accepted)
        return replace(self, keep_ratio=n / total)

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        groups = groups_of(model, self.groups)
        masks, changes = self._probe(model, context, groups)
        importance = forest_importance(masks, changes, self.trees, context.seed)
        by_group = dict(zip(groups, importance, strict=True))
        setattr(model, IMPORTANCE, by_group)  # for describe
        selected_groups = set(self.selected(by_group, _sizes(groups)))
        for group, parameters in groups.items():
            for parameter in parameters.values():
                parameter.requires_grad_(group in selected_groups)
        return model

    def selected(self, importance: Mapping[str, float], sizes: Mapping[str, int]) -> list[str]:
        """Return the selected groups, most important first.

        These are the first ``n_groups``. With ``keep_ratio``, groups are taken in order as long as
        they fit. ``sizes`` are numbers of parameters.
        """
        ranked = sorted(importance, key=lambda group: -importance[group])
        if self.n_groups is not None:
            return ranked[: self.n_groups]
        remaining, selected = self._budget(sum(sizes.values())), []
        for group in ranked:
            if sizes[group] <= remaining:
                selected.append(group)
                remaining -= sizes[group]
        return selected

    def describe(self, model: nn.Module) -> dict[str, Any]:
        """Return the importance of each group as the loss of R² without it.

        Negative if a step of the group raises the loss.
        """
        return {"importance": dict(getattr(model, IMPORTANCE))}

    def _budget(self, total: int) -> int:
        """Return the number of parameters to train, of ``total``."""
        assert self.keep_ratio is not None
        return round(self.keep_ratio * total)

    def _probe(
        self,
        model: nn.Module,
        context: AdaptContext,
        groups: Mapping[str, Mapping[str, nn.Parameter]],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (K, G) masks and the (K,) changes of the mean loss in nats per token.

        Leaves the model's parameters exactly as they were. Raises InputError if there are too few
        sequences, or if ``probe_rate`` is too small or too large.
        """
        import numpy as np
        import torch

        from harness.methods.importance.entry_scores import (
            GRADIENT_BATCH,
            gradient_sums,
            mean_nll,
            summed_nll,
        )

        n = min(self.samples, len(context.train))
        if n < 2:
            raise InputError("method=forest_importance needs at least 2 training sequences.")
        batches = list(context.calibration(n, min(GRADIENT_BATCH, n // 2)))
        probing, measuring = batches[::2], batches[1::2]
        named = {name: p for group in groups.values() for name, p in group.items()}
        with gradient_sums(named) as gradients:
            for batch in probing:
                summed_nll(model, batch).backward()
        signs = {name: gradients.pop(name).sign().to(torch.int8) for name in named}
        # Tensors are replaced and put back, so the original values return exactly. Steps are computed
        # in float32, because 16 bits would round them away.
        before = {name: p.data for name, p in named.items()}

        def stepped(name: str) -> Tensor:
            return before[name].float() - self.probe_rate * signs[name].float()

        n_signed = sum(int((sign != 0).sum()) for sign in signs.values())
        n_changed = sum(int((stepped(name) != before[name]).sum()) for name in named)
        if n_changed < n_signed / 2:
            raise InputError(
                f"method.probe_rate={self.probe_rate:g} cannot be used: float32 rounds it away for "
                f"{1 - n_changed / n_signed:.0%} of the weights. Set a larger one."
            )
        rng = np.random.default_rng((context.seed, 11))
        masks = rng.integers(0, 2, (self.masks, len(groups)))
        changes = np.zeros(self.masks)
        with torch.no_grad():
            try:
                for name, parameter in named.items():
                    parameter.data = before[name].float()
                at_base = mean_nll(model, measuring)
                for row, mask in enumerate(masks):
                    for is_on, group in zip(mask, groups.values(), strict=True):
                        for name, parameter in group.items():
                            parameter.data = stepped(name) if is_on else before[name].float()
                    changes[row] = mean_nll(model, measuring) - at_base
            finally:
                for name, parameter in named.items():
                    parameter.data = before[name]
        if not np.isfinite(changes).all():
            raise InputError(
                f"method.probe_rate={self.probe_rate:g} cannot be used: the loss is no number "
                "after such a step."
            )
        return masks, changes


def groups_of(model: nn.Module, by: str) -> dict[str, dict[str, nn.Parameter]]:
    """Return group → its parameters by name, tied ones once.

    Groups are named ``model.layers.3`` by layers and ``model.layers.3.self_attn`` by modules.
    Modules outside numbered layers are groups of their own, such as ``model.embed_tokens``.
    """
    by_group: dict[str, dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        module = name.rpartition(".")[0]
        within = re.match(r"(.*?\.\d+)(\.[^.]+)?", module)
        if within:
            module = within[1] if by == "layers" else within[0]
        by_group.setdefault(module, {})[name] = parameter
    return by_group


def forest_importance(
    masks: np.ndarray, changes: np.ndarray, trees: int, seed: int
) -> Sequence[float]:
    """Return the (G,) permutation importance of the columns of ``masks``.

    ``masks`` is (K, G), ``changes`` holds the (K,) changes of the loss. Importance is the fall of
    the forest's R² when a column is permuted, averaged over ``REPEATS`` permutations. It is
    negative for a group that raises the mean loss.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    forest = RandomForestRegressor(trees, random_state=seed, n_jobs=1).fit(masks, changes)
    result = permutation_importance(
        forest, masks, changes, n_repeats=REPEATS, random_state=seed, n_jobs=1
    )
    importance = []
    for column, value in zip(masks.T, result.importances_mean, strict=True):
        on, off = changes[column == 1], changes[column == 0]
        harmful = len(on) and len(off) and on.mean() > off.mean()
        importance.append(-abs(float(value)) if harmful else float(value))
    return importance


def _sizes(groups: Mapping[str, Mapping[str, nn.Parameter]]) -> dict[str, int]:
    """Return the number of parameters of each group."""
    return {
        group: sum(p.numel() for p in parameters.values()) for group, parameters in groups.items()
    }
