"""A curve has no point of other texts than the rest of it."""

from __future__ import annotations

from harness.records.curve_rows import on_the_same_texts
from harness.reporting.evidence.folders.run_folder import read_curves
from harness.tracking.contents import curves


def evaluation(step, **values):
    return {"kind": "evaluation", "step": step, "measurements": values}


ROWS = [
    evaluation(0, ppl=2.2, kl=0.0),
    {"kind": "train", "step": 1, "loss": 1.0},
    evaluation(4, ppl=2.0, kl=0.1),
    {**evaluation(8, ppl=3.2, kl=0.5, bleu=23.3), "final": True},
]


def test_the_final_evaluation_adds_only_what_was_not_watched():
    *before, last = on_the_same_texts(ROWS)
    assert before == ROWS[:-1]
    assert last["measurements"] == {"bleu": 23.3}


def test_where_nothing_was_watched_the_final_evaluation_is_all_there_is():
    assert list(on_the_same_texts(ROWS[-1:])) == ROWS[-1:]


def test_the_report_and_the_mirror_draw_the_same_curves(tmp_path):
    from harness.records import append_jsonl

    append_jsonl(tmp_path / "metrics.jsonl", ROWS)
    assert read_curves(tmp_path)["kl"] == [(0.0, 0.0), (4.0, 0.1)]
    assert dict(curves(ROWS)) == {
        0: {"ppl": 2.2, "kl": 0.0},
        1: {"train/loss": 1.0},
        4: {"ppl": 2.0, "kl": 0.1},
        8: {"bleu": 23.3},
    }
