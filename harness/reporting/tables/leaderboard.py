"""Leader board and cost tables as values, so that all formats write the same cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.language import say, say_each
from harness.reporting import formatting as f
from harness.reporting.evidence.base_scores import base_name
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.estimates import Estimate
from harness.reporting.evidence.ranking import ranked, second_measurements
from harness.reporting.evidence.task_results import task_results
from harness.reporting.table import Cell, Table
from harness.reporting.verdict.contest import UNTESTED, tie_letters
from harness.statistics.measurements.names import FORGETTING_TASKS


def interval_text(estimate: Estimate | None) -> str:
    if estimate is None:
        return f.MISSING
    return f.with_interval(estimate.name, estimate.value, estimate.low, estimate.high)


def leaderboard(candidates: CandidateSet, chosen: Candidate | None) -> Table:
    """Build one row for each candidate, with the untouched base last."""
    letters = tie_letters(candidates.members, candidates)
    forgetting = candidates.forgetting
    order = ranked(candidates)
    extra = [
        name for name in second_measurements(candidates) if any(name in c.estimates for c in order)
    ]
    tasks = any(FORGETTING_TASKS in c.estimates for c in order)
    headers = [
        "",
        *say_each("Method", "Configuration", "Seeds"),
        f.title(candidates.quality),
        say("Tied"),
    ]
    headers += [f.title(name) for name in extra]
    if forgetting:
        headers.append(f"{f.title(forgetting)}, {f.unit(forgetting)}".rstrip(", "))
    if tasks:
        headers.append(say("Other tasks, points"))
    headers += [*say_each("Trainable", "Peak memory", "Training")]
    rows = []
    for place, candidate in enumerate(order, 1):
        cells = [
            Cell(str(place) if candidate.feasible else f.MISSING, "quiet"),
            Cell(candidate.method, "method"),
            Cell(f.settings(candidate.settings) or "defaults"),
            Cell(_seed_count(candidate), "number"),
            Cell(interval_text(candidate.quality), "number"),
            Cell(_tied(candidate, letters)),
        ]
        cells += [Cell(interval_text(candidate.estimates.get(name)), "number") for name in extra]
        if forgetting:
            cells.append(Cell(interval_text(candidate.forgetting), "number"))
        if tasks:
            cells.append(Cell(tasks_text(candidate), "number"))
        cells += [
            Cell(f.count(candidate.cost.get("trainable_parameters")), "number"),
            Cell(f.gigabytes(candidate.cost.get("peak_memory_gb")), "number"),
            Cell(f.duration(candidate.cost.get("train_seconds")), "number"),
        ]
        rows.append(tuple(cells))
    rows += _base_rows(order, candidates, headers, extra, bool(forgetting) + bool(tasks))
    return Table(
        headers=tuple(headers),
        rows=tuple(rows),
        note=(
            say(
                "Brackets are 95 % intervals over examples and seeds. Rows that share no "
                "letter differ significantly in quality. Rows that share a letter do not, "
                "which does not show that they are equal. Untested: one seed each. A minus "
                "sign before points means worse than the base."
            )
        ),
        marked=order.index(chosen) if chosen in order else None,
    )


def _base_rows(order: Sequence[Candidate], candidates: CandidateSet, headers, extra, zeros: int):
    """Build the rows of the untouched base: one for each way of loading it (quantized or not)."""
    bases: dict[float, list[Candidate]] = {}
    for candidate in order:
        if candidates.quality in candidate.base:
            bases.setdefault(candidate.base[candidates.quality].value, []).append(candidate)
    for group in bases.values():
        label = base_name(candidates.quality)
        if len(bases) > 1:
            label = say(
                "base of {methods}", methods=", ".join(dict.fromkeys(c.method for c in group))
            )
        cells = [Cell(""), Cell(label, "quiet"), Cell(""), Cell(f.MISSING, "number")]
        base = group[0].base
        for name in (candidates.quality, *extra):
            cells.append(Cell(f.measured(name, base.get(name)), "number"))
            if name == candidates.quality:
                cells.append(Cell(f.MISSING))
        cells += [Cell(say("0 by definition"), "number")] * zeros
        yield tuple(cells + [Cell(f.MISSING, "number")] * (len(headers) - len(cells)))


def _tied(candidate: Candidate, letters: Mapping[str, str]) -> str:
    """Describe the tie of a candidate in quality: 'ab', or the reason why it has no letters."""
    if candidate.label in letters:
        return say(UNTESTED) if letters[candidate.label] == UNTESTED else letters[candidate.label]
    return say("not eligible") if candidate.problems else f.MISSING


def _seed_count(candidate: Candidate) -> str:
    done, asked = len(candidate.rows), len(candidate.rows) + len(candidate.other_rows)
    return str(done) if done == asked else say("{done} of {asked}", done=done, asked=asked)


def tasks_text(candidate: Candidate) -> str:
    """Describe the change on other tasks: '−1.2 [−2.0, −0.4], p = 0.01'."""
    estimate = candidate.estimates.get(FORGETTING_TASKS)
    if estimate is None:
        return f.MISSING
    text = f.with_interval(estimate.name, estimate.value, estimate.low, estimate.high, sign=True)
    result = task_results(candidate).get(FORGETTING_TASKS)
    return text if result is None else f"{text}, {f.equals_p(result.p_value)}"


def cost_table(candidates: CandidateSet, chosen: Candidate | None) -> Table:
    order = ranked(candidates)
    at_rate = any("percent_at_rate" in candidate.cost for candidate in order)
    headers = say_each("Method", "Configuration", "Trainable", "of all")
    headers += say_each("of these near the rate") * at_rate
    evaluated = any("evaluation_peak_memory_gb" in candidate.cost for candidate in order)
    headers += say_each("Adapter file", "Peak memory")
    headers += say_each("Peak in evaluation") * evaluated
    headers += say_each(
        "Training", "Evaluation", "Overhead", "Train tokens/s", "Generated tokens/s"
    )
    with_energy = any("energy_kwh" in candidate.cost for candidate in order)
    headers += say_each("Energy, kWh") * with_energy
    rows = []
    for candidate in order:
        cost = candidate.cost
        trainable, total = cost.get("trainable_parameters"), cost.get("total_parameters")
        share = f.MISSING
        if trainable is not None and total:
            share = f.percent(100 * trainable / total)
        final = cost.get("trainable_parameters_final")
        shown = f.count(trainable)
        if final is not None and final != trainable:
            shown += f" → {f.count(final)}"
        values = [
            shown,
            share,
            *[f.percent(cost.get("percent_at_rate"))] * at_rate,
            f.file_size(cost.get("adapter_bytes")),
            f.gigabytes(cost.get("peak_memory_gb")),
            *(f.gigabytes(cost.get("evaluation_peak_memory_gb")),) * evaluated,
            f.duration(cost.get("train_seconds")),
            f.duration(cost.get("evaluation_seconds")),
            f.duration(cost.get("overhead_seconds")),
            f.number(cost.get("tokens_per_second"), 0),
            f.number(cost.get("generation_tokens_per_second"), 0),
        ]
        values += [f.number(cost.get("energy_kwh"), 4)] * with_energy
        own = f.settings(candidate.settings) or "defaults"
        cells = (Cell(candidate.method, "method"), Cell(own))
        rows.append(cells + tuple(Cell(value, "number") for value in values))
    marked = order.index(chosen) if chosen in order else None
    note = say(
        "Mean over seeds; for peak memory, the largest. All rows are measured in the same way."
    )
    note += (
        say(
            " Near the rate: parameters that learn at 1 % of the learning rate or more; "
            "the rest hardly moves."
        )
    ) * at_rate
    return Table(headers, tuple(rows), note, marked)


def domain_table(candidates: CandidateSet, prefix: str, chosen: Candidate | None) -> Table:
    """Build the table of forgetting by domain: one row for each candidate, shaded by size."""
    order = [c for c in ranked(candidates) if c.rows]
    known = dict.fromkeys(n for c in order for n in c.estimates if n.startswith(f"{prefix}."))
    domains = [name for name in known if not name.endswith(".worst_domain")]
    values = [c.estimates[n].value for c in order for n in domains if n in c.estimates]
    largest = max((abs(v) for v in values), default=0.0) or 1.0
    rows = []
    for candidate in order:
        cells = [Cell(candidate.method, "method"), Cell(f.settings(candidate.settings))]
        for name in domains:
            estimate = candidate.estimates.get(name)
            heat = None if estimate is None else max(0.0, estimate.value / largest)
            cells.append(Cell(interval_text(estimate), "number", heat))
        rows.append(tuple(cells))
    headers = (
        *say_each("Method", "Configuration"),
        *(name.removeprefix(f"{prefix}.") for name in domains),
    )
    marked = order.index(chosen) if chosen in order else None
    return Table(headers, tuple(rows) if domains else (), "", marked)
