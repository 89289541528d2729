"""``plan=true``: what would run. Nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from harness.config import SweepConfig
from harness.data.examples import Splits
from harness.launch.launcher import Launcher
from harness.plans import MethodPlan
from harness.search.checks import check_configs
from harness.search.driver import search_budget
from harness.search.folder import SweepFolder
from harness.search.progress import Terminal
from harness.search.spending import WORDS


def show_plan(
    sweep: SweepConfig,
    plans: Sequence[MethodPlan],
    splits: Splits,
    launcher: Launcher,
    folder: SweepFolder,
    terminal: Terminal,
) -> None:
    """Print the trials of each method and what the data are. Raises InputError as the sweep would."""
    configs = [plan.trial({}) for plan in plans]
    counts = check_configs(launcher, folder, configs, sweep.confirm.finalists > 0)
    console = Console(highlight=False)
    table = Table(title=f"{sweep.name}: nothing is run, this is the plan")
    for header in ("method", "search trials", "confirm trials", "defaults", "searched"):
        table.add_column(header)
    for plan, config in zip(plans, configs, strict=True):
        confirm = sweep.confirm.finalists * sweep.confirm.seeds
        own = {k: v for k, v in config.method.items() if not isinstance(v, list | dict)}
        own.pop("name")
        defaults = {"learning_rate": config.training.learning_rate, **own}
        searched = "\n".join(f"{key} {dimension}" for key, dimension in plan.space.items())
        table.add_row(
            plan.method,
            str(search_budget(plan, sweep)),
            str(confirm),
            "\n".join(f"{key} {value}" for key, value in list(defaults.items())[:4]),
            searched or "nothing: one configuration",
        )
    console.print(table)
    train, first = counts["train"], configs[0]
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
    terminal.say(f"validation   {n:,} examples; test {len(splits.test):,}")
    documents = sum(map(len, splits.general.values()))
    terminal.say(f"general      {documents:,} documents in {len(splits.general)} domains")
    for task, reason in counts.get("missing_tasks", {}).items():
        terminal.say(f"task {task} will be missing: {reason}")
    budget = [f"{name} {limit:g}" for name in WORDS if (limit := getattr(sweep.search, name))]
    budget = f"; at most, a method: {', '.join(budget)}" if budget else ""
    terminal.say(
        f"search       {sweep.search.sampler}, pruning: {sweep.search.pruner}, early stop: "
        f"{sweep.search.stop}{budget}"
    )
    terminal.say(f"objectives   {', '.join(f'{k} ({v})' for k, v in sweep.objectives.items())}")
    # Two shares near one half: 2.8 standard errors of their difference, sqrt(2 · 0.25 / n) each.
    detectable = 100 * 2.8 * (0.5 / max(n, 1)) ** 0.5
    terminal.say(
        f"power        {n} validation items tell shares of right answers apart that differ by "
        f"{detectable:.0f} points or more (80 % power, 5 % level); the paired tests of the report "
        "usually see less"
    )
