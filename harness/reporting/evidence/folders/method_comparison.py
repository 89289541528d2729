"""Results of peft's method_comparison as a run: its JSON files, one for each experiment.

They are one run with seed 0 each, so the accuracy has an error over items and none over seeds:
differences are shown and not tested. Forgetting is the rise of the cross-entropy on Wikipedia pages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.language import say
from harness.records import Measurement, Record, read_json
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords, SweepSettings
from harness.statistics.measurements.names import FORGETTING_NLL, TEST, VALIDATION

__all__ = ["is_method_comparison", "read_method_comparison"]

_PARTS = ("run_info", "train_info", "meta_info")
_MOST_ITEMS = 1_000_000
_PAGES = 100  # of general text, on which that benchmark measures forgetting
_COSTS = {  # name in a record → name there, and its unit in ours
    "train_seconds": ("train_time", 1.0),
    "peak_memory_gb": ("accelerator_memory_max", 1e-9),
    "trainable_parameters": ("num_trainable_params", 1.0),
    "total_parameters": ("num_total_params", 1.0),
    "adapter_bytes": ("file_size", 1.0),
}


def is_method_comparison(folder: Path) -> bool:
    """Return True if a JSON file of ``folder`` is a result of that benchmark."""
    found = map(read_json, sorted(folder.glob("*.json")))
    return any(_has_parts(each) for each in found)


def read_method_comparison(folder: Path) -> SweepRecords:
    """Read the results in ``folder``. Raises InputError if none has an accuracy on the test split."""
    found = {path: read_json(path) for path in sorted(folder.glob("*.json"))}
    results = [(path, each) for path, each in found.items() if each and _is_result(each)]
    n = _items([_last(each)["test accuracy"] for _, each in results])
    shared = _shared_beginning([_variant(each) for _, each in results])
    rows = [
        FinishedTrial(_record(each, n, shared), path.parent / path.stem) for path, each in results
    ]
    if not rows:
        raise InputError(
            f"{folder} has no result with a 'test accuracy': results of MetaMathQA can be read."
        )
    remarks = [
        say(
            "Results of peft's method_comparison: one run with seed 0 for each experiment, "
            "most of them at one learning rate that nobody tuned."
        ),
        say(
            "The {n:,} test items are inferred from the accuracies, which are whole "
            "multiples of 1/{n}.",
            n=n,
        ),
    ]
    others = len(found) - len(results)
    if others:
        remarks.append(
            say("{others} files are no complete result and are left out.", others=others)
        )
    methods = dict.fromkeys(row.record.method for row in rows)
    models = {row.record.config["model"]["name"] for row in rows}
    sweep = SweepSettings(
        name=folder.resolve().name,
        methods=tuple(methods),
        objectives=(
            (f"{VALIDATION}exact_match", "maximize"),
            (FORGETTING_NLL, "minimize"),
        ),
        model=", ".join(sorted(models)),
        data="MetaMathQA, tested on GSM8K",
        created=max((str(each["run_info"].get("created_at") or "") for _, each in results)) or None,
    )
    return SweepRecords(sweep, tuple(rows), unfinished=0, remarks=tuple(remarks))


def _has_parts(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(found.get(part), dict) for part in _PARTS)


def _is_result(found: Any) -> bool:
    if not _has_parts(found):
        return False
    last = _last(found)
    return found["train_info"].get("status") == "success" and all(
        isinstance(last.get(key), int | float) and math.isfinite(last[key])
        for key in (say("test accuracy"), "forgetting")
    )


def _last(found: Mapping[str, Any]) -> Mapping[str, Any]:
    rows = found["train_info"].get("metrics")
    last = rows[-1] if isinstance(rows, list) and rows else None
    return last if isinstance(last, dict) else {}


def _items(accuracies: Sequence[float]) -> int:
    """Return the smallest number of items of which all ``accuracies`` are shares."""
    fractions = [Fraction(share).limit_denominator(_MOST_ITEMS) for share in accuracies]
    return math.lcm(*(fraction.denominator for fraction in fractions)) if fractions else 0


def _variant(found: Mapping[str, Any]) -> str:
    """Return the name of an experiment without that of its method."""
    return str(found["run_info"].get("experiment_name")).partition("/")[2]


def _shared_beginning(names: Sequence[str]) -> int:
    """Return the length of what all names begin with, up to a hyphen: the model's name."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike).rfind("-") + 1 if len(names) > 1 else 0


def _record(found: Mapping[str, Any], n: int, shared: int) -> Record:
    """Return one result as a record; the first ``shared`` characters of its variant are left out."""
    run, train, last = found["run_info"], found["train_info"], _last(found)
    settings = run.get("train_config") or {}
    experiment = str(run.get("experiment_name"))
    method = experiment.partition("/")[0]
    versions = {
        name.removesuffix("-version"): version
        for name, version in (found["meta_info"].get("package_info") or {}).items()
        if name.endswith("-version") and version
    }
    system = found["meta_info"].get("system_info") or {}
    return Record(
        status="complete",
        stage="confirm",
        method=method,
        trial=0,
        attempt=1,
        fingerprint=experiment,
        configuration=experiment,
        seed=int(settings.get("seed") or 0),
        config={
            "model": {"name": str(settings.get("model_id")), "dtype": settings.get("dtype")},
            "method": {"name": method, "experiment": _variant(found)[shared:] or method},
        },
        overrides=[],
        measurements={
            f"{TEST}exact_match": _accuracy(float(last["test accuracy"]), n),
            FORGETTING_NLL: Measurement(
                value=float(last["forgetting"]),
                unit="nats/token",
                n=_PAGES,
                interval=None,
                signature="method_comparison|text:finewiki|weight:token",
            ),
        },
        cost={
            name: float(train[there]) * factor
            for name, (there, factor) in _COSTS.items()
            if isinstance(train.get(there), int | float)
        },
        provenance={"versions": versions, "device": system.get("accelerator")},
    )


def _accuracy(share: float, n: int) -> Measurement:
    """Return the accuracy in percent, with Wilson's 95 % interval over ``n`` items."""
    from scipy.stats import binomtest

    found = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return Measurement(
        value=100 * share,
        unit="percent of answers",
        n=n,
        interval=(100 * float(found.low), 100 * float(found.high)),
        signature="method_comparison|split:test|answer:last number",
        standard_error=100 * math.sqrt(share * (1 - share) / n),
    )
