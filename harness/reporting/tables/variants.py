"""Tables of variants of one method: the settings that differ, and the results."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.language import say, say_each
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.families import family
from harness.reporting.evidence.folders.run_folder import SweepRecords, settings_of
from harness.reporting.evidence.ranking import second_measurements
from harness.reporting.table import Cell, Table
from harness.reporting.tables.leaderboard import interval_text
from harness.statistics.measurements.names import VALIDATION_LOSS, VALIDATION_PERPLEXITY

LEAST = 2  # fewest variants for a comparison


def variant_tables(run: SweepRecords, candidates: CandidateSet) -> list[tuple[str, Table]]:
    """Build a table for each method of which the sweep tuned several variants."""
    labels: dict[str, dict[str, list[Candidate]]] = {}
    for candidate in candidates.members:
        if candidate.rows:
            of = labels.setdefault(family(candidate.rows[0].record), {})
            of.setdefault(candidate.method, []).append(candidate)
    found = []
    for name, by_label in labels.items():
        if len(by_label) < LEAST:
            continue
        shown = [
            _best(by_label[label], candidates) for label in run.sweep.methods if label in by_label
        ]
        tables = [_by_variant(run, candidates, shown), _across(candidates, shown)]
        titles = [say("Variants of {name}", name=name), say("{name}, side by side", name=name)]
        found += [(t, table) for t, table in zip(titles, tables, strict=True) if table.rows]
    return found


def _best(finalists: Sequence[Candidate], candidates: CandidateSet) -> Candidate:
    """Return the best finalist of a variant by the quality that orders the leader board."""
    sign = 1 if candidates.maximize else -1
    return max(finalists, key=lambda c: -math.inf if c.quality is None else sign * c.quality.value)


def _by_variant(run: SweepRecords, candidates: CandidateSet, shown: Sequence[Candidate]) -> Table:
    """Build a row for each variant, as in LoRA's Table 18: settings, then loss, scores and size."""
    varied = _varied(shown)
    extra = second_measurements(candidates)
    headers = [say("Variant"), *(path.split(".", 1)[1] for path in varied), say("Learning rate")]
    headers += [say("Validation loss"), f.title(candidates.quality), *map(f.title, extra)]
    if candidates.forgetting:
        headers.append(
            f"{f.title(candidates.forgetting)}, {f.unit(candidates.forgetting)}".rstrip(", ")
        )
    headers += [*say_each("Trainable", "Seeds")]
    rows = []
    for candidate in shown:
        values = settings_of(candidate.rows[0].record)
        cells = [Cell(candidate.method, "method")]
        cells += [Cell(f.setting(values.get(path)), "number") for path in varied]
        rate = values.get("training.learning_rate")
        cells.append(Cell(f.setting(rate), "number"))
        cells.append(Cell(_validation_loss(run, candidate), "number"))
        cells.append(Cell(interval_text(candidate.quality), "number"))
        cells += [Cell(interval_text(candidate.estimates.get(name)), "number") for name in extra]
        if candidates.forgetting:
            cells.append(Cell(interval_text(candidate.forgetting), "number"))
        cells.append(Cell(f.count(candidate.cost.get("trainable_parameters")), "number"))
        cells.append(Cell(str(len(candidate.rows)), "number"))
        rows.append(tuple(cells))
    note = say(
        "Each variant was tuned separately with the same budget, and its best finalist "
        "is shown. The validation loss is that of the search trial that selected it, "
        "in nats per label token (for a classifier, per text)."
    )
    return Table(tuple(headers), tuple(rows), note)


def _across(candidates: CandidateSet, shown: Sequence[Candidate]) -> Table:
    """Build a column for each variant, as in LoRA's Table 6. Needs one differing setting."""
    varied = _varied(shown)
    if len(varied) != 1:
        return Table((), ())
    values = [settings_of(candidate.rows[0].record)[varied[0]] for candidate in shown]
    name = varied[0].split(".", 1)[1]
    headers = ("", *(f"{name}={f.setting(value)}" for value in values))
    rows = [
        (
            Cell(f.title(candidates.quality)),
            *(Cell(interval_text(c.quality), "number") for c in shown),
        )
    ]
    if candidates.forgetting:
        cells = (Cell(interval_text(c.forgetting), "number") for c in shown)
        rows.append((Cell(f.title(candidates.forgetting)), *cells))
    return Table(headers, tuple(rows))


def _varied(shown: Sequence[Candidate]) -> list[str]:
    """Return the settings that differ between variants and were not searched."""
    searched = {key for c in shown for key in c.rows[0].record.provenance.get("search_space", {})}
    configs = [settings_of(candidate.rows[0].record) for candidate in shown]
    paths = dict.fromkeys(path for config in configs for path in config)
    return [
        path
        for path in paths
        if path.startswith(("method.", "training.", "retention.", "model."))
        and path not in {*searched, "training.learning_rate", "method.name"}
        and len({str(config.get(path)) for config in configs}) > 1
    ]


def _validation_loss(run: SweepRecords, candidate: Candidate) -> str:
    """Return the validation loss of the trial that made this configuration a finalist.

    For a language model it is the ln of the perplexity.
    """
    for row in run.rows:
        record = row.record
        same = record.configuration == candidate.configuration and record.stage != "confirm"
        perplexity, loss = record.value(VALIDATION_PERPLEXITY), record.value(VALIDATION_LOSS)
        if same and record.method == candidate.method and (perplexity or loss is not None):
            return f"{math.log(perplexity) if perplexity else loss:.3f}"
    return f.MISSING
