"""A sweep whose worker trains trials in packs decides as the sweep that trains them one by one."""

from __future__ import annotations

import os
import signal
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sweeping import SMALL, composed

from harness.data.rows.splits import read_splits
from harness.launch.launcher import Ended
from harness.launch.worker import Worker
from harness.models.loading.base_fingerprint import stored_fingerprint
from harness.records import read_jsonl, write_json
from harness.search.driver import Driver
from harness.search.screen.terminal import Terminal
from harness.search.sweep_folder import SweepFolder
from harness.trials.workbench import Workbench

SWEEP = (
    *SMALL,
    *("method=lora", "search.trials=6", "search.sampler=random", "confirm.seeds=1"),
    *("search.pruner=asha", "search.reduction_factor=2", "confirm.finalists=1"),
    *("training.max_steps=12", "training.eval_every=4", "training.checkpoint_every=2"),
    *("training.batch_size=2", "data.train_limit=16", "method.lora_dropout=0.1"),
)
SAME = 1e-4  # relative, of scores


@dataclass
class ForkingLauncher:
    """One worker, forked for each task, which has the base of this process. ``kill`` ends it."""

    bench: Workbench
    kill: Any = lambda folder: False
    tasks: list[Path] = field(default_factory=list)
    size = sharing = measured_at_once = 1
    _child: int | None = None

    def start(self) -> None: ...

    def close(self) -> None: ...

    def has_room(self) -> bool:
        return self._child is None

    def submit(self, folder: Path, spec: dict[str, Any]) -> None:
        write_json(folder / "spec.json", spec)
        self.tasks.append(folder)
        self._child = os.fork()
        if self._child:
            return
        code = 1
        try:
            worker = Worker("cpu", self.bench.cache, os.getppid())
            worker.bench = self.bench
            worker.run(folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def poll(self) -> list[Ended]:
        if self._child is None:
            return []
        if self.kill(self.tasks[-1]):
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = None
            return [Ended(self.tasks[-1], lost=-9)]
        done, status = os.waitpid(self._child, os.WNOHANG)
        if not done:
            return []
        assert status == 0
        self._child = None
        return [Ended(self.tasks[-1])]


@dataclass
class Swept:
    """Records by fingerprint, decisions by rung and trial, and the tasks of a sweep."""

    records: dict[str, Any]
    decisions: dict[tuple[str, str], bool]
    launcher: ForkingLauncher


@pytest.fixture(scope="module")
def sweep(bench, small_model, tmp_path_factory):
    """`sweep("launcher.pack=3")`: the sweep to its end."""

    def swept(*arguments, kill=lambda folder: False):
        about, plans = composed(
            *SWEEP, small_model, f"runs_dir={tmp_path_factory.mktemp('runs')}", "name=s", *arguments
        )
        first = plans["lora"].trial({})
        bench.inputs(first)
        with bench.pool.lend(first.model, None):
            pass
        launcher, folder = ForkingLauncher(bench, kill), SweepFolder(about)
        folder.open()
        driver = Driver(
            about,
            list(plans.values()),
            folder,
            launcher,
            Terminal(about),
            models={"lora": stored_fingerprint(first.model)},
            data=read_splits(first.data).fingerprint,
        )
        records = {record.fingerprint: record for record in driver.run()}
        folder._lock.close()
        rows = read_jsonl(folder.path / "rungs.jsonl")
        return Swept(records, {(r["rung"], r["trial"]): r["go"] for r in rows}, launcher)

    return swept


@pytest.fixture(scope="module")
def alone(sweep):
    return sweep("launcher.pack=1")


def same(found, expected):
    assert found.decisions == expected.decisions
    assert found.records.keys() == expected.records.keys()
    for fingerprint, record in found.records.items():
        other = expected.records[fingerprint]
        assert (record.trial, record.stage, record.status) == (
            other.trial,
            other.stage,
            other.status,
        )
        assert record.measurements.keys() == other.measurements.keys()
        for name, measured in record.measurements.items():
            assert measured.value == pytest.approx(other.value(name), rel=SAME, abs=1e-5), name


def test_a_sweep_with_packs_is_the_sweep_without(sweep, alone):
    packed = sweep("launcher.pack=3")
    assert len(packed.launcher.tasks) == 2 + 1 and len(alone.launcher.tasks) == 6 + 1
    same(packed, alone)
    assert {r.status for r in packed.records.values()} == {"complete", "pruned"}
    for record in packed.records.values():
        assert ("pack" in record.provenance) == (record.stage == "search")
        assert ("peak_memory_gb" in record.cost) == (record.stage == "confirm")
        assert record.attempt == 1


def test_a_worker_killed_in_a_pack_loses_no_trial(sweep, alone):
    """Each goes on alone from its checkpoint, which it has from the pack."""
    killed: list[str] = []

    def kill(task):
        if killed or task.parent.name != "packs":
            return False
        members = list((task.parent.parent / "trials/lora").iterdir())
        rows = [row for path in members for row in read_jsonl(path / "metrics.jsonl")]
        if not any(row["kind"] == "evaluation" and row["step"] == 8 for row in rows):
            return False
        killed.extend(path.name for path in members)
        return True

    found = sweep("launcher.pack=3", kill=kill)
    assert len(killed) == 3
    same(found, alone)
    for fingerprint, record in found.records.items():
        assert record.attempt == (2 if fingerprint in killed else 1)
        if record.stage == "search":
            assert record.provenance["pack"]["trials"] == 3, "it did not begin again"
    assert len(found.launcher.tasks) == 1 + 3 + 1 + 1
