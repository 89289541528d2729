"""Checks by a worker before a sweep, and the messages if they fail."""

from __future__ import annotations

import pytest

from harness.launch.launcher import ERROR, Ended
from harness.search.planning.ask_worker import NoWorkerAnswered, ask


class Broken:
    """A launcher whose worker ends in an exception of its own, or is killed without a word."""

    def __init__(self, said: str | None) -> None:
        self.said, self.submitted = said, []

    def submit(self, folder, spec):
        self.submitted.append(folder)
        if self.said is not None:
            (folder / ERROR).write_text(f"Traceback (most recent call last):\n  ...\n{self.said}\n")

    def poll(self):
        return [Ended(self.submitted[-1], lost=1)]


def test_an_exception_is_said_by_its_last_line_and_not_waited_for_again(tmp_path):
    launcher = Broken("ZeroDivisionError: of a layer")
    with pytest.raises(
        NoWorkerAnswered, match=r"ended in ZeroDivisionError: of a layer: see .*workers/"
    ):
        ask(launcher, tmp_path / "check", {}, retries=2)
    assert len(launcher.submitted) == 1


def test_a_worker_that_was_killed_is_asked_again(tmp_path):
    (tmp_path / "check").mkdir()
    (tmp_path / "check" / ERROR).write_text("an earlier one's\n")
    launcher = Broken(None)
    with pytest.raises(
        NoWorkerAnswered, match="the first worker exited 3 times, the last time with exit"
    ):
        ask(launcher, tmp_path / "check", {}, retries=2)
    assert len(launcher.submitted) == 3
