"""Content of a report, gathered once for the page, the Markdown and the JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from harness.data.rows.files.sources import SOURCE_OF_SUFFIX
from harness.language import counted, say
from harness.reporting import formatting as f
from harness.reporting.evidence.base_scores import base_name
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.evidence.commands import command
from harness.reporting.evidence.equal_quality import MatchedQuality, matched_quality
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.reporting.evidence.ranking import ranked
from harness.reporting.figures.explorer import explorer
from harness.reporting.figures.front_and_rank import all_figures, objective
from harness.reporting.figures.settings_explorer import settings_explorer
from harness.reporting.figures.style import Picture, palette
from harness.reporting.table import Table
from harness.reporting.tables import leaderboard, provenance_lists
from harness.reporting.tables import search as search_tables
from harness.reporting.tables.afterwards import afterwards_table, speed_table, update_table
from harness.reporting.tables.data_tables import Data, data
from harness.reporting.tables.forgetting_tables import forgetting_tables, matched_table
from harness.reporting.tables.knowledge_table import Knowledge, knowledge
from harness.reporting.tables.memory_table import memory_table
from harness.reporting.tables.outputs import AnswerExample, examples
from harness.reporting.tables.pairs import pairs_table, stability_table
from harness.reporting.tables.quantization_tables import quantization_tables
from harness.reporting.tables.searched.effects_table import effects_table
from harness.reporting.tables.searched.importance_table import importance_table
from harness.reporting.tables.split_scores import split_scores
from harness.reporting.tables.task_tables import task_scores_table, tasks_table
from harness.reporting.tables.variants import variant_tables
from harness.reporting.verdict.next_steps import NextStep, next_steps
from harness.reporting.verdict.recommendation import Recommendation, recommend
from harness.statistics.measurements.names import FORGETTING_KL, FORGETTING_NLL


@dataclass(frozen=True)
class KeyNumber:
    """One of the few numbers in the verdict box."""

    label: str
    value: str
    interval: str
    beside: str  # what to compare it with


@dataclass(frozen=True)
class Content:
    """All values of a report, not yet escaped."""

    run: SweepRecords
    candidates: CandidateSet
    recommendation: Recommendation
    command: str | None
    next_steps: list[NextStep]
    key_numbers: tuple[KeyNumber, ...]
    leaderboard: Table
    split_scores: Table
    missing: list[str]  # what could not be measured, and why
    stability: Table
    pairs: Table
    variants: tuple[tuple[str, Table], ...]
    cost: Table
    speed: Table
    memory: Table
    quantization: tuple[tuple[str, Table], ...]
    budget: Table
    effects: Table
    importance: Table  # its note alone, where trials are too few
    search: Table
    failures: Table
    data: Data
    lost: tuple[tuple[str, Table], ...]  # what was lost and gained besides the task
    matched: MatchedQuality | None  # forgetting of the search's trials at equal quality
    domains: tuple[tuple[str, Table], ...]
    tasks: Table
    task_scores: Table
    afterwards: Table
    updates: Table
    pictures: dict[str, Picture]
    explorer: dict[str, Any] | None  # values of the interactive front
    settings: dict[str, Any] | None  # values of the interactive chart of settings
    examples: tuple[AnswerExample, ...]
    knowledge: Knowledge
    commands: list[tuple[str, str]]
    seeds: list[tuple[str, str]]
    definitions: list[str]
    methodology: list[str]
    signatures: list[provenance_lists.Signature]
    facts: list[tuple[str, str]]
    warnings: list[str]
    colours: dict[str, str]  # method -> colour
    summary: str  # one line under the title


def gather(run: SweepRecords) -> Content:
    """Gather the content of a report from a run."""
    candidates = candidate_set(run)
    recommendation = recommend(run, candidates)
    chosen = recommendation.chosen
    order = ranked(candidates)
    measured = objective(run, candidates)
    matched = matched_quality(run)
    at_equal_quality = [(say("Forgetting at equal quality, in the search"), matched_table(matched))]
    domains = []
    for prefix in (FORGETTING_KL, FORGETTING_NLL):
        table = leaderboard.domain_table(candidates, prefix, chosen)
        if table.rows:
            domains.append((f"{f.title(prefix)}, {f.unit(prefix)}", table))
    return Content(
        run=run,
        candidates=candidates,
        recommendation=recommendation,
        command=command(chosen.rows[0].record) if chosen else None,
        next_steps=next_steps(run, chosen),
        key_numbers=tuple(_key_numbers(recommendation)),
        leaderboard=leaderboard.leaderboard(candidates, chosen),
        split_scores=split_scores(candidates, chosen),
        missing=provenance_lists.missing(run),
        stability=stability_table(run, candidates),
        pairs=pairs_table(run, candidates),
        variants=tuple(variant_tables(run, candidates)),
        cost=leaderboard.cost_table(candidates, chosen),
        speed=speed_table(candidates, chosen),
        memory=memory_table(run.footprints),
        quantization=tuple(quantization_tables(run, candidates)),
        budget=search_tables.budget_table(run, measured, candidates.maximize),
        effects=effects_table(run),
        importance=importance_table(run),
        search=search_tables.search_table(run, candidates),
        failures=search_tables.failures_table(run),
        data=data(run),
        lost=(*forgetting_tables(candidates, chosen), *(at_equal_quality if matched else ())),
        matched=matched,
        domains=tuple(domains),
        tasks=tasks_table(candidates),
        task_scores=task_scores_table(candidates),
        afterwards=afterwards_table(candidates, chosen),
        updates=update_table(candidates),
        pictures=all_figures(run, candidates, chosen),
        explorer=explorer(run, candidates, chosen, palette(run.sweep.methods), measured),
        settings=settings_explorer(run, palette(run.sweep.methods)),
        examples=examples(order, candidates.quality.split(".")[0]),
        knowledge=knowledge(candidates, order),
        commands=search_tables.commands(run.rows),
        seeds=[(c.label, provenance_lists.seed_values(c)) for c in order if len(c.rows) > 1],
        definitions=provenance_lists.definitions(candidates),
        methodology=provenance_lists.methodology(run, candidates),
        signatures=provenance_lists.signatures(candidates),
        facts=provenance_lists.facts(run, candidates),
        warnings=provenance_lists.warnings(run),
        colours={method: colour for method, (colour, _) in palette(run.sweep.methods).items()},
        summary=_summary(run, candidates),
    )


def _summary(run: SweepRecords, candidates: CandidateSet) -> str:
    sweep = run.sweep
    n_search = sum(row.record.stage != "confirm" for row in run.rows)
    parts = [_without_folders(part) for part in (sweep.model, sweep.data) if part]
    parts.append(counted(len(sweep.methods), "{n} method", "{n} methods"))
    parts.append(counted(n_search, "{n} search trial", "{n} search trials"))
    if candidates.confirmed:
        n_confirm = len(run.rows) - n_search
        parts.append(counted(n_confirm, "{n} confirm trial", "{n} confirm trials"))
    seconds = [s for row in run.rows if (s := search_tables.trial_seconds(row.record)) is not None]
    if seconds:
        parts.append(say("{duration} of trial time", duration=f.duration(sum(seconds))))
    return " · ".join(parts + ([sweep.created[:10]] if sweep.created else []))


def _without_folders(names: str) -> str:
    """Return local paths as their last parts. Names on the hub, OWNER/NAME, stay as they are."""
    parts = [part.strip(" '\"[]") for part in names.split(",")]
    return ", ".join(PurePath(p).name if _is_local(p) else p for p in parts)


def _is_local(path: str) -> bool:
    return path.startswith(("/", "~", ".")) or PurePath(path).suffix.lower() in SOURCE_OF_SUFFIX


def _key_numbers(recommendation: Recommendation) -> list[KeyNumber]:
    chosen = recommendation.chosen
    if chosen is None or chosen.quality is None:
        return []
    numbers = []
    for estimate in (chosen.quality, chosen.forgetting):
        if estimate is None:
            continue
        name, unit = estimate.name, f.unit(estimate.name)
        text = f.with_interval(name, estimate.value, estimate.low, estimate.high)
        value, _, interval = text.partition(" ")
        base = chosen.base.get(name)
        if estimate is chosen.forgetting:
            beside = say("untouched base: 0")
        elif base is None:
            beside = say("base not measured")
        else:
            beside = say("{of}: {score}", of=base_name(name), score=f.score(name, base.value))
        label = f.title(name) + (f", {unit}" if unit else "")
        numbers.append(KeyNumber(label, value, interval, beside))
    memory, time = chosen.cost.get("peak_memory_gb"), chosen.cost.get("train_seconds")
    parameters = chosen.cost.get("trainable_parameters")
    if memory is not None:
        beside = say(
            "{duration} of training, {count} parameters trained",
            duration=f.duration(time),
            count=f.count(parameters),
        )
        numbers.append(KeyNumber(say("peak memory"), f.gigabytes(memory), "", beside))
    elif time is not None:
        beside = say("{count} parameters trained", count=f.count(parameters))
        numbers.append(KeyNumber(say("training"), f.duration(time), "", beside))
    return numbers
