"""Trials played again in simulated time: as worked out by hand, and from a sweep's own files."""

from __future__ import annotations

import json
from pathlib import Path

from sweeping import FakeLauncher, drive

from bench.pruning_replay import Curve, read_curves, replay
from harness.search.pruning.asha import RungTable

QUALITY = {"validation.perplexity": "minimize"}


def curve(name, at, perplexity, seconds=10.0):
    return Curve(
        "lora", name, ((at, {"validation.perplexity": perplexity}),), seconds, {"x": perplexity}
    )


FIVE = [curve("a", 2, 5.0), curve("b", 2, 4.0), curve("c", 2, 9.0), curve("d", 2, 1.0, 6.0)]


def ends(found):
    return [(end.curve.fingerprint, end.time, end.whole) for end in found]


def test_without_pruning_all_run_to_their_end():
    assert ends(replay(FIVE, 1)) == [
        ("a", 10, True), ("b", 20, True), ("c", 30, True), ("d", 36, True),
    ]  # fmt: skip
    assert ends(replay(FIVE, 2)) == [
        ("a", 10, True), ("b", 10, True), ("d", 16, True), ("c", 20, True),
    ]  # fmt: skip


def test_with_pruning_what_is_dominated_ends_where_it_is_looked_at(tmp_path):
    rungs = RungTable(tmp_path / "rungs.jsonl", QUALITY, 3, 1)
    assert ends(replay(FIVE, 1, rungs)) == [
        ("a", 10, True), ("b", 20, True), ("c", 22, False), ("d", 28, True),
    ]  # fmt: skip


def test_curves_of_a_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drive(FakeLauncher(), "method=lora", "name=s", "search.trials=3", "confirm.finalists=1")
    texts = {path.parent: path.read_text() for path in Path("runs/s").rglob("record.json")}
    marks = ('"trial": 1,', '"stage": "search"')
    (folder,) = [path for path, text in texts.items() if all(mark in text for mark in marks)]
    rows = [
        {"kind": "evaluation", "step": 0, "measurements": {"forgetting.kl": 0.0}},
        {"kind": "evaluation", "step": 5, "measurements": {"forgetting.kl": 0.1}},
        {"kind": "train", "step": 20, "loss": 1.0},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curves = read_curves(Path("runs/s"), ["validation.bleu", "forgetting.kl"])
    assert len(curves) == 3, "not those of the second stage"
    assert curves[1].evaluations == ((0.25, {"forgetting.kl": 0.1}),) and curves[1].seconds == 1.0
    assert curves[0].evaluations == () and curves[0].final["validation.bleu"] > 40
    assert read_curves(Path("runs/s"), ["validation.chrf"]) == []
