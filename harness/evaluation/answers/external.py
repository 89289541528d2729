"""Metrics of Hugging Face's evaluate, by name or local path. A failure is reported as a reason.

A metric is a Python script that evaluate runs in this process. A script is loaded only if a user
names it. From the hub only evaluate's own are loaded (``harness.config.metrics`` refuses others).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.metrics import OWN, external_path, measured_as
from harness.errors import InputError, nearest
from harness.evaluation.collector import MeasurementCollector
from harness.language import recorded

TRIED = 8  # answers that a script is tried on


def check_external(metric: str) -> None:
    """Raise InputError if ``metric`` cannot be loaded here."""
    module = _loaded(external_path(metric))
    if isinstance(module, str):
        path = external_path(metric)
        near = [] if path.startswith((".", "/")) else nearest(path, OWN)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise InputError(f"evaluation.metrics: {metric!r} cannot be used: {module}.{hint}")


def try_external(metric: str, references: Sequence[Sequence[str]]) -> str | None:
    """Explain why ``metric`` would have no value, or the same for any answer; None if it works.

    It is tried twice on a few references: with the references as answers, and with one fixed
    answer. Raises InputError if it cannot be loaded.
    """
    check_external(metric)
    some = list(references[:: max(1, len(references) // TRIED)])[:TRIED]
    right = [texts[0] for texts in some]
    if not some:
        return None
    found = [MeasurementCollector(100), MeasurementCollector(100)]
    for measured, texts in zip(found, (right, [right[0]] * len(right)), strict=True):
        add_external(measured, "tried", metric, texts, some, "")
    broken = next(iter(found[0].missing.values()), None)
    alike = found[0].values() == found[1].values() and not found[1].missing
    if broken is None and alike and len(set(right)) > 1:
        return (
            "tells nothing: the references themselves score as one and the same answer to all does"
        )
    return None if broken is None else f"will be missing: {broken}"


def add_external(
    measured: MeasurementCollector,
    split: str,
    metric: str,
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    how: str,
) -> None:
    """Add every number that the metric returns. A list with one number per answer gets an interval."""
    name = f"{split}.{measured_as(metric)}"
    module = _loaded(external_path(metric))
    if isinstance(module, str):
        measured.miss(name, module)
        return
    several = _takes_several(module)
    given = [list(refs) for refs in references] if several else [refs[0] for refs in references]
    try:
        result = module.compute(predictions=list(texts), references=given)
    except Exception as error:  # a stranger's script: whatever it raises is the reason
        measured.miss(
            name, recorded("evaluate's {metric} failed: {error}", metric=metric, error=_said(error))
        )
        return
    values = result if isinstance(result, Mapping) else {"score": result}
    script = str(getattr(module, "_hash", None) or "?")[:16]
    signature = (
        f"{metric}|script:{script}|evaluate:{metadata.version('evaluate')}"
        f"|refs:{'all' if several else 'first'}"
    )
    kept = {key: value for key, value in values.items() if _numbers(value, len(texts)) is not None}
    if not kept:
        measured.miss(
            name,
            recorded(
                "evaluate's {metric} gave no number, but {values}",
                metric=metric,
                values=sorted(values),
            ),
        )
    for key, value in kept.items():
        full = name if len(kept) == 1 else f"{name}.{key}"
        numbers = _numbers(value, len(texts))
        assert numbers is not None
        if isinstance(value, list | tuple | np.ndarray):
            measured.add(full, numbers[:, None], f"{signature}|value:{key}|mean of answers{how}")
        else:
            whole = f"{signature}|value:{key}|of the corpus, no interval{how}"
            measured.add_value(full, float(numbers[0]), len(texts), whole)


def _numbers(value: Any, n: int) -> np.ndarray | None:
    """Return a number as (1,), one number for each of n answers as (n,), and None for anything else."""
    single = not isinstance(value, list | tuple | np.ndarray)
    try:
        numbers = np.asarray([value] if single else value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    is_number = not single or (not isinstance(value, bool | str) and math.isfinite(numbers[0]))
    return numbers if numbers.shape == ((1,) if single else (n,)) and is_number else None


def _takes_several(module: Any) -> bool:
    """Return True if the metric expects a list of references for each answer."""
    from datasets.features import Value

    features = module.features if isinstance(module.features, list) else [module.features]
    kinds = [feature.get("references") for feature in features]
    return any(kind is not None and not isinstance(kind, Value) for kind in kinds)


@lru_cache(maxsize=32)
def _loaded(path: str) -> Any:
    """Return the metric, or the reason why it cannot be loaded. Cached, since a failure is slow."""
    local = path.startswith((".", "/"))
    if local and not Path(path).exists():
        return f"evaluate could not load '{path}': this script or folder does not exist"
    if not local and Path(path).exists():
        return (
            f"'{path}' is also a path here, and evaluate would run that: write ./{path} if it is "
            "meant"
        )
    import evaluate

    try:
        return evaluate.load(path, keep_in_memory=True)
    except Exception as error:  # a user's script or a network may raise anything: it is the reason
        if local:
            return f"evaluate could not load '{path}': {_said(error)}"
        return (
            f"evaluate could not load '{path}': the hub cannot be reached from here, or has no such "
            f"metric; a copy of its script can be named by its path ({type(error).__name__})"
        )


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
