"""Answers side by side: each says of itself that it was cut."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.records import append_jsonl
from harness.reporting.tables.outputs import examples


def test_an_answer_that_was_cut_is_marked_the_base_s_as_well(tmp_path):
    row = {"split": "test", "prompt": "p", "references": ["r"], "output": "one two", "base": "b"}
    append_jsonl(
        tmp_path / "predictions.jsonl",
        [
            {**row, "unfinished": True, "base_unfinished": False},
            {**row, "prompt": "q", "unfinished": False, "base_unfinished": True},
            {**row, "prompt": "written before answers were marked"},
        ],
    )
    candidate: Any = SimpleNamespace(
        rows=[SimpleNamespace(folder=tmp_path)], label="lora", method="lora"
    )
    cut = [[answer.unfinished for answer in one.answers] for one in examples([candidate], "test")]
    assert cut == [[False, True], [True, False], [False, False]]
