"""Sequences of tasks: the model after each stage, scored on all tasks and against the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import methods
from harness.config import ModelConfig, TrialConfig
from harness.errors import InputError, unknown
from harness.evaluation import benchmarks
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.forgetting import forgetting
from harness.evaluation.texts import Texts, prepare
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS
from harness.statistics.measurements.names import TEST
from harness.trials.workbench import Workbench, quantization_of


@dataclass(frozen=True)
class Stage:
    """The model after one task, or the untouched base."""

    label: str | None
    folder: str | None  # of the trial that made it
    model: ModelConfig


def measured_by(configs: Sequence[TrialConfig], measure: str | None) -> str:
    """Return the measurement that scores all tasks, such as test.bleu. Raises InputError."""
    for config in configs:
        if config.data.is_classification:
            raise InputError(
                "sequence= cannot hold a data set with data.label_column: a head for its classes would "
                "not fit the next task."
            )
        reason = methods.build(config.method).cannot_merge
        if reason is not None:
            raise InputError(
                f"sequence= cannot be used with method={config.method['name']}: a task begins with the "
                f"merged model of the one before, and there is none: {reason}."
            )
    answered = not any(config.data.is_plain_text for config in configs)
    likelihoods = ["bits_per_byte", "perplexity"]
    known = [*(configs[0].evaluation.metrics if answered else []), *likelihoods]
    if measure is None:
        return f"{TEST}{known[0]}"
    if measure not in known or METRIC_DEFINITIONS[measure].direction is None:
        raise unknown("measure that all tasks of the sequence have", measure, known)
    return f"{TEST}{measure}"


def merged_model(folder: Path) -> Path:
    """Return the whole model of a trial: merged, or trained as a whole."""
    merged = folder / "merged"
    return merged if merged.is_dir() else folder / "adapter"


def score_stage(
    bench: Workbench, stages: Sequence[Stage], configs: Sequence[TrialConfig], measurement: str
) -> dict[str, Any]:
    """Score the last of ``stages`` on every task's test split, or read its cached scores.

    ``general``: its divergence from the first stage on general text. ``abilities``: the main score of
    each configured lm-eval task.
    """
    stage, evaluation = stages[-1], configs[0].evaluation
    own = quantization_of(stage.model)
    texts = [_texts(bench, config) for config in configs]
    scores, general, abilities = [], {}, {}
    origin = None
    if len(stages) > 1 and texts[0].general is not None:
        first = stages[0].model
        with bench.pool.lend(first, quantization_of(first)) as base:
            origin = bench.references.get(base, texts[0], evaluation, bench.device)
    with bench.pool.lend(stage.model, own) as base:
        for config, text in zip(configs, texts, strict=True):
            bare = replace(text, general=None, drift=None, domains=[])
            found = bench.references.get(base, bare, config.evaluation, bench.device)
            if measurement not in found.measurements:
                raise InputError(
                    f"{measurement} of {config.data.source} data could not be measured."
                )
            scores.append(found.measurements[measurement].to_json())
        if origin is not None:
            moved = MeasurementCollector(evaluation.bootstrap_resamples)
            forgetting(
                moved, base.model, texts[0], {"forgetting": origin}, evaluation, bench.device
            )
            general = {name: m.to_json() for name, m in moved.measurements.items()}
        if benchmarks.wanted(evaluation):
            results = benchmarks.base_results(bench.cache / "tasks", base, evaluation, bench.device)
            abilities = {
                name: float(np.mean([row[0] for row in task.items[task.main]]))
                for name, task in results.tasks.items()
                if task.main is not None
            }
    return {
        "after": stage.label,
        "folder": stage.folder,
        "scores": scores,
        "general": general,
        "abilities": abilities,
    }


def _texts(bench: Workbench, config: TrialConfig) -> Texts:
    tokenizer = bench.pool.tokenizer(config.model)
    splits = bench.splits(config.data)
    return prepare(splits, tokenizer, config.data, config.evaluation, "test")
