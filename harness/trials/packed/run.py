"""Several trials of one method from their jobs to their records, trained together."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.errors import first_line, is_out_of_memory
from harness.records import heartbeat
from harness.records.disk_full import is_disk_full
from harness.terminal.phases import phase
from harness.training.checkpoint import CheckpointFolder
from harness.training.hooks import Diverged, Interrupted
from harness.training.packed.layers import NotPackable
from harness.training.packed.loop import train_together
from harness.training.packed.member import Member
from harness.trials.cost import Infeasible
from harness.trials.job import Job
from harness.trials.ownership import Superseded
from harness.trials.packed.shared_clock import PackTime, SharedClock
from harness.trials.run import BegunTrial, begin, measure_base, quantization_for, write_result
from harness.trials.tuning import Control
from harness.trials.workbench import Workbench

if TYPE_CHECKING:
    from harness.models.load import Base

Decide = Callable[[int, dict[str, float]], bool]


def run_pack(
    jobs: Sequence[Job],
    bench: Workbench,
    decide: Callable[[Job], Decide],
    stopping: Callable[[], bool],
) -> int:
    """Run ``jobs`` in a pack and write the records of those that end in it.

    A record is written only for what the trial would be alone: complete, pruned or diverged. After
    anything else, such as too little memory for all, a job has none, and is to be run again. That
    continues from its checkpoint, if it has one. ``decide`` and ``stopping`` are those of
    ``run_trial`` for each job.

    Returns how many such trials can train together: half of them after too little memory, 1 if they
    cannot. Raises Interrupted, Superseded and errors of a full disk.
    """
    try:
        with heartbeat.interruptible(stopping):
            return _run(jobs, bench, [Control(decide(job), stopping) for job in jobs])
    except heartbeat.WorkStopped:
        raise Interrupted("stopped during the measurements before or after training") from None
    except (Interrupted, Superseded):
        raise
    except Exception as error:
        if is_disk_full(error):
            raise
        traceback.print_exc()
        _say(f"the trials of a pack go on one by one: {type(error).__name__}")
        return 1


def _run(jobs: Sequence[Job], bench: Workbench, controls: Sequence[Control]) -> int:
    """Return as ``run_pack`` does. The base is left unchanged."""
    config, together = jobs[0].config, PackTime()
    clocks = [SharedClock(bench.device, together) for _ in jobs]
    before = [measure_base(job, bench, clock) for job, clock in zip(jobs, clocks, strict=True)]
    with bench.pool.lend(config.model, quantization_for(config)) as base:
        trials, members = [], []
        try:
            for job, control, known, clock in zip(jobs, controls, before, clocks, strict=True):
                trials.append(begin(job, bench, base, known, clock))
                trials[-1].tuning.progress.trials_in_pack = len(jobs)
                members.append(_member(trials[-1], control, base))
            with phase(f"training {len(jobs)} trials of {jobs[0].method} together"):
                train_together(members, bench.inputs(config).train, trials[0].tuning.accelerator)
            for trial, member in zip(trials, members, strict=True):
                _measure(trial, member)
        except (NotPackable, Infeasible) as why:
            _say(f"trials of {jobs[0].method} do not train together: {why}")
            return 1
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            _say(f"{len(jobs)} trials of {jobs[0].method} do not fit together: {first_line(error)}")
            return len(jobs) // 2
    return len(jobs)


def _member(trial: BegunTrial, control: Control, base: Base) -> Member:
    """Prepare a trial and take its adapter off the base. Raises NotPackable and Infeasible."""
    tuning = trial.tuning
    checkpoints = CheckpointFolder(tuning.job.path / "checkpoint")
    hooks = tuning.prepare(checkpoints, control)
    return Member(
        base=base.model,
        model=tuning.model,
        method=tuning.method,
        context=tuning.plan,
        config=tuning.job.config.training,
        seed=tuning.job.config.seed,
        criterion=tuning.criterion,
        checkpoints=checkpoints,
        hooks=hooks,
        progress=tuning.progress,
    )


def _measure(trial: BegunTrial, member: Member) -> None:
    """Measure a trial and write its record, unless it ended for a reason that the pack may be."""
    tuning, error = trial.tuning, member.error
    if isinstance(error, Superseded) or (error is not None and is_disk_full(error)):
        raise error
    if error is not None and not isinstance(error, Diverged):
        _say(f"{tuning.job.path.name} goes on alone: {type(error).__name__}: {error}")
        return
    with member.alone():
        with tuning.outcome():
            if error is not None:
                raise error
        record, _ = trial.results()
    if record.status != "infeasible":
        write_result(tuning.job, record)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
