"""Tables of losses and gains outside the task: general text, instructions, answers of the base."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from harness.language import retold, say, say_each
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.equal_quality import MatchedQuality
from harness.reporting.evidence.estimates import Estimate
from harness.reporting.evidence.ranking import ranked
from harness.reporting.table import Cell, Table
from harness.reporting.tables.leaderboard import interval_text
from harness.statistics.matched_quality import AtQuality
from harness.statistics.measurements.names import (
    AGREEMENT_CHRF,
    AGREEMENT_EXACT_MATCH,
    DRIFT_KL,
    FORGETTING_INSTRUCTION_CHECKS,
    FORGETTING_INSTRUCTIONS,
    FORGETTING_KL,
    FORGETTING_NLL,
    FORGETTING_NLL_GAINED,
    FORGETTING_NLL_LOST,
    INSTRUCTIONS_PROMPTS,
    QUANTIZED_KL,
    QUANTIZED_NLL,
)
from harness.statistics.resampling import mcnemar_exact
from harness.statistics.scores import Array


def forgetting_tables(
    candidates: CandidateSet, chosen: Candidate | None
) -> list[tuple[str, Table]]:
    """Return the forgetting tables that have content."""
    order = [c for c in ranked(candidates) if c.rows]
    marked = order.index(chosen) if chosen in order else None
    made: dict[str, Callable[[list[Candidate], int | None], Table]] = {
        say("Losses and gains on general text"): _text,
        say("Instructions, and agreement with the base's answers"): _asked,
        say("Cost of quantization and of training"): _quantization,
        say("Selected step of each run"): _selected,
    }
    tables = {title: make(order, marked) for title, make in made.items()}
    return [(title, table) for title, table in tables.items() if table.rows]


def matched_table(matched: MatchedQuality | None) -> Table:
    """Build a row for each method: its forgetting at levels of quality, from its search trials."""
    if matched is None:
        return Table((), ())
    quality, forgetting = matched.quality, matched.forgetting
    at = [
        say("at {quality} {score}", quality=f.title(quality), score=f.score(quality, level))
        for level in matched.levels
    ]
    rows = []
    for method, found in matched.by_method.items():
        cells = [Cell(_at_quality(forgetting, one), "number") for one in found]
        count = Cell(str(matched.trials[method]), "number")
        rows.append((Cell(method, "method"), count, *cells))
    note = say(
        "Read a column from top to bottom: it compares the {forgetting} of methods "
        "that are equally good, where the leader board compares each at a rate of its "
        "own. The first level is within the margin of the best that every method "
        "reaches. Between two trials that no other trial of the method beats in both, "
        "values are interpolated. This is evidence of the search on validation, with "
        "one seed a trial, and not confirmed: intervals cover other items alone.",
        forgetting=f.title(forgetting),
    )
    return Table((*say_each("Method", "Trials"), *at), tuple(rows), note)


def _at_quality(name: str, found: AtQuality) -> str:
    if found.value is None:
        return say("not reached")
    if found.high is None or math.isfinite(found.high):
        return f.with_interval(name, found.value, found.low, found.high)
    value, low = f.score(name, found.value), f.score(name, found.low)
    missed = 100 * (1 - (found.reached or 0.0))
    return say(
        "{value}, at least {low}; not reached in {missed:.0f} % of resamples",
        value=value,
        low=low,
        missed=missed,
    )


def _cells(candidate: Candidate, values: Sequence[str]) -> tuple[Cell, ...]:
    own = f.settings(candidate.settings) or "defaults"
    named = (Cell(candidate.method, "method"), Cell(own))
    return named + tuple(Cell(value, "number") for value in values)


def _signed(estimate: Estimate | None) -> str:
    if estimate is None:
        return f.MISSING
    low, high = estimate.low, estimate.high
    return f.with_interval(estimate.name, estimate.value, low, high, sign=True)


def _text(order: list[Candidate], marked: int | None) -> Table:
    headers = say_each("Method", "Configuration", "NLL lost", "NLL gained", "Net (NLL rise)")
    headers += say_each("Worst domain, net", "Worst domain, KL", "Drift on the task (KL)")
    rows = []
    for candidate in order:
        found = candidate.estimates
        if FORGETTING_NLL_LOST not in found:
            continue
        values = [
            interval_text(found.get(name)) for name in (FORGETTING_NLL_LOST, FORGETTING_NLL_GAINED)
        ]
        values.append(_signed(found.get(FORGETTING_NLL)))
        values += [_worst(candidate, FORGETTING_NLL, _signed)]
        values += [_worst(candidate, FORGETTING_KL, interval_text)]
        values.append(interval_text(found.get(DRIFT_KL)))
        rows.append(_cells(candidate, values))
    note = say(
        "In nats per token. Lost: summed over documents that became harder. Gained: "
        "summed over those that became easier. Net is lost minus gained, below 0 if "
        "the text became easier overall. Noise alone makes lost and gained positive, "
        "so judge forgetting by net. The worst domain is selected after the fact, and "
        "its interval does not account for that. Drift: change of the predictions on "
        "the task's own prompts."
    )
    return Table(headers, tuple(rows), note, marked)


def _worst(candidate: Candidate, prefix: str, text: Callable[[Estimate | None], str]) -> str:
    """Describe the domain with the largest estimate: '+0.031 [0.020, 0.043], songs'."""
    domains = {
        name.removeprefix(f"{prefix}."): estimate
        for name, estimate in candidate.estimates.items()
        if name.startswith(f"{prefix}.") and not name.endswith(".worst_domain")
    }
    if not domains:
        return f.MISSING
    worst = max(domains, key=lambda domain: domains[domain].value)
    return f"{text(domains[worst])}, {worst}"


def _asked(order: list[Candidate], marked: int | None) -> Table:
    headers = say_each(
        "Method", "Configuration", "Prompts followed", "by the base", "Change, points"
    )
    headers += say_each("Gains", "Losses", "McNemar p", "Checks passed, change")
    headers += say_each("Same continuation, %", "chrF to the base's")
    rows = []
    for candidate in order:
        found = candidate.estimates
        change, same = found.get(FORGETTING_INSTRUCTIONS), found.get(AGREEMENT_EXACT_MATCH)
        if change is None and same is None:
            continue
        level, base = found.get(INSTRUCTIONS_PROMPTS), candidate.base.get(INSTRUCTIONS_PROMPTS)
        values = [_percent(level.value if level else None), _percent(base.value if base else None)]
        values.append(_signed(change))
        values += _mcnemar(candidate.items.get(FORGETTING_INSTRUCTIONS))
        values.append(_signed(found.get(FORGETTING_INSTRUCTION_CHECKS)))
        values += [interval_text(same), interval_text(found.get(AGREEMENT_CHRF))]
        rows.append(_cells(candidate, values))
    note = say(
        "A prompt is followed if a program finds every requested feature of form in "
        "the answer. Gains and losses are numbers of prompts, averaged over seeds. p "
        "is exact, the largest over seeds. The last two columns compare greedy "
        "continuations of general text by the tuned model and the base: 100 means "
        "identical. A different continuation need not be worse."
    )
    return Table(headers, tuple(rows), note, marked)


def _percent(share: float | None) -> str:
    return f.MISSING if share is None else f"{f.number(100 * share, 1)} %"


def _mcnemar(statistics: Array | None) -> list[str]:
    """Return gains, losses and p from (seeds, n, 3) columns: passed, passed by the base, 1."""
    if statistics is None:
        return [f.MISSING] * 3
    after, before = statistics[..., 0], statistics[..., 1]
    gains, losses = (after > before).sum(axis=1), (after < before).sum(axis=1)
    p = max(mcnemar_exact(int(g), int(n)) for g, n in zip(gains, losses, strict=True))
    return [f"{gains.mean():g}", f"{losses.mean():g}", f.p_value(p)]


def _quantization(order: list[Candidate], marked: int | None) -> Table:
    """Build the table from the rise of the NLL, whose two parts add up; those of a KL would not."""
    headers = say_each(
        "Method", "Configuration", "NLL rise, total", "by quantization", "by training"
    )
    headers += say_each("KL from the base", "KL from the quantized base")
    rows = []
    for candidate in order:
        found = candidate.estimates
        whole, own = found.get(FORGETTING_NLL), found.get(QUANTIZED_NLL)
        if whole is None or own is None:
            continue
        rest = f.with_interval(whole.name, whole.value - own.value, None, None, sign=True)
        values = [_signed(whole), rest, _signed(own)]
        values += [interval_text(found.get(FORGETTING_KL))]
        values += [interval_text(found.get(QUANTIZED_KL))]
        rows.append(_cells(candidate, values))
    note = say(
        "In nats per token, for methods with a quantized base. Total: against the base "
        "at the user's precision. By training: against the quantized base it started "
        "from. By quantization: the difference of the two, equal for all methods that "
        "quantize alike."
    )
    return Table(headers, tuple(rows), note, None if len(rows) < len(order) else marked)


def _selected(order: list[Candidate], marked: int | None) -> Table:
    headers = say_each("Method", "Configuration", "Step, by seed", "of", "Why")
    rows = []
    for candidate in order:
        found = [row.record.provenance for row in candidate.rows]
        chosen = [p["selected"] for p in found if p.get("selected")]
        if not chosen:
            continue
        steps = ", ".join(str(one["step"]) for one in chosen)
        why = "; ".join(dict.fromkeys(retold(str(one["why"])) for one in chosen))
        cells = _cells(candidate, (steps, str(found[0].get("steps", f.MISSING))))
        rows.append((*cells, Cell(say("{why} (by {by})", why=why, by=chosen[0]["by"]))))
    note = say(
        "Selected during training on the watched part of the validation split and of "
        "the general text. The scores are those of the selected step."
    )
    return Table(headers, tuple(rows), note, marked)
