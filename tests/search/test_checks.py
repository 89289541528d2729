"""Checks by a worker before a sweep, and the messages if they fail."""

from __future__ import annotations

import pytest
from sweeping import composed

from harness.errors import InputError
from harness.launch.launcher import ERROR, Ended
from harness.records import write_json
from harness.records.footprint import Footprint
from harness.search.planning.ask_worker import NoWorkerAnswered, ask
from harness.search.planning.measurer import Measurer


class Broken:
    """A launcher whose worker ends in an exception of its own, or is killed without a word."""

    def __init__(self, said: str | None) -> None:
        self.said, self.submitted = said, []

    def submit(self, folder, spec):
        self.submitted.append(folder)
        if self.said is not None:
            (folder / ERROR).write_text(f"Traceback (most recent call last):\n  ...\n{self.said}\n")

    def has_room(self):
        return True

    def poll(self):
        return [Ended(self.submitted[-1], lost=1)]


def test_an_exception_is_said_by_its_last_line_and_not_waited_for_again(tmp_path):
    launcher = Broken("ZeroDivisionError: of a layer")
    with pytest.raises(
        NoWorkerAnswered, match=r"ended in ZeroDivisionError: of a layer: see .*workers/"
    ):
        ask(launcher, {tmp_path / "check": {}}, retries=2)
    assert len(launcher.submitted) == 1


def test_a_worker_that_was_killed_is_asked_again(tmp_path):
    (tmp_path / "check").mkdir()
    (tmp_path / "check" / ERROR).write_text("an earlier one's\n")
    launcher = Broken(None)
    with pytest.raises(
        NoWorkerAnswered, match="the first worker exited 3 times, the last time with exit"
    ):
        ask(launcher, {tmp_path / "check": {}}, retries=2)
    assert len(launcher.submitted) == 3


class Measuring:
    """Two workers. ``faults``: folder's name -> the end of its task; others answer, the last first."""

    size = measured_at_once = 2

    def __init__(self, faults=None) -> None:
        self.faults, self.running, self.begun = faults or {}, [], []

    def has_room(self):
        return len(self.running) < self.size

    def submit(self, folder, spec):
        self.begun.append(folder.name)
        self.running.append((folder, spec))

    def poll(self):
        folder, spec = self.running.pop()
        fault = self.faults.get(folder.name)
        if fault is not None:
            return [Ended(folder, **fault)]
        ranks = [config["method"]["r"] for config in spec["configs"]]
        found = [vars(Footprint("cpu", 9.0, 1, 1.0 * rank, idle_gb=0.1 * rank)) for rank in ranks]
        write_json(folder / "answer.json", {"footprints": found})
        return [Ended(folder)]


def measured(launcher, folder, ranks):
    sweep, plans = composed("method=lora", "name=s")
    pairs = [(plans["lora"], {"method.r": rank}) for rank in ranks]
    return Measurer(sweep, launcher, type("Folder", (), {"path": folder}))(pairs)


def test_workers_measure_side_by_side_and_answer_in_order(tmp_path):
    """Memory that others leave is the most of all workers, since trials run on any of them."""
    launcher = Measuring()
    found = measured(launcher, tmp_path, (1, 2, 4, 8, 16))
    assert launcher.begun == ["measured-1", "measured-2"]
    assert [each.idle_gb for each in found] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    assert [each.peak_gb for each in found] == pytest.approx([2.5, 3.4, 5.2, 8.8, 16.0])
    launcher.measured_at_once = 1
    assert measured(launcher, tmp_path, (1, 2, 4, 8, 16)) == found


def test_the_first_refusal_is_raised_once_all_have_ended(tmp_path):
    faults = {name: {"rejected": f"no {name}"} for name in ("measured-1", "measured-2")}
    launcher = Measuring(faults)
    with pytest.raises(InputError, match="no measured-1"):
        measured(launcher, tmp_path, (2, 4))
    assert not launcher.running
    assert measured(Measuring({"measured-2": {"lost": -9}}), tmp_path, (2, 4)) is None


def test_a_task_waits_for_a_worker(tmp_path):
    launcher = Measuring()
    launcher.size = 1
    assert len(measured(launcher, tmp_path, (2, 4))) == 2
