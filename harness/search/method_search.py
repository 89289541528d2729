"""The search of one method: its study, its running trials and its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harness.config import SweepConfig
from harness.records import Record
from harness.search.early_stop import Stopping
from harness.search.method_budget import Spending
from harness.search.optuna_studies.study import MethodStudy, Proposal
from harness.search.packs import go_together
from harness.trials.job import Job

DUPLICATES = 20  # consecutive repeats after which the space counts as exhausted


class MethodSearch:
    """Produces the jobs of one method. Of finished trials it keeps only the fingerprints."""

    def __init__(
        self,
        study: MethodStudy,
        sweep: SweepConfig,
        budget: int,
        job: Callable[[Mapping[str, Any], int], Job],
        record: Callable[[str], Record | None],
        stopping: Stopping,
    ) -> None:
        self._study, self._budget, self._job, self._record = study, budget, job, record
        self._numbers: dict[str, int] = {}  # running trials by fingerprint
        self._known: set[str] = set()
        self._waiting: list[Proposal] = []
        self._twins: list[Proposal] = []  # repeats of a running trial, which share its result
        self._put_off: Job | None = None  # does not go with those of the task before it
        self._exhausted = False  # no new configuration was proposed
        self._spending = Spending(sweep.search)
        self._stopping = stopping

    def recover(self, records: Iterable[Record]) -> None:
        """Restore the state from the records of an earlier driver."""
        known = {record.fingerprint: record for record in records}
        for record in known.values():
            self._spending.add(record)
        self._waiting = self._study.recover(known)
        self._known = set(known)

    @property
    def begun(self) -> int:
        """Return the number of budgeted trials that are finished or running."""
        return self._study.told + len(self._numbers)

    def next_jobs(self, within: int, most: int) -> list[Job]:
        """Return the jobs of the next task, of ``within`` trials in total; [] if there are none.

        They are ``most`` at most, and can be trained together.
        """
        jobs: list[Job] = []
        while len(jobs) < most and (job := self._put_off or self._next_job(within)) is not None:
            self._put_off = None
            if jobs and not go_together(jobs[0], job):
                self._put_off = job
                break
            jobs.append(job)
        return jobs

    def _next_job(self, within: int) -> Job | None:
        """Return the next job, of ``within`` trials in total; None if there is none.

        A configuration with a known result is reported to the study and not run again.
        """
        alone = True
        for _ in range(DUPLICATES):
            proposal = self._proposal(min(within, self._budget))
            if proposal is None:
                return None
            job = self._job(proposal.values, proposal.number)
            if job.fingerprint in self._numbers:
                self._twins.append(proposal)
                alone = False
                continue
            record = self._record(job.fingerprint) if job.fingerprint in self._known else None
            if record is None:
                self._numbers[job.fingerprint] = proposal.number
                return job
            self._study.tell(proposal.number, record, repeats=record.trial != proposal.number)
        self._exhausted = alone
        return None

    def take(self, record: Record) -> None:
        """Report the result of a finished trial to the study."""
        self._known.add(record.fingerprint)
        self._study.tell(self._numbers.pop(record.fingerprint), record)
        self._spending.add(record)
        self._waiting, self._twins = self._twins + self._waiting, []

    def _proposal(self, within: int) -> Proposal | None:
        if self._waiting:
            return self._waiting.pop(0)
        if self.begun >= within or self._exhausted or self._is_over():
            return None
        return self._study.ask()

    def _is_over(self) -> bool:
        """Return whether the budget is used up or no improvement is to be expected."""
        if self._stopping.reason is None:
            study = self._study
            why = self._spending.used_up() or self._stopping.expects_nothing(
                study.judged, study.untried
            )
            if why is not None:
                self._stopping.stop(why, self._study.told)
        return self._stopping.reason is not None
