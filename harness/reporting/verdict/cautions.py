"""Cautions that a reader should know before acting on the recommendation."""

from __future__ import annotations

from collections.abc import Sequence

from harness.language import counted, say
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.comparable import how_measured
from harness.reporting.evidence.folders.run_folder import FinishedTrial, SweepRecords
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.measured_cautions import (
    answer_cautions,
    overlap_cautions,
    retention_cautions,
    search_cautions,
    written_cautions,
)
from harness.statistics.measurements.definitions import kind_of
from harness.statistics.measurements.names import DRIFT_KL

STEADY = 0.8  # share of redraws with the same choice, below which a caution is shown


def cautions(run: SweepRecords, candidates: CandidateSet, decision: Decision) -> list[str]:
    """Return the cautions as sentences, the most important first. Each names its evidence."""
    found = []
    if not candidates.confirmed:
        found.append(
            say(
                "No finalist was confirmed with new seeds on the test split. These are "
                "validation scores of trials that were selected by them, so they are "
                "optimistic."
            )
        )
    found += _how_sure(decision, candidates)
    found += overlap_cautions(run)
    found += retention_cautions(candidates)
    found += written_cautions(run)
    found += answer_cautions(candidates)
    found += search_cautions(run, candidates, decision.chosen)
    for candidate in candidates.members:
        failed = [r for r in candidate.other_rows if r.record.status == "failed"]
        if failed and candidate.rows:
            found.append(
                say(
                    "{label}: {n} of {asked} seeds failed and are left out of its numbers.",
                    label=candidate.label,
                    n=len(failed),
                    asked=len(candidate.rows) + len(failed),
                )
            )
    if decision.chosen is not None:
        found += _left_out(decision.chosen)
    found += _not_comparable(candidates)
    found += _lower_bounds(candidates)
    found += _unequal_budget(run)
    found += _untested_versions(run)
    return [*found, *run.remarks, *candidates.remarks, *unfinished(run)]


def unfinished(run: SweepRecords) -> list[str]:
    if not run.unfinished:
        return []
    return [
        counted(
            run.unfinished,
            "1 trial has no record (still running, or stopped) and is left out of this report.",
            "{n} trials have no record (still running, or stopped) and are left out of this report.",
        )
    ]


def _how_sure(decision: Decision, candidates: CandidateSet) -> list[str]:
    """Return cautions about a choice that resampling does not repeat, or that was not tested."""
    if decision.chosen is None:
        return []
    found = []
    if decision.stability is not None and decision.stability < STEADY:
        others = [choice for choice in decision.choices if choice[0] != decision.chosen.label]
        often, share = others[0]
        found.append(
            say(
                "The choice is not stable: when items and seeds are resampled, the rule "
                "repeats it in {percent:.0f} % of the draws and gives {often} in "
                "{share_percent:.0f} %.",
                percent=100 * decision.stability,
                often=often,
                share_percent=100 * share,
            )
        )
    if candidates.confirmed and len(decision.standings) > 1 and not decision.tested:
        found.append(
            say(
                "The choice rests on one seed. The spread between seeds is unknown, so "
                "differences between the candidates are untested."
            )
        )
    elif candidates.confirmed and len(decision.chosen.rows) == 1:
        found.append(say("The choice rests on one seed. The spread between seeds is unknown."))
    if (
        decision.standing(decision.chosen).better_than_base is None
        and candidates.quality in decision.chosen.base
    ):
        found.append(
            say("The gain from fine-tuning is untested, because the error of its score is unknown.")
        )
    return found


def _left_out(chosen: Candidate) -> list[str]:
    """Return a caution about stacked matrices, such as a mixture's experts, that were not adapted."""
    adapted = chosen.rows[0].record.provenance.get("adapted") if chosen.rows else None
    if not isinstance(adapted, dict) or not adapted.get("layers"):
        return []
    if not adapted.get("stacked_share"):
        return []
    return [
        say(
            "{label} adapts layers that hold {percent:.0f} % of the base's weights: "
            "{stacked_percent:.0f} % lie in stacked matrices, such as a mixture's experts, "
            "and were neither adapted nor quantized.",
            label=chosen.label,
            percent=100 * adapted["adapted_share"],
            stacked_percent=100 * adapted["stacked_share"],
        )
    ]


def _not_comparable(candidates: CandidateSet) -> list[str]:
    found = []
    for name in filter(None, (candidates.quality, candidates.forgetting)):
        signatures = {
            how_measured(row.record.measurements[name])
            for candidate in candidates.members
            for row in candidate.rows
            if name in row.record.measurements
        }
        if len(signatures) > 1:
            found.append(
                say(
                    "{name} was measured in {n} different ways, so its values cannot be compared: "
                    "{ways}.",
                    name=name,
                    n=len(signatures),
                    ways="; ".join(sorted(signatures)),
                )
            )
    rows = [row for candidate in candidates.members for row in candidate.rows]
    found += _several_models(candidates, rows)
    prints = {str(p) for row in rows if (p := data_fingerprint(row)) is not None}
    if len(prints) > 1:
        found.append(say("The finalists saw {n} different versions of the data.", n=len(prints)))
    return found


def _lower_bounds(candidates: CandidateSet) -> list[str]:
    """Return a caution for a KL computed from the base's top tokens and the sum of the rest."""
    rows = [row for candidate in candidates.members for row in candidate.rows]
    found = {
        (name, one.signature.split("|")[1])
        for row in rows
        for name, one in row.record.measurements.items()
        if "(a lower bound)" in one.signature and name in (candidates.forgetting, DRIFT_KL)
    }
    return [
        say(
            "{name} is a lower bound ({form}). The true value is higher, by a few percent "
            "on a model of the hub. Raise evaluation.cache_gb to keep the full vocabulary "
            "in memory.",
            name=f.title(name),
            form=form,
        )
        for name, form in sorted(found)
    ]


def _several_models(candidates: CandidateSet, rows: Sequence[FinishedTrial]) -> list[str]:
    """Return cautions about variants that started from different models."""
    tokens: dict[str, int] = {}  # model → tokens of the training data, which is the same for all
    for row in rows:
        name = str(row.record.config.get("model", {}).get("name"))
        counts = row.record.provenance.get("data", {}).get("tokens")
        tokens.setdefault(name, counts.get("tokens", 0) if isinstance(counts, dict) else 0)
    if len(tokens) < 2:
        return []
    found = [
        say(
            "The candidates started from {n} models ({tokens}). Forgetting is the distance "
            "of each from its own base.",
            n=len(tokens),
            tokens=", ".join(tokens),
        )
    ]
    if len(set(tokens.values())) > 1 and kind_of(candidates.quality) == "perplexity":
        found.append(
            say(
                "These models split the same text into different tokens, so {quality} cannot "
                "be compared between them. Use bits per byte instead: "
                "objectives={{validation.bits_per_byte: minimize}}.",
                quality=f.title(candidates.quality),
            )
        )
    return found


def _unequal_budget(run: SweepRecords) -> list[str]:
    counts = {
        method: sum(r.record.stage == "search" and r.record.method == method for r in run.rows)
        for method in run.sweep.methods
    }
    if len(set(counts.values())) <= 1:
        return []
    text = ", ".join(f"{method} {n}" for method, n in counts.items())
    return [say("The methods did not have the same number of search trials: {text}.", text=text)]


def _untested_versions(run: SweepRecords) -> list[str]:
    found = (row.record.provenance.get("untested_versions") or () for row in run.rows)
    versions = sorted({str(version) for some in found for version in some})
    if not versions:
        return []
    return [
        say(
            "Trials ran on library versions that this tool was not tested with: {versions}.",
            versions=", ".join(versions),
        )
    ]


def data_fingerprint(row: FinishedTrial) -> object:
    data = row.record.provenance.get("data")
    return data.get("fingerprint") if isinstance(data, dict) else None
