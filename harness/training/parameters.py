"""Selection of parameters by name: frozen ones, and ones with their own learning rate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze parameters of an adapted ``model`` whose names match one of the regular expressions.

    Raises InputError for a pattern that matches no trained parameter, and if none would be left to
    train.
    """
    if not patterns:
        return
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for pattern in patterns:
        _require_match("training.freeze_layers", pattern, trained)
    for name, parameter in trained.items():
        if any(re.search(pattern, name) for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in trained.values()):
        raise InputError(
            f"training.freeze_layers={list(patterns)!r} leaves nothing to train: it matches all "
            f"{len(trained)} trained tensors."
        )


def with_own_rates(
    groups: Sequence[Mapping[str, Any]], rates: Mapping[str, float] | None, model: nn.Module
) -> list[dict[str, Any]]:
    """Split optimizer groups so that parameters matching a pattern of ``rates`` have its peak rate.

    The first matching regular expression replaces the method's rate. The schedule scales every
    rate. Raises InputError for a pattern that matches no trained parameter.
    """
    if not rates:
        return [dict(group) for group in groups]
    names = {id(p): name for name, p in model.named_parameters()}
    trained = {names[id(p)]: p for group in groups for p in group["params"]}
    for pattern in rates:
        _require_match("training.learning_rate_of", pattern, trained)
    split = []
    for group in groups:
        by_rate: dict[float, list[nn.Parameter]] = {group["lr"]: []}
        for parameter in group["params"]:
            name = names[id(parameter)]
            own = (rate for pattern, rate in rates.items() if re.search(pattern, name))
            by_rate.setdefault(next(own, group["lr"]), []).append(parameter)
        split += [
            {**group, "params": members, "lr": rate} for rate, members in by_rate.items() if members
        ]
    return split


def percent_at_rate(groups: Sequence[Mapping[str, Any]], learning_rate: float) -> float:
    """Return the percentage of parameters in ``groups`` with at least 1 % of the run's learning rate.

    Compares the peak rate of each group with ``learning_rate``. The other parameters hardly change.
    """
    n = {True: 0, False: 0}
    for group in groups:
        near = group["lr"] >= 0.01 * learning_rate
        n[near] += sum(parameter.numel() for parameter in group["params"])
    return 100 * n[True] / max(1, sum(n.values()))


def _require_match(key: str, pattern: str, trained: Mapping[str, Any]) -> None:
    """Raise InputError if ``pattern`` matches the name of no trained parameter."""
    if any(re.search(pattern, name) for name in trained):
        return
    names = list(trained)
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    raise InputError(f"{key}: {pattern!r} matches no parameter that is trained. Those are {shown}.")
