"""Warnings about plans that are valid but probably unintended, shown before the sweep starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from harness import methods
from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.data.rows.splits import Splits
from harness.search.limits import least_seconds
from harness.search.planning.needs import MethodMemory
from harness.statistics.comparing.margins import FEWEST_ITEMS

# Suffix of a key in ``Splits.counts`` → its meaning.
_COUNTED = {
    "garbled_rows": "rows of data.{} have garbled characters, as from decoding with a wrong encoding",
    "answers_that_say_none_rows": "rows of data.{} have an answer such as None, nan or null",
}


def cautions(
    sweep: SweepConfig,
    plans: Sequence[MethodPlan],
    splits: Splits,
    needs: Mapping[str, MethodMemory],
) -> list[str]:
    """Return the warnings, one line each."""
    return [*_of_data(splits), *_of_sizes(sweep, plans, splits), *_of_methods(sweep, plans, needs)]


def _of_data(splits: Splits) -> Iterator[str]:
    memorized = "memorized answers count as learned there"
    for name, held_out, of, means in (
        ("test", splits.test, "train", memorized),
        ("validation", splits.validation, "train", memorized),
        ("test", splits.test, "validation", "the search has already selected on them"),
    ):
        n = splits.counts.get(f"{name}_prompts_in_{of}", 0)
        if n:
            yield (
                f"{n:,} prompts of the {name} split ({len(held_out):,} examples) are also in {of}: "
                f"{means}"
            )
    n = splits.counts.get("replay_documents_dealt_from_general", 0)
    if n:
        measured = splits.counts["general_documents"], splits.counts["general_test_documents"]
        yield (
            f"data.replay is data.general: {n:,} of its documents are replayed, "
            f"{measured[0]:,} others measure search trials, and {measured[1]:,} measure finalists"
        )
    for split in ("train", "validation", "test"):
        for what, words in _COUNTED.items():
            n = splits.counts.get(f"{split}_{what}", 0)
            if n:
                yield f"{n:,} {words.format(split)}"


def _of_sizes(sweep: SweepConfig, plans: Sequence[MethodPlan], splits: Splits) -> Iterator[str]:
    training, n = plans[0].trial({}).training, len(splits.train)
    effective = training.batch_size * training.gradient_accumulation_steps
    if effective > n:
        yield (
            f"a step has {effective:,} sequences and train {n:,} examples: every step is a whole epoch "
            "(training.batch_size, training.gradient_accumulation_steps)"
        )
    of = "test" if sweep.confirm.finalists else "validation"
    items = len(getattr(splits, of))
    if items < FEWEST_ITEMS:
        yield (
            f"nothing will be recommended: that takes {FEWEST_ITEMS} {of} examples, and there are "
            f"{items:,} (data.{of}, data.{of}_fraction)"
        )
    workers, cores = sweep.launcher.workers, os.cpu_count() or 1
    if sweep.launcher.name == "local" and workers is not None and workers > cores:
        yield f"launcher.workers={workers} share {cores} cores, and each loads its own model"


def _of_methods(
    sweep: SweepConfig, plans: Sequence[MethodPlan], needs: Mapping[str, MethodMemory]
) -> Iterator[str]:
    for plan in plans:
        config = plan.trial({})
        why = methods.build(config.method).cannot_merge
        if config.evaluation.merged and why is not None:
            yield f"evaluation.merged measures nothing for {plan.method}: {why}"
        seconds, limit = least_seconds(needs[plan.method]), sweep.limits.minutes
        if limit is not None and seconds is not None and seconds > 60 * limit:
            yield (
                f"limits.minutes={limit:g} is exceeded by all measured values of {plan.method}: "
                f"training takes {seconds / 60:.2g} minutes or more"
            )
