"""Output folders of the Trainer (transformers, TRL) as a run: one trial for each folder.

A folder says its losses and settings, and nothing of single examples: a score has no interval, so
differences are shown and not tested. Forgetting was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.language import say
from harness.records import Measurement, Record, read_json
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords, SweepSettings
from harness.statistics.measurements.names import VALIDATION, VALIDATION_LOSS, VALIDATION_PERPLEXITY

__all__ = ["is_trainer_output", "read_trainer_output"]

STATE = "trainer_state.json"
_NOT_SCORES = (
    "runtime",
    "samples",
    "samples_per_second",
    "steps_per_second",
    "model_preparation_time",
)
# Metrics under the names that compute_metrics usually gives them, as ours.
_KINDS = {"accuracy": "accuracy", "f1": "macro_f1", "bleu": "bleu", "rougeL": "rougeL"}


def is_trainer_output(folder: Path) -> bool:
    """Return True if ``folder`` or a checkpoint in it has the Trainer's state."""
    return _state_file(folder) is not None


def read_trainer_output(folder: Path) -> SweepRecords:
    """Read the last evaluation in ``folder``. Raises InputError if there was none."""
    file = _state_file(folder)
    assert file is not None
    state = read_json(file)
    log = state.get("log_history") if isinstance(state, dict) else None
    rows = [row for row in log or () if isinstance(row, dict)]
    evaluated = [row for row in rows if isinstance(row.get("eval_loss"), int | float)]
    if not evaluated:
        raise InputError(
            f"{file} has no eval_loss: the training was not evaluated, so there is nothing to compare."
        )
    last, end = evaluated[-1], rows[-1]
    results = read_json(folder / "all_results.json")
    samples = results.get("eval_samples") if isinstance(results, dict) else None
    adapter = read_json(file.parent / "adapter_config.json") or read_json(
        folder / "adapter_config.json"
    )
    name = folder.resolve().name
    record = Record(
        status="complete",
        stage="single",
        method=_method(adapter),
        trial=0,
        attempt=1,
        fingerprint=name,
        configuration=name,
        seed=0,
        config={
            "model": {"name": str((adapter or {}).get("base_model_name_or_path") or "unknown")},
            "method": {"name": _method(adapter), "run": name},
        },
        overrides=[],
        measurements=_measured(last, int(samples) if isinstance(samples, int) else 0),
        cost=_cost(end),
        provenance={"steps": last.get("step")},
    )
    sweep = SweepSettings(
        name=name,
        methods=(record.method,),
        objectives=((VALIDATION_LOSS, "minimize"),),
        model=record.config["model"]["name"],
    )
    remarks = (
        say(
            "{name}: read from the Trainer's log, step {step}. One seed, no intervals, "
            "forgetting not measured. Whether the runs share data and evaluation is not "
            "written there.",
            name=name,
            step=last.get("step"),
        ),
    )
    return SweepRecords(sweep, (FinishedTrial(record, folder),), unfinished=0, remarks=remarks)


def _state_file(folder: Path) -> Path | None:
    """Return the state of the whole run, or of the last checkpoint."""
    if (folder / STATE).is_file():
        return folder / STATE
    found = [path for path in folder.glob(f"checkpoint-*/{STATE}") if _step(path) is not None]
    return max(found, key=lambda path: _step(path) or 0, default=None)


def _step(path: Path) -> int | None:
    step = path.parent.name.removeprefix("checkpoint-")
    return int(step) if step.isdecimal() else None


def _method(adapter: Any) -> str:
    kind = adapter.get("peft_type") if isinstance(adapter, dict) else None
    return str(kind).lower() if kind else "full"


def _measured(last: Mapping[str, Any], n: int) -> dict[str, Measurement]:
    """Return the scores of an evaluation; ``n`` is 0 where the number of examples is unknown."""
    signature = "Trainer|split:eval"
    found = {}
    for key, value in last.items():
        kind = key.removeprefix("eval_")
        if kind == key or kind in _NOT_SCORES or not isinstance(value, int | float):
            continue
        if kind in _KINDS and math.isfinite(value):
            found[f"{VALIDATION}{_KINDS[kind]}"] = Measurement(
                float(value), "as logged", n, None, signature
            )
    loss = float(last["eval_loss"])
    if math.isfinite(loss):
        found[VALIDATION_LOSS] = Measurement(loss, "nats/token", n, None, signature)
        if loss < 700:  # exp() of more is no float
            found[VALIDATION_PERPLEXITY] = Measurement(
                math.exp(loss), "per token", n, None, signature
            )
    return found


def _cost(end: Mapping[str, Any]) -> dict[str, float]:
    seconds = end.get("train_runtime")
    return {"train_seconds": float(seconds)} if isinstance(seconds, int | float) else {}
