"""Problems of a configuration: limits that it breaks, and seeds with which it did not complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.language import retold, say
from harness.reporting.evidence.estimates import Estimate
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepSettings
from harness.reporting.formatting import gigabytes, score


def problems(
    sweep: SweepSettings,
    group: Sequence[FinishedTrial],
    cost: Mapping[str, float],
    forgetting: Estimate | None,
) -> tuple[str, ...]:
    """Return why a configuration cannot be chosen, in sentences; empty if it can."""
    found = []
    for row in group:
        if row.record.status in ("infeasible", "diverged"):
            found.append(
                say(
                    "{status} with seed {seed}: {reason}"
                    if row.record.reason
                    else "{status} with seed {seed}",
                    status=say(row.record.status),
                    seed=row.record.seed,
                    reason=retold(row.record.reason or ""),
                )
            )
    if not found and all(row.record.status != "complete" for row in group):
        reasons = sorted(
            {retold(row.record.reason or "") or say(row.record.status) for row in group}
        )
        found.append(say("no seed completed: {reasons}", reasons="; ".join(reasons)))
    limits = sweep.limits
    memory, parameters = cost.get("peak_memory_gb"), cost.get("trainable_parameters")
    if "peak_memory_gb" in limits and memory is not None and memory > limits["peak_memory_gb"]:
        allowed = gigabytes(limits["peak_memory_gb"])
        found.append(
            say("needs {needed}, the limit is {allowed}", needed=gigabytes(memory), allowed=allowed)
        )
    if (
        "trainable_parameters" in limits
        and parameters is not None
        and parameters > limits["trainable_parameters"]
    ):
        allowed = f"{limits['trainable_parameters']:,.0f}"
        found.append(
            say(
                "trains {parameters:,.0f} parameters, the limit is {allowed}",
                parameters=parameters,
                allowed=allowed,
            )
        )
    minutes = cost["train_seconds"] / 60 if "train_seconds" in cost else None
    if "minutes" in limits and minutes is not None and minutes > limits["minutes"]:
        found.append(
            say(
                "trains {minutes:.1f} minutes, the limit is {limit:g}",
                minutes=minutes,
                limit=limits["minutes"],
            )
        )
    if "forgetting" in limits and forgetting and forgetting.value > limits["forgetting"]:
        found.append(
            say(
                "forgets {score}, the limit is {limit:g}",
                score=score(forgetting.name, forgetting.value),
                limit=limits["forgetting"],
            )
        )
    return tuple(found)
