"""Candidates of a recommendation: configurations with their estimates and costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.records import Measurement
from harness.reporting.evidence.comparable import same_way
from harness.reporting.evidence.estimates import Estimate, of_base
from harness.reporting.evidence.folders.run_folder import FinishedTrial, read_base_items
from harness.statistics.comparing.replicates import Replicates
from harness.statistics.scores import Array

CAPACITY = ("method.r", "method.target_r", "method.num_virtual_tokens", "method.rank")
LARGE_FORGETTING = 2.0  # where a sweep says nothing else; see harness.reporting.verdict.price
ALWAYS_SHOWN = (*CAPACITY, "training.learning_rate")


@dataclass(frozen=True)
class Candidate:
    """One configuration that may be recommended."""

    label: str
    method: str
    configuration: str
    settings: Mapping[str, Any]  # settings that differ within its method
    rows: tuple[FinishedTrial, ...]  # its complete trials, one per seed
    other_rows: tuple[FinishedTrial, ...]  # its trials that did not complete
    quality: Estimate | None
    forgetting: Estimate | None
    estimates: Mapping[str, Estimate]  # every measurement with a value
    items: Mapping[str, Array]  # measurement -> (seeds, n, k), where every seed has them
    cost: Mapping[str, float]  # mean over seeds; peak memory: the largest
    base: Mapping[str, Measurement]
    problems: tuple[str, ...]  # why it cannot be chosen; empty if it can
    dropped: bool = False  # True if an earlier round of the race showed that it cannot win

    @property
    def feasible(self) -> bool:
        return not self.problems and self.quality is not None

    @property
    def on_cpu(self) -> bool:
        """Return True if any trial ran on CPU, where memory is that of the whole process."""
        return any(
            str(row.record.provenance.get("device", "")).startswith("cpu") for row in self.rows
        )

    @cached_property
    def base_replicates(self) -> Replicates | None:
        """Return the base's quality; None if it was not measured, or measured in another way."""
        if self.quality is None or self.quality.name not in self.base:
            return None
        name, base = self.quality.name, self.base[self.quality.name]
        measured = (row.record.measurements.get(name) for row in self.rows)
        if not all(one is None or same_way(one, base) for one in measured):
            return None
        return of_base(base, name, read_base_items(self.rows[0].folder).get(name))


@dataclass(frozen=True)
class CandidateSet:
    """All candidates of a sweep, with the measurements that compare them."""

    members: tuple[Candidate, ...]
    quality: str  # measurement, such as test.bleu
    maximize: bool
    forgetting: str | None
    confirmed: bool
    remarks: tuple[str, ...]
    margin: float | None = None  # in quality, as configured; None: the metric's default
    seed: int = 0  # of the sweep; seeds the redraws of the decision
    blind: str | None = None  # the requested measurement, if it separates no candidates
    large_forgetting: float | None = LARGE_FORGETTING  # factor on general perplexity; None: never
    looks: int = 0  # number of looks at the race so far; 0 if all seeds ran at once
