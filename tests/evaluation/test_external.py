"""Metrics of evaluate by path and by name: their values, and reasons in place of values."""

from __future__ import annotations

import numpy as np
import pytest
from running import job

from harness.errors import InputError
from harness.evaluation.answers.external import add_external, try_external
from harness.evaluation.collector import MeasurementCollector
from harness.records import read_record
from harness.trials.run import Workbench, run_trial

SCRIPT = """
import datasets
import evaluate


class Mine(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = {"predictions": text, "references": %s}
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="", features=datasets.Features(features)
        )

    def _compute(self, predictions, references):
        %s
"""
GIVES = {
    "number": ("text", 'return {"mine": len(references[0]) / 2}'),
    "several": (
        "datasets.Sequence(text)",
        "each = [float(len(r)) + (p in r) for p, r in zip(predictions, references)]\n"
        '        return {"each": each, "all": 7, "note": "text"}',
    ),
    "constant": ("text", "return {'score': 0.5}"),
    "none": ("text", 'return {"note": "text"}'),
    "error": ("text", 'raise ValueError("no good\\n at all")'),
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """Metric scripts as a user has them: FOLDER/NAME/NAME.py."""
    folder = tmp_path_factory.mktemp("metrics")
    for name, (references, body) in GIVES.items():
        (folder / name).mkdir()
        (folder / name / f"{name}.py").write_text(SCRIPT % (references, body))
    return folder


def measured(
    path, texts=("one", "two"), references=(("abcd", "x"), ("a",))
) -> MeasurementCollector:
    found = MeasurementCollector(100)
    add_external(found, "test", str(path), list(texts), list(references), "|split:test")
    return found


def test_a_number_of_the_corpus_has_no_interval(scripts):
    found = measured(scripts / "number").measurements["test.evaluate.number"]
    assert (found.value, found.n, found.interval) == (2.0, 2, None)
    for text in ("script:", "evaluate:", "refs:first", "of the corpus, no interval", "split:test"):
        assert text in found.signature


def test_a_number_an_answer_has_one(scripts):
    found = measured(scripts / "several")
    each = found.measurements["test.evaluate.several.each"]
    assert (each.value, each.n) == (1.5, 2) and each.interval is not None
    assert "mean of answers" in each.signature and "refs:all" in each.signature
    np.testing.assert_array_equal(found.items["test.evaluate.several.each"], [[2], [1]])
    assert found.measurements["test.evaluate.several.all"].value == 7
    assert not found.missing and len(found.measurements) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "gave no number"),
        ("error", "ValueError: no good at all"),
        ("absent", "could not load"),
    ],
)
def test_what_fails_is_a_reason(scripts, name, said):
    found = measured(scripts / name)
    assert not found.measurements
    assert said in found.missing[f"test.evaluate.{name}"]


def test_what_cannot_be_loaded_is_refused_and_what_breaks_is_said(scripts, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    references = [["abcd", "x"], ["a"], ["b"]]
    for name in ("./nosuch", "evaluate:bleuu"):
        with pytest.raises(InputError, match=rf"evaluation\.metrics: '{name}' cannot be used"):
            try_external(name, references)
    with pytest.raises(InputError, match="Did you mean bleu"):
        try_external("evaluate:bleuu", references)
    assert try_external(str(scripts / "several"), references) is None
    broken, alike = (
        try_external(str(scripts / name), references) for name in ("error", "constant")
    )
    assert broken is not None and broken.startswith("will be missing") and "no good" in broken
    assert alike is not None and alike.startswith("tells nothing")


def test_a_trial_without_its_metric_is_complete(scripts, pool, trial_config, tmp_path, monkeypatch):
    """Record the reason if the hub is unreachable or has no such metric."""
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "3")
    asked = ("bleu", "judge", "evaluate:no_such_metric_of_ours", scripts / "error")
    metrics = f"[{','.join(map(str, asked))},{scripts / 'number'}]"
    config = trial_config(
        *("method=lora", "method.r=2", "training.max_steps=1", f"evaluation.metrics={metrics}"),
        *("evaluation.judge.endpoint='http://127.0.0.1:9/v1'", "evaluation.judge.model=none"),
        "evaluation.judge.max_retries=0",
    )
    bench = Workbench("cpu", tmp_path / "cache")
    bench.pool = pool
    record = run_trial(job(tmp_path / "trial", bench.cache, config, keep_adapter=True), bench)
    assert record.status == "complete"
    assert {"validation.bleu", "validation.evaluate.number"} <= set(record.measurements)
    absent = ("evaluate.no_such_metric_of_ours", "evaluate.error", "judge")
    of_both = {f"{whose}validation.{name}" for name in absent for whose in ("", "base ")}
    assert set(record.missing) == of_both
    assert "refused" in record.missing["validation.judge"].lower()
    assert record.cost["judge_requests"] == 0
    assert "hub" in record.missing["validation.evaluate.no_such_metric_of_ours"]
    assert read_record(tmp_path / "trial") == record
    # The base lacks it too: what is kept of it is the watched part, of which nothing is missing.
    assert len(list(bench.cache.glob("base/*/reference.json"))) == 1
