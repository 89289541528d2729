"""A thin slice of ``bench/architectures.py``: pairs of which each was a traceback once."""

from __future__ import annotations

import pytest

from bench.architectures import make, outcome
from harness.trials.workbench import Workbench

PAIRS = {
    "Mamba": {"lora": "works", "qlora": "works", "prefix_tuning": "no attention to read them"},
    "Qwen3-Next": {"lora": "works"},
    "Gemma 3 with vision": {"adalora": "works", "bitfit": "no trained parameter gets a gradient"},
    "Mixtral": {"qlora": "works"},
}


@pytest.mark.parametrize("architecture", PAIRS)
def test_works_or_is_refused_with_the_reason(architecture, tmp_path):
    make(architecture, tmp_path / "model")
    bench = Workbench("cpu", tmp_path / "cache")
    for method, expected in PAIRS[architecture].items():
        found = outcome(tmp_path / "model", method, bench, tmp_path)
        if expected != "works":
            assert found["outcome"] == "refused" and expected in found["why"], found
            continue
        assert found["outcome"] == "works", found
        told = " ".join(found["cautions"])
        assert ("stacked in 3-D tensors" in told) == bool(found["adapted"]["stacked_share"])


def test_what_text_never_trains_is_left_frozen_and_said(tmp_path):
    make("Gemma 3 with vision", tmp_path / "model")
    found = outcome(tmp_path / "model", "full", Workbench("cpu", tmp_path / "cache"), tmp_path)
    assert found["outcome"] == "works", found
    assert found["adapted"]["adapted_share"] < 0.9
    assert "get no gradient from text and are frozen: model.vision" in found["cautions"][0]
