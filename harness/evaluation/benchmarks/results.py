"""Results of lm-eval for each item, as statistics whose sums give the score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

RESAMPLES = 100  # for a score that only lm-eval's function over all items can compute


@dataclass(frozen=True)
class TaskScores:
    """Scores of one model on one task."""

    items: dict[str, list[list[float]]]  # metric → (n, k): mean (k = 1), or perplexity (k = 2)
    corpus: dict[str, list[float | None]]  # metric → value, low, high; for scores that are no sums
    main: str | None  # the metric whose change from the base is measured
    n: int
    signature: str
    clusters: list[str] | None = None  # cluster of each item, such as its passage
    generated_from: str | None = None  # the multiple-choice task that this one asks by generation


@dataclass(frozen=True)
class Results:
    """Scores of one model on all tasks."""

    tasks: dict[str, TaskScores] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # task → why it could not be run

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Results:
        tasks = {name: TaskScores(**scores) for name, scores in data["tasks"].items()}
        return cls(tasks, data["missing"])


def scores(
    rows: Sequence[Mapping[str, Any]],
    aggregations: dict[str, Callable[[list[Any]], Any]],
    signature: str,
    cluster: str | None,
    generated_from: str | None,
) -> TaskScores:
    """Return the scores of one task, read from lm-eval's samples: one row for each item and filter.

    A task may read its answers by several filters. Metrics of the first are named ``exact_match``,
    those of the others ``exact_match,FILTER``. The main metric is ``acc`` if there is one, else the
    first that is a mean over items.
    """
    filters = list(dict.fromkeys(row["filter"] for row in rows))
    items: dict[str, list[list[float]]] = {}
    corpus: dict[str, list[float | None]] = {}
    of_first: list[Mapping[str, Any]] = []
    for way in filters:
        ordered = sorted((row for row in rows if row["filter"] == way), key=lambda r: r["doc_id"])
        of_first = of_first or ordered
        for metric in ordered[0]["metrics"]:
            name = metric if way == filters[0] else f"{metric},{way}"
            values = [row[metric] for row in ordered]
            function = aggregations.get(metric)
            columns = _columns(values, getattr(function, "__name__", "mean"))
            if columns is not None:
                items[name] = columns
            elif function is not None:
                corpus[name] = _over_all(values, function)
    means = [name for name, columns in items.items() if len(columns[0]) == 1]
    main = "acc" if "acc" in means else next(iter(means), None)
    clusters = None if cluster is None else [shared(cluster, row["doc"]) for row in of_first]
    return TaskScores(items, corpus, main, len(of_first), signature, clusters, generated_from)


def shared(cluster: str, item: dict[str, Any]) -> str:
    """Return the value by which ``item`` is clustered: one of its fields, or a Jinja template."""
    from lm_eval.utils import apply_template

    return apply_template(cluster, item) if "{{" in cluster else str(item[cluster])


def _columns(values: list[Any], aggregation: str) -> list[list[float]] | None:
    """Return (n, k) statistics of the items; None if the score is not a function of their sums.

    Values of a perplexity are pairs: the log-likelihood of a text, and its length in words or bytes.
    """
    if aggregation in ("weighted_perplexity", "bits_per_byte"):
        return [[-float(loglikelihood), float(weight)] for loglikelihood, weight in values]
    if not all(isinstance(value, int | float | np.number) for value in values):
        return None
    numbers = [float(value) for value in values]
    if aggregation not in ("mean", "nanmean", "perplexity") or not all(map(math.isfinite, numbers)):
        return None
    return [[-x, 1.0] if aggregation == "perplexity" else [x] for x in numbers]


def _over_all(values: list[Any], function: Callable[[list[Any]], Any]) -> list[float | None]:
    """Return the score with its bootstrap interval over items; [] if it is not a number."""

    def score(chosen: list[Any]) -> float:
        found = function(chosen)
        return float(found) if isinstance(found, int | float | np.number) else math.nan

    value = score(values)
    if not math.isfinite(value):
        return []
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    resampled = [score([values[i] for i in row]) for row in drawn]
    if len(values) < 2 or not all(map(math.isfinite, resampled)):
        return [value, None, None]
    return [value, *map(float, np.quantile(resampled, [0.025, 0.975]))]
