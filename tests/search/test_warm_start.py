"""Warm start: measurements of an earlier sweep are shown to the sampler if comparable."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from sweeping import FakeLauncher, drive

from harness.errors import InputError

BASE = ("method=lora", "method.r=8", "confirm.finalists=0", "search.trials=8")
EARLIER = (*BASE, "name=earlier", "training.learning_rate=tag(log,interval(1e-4,2e-1))")
LATER = (*BASE, "name=later", "training.learning_rate=tag(log,interval(1e-4,1e-1))")
WARM = "search.warm_start=[runs/earlier]"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rates(launcher):
    return [job.config.training.learning_rate for job in launcher.submitted]


def test_the_sampler_learns_from_it_and_a_resumed_sweep_remembers():
    drive(FakeLauncher(), *EARLIER, "search.trials=30")
    cold, warm = FakeLauncher(), FakeLauncher()
    drive(cold, *LATER, "name=cold")
    drive(warm, *LATER, WARM)
    assert len(warm.submitted) == len(cold.submitted) == 8, "it costs no budget"
    assert rates(warm)[0] == rates(cold)[0], "the first is the default all the same"

    def lost(found):
        return sum(abs(-2.6 - math.log10(rate)) for rate in found[1:])

    assert lost(rates(warm)) < lost(rates(cold)), "no random start: it looks where it was good"
    shutil.rmtree("runs/earlier")
    Path("runs/later/study.db").unlink()
    for path in list(Path("runs/later/trials").rglob("record.json")):
        if '"trial": 7,' in path.read_text():
            path.unlink()
    again = FakeLauncher()
    drive(again, *LATER, WARM)
    assert rates(again) == rates(warm)[7:]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("training.batch_size=4",), "model, data, training or evaluation"),
        (("training.learning_rate=tag(log,interval(0.5,1.0))",), "does not lie in"),
        (
            ("objectives={bleu:maximize,drift.kl_target:minimize}",),
            "drift.kl_target was not measured",
        ),
        (("method=dora",), "no complete search trial"),
    ],
)
def test_what_cannot_be_compared_is_refused(asked, said):
    drive(FakeLauncher(), *EARLIER, "search.trials=2")
    with pytest.raises(InputError, match="runs/earlier") as refused:
        drive(FakeLauncher(), *LATER, WARM, *asked)
    assert said in str(refused.value) and "search.configs" in str(refused.value)
