"""Display of the plan before anything is spent: trials, memory, cost and statistical power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.data.rows.splits import Splits
from harness.launch.launcher import Launcher
from harness.records.footprint import Footprint
from harness.search.budget import WORDS, search_budget
from harness.search.cautions import cautions
from harness.search.planning.ask_worker import NoWorkerAnswered, ask
from harness.search.planning.needs import MeasuredConfig, MethodMemory, Values
from harness.search.sweep_folder import SweepFolder
from harness.search.terminal import Terminal
from harness.statistics.comparing.power import minimal_detectable_difference

KILLED = -9  # SIGKILL, which a machine without memory sends


class Measurer:
    """Lets a worker measure a few steps of configurations."""

    def __init__(self, sweep: SweepConfig, launcher: Launcher, folder: SweepFolder) -> None:
        self._sweep, self._launcher, self._folder = sweep, launcher, folder

    def __call__(self, asked: Sequence[tuple[MethodPlan, Values]]) -> list[Footprint] | None:
        """Return None if the worker exited during one of several: measure them one by one then.

        An unexpected error of one configuration is its footprint's ``unmeasured``. Raises InputError.
        """
        settings = self._sweep.launcher
        configs = [asdict(plan.trial(values)) for plan, values in asked]
        spec = {"kind": "footprints", "configs": configs, "devices": settings.devices_per_trial}
        try:
            path, retries = self._folder.path / "check", settings.retries
            answer = ask(self._launcher, path, spec, retries if len(asked) == 1 else 0)
        except NoWorkerAnswered as error:
            if len(asked) > 1:
                return None
            nothing = Footprint("this machine", 0.0, 0, 0.0)
            if error.code != KILLED:
                return [replace(nothing, unmeasured=str(error))]
            why = (
                "its process was killed in the first steps, as where a machine's memory is used up"
            )
            return [replace(nothing, infeasible=why)]
        return [Footprint(**values) for values in answer["footprints"]]


def show_plan(
    sweep: SweepConfig,
    plans: Sequence[MethodPlan],
    splits: Splits,
    counts: Mapping[str, Any],
    needs: Mapping[str, MethodMemory],
    workers: int,
    terminal: Terminal,
) -> None:
    """Print the trials of each method, the data, and the cost of everything."""
    console = Console(highlight=False)
    console.print(_trials(sweep, plans))
    measured = [(plan, needs[plan.method].measured) for plan in plans]
    if any(each for _, each in measured):
        console.print(memory_table(measured))
    for method in needs.values():
        for words in method.left_out:
            terminal.say(f"left out     {words}")
    for words in unmeasured(needs):
        terminal.say(f"caution      {words}")
    for words in expected_cost(sweep, plans, needs, workers):
        terminal.say(words)
    _about_data(sweep, plans[0], splits, counts, terminal)
    for words in cautions(sweep, plans, splits, needs):
        terminal.say(f"caution      {words}")


def _trials(sweep: SweepConfig, plans: Sequence[MethodPlan]) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"{sweep.name}: {'nothing is run, this is the plan' if sweep.plan else 'the plan'}",
        caption="Trials of the search + trials of finalists, again with fresh seeds.",
        caption_justify="left",
    )
    for header in ("method", "trials", "defaults", "searched"):
        table.add_column(header, overflow="fold")
    for plan in plans:
        config = plan.trial({})
        own = {k: v for k, v in config.method.items() if not isinstance(v, list | dict)}
        own.pop("name")
        defaults = {"learning_rate": config.training.learning_rate, **own}
        searched = "\n".join(f"{key} {dimension}" for key, dimension in plan.space.items())
        table.add_row(
            plan.method,
            f"{search_budget(plan, sweep)} + {confirm_trials(sweep)}",
            "\n".join(f"{key} {value}" for key, value in list(defaults.items())[:4]),
            searched or "nothing: one configuration",
        )
    return table


def memory_table(measured: Sequence[tuple[MethodPlan, list[MeasuredConfig]]]) -> Table:
    """Return the memory of a step of each method in MB, and its duration."""
    every = [one.footprint for _, each in measured for one in each]
    first = next((one for one in every if one.unmeasured is None), every[0])
    table = Table(
        box=SIMPLE_HEAD,
        padding=0,
        title=f"a few steps of each, measured on {first.device} ({first.available_gb:.1f} GB to give)",
        caption_justify="left",
        caption="MB of tensors at the most of a step with the longest sequences. In all: on a GPU what "
        "torch had allocated, on a CPU the whole process. A trial: training, and an evaluation whose "
        "answers are all as long as they may be.",
    )
    headers = ("weights", "gradients", "optimizer", "activations", "in all", "a step", "a trial")
    table.add_column("method", overflow="fold")  # values below it: 80 columns have no room beside
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for plan, each in measured:
        if each:
            table.add_row(plan.method, style="bold")
        for one in each:
            found, mb = one.footprint, "{:,.1f}".format
            parts = (found.weights_gb, found.gradients_gb, found.optimizer_gb, found.activations_gb)
            values = "\n".join(f"{k.rpartition('.')[2]}={v}" for k, v in one.values.items())
            asked = plan.trial(one.values).training.batch_size
            halved = 0 < found.micro_batch_size < asked
            note = f"\nin micro-batches of {found.micro_batch_size}" if halved else ""
            if found.evaluation_peak_gb > found.peak_gb:
                note += f"\nevaluation: {mb(1000 * found.evaluation_peak_gb)} MB"
            known = found.micro_batch_size > 0
            table.add_row(
                f"{values or 'as configured'}{note}",
                *(mb(1000 * part) if known else "–" for part in parts),
                f"{mb(1000 * found.peak_gb)}{'' if one.too_large is None else ' too large'}",
                _duration(found.step_seconds) if known else "–",
                _duration(found.trial_seconds) if known else "–",
            )
    return table


def unmeasured(needs: Mapping[str, MethodMemory]) -> list[str]:
    """Return a sentence for each method whose steps ended in an error; its trials are run anyway."""
    return [
        f"{method}: its cost is not known, as a measured step failed: {errors[0]}"
        for method, each in needs.items()
        if (errors := [m.footprint.unmeasured for m in each.measured if m.footprint.unmeasured])
    ]


def expected_cost(
    sweep: SweepConfig, plans: Sequence[MethodPlan], needs: Mapping[str, MethodMemory], workers: int
) -> list[str]:
    """Return time, device-hours, energy and price of the sweep, from each method as configured."""
    seconds = training = joules = 0.0
    without = [plan.method for plan in plans if not _is_timed(needs[plan.method])]
    devices = sweep.launcher.devices_per_trial
    for plan in plans:
        method = needs[plan.method]
        if plan.method in without:
            continue
        found = method.measured[0].footprint
        n = 0 if method.none_fits else search_budget(plan, sweep) + confirm_trials(sweep)
        seconds += n * found.trial_seconds
        training += n * found.step_seconds * found.total_steps
        if found.watts is None:
            joules = float("nan")
        joules += n * found.trial_seconds * devices * (found.watts or 0.0)
    if len(without) == len(plans):
        return []
    hours = seconds * devices / 3600
    said = [
        f"time         about {_duration(training / max(1, workers))} of training and at most "
        f"{_duration((seconds - training) / max(1, workers))} of evaluation with {workers} "
        f"worker{'s' if workers != 1 else ''}, {hours:.2g} device-hours, at the speed of these steps"
    ]
    found = [one for plan in plans for one in needs[plan.method].measured]
    fitting = [one.footprint for one in found if one.too_large is None and one.footprint.needed_gb]
    most = min((int(each.available_gb // each.needed_gb) for each in fitting), default=0)
    if most > 1 and fitting[0].device != "cpu":  # there cores are the scarce resource
        said.append(
            f"room         for {most} workers on each device, by these steps (launcher.workers)"
        )
    if joules == joules:  # every method's device reported energy
        said.append(
            f"energy       about {joules / 3.6e6:.2g} kWh at the power of the measured steps"
        )
    price = sweep.launcher.price_per_hour
    if price is not None:
        said.append(f"price        about {hours * price:.2f} at {price:g} a device-hour")
    return said


def _is_timed(method: MethodMemory) -> bool:
    """Return whether the configured values of a method were measured."""
    return bool(method.measured) and method.measured[0].footprint.unmeasured is None


def confirm_trials(sweep: SweepConfig) -> int:
    """Return the number of confirmation trials of one method."""
    return sweep.confirm.finalists * sweep.confirm.seeds


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _about_data(
    sweep: SweepConfig,
    plan: MethodPlan,
    splits: Splits,
    counts: Mapping[str, Any],
    terminal: Terminal,
) -> None:
    train, first = counts["train"], plan.trial({})
    training = first.training
    steps = training.max_steps or f"{training.epochs:g} epochs"
    effective = training.batch_size * training.gradient_accumulation_steps
    n = len(splits.validation)
    terminal.say(f"base         {first.model.name}, {counts['parameters']:,} parameters")
    terminal.say(
        f"train        {len(splits.train):,} examples, {train['n_sequences']:,} sequences, "
        f"{train['tokens']:,} tokens; steps: {steps} of {effective} sequences"
    )
    too_long = train["n_too_long"]
    if too_long:
        terminal.say(
            f"too long     {too_long:,} sequences exceed data.max_length={first.data.max_length} "
            f"(the longest has {train['longest_tokens']:,} tokens); policy: {train['too_long']}"
        )
    written = counts["written"]
    begin = written.get("texts_begin_with")
    if begin is not None:
        terminal.say(f"texts        begin with {begin or 'nothing'}, as the tokenizer writes them")
    if written.get("hint"):
        terminal.say(f"prompts      {written['hint']}")
    as_text = train.get("values_with_special_tokens_as_text")
    if as_text:
        terminal.say(f"as text      {as_text:,} values hold the characters of a special token")
    terminal.say(f"validation   {n:,} examples; test {len(splits.test):,}")
    documents = sum(map(len, splits.general.values()))
    domains = len(splits.general)
    in_domains = f"{domains} domain{'s' if domains != 1 else ''}"
    terminal.say(f"general      {documents:,} documents in {in_domains}")
    for about in counts.get("answers", []):
        terminal.say(f"answers      {about}")
    for measured, reason in counts.get("without", {}).items():
        terminal.say(f"metric       {measured} {reason}")
    for words in counts.get("cautions", ()):
        terminal.say(f"caution      {words}")
    for task, reason in counts.get("missing_tasks", {}).items():
        terminal.say(f"task {task} will be missing: {reason}")
    budget = [f"{name} {limit:g}" for name in WORDS if (limit := getattr(sweep.search, name))]
    budget = f"; at most, a method: {', '.join(budget)}" if budget else ""
    terminal.say(
        f"search       {sweep.search.sampler}, pruning: {sweep.search.pruner}, early stop: "
        f"{sweep.search.stop}{budget}"
    )
    objectives = ", ".join(f"{name} ({way})" for name, way in sweep.objectives.items())
    by_default = ", by default for these data" if plan.tree["objectives"] is None else ""
    terminal.say(f"objectives   {objectives}{by_default}")
    terminal.say(f"power        {_power(sweep, n, len(splits.test))}")


def _power(sweep: SweepConfig, validation: int, test: int) -> str:
    """Describe the smallest differences that items and seeds can show. The SD over seeds is unknown."""
    found = minimal_detectable_difference(1.0)  # in standard errors of a difference
    confirmed = sweep.confirm.finalists > 0
    n, split = (test, "test") if confirmed else (validation, "validation")
    points = 100 * found * (0.5 / max(n, 1)) ** 0.5  # two shares near one half, √(2 · 0.25/n)
    items = (
        f"{n} {split} items alone tell shares of right answers apart that differ by {points:.0f} "
        "points or more (80 % power, 5 % level; on the same items usually less)"
    )
    seeds = sweep.confirm.seeds
    if not confirmed or seeds < 2:
        return f"{items}; with one seed a candidate no difference between methods is tested"
    spread = found * (2 / seeds) ** 0.5
    return (
        f"{items}; {seeds} seeds alone tell scores apart that differ by {spread:.1f} times the SD "
        "between seeds, which no number of items lessens"
    )
