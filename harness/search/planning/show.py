"""Display of the plan before anything is spent: the few lines that matter, then the details."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from harness.compose.method_plan import MethodPlan
from harness.config import DataConfig, SweepConfig
from harness.config.search_space import Choice, Dimension
from harness.data.rows.splits import Splits
from harness.search.method_budget import WORDS, search_budget
from harness.search.plan_warnings import cautions
from harness.search.planning.expected_cost import confirm_trials, expected_cost, unmeasured
from harness.search.planning.needs import MeasuredConfig, MethodMemory
from harness.statistics.comparing.power import minimal_detectable_difference

IN_A_FILE = 100  # columns, where there is no terminal
ROOMY = 100  # columns that the whole table of memory needs
LABEL = 13  # columns of the words in front of a line


class Lines:
    """Prints 'label text' lines, wrapped below each other at the width of the console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = min(console.width, IN_A_FILE) if console.is_terminal else IN_A_FILE

    def __call__(self, label: str, text: str) -> None:
        lines = textwrap.wrap(
            f"{label:<{LABEL - 1}} {text}",
            self._width,
            subsequent_indent=" " * LABEL,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self._console.print("\n".join(lines), soft_wrap=True, markup=False)


def show_plan(
    sweep: SweepConfig,
    plans: Sequence[MethodPlan],
    splits: Splits,
    counts: Mapping[str, Any],
    needs: Mapping[str, MethodMemory],
    first_rates: Sequence[str],
    workers: int,
    packs: str | None,
    console: Console,
) -> None:
    """Print what will be run, what it costs, and what it can show; then how each method is searched.

    ``first_rates`` are the learning rates that methods begin with, and ``packs`` the trials that are
    trained together, in words.
    """
    say = Lines(console)
    measured = [(plan, needs[plan.method].measured) for plan in plans]
    nothing = ": nothing is run" if sweep.plan else ""
    console.print(f"\nPlan of {sweep.name}{nothing}\n", style="bold", markup=False)
    say("trials", _trials(sweep, plans))
    for label, text in expected_cost(sweep, plans, needs, workers):
        say(label, text)
    if any(each for _, each in measured):
        say("memory", _memory(measured))
    if packs is not None:
        say("packs", packs)
    objectives = ", ".join(f"{name} ({way})" for name, way in sweep.objectives.items())
    by_default = ", by default for these data" if plans[0].tree["objectives"] is None else ""
    say("objectives", f"{objectives}{by_default}")
    _say_data(plans[0], splits, counts, say)
    for words in first_rates:
        say("rate", words)
    say("search", _search_settings(sweep))
    say("power", _power(sweep, len(splits.validation), len(splits.test)))
    for method in needs.values():
        for words in method.left_out:
            say("left out", words)
    cautious = [*unmeasured(needs), *counts.get("cautions", ())]
    for words in [*cautious, *cautions(sweep, plans, splits, needs)]:
        say("caution", words)
    console.print(search_table(sweep, plans))
    if any(each for _, each in measured):
        console.print(memory_table(measured, roomy=console.width >= ROOMY))


def _trials(sweep: SweepConfig, plans: Sequence[MethodPlan]) -> str:
    """Return the numbers of trials in words, and the methods."""
    budgets = sorted({search_budget(plan, sweep) for plan in plans})
    each = f"{budgets[0]}" if len(budgets) == 1 else f"{budgets[0]} to {budgets[-1]}"
    confirmed = confirm_trials(sweep)
    then = f", then {confirmed} of its finalists with fresh seeds" if confirmed else ""
    names = ", ".join(plan.method for plan in plans)
    who = "" if len(plans) == 1 else f" each of {len(plans)} methods"
    return f"{each} to search{who} ({names}){then}"


def _memory(measured: Sequence[tuple[MethodPlan, list[MeasuredConfig]]]) -> str:
    """Return the memory of one trial, smallest and largest, beside what there is."""
    every = [one.footprint for _, each in measured for one in each]
    found = [max(one.peak_gb, one.evaluation_peak_gb) for one in every if one.micro_batch_size > 0]
    there = f"{every[0].available_gb:.1f} GB to give on {every[0].device}"
    if not found:
        return f"not measured; {there}"
    low, high = f"{min(found):.2f}", f"{max(found):.2f}"
    return f"{low if low == high else f'{low} to {high}'} GB a trial at most; {there}"


def search_table(sweep: SweepConfig, plans: Sequence[MethodPlan]) -> Table:
    """Return what each method begins with and where it searches."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    table.add_column("trials", no_wrap=True)
    table.add_column("begins with", overflow="fold")
    table.add_column("searched", overflow="fold")
    for plan in plans:
        config = plan.trial({})
        own = {k: v for k, v in config.method.items() if isinstance(v, str | int | float)}
        own.pop("name")
        defaults = {"learning_rate": config.training.learning_rate, **own}
        searched = "\n".join(_range(key, dimension) for key, dimension in plan.space.items())
        table.add_row(
            plan.method,
            f"{search_budget(plan, sweep)} + {confirm_trials(sweep)}",
            "\n".join(f"{key} {value}" for key, value in list(defaults.items())[:4]),
            searched or "nothing: one configuration",
        )
    return table


def _range(key: str, dimension: Dimension) -> str:
    """Return a searched key with its values: 'r 2, 4, 8' or 'learning_rate 0.0001 to 0.01, log'."""
    name = key.rpartition(".")[2]
    if isinstance(dimension, Choice):
        return f"{name} {', '.join(str(value) for value in dimension.values)}"
    log = ", log" if dimension.log else ""
    return f"{name} {dimension.low:g} to {dimension.high:g}{log}"


def memory_table(
    measured: Sequence[tuple[MethodPlan, list[MeasuredConfig]]], roomy: bool = True
) -> Table:
    """Return the memory of a step of each method in MB, and its duration; its parts where ``roomy``."""
    every = [one.footprint for _, each in measured for one in each]
    first = next((one for one in every if one.unmeasured is None), every[0])
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"a few steps of each, measured on {first.device} ({first.available_gb:.1f} GB to give)",
        caption_justify="left",
        caption="MB of tensors at the most of a step with the longest sequences. In all: on a GPU what "
        "torch had allocated, on a CPU the whole process. A trial: training, and an evaluation whose "
        "answers are all as long as they may be.",
    )
    parts = ("weights", "gradients", "optimizer", "activations") if roomy else ("activations",)
    table.add_column("method", overflow="fold")
    for header in (*parts, "in all", "a step", "a trial"):
        table.add_column(header, justify="right", no_wrap=True)
    for plan, each in measured:
        if each:
            table.add_row(plan.method, style="bold")
        for one in each:
            found, mb = one.footprint, "{:,.1f}".format
            values = "\n".join(f"{k.rpartition('.')[2]}={v}" for k, v in one.values.items())
            asked = plan.trial(one.values).training.batch_size
            halved = 0 < found.micro_batch_size < asked
            note = f"\nin micro-batches of {found.micro_batch_size}" if halved else ""
            if found.evaluation_peak_gb > found.peak_gb:
                note += f"\nevaluation: {mb(1000 * found.evaluation_peak_gb)} MB"
            known = found.micro_batch_size > 0
            table.add_row(
                f"{values or 'as configured'}{note}",
                *(mb(1000 * getattr(found, f"{part}_gb")) if known else "–" for part in parts),
                f"{mb(1000 * found.peak_gb)}{'' if one.too_large is None else ' too large'}",
                _duration(found.step_seconds) if known else "–",
                _duration(found.trial_seconds) if known else "–",
            )
    return table


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def held_out(splits: Splits, data: DataConfig) -> str:
    """Describe the examples of validation and test, and what a limit left out of them."""
    said = []
    for name, limit in (("validation", data.validation_limit), ("test", data.test_limit)):
        n, left_out = len(getattr(splits, name)), splits.counts.get(f"{name}_left_out_by_limit", 0)
        words = f"{n:,}{' examples' if name == 'validation' else ''}"
        if left_out:
            words += f", a random sample of {n + left_out:,} (data.{name}_limit={limit})"
        said.append(words)
    return f"{said[0]}; test {said[1]}"


def _say_data(plan: MethodPlan, splits: Splits, counts: Mapping[str, Any], say: Lines) -> None:
    train, first = counts["train"], plan.trial({})
    training = first.training
    steps = training.max_steps or f"{training.epochs:g} epochs"
    effective = training.batch_size * training.gradient_accumulation_steps
    say("base", f"{first.model.name}, {counts['parameters']:,} parameters")
    say(
        "train",
        f"{len(splits.train):,} examples, {train['n_sequences']:,} sequences, "
        f"{train['tokens']:,} tokens; steps: {steps} of {effective} sequences",
    )
    say("validation", held_out(splits, first.data))
    documents, domains = sum(map(len, splits.general.values())), len(splits.general)
    in_domains = f"{domains} domain{'s' if domains != 1 else ''}"
    left_out = splits.counts.get("general_documents_left_out_by_limit", 0)
    sampled = f", a random sample of {documents + left_out:,} (data.general_limit)" * bool(left_out)
    say(
        "general",
        f"{documents:,} documents in {in_domains}{sampled}, on which forgetting is measured",
    )
    too_long = train["n_too_long"]
    if too_long:
        say(
            "too long",
            f"{too_long:,} sequences exceed data.max_length={first.data.max_length} "
            f"(the longest has {train['longest_tokens']:,} tokens); policy: {train['too_long']}",
        )
    written = counts["written"]
    begin = written.get("texts_begin_with")
    if begin is not None:
        say("texts", f"begin with {begin or 'nothing'}, as the tokenizer writes them")
    if written.get("hint"):
        say("prompts", str(written["hint"]))
    as_text = train.get("values_with_special_tokens_as_text")
    if as_text:
        say("as text", f"{as_text:,} values hold the characters of a special token")
    for words in counts.get("answers", []):
        say("answers", words)
    for measured, reason in counts.get("without", {}).items():
        say("metric", f"{measured} {reason}")
    for task, reason in counts.get("missing_tasks", {}).items():
        say("task", f"{task} will be missing: {reason}")


def _search_settings(sweep: SweepConfig) -> str:
    """Return sampler, pruner, early stop and what else ends the search of a method."""
    limits = [f"{name} {limit:g}" for name in WORDS if (limit := getattr(sweep.search, name))]
    at_most = f"; at most, a method: {', '.join(limits)}" if limits else ""
    return (
        f"{sweep.search.sampler}, pruning: {sweep.search.pruner}, early stop: "
        f"{sweep.search.stop}{at_most}"
    )


def _power(sweep: SweepConfig, validation: int, test: int) -> str:
    """Describe the smallest differences that items and seeds can show. The SD over seeds is unknown."""
    found = minimal_detectable_difference(1.0)  # in standard errors of a difference
    confirmed = sweep.confirm.finalists > 0
    n, split = (test, "test") if confirmed else (validation, "validation")
    points = 100 * found * (0.5 / max(n, 1)) ** 0.5  # two shares near one half, √(2 · 0.25/n)
    items = (
        f"{n} {split} items alone tell shares of right answers apart that differ by {points:.0f} "
        "points or more (80 % power, 5 % level; on the same items usually less)"
        if points < 100
        else f"{n} {split} items are too few to tell any two shares of right answers apart"
    )
    seeds = sweep.confirm.seeds
    if not confirmed or seeds < 2:
        return f"{items}; with one seed a candidate no difference between methods is tested"
    spread = found * (2 / seeds) ** 0.5
    return (
        f"{items}; {seeds} seeds alone tell scores apart that differ by {spread:.1f} times the SD "
        "between seeds, which no number of items lessens"
    )
