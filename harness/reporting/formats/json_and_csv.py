"""Report for programs: report.json, and the leader board as CSV."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict
from typing import Any

from harness.language import language
from harness.reporting.evidence.candidates import Candidate
from harness.reporting.evidence.commands import command
from harness.reporting.evidence.estimates import Estimate
from harness.reporting.evidence.ranking import ranked
from harness.reporting.evidence.task_results import task_results
from harness.reporting.formats.content import Content
from harness.reporting.tables import afterwards
from harness.reporting.verdict.contest import tie_letters

COSTS = (
    "train_seconds",
    "evaluation_seconds",
    "overhead_seconds",
    "peak_memory_gb",
    "evaluation_peak_memory_gb",
    "tokens_per_second",
    "generation_tokens_per_second",
    "energy_kwh",
    "trainable_parameters",
    "trainable_parameters_final",
    "trainable_percent",
    "percent_at_rate",
    "total_parameters",
    "adapter_bytes",
)


def as_json(content: Content) -> dict[str, Any]:
    """Return the report as plain values; a missing number is null."""
    candidates, r = content.candidates, content.recommendation
    letters = tie_letters(candidates.members, candidates)
    sweep = content.run.sweep
    standings = r.decision.standings[1:] if r.decision else ()
    comparisons = [
        {
            "candidate": s.candidate.label,
            "best": r.decision.best.label if r.decision else None,
            "measurement": candidates.quality,
            "shortfall": _finite(s.shortfall),
            "better_than_base": s.better_than_base,
            "tested": r.decision.tested if r.decision else False,
            **_finite(asdict(s.difference)),
        }
        for s in standings
    ]
    return {
        "format": 2,
        "language": language(),
        "sweep": {
            "name": sweep.name,
            "command": sweep.command,
            "seed": sweep.seed,
            "methods": list(sweep.methods),
            "objectives": dict(sweep.objectives),
            "limits": dict(sweep.limits),
            "model": sweep.model,
            "data": sweep.data,
        },
        "recommendation": {
            "chosen": r.chosen.label if r.chosen else None,
            "method": r.chosen.method if r.chosen else None,
            "configuration": r.chosen.configuration if r.chosen else None,
            "settings": _plain(r.chosen.settings) if r.chosen else None,
            "command": content.command,
            "next_steps": [step._asdict() for step in content.next_steps],
            "stage": "confirm" if candidates.confirmed else "search",
            "decided_by": r.decision.step if r.decision else None,
            "headline": r.headline,
            "meaning": list(r.meaning),
            "reasons": list(r.reasons),
            "runners_up": [{"label": label, "why": why} for label, why in r.runners_up],
            "would_change": list(r.would_change),
            "cautions": list(r.cautions),
            "detectable_difference": r.detectable,
            "margin": r.decision.margin if r.decision else None,
            "firm": r.decision.firm if r.decision else False,
            "chance_beyond_margin": r.decision.chance_beyond if r.decision else None,
            "stability": r.decision.stability if r.decision else None,
            "choices": dict(r.decision.choices) if r.decision else {},
            "other_margins": [
                {"from": limit, "choice": candidate.label}
                for limit, candidate in (r.decision.other_margins if r.decision else ())
            ],
        },
        "quality": {"measurement": candidates.quality, "maximize": candidates.maximize},
        "forgetting": candidates.forgetting,
        "forgetting_at_quality": _finite(asdict(content.matched)) if content.matched else None,
        "comparisons": comparisons,
        "leaderboard": [_candidate(c, letters) for c in ranked(candidates)],
        "afterwards": afterwards.as_json(candidates),
        "trials": [_trial(row.record) for row in content.run.rows],
    }


def _candidate(candidate: Candidate, letters: dict[str, str]) -> dict[str, Any]:
    return {
        "label": candidate.label,
        "method": candidate.method,
        "configuration": candidate.configuration,
        "settings": _plain(candidate.settings),
        "seeds": [row.record.seed for row in candidate.rows],
        "tied": letters.get(candidate.label),
        "eligible": candidate.feasible,
        "problems": list(candidate.problems),
        "measurements": {name: _estimate(e) for name, e in candidate.estimates.items()},
        "base": {name: m.value for name, m in candidate.base.items()},
        "tasks": {name: asdict(result) for name, result in task_results(candidate).items()},
        "cost": dict(candidate.cost),
        "commands": [again for row in candidate.rows if (again := command(row.record))],
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "by_seed": list(estimate.by_seed),
    }


def _trial(record) -> dict[str, Any]:
    return {
        "method": record.method,
        "stage": record.stage,
        "trial": record.trial,
        "seed": record.seed,
        "status": record.status,
        "reason": record.reason,
        "fingerprint": record.fingerprint,
        "configuration": record.configuration,
        "measurements": {name: m.value for name, m in record.measurements.items()},
        "missing": dict(record.missing),
        "command": command(record),
    }


def _finite(value: Any) -> Any:
    """Replace numbers that are not finite by null, because JSON has none."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(values) -> dict[str, Any]:
    """Convert settings to JSON types; any other value becomes its text."""
    kept = (str, int, float, bool, type(None))
    return {path: v if isinstance(v, kept) else str(v) for path, v in values.items()}


def as_csv(content: Content) -> str:
    """Return one row per candidate with unrounded numbers, '' for a missing value."""
    candidates = content.candidates
    letters = tie_letters(candidates.members, candidates)
    names = list(dict.fromkeys(n for c in ranked(candidates) for n in c.estimates))
    headers = ["method", "label", "configuration", "seeds", "eligible", "tied"]
    for name in names:
        headers += [name, f"{name}.low", f"{name}.high"]
    headers += [*COSTS, "command"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([cell(header) for header in headers])
    for candidate in ranked(candidates):
        row: list[Any] = [
            candidate.method,
            candidate.label,
            candidate.configuration,
            len(candidate.rows),
            "yes" if candidate.feasible else "no",
            letters.get(candidate.label),
        ]
        for name in names:
            e = candidate.estimates.get(name)
            row += [None, None, None] if e is None else [e.value, e.low, e.high]
        row += [candidate.cost.get(name) for name in COSTS]
        row.append(command(candidate.rows[0].record) if candidate.rows else None)
        writer.writerow([cell(value) for value in row])
    return buffer.getvalue()


def cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets a ' in front; numbers stay numbers."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
