"""Finalists after training: merged, interpolated, quantized and analysed models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.language import retold, say, say_each
from harness.records import Measurement, Outcome
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.updates import (
    SPEED,
    UPDATE,
    looked_at_again,
    read_update,
    with_outcomes,
)
from harness.reporting.table import Cell, Table
from harness.statistics.measurements.names import (
    MERGED_DIFFERENCE,
    MERGED_SPEED,
    TRAINED_SPEED,
)


def afterwards_table(candidates: CandidateSet, chosen: Candidate | None) -> Table:
    """Build the table: per finalist a row as trained, then a row per outcome; the base last."""
    names = [candidates.quality] + ([candidates.forgetting] if candidates.forgetting else [])
    headers = [
        *say_each("Method", "Configuration", "Model"),
        *map(_header, names),
        *say_each("Size", "Tokens/s", "How"),
    ]
    rows: list[tuple[Cell, ...]] = []
    marked = None
    for finalist in looked_at_again(candidates):
        record = finalist.row.record
        if finalist.candidate is chosen:
            marked = len(rows)
        kept = f.file_size(record.cost.get("adapter_bytes"))
        settings = f.settings(finalist.candidate.settings) or "defaults"
        rows.append(
            (
                Cell(record.method, "method"),
                Cell(settings),
                Cell(say("as trained")),
                *_scores(record.measurements, names),
                Cell(kept, "number"),
                Cell(_speed(record.cost.get("generation_tokens_per_second")), "number"),
                Cell(say("seed {seed}; size of the trained part", seed=record.seed), "quiet"),
            )
        )
        for name, outcome in _told_apart(finalist.outcomes):
            rows.append(
                (
                    Cell(""),
                    Cell(""),
                    Cell(name),
                    *_scores(outcome.measurements, names),
                    Cell(f.file_size(outcome.bytes), "number"),
                    Cell(_speed(outcome.tokens_per_second), "number"),
                    Cell(_how(outcome), "quiet"),
                )
            )
    note = say(
        "The model of each finalist's first seed, measured again on the same texts "
        "against the same base. Interpolated α: (1 − α) of the base's weights plus α "
        "of the tuned weights. Merged, interpolated and quantized models are listed "
        "with the size of the whole model."
    )
    return Table(tuple(headers), tuple(rows), note, marked)


def _told_apart(outcomes: Mapping[str, Outcome]) -> list[tuple[str, Outcome]]:
    """Return the outcomes in order, with those missing for the same reason merged into one."""
    found: list[tuple[str, Outcome]] = []
    missing: dict[str | None, list[str]] = {}
    for name, outcome in outcomes.items():
        if name in (UPDATE, SPEED):
            continue
        if not outcome.measurements:
            missing.setdefault(outcome.note, []).append(name)
        else:
            found.append((name, outcome))
    return found + [(", ".join(names), Outcome(note=note)) for note, names in missing.items()]


def _speed(tokens_per_second: float | None) -> str:
    return f.number(tokens_per_second, 0)


def _header(name: str) -> str:
    return f"{f.title(name)}, {f.unit(name)}".rstrip(", ")


def _scores(measured: Mapping[str, Measurement], names: list[str]) -> Iterator[Cell]:
    for name in names:
        yield Cell(f.measured(name, measured.get(name)), "number")


def _how(outcome: Outcome) -> str:
    difference = outcome.measurements.get(MERGED_DIFFERENCE)
    parts = [retold(part) for part in (outcome.note or "").split("; ") if part]
    if difference is not None:
        parts.append(
            say("logits differ by at most {largest}", largest=f.setting(float(difference.value)))
        )
    return "; ".join(parts)


def speed_table(candidates: CandidateSet, chosen: Candidate | None) -> Table:
    """Build the table of generation speed: per finalist as trained, and merged where it can be."""
    headers = say_each("Method", "Configuration", "As trained, tokens/s", "Merged, tokens/s")
    headers += say_each("Merged against as trained", "Answers", "Not merged, because")
    rows, marked, device = [], None, None
    for finalist in with_outcomes(candidates):
        outcome = finalist.outcomes.get(SPEED)
        if outcome is None or TRAINED_SPEED not in outcome.measurements:
            continue
        trained = outcome.measurements[TRAINED_SPEED]
        merged = outcome.measurements.get(MERGED_SPEED)
        if finalist.candidate is chosen:
            marked = len(rows)
        device = device or finalist.row.record.provenance.get("device")
        ratio = None if merged is None else 100 * (merged.value / trained.value - 1)
        values = [
            _speed(trained.value),
            _speed(None if merged is None else merged.value),
            f.MISSING if ratio is None else f"{f.number(ratio, 0, sign=True)} %",
            str(trained.n),
        ]
        rows.append(
            (
                Cell(finalist.row.record.method, "method"),
                Cell(f.settings(finalist.candidate.settings) or "defaults"),
                *(Cell(value, "number") for value in values),
                Cell(retold(outcome.note) if outcome.note else "", "quiet"),
            )
        )
    note = say(
        "Measured on {device}, with the model of each finalist's first seed: tokens of the answers to "
        "the first batch of test prompts, at most 64 tokens each, over the seconds of the fastest of "
        "at most three passes. Other trials may have run beside it: differences of a tenth say little.",
        device=device or say("unknown"),
    )
    return Table(headers, tuple(rows), note, marked)


def update_table(candidates: CandidateSet) -> Table:
    """Build the table of weight updates: size, number of directions, and which, per finalist."""
    headers = say_each(
        "Method", "Configuration", "‖Δθ‖/‖θ‖", "Matrices", "Effective rank", "Stable rank"
    )
    headers += say_each("Amplification", "Overlap", "Intruders")
    rows = []
    for finalist in looked_at_again(candidates):
        outcome = finalist.outcomes.get(UPDATE)
        if outcome is None:
            continue
        measured = outcome.measurements
        matrices = read_update(finalist.row)
        counted = sum(m["leading"] or 0 for m in matrices)
        intruders = measured.get("update.intruders")
        moved = measured.get("update.relative_norm")
        values = [
            f.MISSING if moved is None else f"{100 * moved.value:.3g} %",
            str(len(matrices)) if matrices else f.MISSING,
            *(
                f.number(m.value if (m := measured.get(f"update.{name}")) else None, digits)
                for name, digits in (
                    ("effective_rank", 1),
                    ("stable_rank", 1),
                    ("amplification", 2),
                    ("overlap", 2),
                )
            ),
            f.MISSING
            if intruders is None
            else say("{value:,.0f} of {counted:,}", value=intruders.value, counted=counted),
        ]
        cells = (
            Cell(finalist.row.record.method, "method"),
            Cell(f.settings(finalist.candidate.settings) or "defaults"),
        )
        rows.append(cells + tuple(Cell(value, "number") for value in values))
    note = say(
        "Covers the weight matrices that changed. Ranks, amplification and overlap are "
        "medians. Effective rank is the exponential of the entropy of ΔW's singular "
        "values, stable rank ‖ΔW‖²_F/‖ΔW‖²₂. Amplification is ‖ΔW‖_F over W's norm in "
        "the same directions (LoRA, §7.3). Overlap is the share of ΔW's ten leading "
        "input directions that lies in W's ten. Intruders are leading singular vectors "
        "of the tuned matrix that resemble none of the base's (arXiv:2410.21228)."
    )
    return Table(headers, tuple(rows), note)


def as_json(candidates: CandidateSet) -> list[dict[str, Any]]:
    """Return one entry for each finalist, with the outcomes of its record."""
    return [
        {
            "label": finalist.candidate.label,
            "method": finalist.row.record.method,
            "seed": finalist.row.record.seed,
            "outcomes": {name: o.to_json() for name, o in finalist.outcomes.items()},
        }
        for finalist in with_outcomes(candidates)
    ]
