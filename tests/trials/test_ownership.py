"""Two attempts at one trial: the suspended one finds the other's number and writes nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from running import identified, job

from harness.launch.worker import Worker
from harness.records import read_record, write_json
from harness.trials import ownership, run
from harness.trials.ownership import Superseded

OVERRIDES = (
    *("method=lora", "training.max_steps=6", "training.eval_every=2"),
    *("training.checkpoint_every=1", "training.select_checkpoint=best"),
)


@pytest.fixture
def worker(bench):
    worker = Worker("cpu", bench.cache, os.getppid())
    worker.bench = bench
    return worker


@pytest.fixture(scope="module")
def undisturbed(bench, small_trial, tmp_path_factory):
    config = small_trial(*OVERRIDES)
    folder = tmp_path_factory.mktemp("whole")
    return run.run_trial(job(folder, bench.cache, config, **identified(config)), bench)


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the heartbeat, which is no part of the trial."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "alive"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("moment", ["an evaluation", "a step", "the last measurements", "an error"])
def test_a_suspended_worker_whose_trial_was_reassigned(
    worker, small_trial, tmp_path, monkeypatch, moment, undisturbed
):
    config = small_trial(*OVERRIDES)
    own = job(tmp_path / "t", worker.bench.cache, config, **identified(config))
    own.path.mkdir()
    write_json(own.path / ownership.SPEC, own.to_json())
    left: dict[str, bytes] = {}

    def handed_over():
        """Reassign the trial while the worker is suspended."""
        if not left:
            write_json(own.path / ownership.SPEC, replace(own, attempt=2).to_json())
            left.update(contents(own.path))

    evaluate, measure = run.CurveWatch.evaluate, run.measure

    def slept_in_evaluation(watch, tuning, step):
        if step == 4:
            handed_over()
        return evaluate(watch, tuning, step)

    def slept_at_the_end(*about):
        handed_over()
        if moment == "an error":
            raise ValueError("what the other one has taken away")
        return measure(*about)

    if moment == "an evaluation":
        monkeypatch.setattr(run.CurveWatch, "evaluate", slept_in_evaluation)
    elif moment == "a step":
        monkeypatch.setattr(
            worker, "stopping", lambda: bool(_newest(own.path) == 3 and handed_over())
        )
    else:
        monkeypatch.setattr(run, "measure", slept_at_the_end)
    with pytest.raises(Superseded, match="attempt 2 owns it, so this one \\(1\\) exits"):
        worker.run(own.path)
    assert left and contents(own.path) == left, "not one byte was changed"
    assert "record.json" not in left

    monkeypatch.undo()
    worker.run(own.path)  # the second attempt, as its spec says
    record = read_record(own.path)
    assert record is not None and record.attempt == 2
    assert record.measurements == undisturbed.measurements
    assert not (own.path / "checkpoint").exists()


def _newest(folder: Path) -> int:
    return max([int(path.name[5:]) for path in folder.glob("checkpoint/step-*")], default=0)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff", b"{}"])
def test_where_nobody_says_whose_it_is_it_is_ours(tmp_path, content):
    """A trial by hand has no such file; one that is torn is none of the trial's."""
    if content is not None:
        (tmp_path / ownership.SPEC).write_bytes(content)
    ownership.check(tmp_path, 1)
    assert ownership.attempt_in(tmp_path) is None
    assert [path.read_bytes() for path in tmp_path.iterdir()] == (
        [] if content is None else [content]
    )
