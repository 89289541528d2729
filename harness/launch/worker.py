"""A worker: one process that runs jobs in turn and keeps its base model loaded.

Started by a launcher as ``python -m harness.launch.worker``. Each line of its standard input is the
folder of a task, described by its ``spec.json``. The worker answers with a file in that folder:
``record.json`` for a trial, ``answer.json`` for a check or a pack of trials, ``rejected.json`` if the
input was at fault.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from harness.errors import DiskFull, InputError
from harness.launch.end_with_parent import exit_with_parent
from harness.launch.launcher import DISK_FULL, ERROR
from harness.launch.libraries import import_libraries
from harness.records import (
    Record,
    heartbeat,
    read_json,
    read_record,
    write_json,
    write_record,
    write_text,
)
from harness.records.disk_full import is_disk_full, stop
from harness.records.disk_usage import tidy
from harness.records.secrets import Scrubbed, scrub
from harness.terminal import phases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.training.distributed.team import Team
    from harness.trials.job import Job

DECISION_SECONDS = 120.0  # after this time without an answer the driver has exited


class Worker:
    """State of a worker process: its driver, its workbench, and whether it shall stop."""

    def __init__(self, device: str, cache: Path, driver: int, team: Team | None = None) -> None:
        from harness.training.distributed.team import ALONE
        from harness.trials.workbench import Workbench

        self.bench = Workbench(device, cache, team or ALONE)
        self.driver = driver
        self.asked_to_stop = False
        self._together: dict[str, int] = {}  # method → trials that turned out to fit together
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, signum: int, frame: Any) -> None:
        self.asked_to_stop = True

    def stopping(self) -> bool:
        """Return whether to stop: on request, or because the driver has exited."""
        return self.asked_to_stop or os.getppid() != self.driver

    def run(self, folder: Path) -> None:
        from harness.training.distributed.team import TeamBroken
        from harness.training.loop import Interrupted
        from harness.trials.ownership import Superseded, attempt_in

        spec = read_json(folder / "spec.json")
        assert spec is not None, folder
        attempt = spec.get("attempt")
        heartbeat.begin(folder, *map(Path, spec.get("trials", ())))
        phases.write_phases(folder, lambda: attempt_in(folder) in (None, attempt))
        try:
            if spec.get("kind") == "check":
                from harness.trials.check import check

                write_json(folder / "answer.json", check(spec, self.bench))
            elif spec.get("kind") == "footprints":
                from harness.trials.footprints.measured_steps import footprints

                found = footprints(spec, folder, self.bench)
                write_json(folder / "answer.json", {"footprints": found})
            elif spec.get("kind") == "pack":
                self._pack([_job_in(Path(trial)) for trial in spec["trials"]])
                write_json(folder / "answer.json", {})
            else:
                self._trial(_job_in(folder))
        except InputError as error:
            write_json(folder / "rejected.json", {"message": str(error)})
        except (Interrupted, Superseded, TeamBroken):
            raise  # not an error of this process; a folder owned by another attempt stays untouched
        except Exception as error:
            if not is_disk_full(error):
                write_text(folder / ERROR, scrub(traceback.format_exc()))
                raise
            stop(folder, error)
            raise DiskFull(str(error)) from error
        finally:
            phases.direct(None)
            heartbeat.end()

    def _pack(self, jobs: Sequence[Job]) -> None:
        """Run trials together, as many as fit, and then those alone that did not end in a pack."""
        from harness.trials.packed.run import run_pack

        for job in jobs:
            self._check_content(job)
        left, method = list(jobs), jobs[0].method
        while (n := min(len(left), self._together.get(method, len(left)))) > 1:
            fitted = run_pack(left[:n], self.bench, self._decision, self.stopping)
            if fitted == n:
                left = left[n:]
            else:
                self._together[method] = fitted
        for job in jobs:
            if read_record(job.path) is None:
                self._trial(job)

    def _decision(self, job: Job) -> Callable[[int, dict[str, float]], bool]:
        """Return the function with which a trial asks the driver whether to continue."""

        def decide(step: int, values: dict[str, float]) -> bool:
            if not job.asks_pruner:
                return True
            until = time.monotonic() + DECISION_SECONDS
            while time.monotonic() < until and not self.stopping():
                heartbeat.mark()
                answer = read_json(job.path / f"decision-{step}.json")
                if answer is not None:  # not the expected form: continue, as without an answer
                    return bool(answer.get("go", True)) if isinstance(answer, dict) else True
                time.sleep(0.02)
            return True

        return decide

    def _trial(self, job: Job) -> None:
        from harness.training.distributed.team import TeamBroken
        from harness.training.loop import Interrupted
        from harness.trials.ownership import Superseded
        from harness.trials.run import run_trial

        try:
            self._check_content(job)
            run_trial(job, self.bench, self._decision(job), self.stopping)
        except (InputError, Interrupted, Superseded, TeamBroken):
            raise
        except Exception as error:  # a failed trial becomes a record and does not end the sweep
            if is_disk_full(error):
                raise  # except a full disk, which would fail the next trial too
            job.check_own()
            write_text(job.path / ERROR, scrub(traceback.format_exc()))
            write_record(job.path, failed(job, f"{type(error).__name__}: {error}"))
            tidy(job.path)

    def _check_content(self, job: Job) -> None:
        """Raise InputError if data or model differ from those that the driver fingerprinted.

        A file that changes during a sweep would give its trials different data.
        """
        from harness.models.loading.base_fingerprint import stored_fingerprint
        from harness.records.fingerprint import fingerprints

        data = self.bench.splits(job.config.data).fingerprint
        model = stored_fingerprint(job.config.model)
        found = fingerprints(job.config, model=model, data=data).trial
        if found != job.fingerprint:
            raise InputError(
                f"The data or the model changed while the sweep ran: their fingerprints are now "
                f"{data} and {model}, and the trial {job.fingerprint} would be {found}. Put them "
                "back, or give the sweep on the new ones another name=."
            )


def _job_in(folder: Path) -> Job:
    """Return the trial that the driver wrote to ``folder``."""
    from harness.trials.job import Job

    return Job.from_json(read_json(folder / "spec.json") or {})


def failed(job: Job, reason: str) -> Record:
    """Build the record of a failed trial: its reason, without measurements."""
    return job.record("failed", reason=scrub(reason)[:500])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--driver", type=int, required=True)
    parser.add_argument("--devices-per-trial", type=int, default=1)
    parser.add_argument("--sharding", default="none")
    arguments = parser.parse_args()
    log = Scrubbed(sys.stderr)
    faulthandler.register(signal.SIGUSR1, sys.stderr)  # sent by the launcher to a hung worker
    sys.stdout = sys.stderr = cast(TextIO, log)  # one file, which is kept
    exit_with_parent(arguments.driver)
    others = None
    if arguments.devices_per_trial > 1:
        from harness.launch.ranks import FollowerProcesses

        others = FollowerProcesses(  # before torch sees any device
            size=arguments.devices_per_trial,
            device=arguments.device,
            cache=arguments.cache,
            threads=arguments.threads,
            sharding=arguments.sharding,
        )
    import_libraries(arguments.threads)
    from harness.training.distributed.team import TeamBroken
    from harness.training.loop import Interrupted
    from harness.trials.ownership import Superseded

    team = None if others is None else others.join()
    worker = Worker(arguments.device, Path(arguments.cache), arguments.driver, team)
    for line in sys.stdin:
        try:
            worker.run(Path(line.strip()))
        except Interrupted:
            return 75
        except Superseded as left:
            print(left, file=sys.stderr)
            return 75
        except DiskFull as error:
            print(error, file=sys.stderr)
            return DISK_FULL
        except TeamBroken as error:
            print(error, file=sys.stderr)
            assert others is not None
            return others.why(error)
        if worker.stopping():
            return 75
    return 0


if __name__ == "__main__":
    sys.exit(main())
