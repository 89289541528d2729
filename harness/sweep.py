"""Tune, confirm and report: ``python -m harness.sweep method=qlora``."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from harness.arguments import command_arguments
from harness.errors import InputError, Resumable, refused_paths
from harness.paths import user_path
from harness.terminal.phases import phase
from harness.terminal.remarks import keep_remarks

if TYPE_CHECKING:
    from harness.config import TrialConfig
    from harness.launch.launcher import Launcher
    from harness.reporting.read import Report
    from harness.search.screen.terminal import Terminal
    from harness.search.sweep_folder import SweepFolder

NONE_JUDGED, PREEMPTED, STOPPED = 1, 75, 130

USAGE = """\
Which fine-tuning method, at which rank and learning rate, and how much of what the model could do
before does it cost? One command tunes, compares, and writes a report.

  python -m harness.sweep method=qlora
  python -m harness.sweep method=full,lora,qlora search.trials=8
  python -m harness.sweep method=lora 'method.r=choice(2,4,8,16)' plan=true
  python -m harness.sweep sweep=rank_study                       a sweep that is ready
  python -m harness.sweep method=full,lora,qlora budget=2h       the best decision in two hours
  python -m harness.sweep name=NAME budget=+30m                  more seeds for those that decide
  python -m harness.sweep model=hub model.name=Qwen/Qwen3-0.6B data=jsonl data.train=train.jsonl \\
      data.general=wiki.txt

plan=true shows what would run, whether it fits and how long it takes. The same command resumes a
stopped sweep.

exit codes: 0 done, 1 no trial completed within the limits, 2 wrong input, 75 preempted (or the disk is
full, or the database cannot be reached), 130 stopped; after 75 and 130 the same command resumes"""


class Preempted(BaseException):
    """Raised on SIGTERM: the machine is being reclaimed."""


def tune(*overrides: str) -> Report:
    """Run the sweep that ``overrides`` describe, as the command does, and return its report.

    For notebooks: ``tune("method=lora,full", "search.trials=4")``. The same call resumes a stopped
    sweep. Raises InputError for invalid input, KeyboardInterrupt if it was stopped by hand, and
    RuntimeError if no trial was completed.
    """
    from harness.compose.command_line import compose_from_data
    from harness.reporting.read import read_report

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = run(overrides)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if code == STOPPED:
        raise KeyboardInterrupt
    if code not in (0, NONE_JUDGED):
        raise RuntimeError(f"The sweep ended with exit code {code}; its log says why.")
    sweep, _, _ = compose_from_data(overrides)
    report = read_report(user_path(sweep.reports_dir) / sweep.name)
    if not any(trial["status"] == "complete" for trial in report.content["trials"]):
        raise RuntimeError(f"No trial was completed: {report.page} says why.")
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 no candidate to judge, 2 invalid input, 75 or 130 interrupted.

    1 means that no trial completed within the limits: the report is written and says why.

    75 means preempted, a full disk, or an unreachable database. After 75 and 130 the same command
    resumes the sweep."""
    arguments = command_arguments(arguments)
    try:
        with refused_paths():
            return run(arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except Resumable as error:
        print(error, file=sys.stderr)
        return PREEMPTED
    except KeyboardInterrupt:  # before anything ran
        return STOPPED
    except Exception as error:
        from harness.records.disk_full import disk_full_message

        explanation = disk_full_message(error)
        if explanation is None:
            raise
        print(explanation, file=sys.stderr)
        return PREEMPTED


def run(arguments: Sequence[str]) -> int:
    began = time.monotonic()
    with phase("reading the configuration"):
        from harness.compose.command_line import compose_from_data, hydra_asked, show_hydra
        from harness.launch.forking import import_ahead

        if hydra_asked(arguments):
            show_hydra(arguments, USAGE)
            return 0
        from harness.allowance.more import with_earlier

        arguments = with_earlier(arguments)
        sweep, plans, taken = compose_from_data(arguments)
        if sweep.launcher.name == "local":
            import_ahead()
        from harness.search.optuna_studies.study import check_search
        from harness.search.packs import check_packs, pack_sizes, packs_in_words

        check_search(sweep, plans)
        check_packs(sweep)

    from harness.compose.objectives import check_general, check_values, that_tell
    from harness.data.rows.splits import read_splits
    from harness.launch.choose import check_launcher, launcher_for
    from harness.models.loading.base_card import fetch_base_card
    from harness.models.loading.base_fingerprint import stored_fingerprint
    from harness.models.loading.location import check_model, pinned_revision
    from harness.search.planning.first_rates import with_first_rates

    check_launcher(sweep.launcher)
    bases = [plan.trial({}).model for plan in plans]  # several, if variants use different models
    with phase("looking up the model"):
        for base in bases:
            check_model(base)
        revisions = {base: pinned_revision(base) for base in dict.fromkeys(bases)}
        for base, revision in revisions.items():
            fetch_base_card(replace(base, revision=revision))
    plans = tuple(plan.pinned(revisions[base]) for plan, base in zip(plans, bases, strict=True))
    plans, first_rates = with_first_rates(plans)
    first = plans[0].trial({})
    with phase("reading the data"):
        splits = read_splits(first.data)
    by_default = plans[0].tree["objectives"] is None
    sweep = replace(sweep, objectives=that_tell(sweep, first, splits, by_default))
    check_general(sweep.objectives, sweep.limits.forgetting, splits.general)
    with phase("reading the model's files, for its fingerprint"):
        models = {plan.method: stored_fingerprint(plan.trial({}).model) for plan in plans}

    from harness.allowance.budget_argument import Account
    from harness.allowance.costs import CostTable
    from harness.allowance.cuts import possible_cuts
    from harness.reporting import import_ahead as import_ahead_of_report
    from harness.search.driver import Driver
    from harness.search.limits import check_reachable
    from harness.search.planning.expected_cost import planned_trials
    from harness.search.planning.measurer import Measurer
    from harness.search.planning.memory_fit import find_needs
    from harness.search.planning.needs import read_needs, write_needs
    from harness.search.planning.show import show_plan
    from harness.search.screen.terminal import Terminal
    from harness.search.sweep_folder import SweepFolder, describe
    from harness.tracking import start_mirror

    folder = SweepFolder(sweep)
    account = Account(sweep, folder, arguments, began)
    sweep = account.sweep
    plans, splits = account.cut(plans, splits)  # of a sweep that is resumed
    folder.open()
    cache = folder.path / "plan" if sweep.plan else folder.cache  # a plan leaves no files
    launcher = launcher_for(sweep.launcher, cache, folder.path / "workers", folder.lock)
    terminal = Terminal(sweep)
    data = splits.fingerprint
    driver = Driver(sweep, plans, folder, launcher, terminal, models=models, data=data)
    description = describe(sweep, plans, models=models, data=data, typed=arguments)

    signal.signal(signal.SIGTERM, _preempt)
    mirror = None
    try:
        _say_taken(taken, first, terminal)
        resumes = not sweep.plan and folder.resumes(description)
        if not sweep.plan:
            keep_remarks(folder.path)
        if not resumes:  # otherwise this was checked before
            launcher.start()
            counts = driver.check()
            check_values(sweep.objectives, counts.get("without", {}))
            needs = find_needs(plans, sweep, launcher.sharing, Measurer(sweep, launcher, folder))
            check_reachable(sweep.limits, plans, needs)
            costs, cuts = CostTable(sweep, plans, needs, splits), possible_cuts(plans, splits)
            sweep = account.divide(costs, cuts, launcher.size)
            plans, splits = account.cut(plans, splits)
            needs, data = account.cut_needs(needs), splits.fingerprint
            packs = packs_in_words(sweep, pack_sizes(sweep, plans, needs, launcher.sharing))
            about = (sweep, plans, splits, counts, needs, first_rates, launcher.size, packs)
            show_plan(*about, terminal.console)
            for words in account.lines:
                terminal.say(words)
            if sweep.plan:
                _leave_nothing(launcher, folder, cache)
                return 0
            write_needs(folder.path, needs)
        needs, budget = read_needs(folder.path, plans), None
        if sweep.budget is not None:
            costs = CostTable(sweep, plans, needs, splits)
            funds = account.funds(costs, launcher.size, resumes)
            budget = funds.on_screen()
            driver = Driver(
                sweep, plans, folder, launcher, terminal, models=models, data=data, funds=funds
            )
        if not resumes:
            folder.remember(describe(sweep, plans, models=models, data=data, typed=arguments))
        terminal.say(f"{folder.path}: {', '.join(plan.method for plan in plans)}")
        mirror = start_mirror(sweep, folder.path)
        terminal.expect(planned_trials(sweep, plans, needs), launcher.size, budget)
        terminal.progress.write(folder.path)
        with terminal:
            driver.run(needs, import_ahead_of_report)
    except InputError:
        launcher.close()
        folder.discard()
        raise
    except (KeyboardInterrupt, Preempted) as stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # workers are writing checkpoints
        if sweep.plan:
            _leave_nothing(launcher, folder, cache)
            terminal.say(
                "Stopped. No files were kept: the same command plans again from the beginning."
            )
            return PREEMPTED if isinstance(stop, Preempted) else STOPPED
        terminal.say("Stopping: running trials write a checkpoint …")
        launcher.close()
        terminal.say(f"Stopped. The same command resumes the sweep:\n  {description['command']}")
        return PREEMPTED if isinstance(stop, Preempted) else STOPPED
    finally:
        launcher.close()

    from harness.records.disk_usage import gigabytes, size_of
    from harness.reporting import build_report
    from harness.reporting.formats.terminal_board import announce
    from harness.reporting.read import read_report

    if account.ended is not None:
        terminal.say(f"Budget {account.ended}")
    with phase("writing the report"):
        reports = user_path(sweep.reports_dir)
        report = build_report(folder.path, reports, language=sweep.report.language)
    terminal.progress.write(folder.path, report)
    folder.sweep_up()
    used, shared = (gigabytes(size_of(path)) for path in (folder.path, folder.cache))
    terminal.say(f"Disk: {folder.path} {used}, {folder.cache} {shared}")
    announce(report, terminal.console)
    if mirror is not None:
        mirror.finish(report)
    return 0 if read_report(report).judged else NONE_JUDGED


def _say_taken(taken: Sequence[str], config: TrialConfig, terminal: Terminal) -> None:
    """Say what nobody typed and the data or this tool decided."""
    from harness.data.rows.files.web_pages import describe_pages

    if taken:
        terminal.say(f"Taken from the data: {' '.join(taken)}")
    if config.model.name.startswith("builtin") and config.data.source != "builtin":
        terminal.say(
            f"Model: {config.model.name}, a toy of a million parameters that knows an invented world. "
            "For a real one: model=hub model.name=NAME_OR_FOLDER"
        )
    pages = describe_pages(config.data)
    if pages is not None:
        terminal.say(pages)


def _leave_nothing(launcher: Launcher, folder: SweepFolder, cache: Path) -> None:
    """End a plan, finished or stopped, and delete its files."""
    launcher.close()
    shutil.rmtree(cache, ignore_errors=True)
    folder.discard()


def _preempt(signum: int, frame: FrameType | None) -> None:
    raise Preempted


if __name__ == "__main__":
    sys.exit(main())
