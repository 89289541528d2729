"""One task in one SLURM job, on its node. If it is stopped its worker writes a checkpoint first."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.launch.clusters.one_worker import one_worker
from harness.launch.local import ANSWERS
from harness.records import read_json, write_json
from harness.trials.ownership import attempt_in

SLOT = "slot.json"  # outcome of a job that left no answer
STOPPED = 75
POLL_SECONDS = 0.1


def run_task(folder: str, told: Mapping[str, Any], cache: str, logs: str, on_gpu: bool) -> int:
    """Run the task of ``folder``; a job that was requeued finds the checkpoint of its first run.

    SIGTERM is a preemption or scancel, SIGUSR2 the end of the job's time: submitit would ignore the
    one and pickle itself at the other, so both are ours from here on. SLURM sends them to every process
    of the job, and SIGUSR2 would end the worker at once: it is blocked, which a child inherits.
    """
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    path = Path(folder)
    (path / SLOT).unlink(missing_ok=True)
    if any((path / name).exists() for name in ANSWERS):
        return 0  # requeued after it was done
    launcher = one_worker(told, cache, logs, on_gpu)
    attempt = attempt_in(path)
    launcher.submit(path, read_json(path / "spec.json") or {})
    ended = []
    while not ended and not asked:
        if signal.sigtimedwait([signal.SIGUSR2], POLL_SECONDS) is not None:
            asked.append(signal.SIGUSR2)
        ended = launcher.poll()
    launcher.close()
    if attempt_in(path) != attempt:
        return STOPPED  # this node was suspended, and another job has the task by now
    if ended and ended[0].rejected is not None:  # the driver reads it from the file
        write_json(path / "rejected.json", {"message": ended[0].rejected})
        return 0
    if any((path / name).exists() for name in ANSWERS):
        return 0
    outcome = asdict(ended[0]) if ended else {"lost": STOPPED}
    outcome |= {"folder": None, "stopped": bool(asked), "job": os.environ.get("SLURM_JOB_ID")}
    write_json(path / SLOT, outcome)
    return STOPPED
