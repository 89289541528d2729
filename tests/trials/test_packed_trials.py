"""Trials that a worker trains together have the results, files and ends that they would have alone."""

from __future__ import annotations

import os

import pytest
import torch
from running import identified, job

from harness.launch.worker import Worker
from harness.records import read_jsonl, read_record, write_json
from harness.trials import run
from harness.trials.packed import run as packed

COMMON = (
    *("method=lora", "training.max_steps=8", "training.eval_every=4", "training.batch_size=2"),
    *("training.select_checkpoint=best", "evaluation.max_new_tokens=3"),
)
OWN = (
    ("method.r=2", "training.learning_rate=3e-3", "method.lora_dropout=0.1"),
    ("method.r=4", "training.learning_rate=1e-3"),  # pruned
    ("method.r=3", "training.learning_rate=1e38"),  # diverges
    ("method.r=4", "training.learning_rate=2e-3"),
)
PRUNED = 1
SAME = 1e-4  # relative: a score is a sum over many tokens of a model that differs by rounding


@pytest.fixture(scope="module")
def configs(small_trial):
    return [small_trial(*COMMON, *own) for own in OWN]


@pytest.fixture
def pack(bench, configs, tmp_path):
    """`pack(numbers)` → records and folders of the trials that a worker was given as one task."""

    def given(numbers):
        worker = Worker("cpu", bench.cache, os.getppid())
        worker.bench = bench
        jobs = []
        for number in numbers:
            found = identified(configs[number])
            folder = tmp_path / str(number)
            jobs.append(job(folder, bench.cache, configs[number], asks_pruner=True, **found))
            write_json(folder / "spec.json", jobs[-1].to_json())
            write_json(folder / "decision-4.json", {"go": number != PRUNED})
        task = tmp_path / "pack"
        write_json(task / "spec.json", {"kind": "pack", "trials": [each.folder for each in jobs]})
        worker.run(task)
        assert (task / "answer.json").is_file() and not list(tmp_path.rglob("alive"))
        return [(read_record(each.path), each.path) for each in jobs]

    return given


@pytest.fixture(scope="module")
def alone(bench, configs, tmp_path_factory):
    """The same trials one by one."""
    found = []
    for number, config in enumerate(configs):
        own = job(tmp_path_factory.mktemp("alone"), bench.cache, config, **identified(config))
        go = number != PRUNED
        found.append((run.run_trial(own, bench, lambda step, values, go=go: go), own.path))
    return found


def same(record, path, expected, expected_path):
    assert (record.status, record.reason) == (expected.status, expected.reason)
    assert record.measurements.keys() == expected.measurements.keys()
    for name, measured in record.measurements.items():
        assert measured.value == pytest.approx(expected.value(name), rel=SAME, abs=1e-5), name
    assert record.base == expected.base and record.missing == expected.missing
    assert record.provenance["steps"] == expected.provenance["steps"]
    rows, by_itself = (
        read_jsonl(path / "metrics.jsonl"),
        read_jsonl(expected_path / "metrics.jsonl"),
    )
    assert len(rows) == len(by_itself)
    for row, other in zip(rows, by_itself, strict=True):
        assert row.keys() == other.keys() and row["step"] == other["step"]
        if row["kind"] == "train":
            assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
    differ = {p.name for p in path.iterdir()} ^ {p.name for p in expected_path.iterdir()}
    assert differ <= {"spec.json", "decision-4.json"}


def test_each_record_is_that_of_the_trial_alone(pack, alone):
    """One is pruned and one diverges; they leave, and the others do not change."""
    found = pack(range(4))
    assert [r.status for r, _ in found] == ["complete", "pruned", "diverged", "complete"]
    for (record, path), (expected, expected_path) in zip(found, alone, strict=True):
        same(record, path, expected, expected_path)
        assert record.provenance["pack"]["trials"] == 4 and "pack" not in expected.provenance
        assert "peak_memory_gb" not in record.cost and record.cost["train_seconds"] > 0


def test_without_memory_for_all_fewer_go_together(pack, alone, monkeypatch):
    """None is infeasible because of the others."""
    real = packed.train_together

    def scarce(members, *about):
        if len(members) > 2:
            torch.empty(2**58, dtype=torch.uint8)
        real(members, *about)

    monkeypatch.setattr(packed, "train_together", scarce)
    for (record, path), expected in zip(pack(range(4)), alone, strict=True):
        same(record, path, *expected)
        assert record.provenance["pack"]["trials"] == 2


def test_without_memory_to_measure_one_it_goes_on_alone(pack, alone, monkeypatch):
    real, calls = run.measure, []

    def scarce(*about):
        calls.append(1)
        if len(calls) == 1:
            torch.empty(2**58, dtype=torch.uint8)
        return real(*about)

    monkeypatch.setattr(run, "measure", scarce)
    for (record, path), number in zip(pack([0, 3]), [0, 3], strict=True):
        same(record, path, *alone[number])
        assert ("pack" in record.provenance) == (number == 3)
