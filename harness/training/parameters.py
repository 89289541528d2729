"""Parameters selected by name: to be frozen, or to have a learning rate of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters of an adapted ``model`` whose name matches one of ``patterns``.

    Raises InputError for a pattern that matches nothing trained, and if nothing would be left.
    """
    if not patterns:
        return
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for pattern in patterns:
        _matching("training.freeze_layers", pattern, trained)
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
    """Return optimizer groups in which parameters matching a pattern of ``rates`` have that peak rate.

    The first matching pattern counts and replaces the method's rate. The schedule scales every rate.
    Raises InputError for a pattern that matches nothing trained.
    """
    if not rates:
        return [dict(group) for group in groups]
    names = {id(p): name for name, p in model.named_parameters()}
    trained = {names[id(p)]: p for group in groups for p in group["params"]}
    for pattern in rates:
        _matching("training.learning_rate_of", pattern, trained)
    split = []
    for group in groups:
        by_rate: dict[float, list[nn.Parameter]] = {group["lr"]: []}
        for parameter in group["params"]:
            name = names[id(parameter)]
            own = (rate for pattern, rate in rates.items() if re.search(pattern, name))
            by_rate.setdefault(next(own, group["lr"]), []).append(parameter)
        split += [{**group, "params": some, "lr": rate} for rate, some in by_rate.items() if some]
    return split


def percent_at_rate(groups: Sequence[Mapping[str, Any]], learning_rate: float) -> float:
    """Return how many percent of the parameters in ``groups`` learn at 1 % of the rate or more.

    Their own peak rate is compared with ``learning_rate``, the run's. The rest hardly moves.
    """
    n = {True: 0, False: 0}
    for group in groups:
        near = group["lr"] >= 0.01 * learning_rate
        n[near] += sum(parameter.numel() for parameter in group["params"])
    return 100 * n[True] / max(1, sum(n.values()))


def _matching(field: str, pattern: str, trained: Mapping[str, Any]) -> None:
    if any(re.search(pattern, name) for name in trained):
        return
    names = list(trained)
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    raise InputError(
        f"{field}: {pattern!r} matches no parameter that is trained. Those are {shown}."
    )
