"""Benchmark results as measurements: a model's scores and their change from the base's."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from harness.config import EvaluationConfig
from harness.evaluation.benchmarks.results import Results, TaskScores
from harness.evaluation.collector import MeasurementCollector
from harness.language import recorded
from harness.records import Measurement
from harness.statistics.clusters import mean_error, mean_interval
from harness.statistics.measurements.definitions import unit_of
from harness.statistics.measurements.names import FORGETTING, FORGETTING_TASKS, TASKS


def add(
    measured: MeasurementCollector, results: Results, base: Results, config: EvaluationConfig
) -> None:
    """Add ``tasks.NAME.METRIC``, and the paired change from the base in ``forgetting.tasks``.

    The change is computed from each task's main metric, for each task and over all items. Generated
    answers to a multiple-choice task are left out of the latter, so that each question counts once.
    """
    for name, reason in {**base.missing, **results.missing}.items():
        measured.miss(f"{TASKS}{name}", reason)
    pairs: dict[str, tuple[np.ndarray, TaskScores]] = {}
    for name, scores in results.tasks.items():
        before = base.tasks.get(name)
        if scores.main is not None and before is not None:
            columns = [np.asarray(one.items[scores.main])[:, 0] for one in (scores, before)]
            pairs[name] = np.stack(columns, axis=1), scores
    once = [name for name, (_, s) in pairs.items() if s.generated_from not in pairs]
    if once:
        # An item without a cluster is its own cluster, so that tasks can be pooled.
        clusters = [f"{name}:{c}" for name in once for c in _clusters(pairs[name][1])]
        shared = any(pairs[name][1].clusters for name in once)
        all_pairs = np.concatenate([pairs[name][0] for name in once])
        limit = f"{config.task_limit}{' at random' * (config.task_limit is not None)}"
        signature = f"lm-eval|few-shot:{_shots(config)}|limit:{limit}|change from base"
        signature += f"|of:{'+'.join(once)}" + "|clustered" * shared
        _put(measured, FORGETTING_TASKS, all_pairs, signature, clusters if shared else None)
    for name, (pair, scores) in pairs.items():
        signature = f"{_signature(scores, scores.main)}|change from base"
        _put(measured, f"{FORGETTING_TASKS}.{name}", pair, signature, scores.clusters)
    _add_scores(measured, results)


def scores_of(results: Results | None, resamples: int) -> dict[str, Measurement]:
    """Return the scores ``tasks.NAME.METRIC`` of one model, such as the base."""
    measured = MeasurementCollector(resamples)
    if results is not None:
        _add_scores(measured, results)
    return measured.measurements


def _add_scores(measured: MeasurementCollector, results: Results) -> None:
    for name, scores in results.tasks.items():
        for metric, columns in scores.items.items():
            statistics = np.asarray(columns)
            signature = _signature(scores, metric)
            _put(measured, f"{TASKS}{name}.{metric}", statistics, signature, scores.clusters)
        for metric, found in scores.corpus.items():
            _put_corpus(measured, f"{TASKS}{name}.{metric}", found, scores, metric)
        by_likelihood = results.tasks.get(scores.generated_from or "")
        if by_likelihood is not None:
            both = [np.asarray(one.items["acc"])[:, 0] for one in (scores, by_likelihood)]
            signature = f"{by_likelihood.signature}|acc written minus acc by likelihood"
            difference = (both[0] - both[1])[:, None]
            label = f"{TASKS}{scores.generated_from}.written_minus_likely"
            _put(measured, label, difference, signature, scores.clusters)


def _put(
    measured: MeasurementCollector,
    name: str,
    statistics: np.ndarray,
    signature: str,
    clusters: list[str] | None,
) -> None:
    """Add a score and, for a mean, its standard error. Both account for clusters of items."""
    measured.add(name, statistics, signature)
    known = measured.measurements.get(name)
    mean = statistics.shape[1] == 1 or name.startswith(FORGETTING)
    if known is None or not mean:
        return
    values = statistics[:, 0] - statistics[:, 1] if statistics.shape[1] == 2 else statistics[:, 0]
    error = mean_error(values, clusters)
    interval = known.interval if clusters is None else mean_interval(values, clusters)
    measured.measurements[name] = replace(known, standard_error=error, interval=interval)


def _put_corpus(
    measured: MeasurementCollector,
    name: str,
    found: list[float | None],
    scores: TaskScores,
    metric: str,
) -> None:
    """Add a score that lm-eval computes over all items at once. It has no statistics by item."""
    value, low, high = found or (None, None, None)
    if value is None or not math.isfinite(value):
        measured.miss(name, recorded("lm-eval's own function gives no finite number"))
        return
    interval = None if low is None or high is None else (low, high)
    signature = f"{_signature(scores, metric)}|bootstrap over items"
    measured.measurements[name] = Measurement(value, unit_of(name), scores.n, interval, signature)


def _signature(scores: TaskScores, metric: str | None) -> str:
    clustered = "" if scores.clusters is None else f"|clusters:{len(set(scores.clusters))}"
    return f"{scores.signature}|metric:{metric}{clustered}"


def _clusters(scores: TaskScores) -> list[str]:
    return scores.clusters or [f"item {i}" for i in range(scores.n)]


def _shots(config: EvaluationConfig) -> str:
    return "own" if config.num_fewshot is None else str(config.num_fewshot)
