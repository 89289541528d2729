"""A classification trial, and one of two stages: from job to record, stopped and gone on with."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
from running import after, job, rows

from harness.errors import InputError
from harness.records import read_jsonl
from harness.training.loop import Interrupted
from harness.trials.run import Workbench, run_trial

TOPICS = ("data=builtin_topics", "training.max_steps=8", "training.eval_every=4")
TWO_STAGES = ("method=ulmfit", "method.lm_steps=6", "training.learning_rate=3e-3")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_classifier_from_job_to_record(bench, trial_config, tmp_path, method):
    config = trial_config(f"method={method}", "stage=confirm", *TOPICS, "evaluation.task_limit=2")
    record = run_trial(job(tmp_path, bench.cache, config, keep_adapter=True), bench)
    assert record.status == "complete", record.reason
    measured = record.measurements
    assert {"test.accuracy", "test.macro_f1", "test.loss", "forgetting.kl"} <= set(measured)
    assert not [
        name for name in (*measured, *record.base) if "perplexity" in name and "test" in name
    ]
    classes = Counter(row["references"][0] for row in read_jsonl(tmp_path / "predictions.jsonl"))
    (_, most), n = classes.most_common(1)[0], classes.total()
    assert record.base["test.accuracy"].value == most / n  # it is no classifier: the best guess
    entropy = -sum(c / n * math.log(c / n) for c in classes.values())
    assert record.base["test.loss"].value == pytest.approx(entropy)
    assert "output layer:the base's" in measured["forgetting.kl"].signature
    assert "forgetting.tasks" in measured  # it is a language model still
    curve = next(row for row in rows(tmp_path) if row["kind"] == "evaluation")["measurements"]
    assert {"validation.accuracy", "validation.loss", "forgetting.kl"} <= set(curve)
    predictions = read_jsonl(tmp_path / "predictions.jsonl")
    right = [row["output"] in row["references"] for row in predictions]
    assert sum(right) / len(right) == measured["test.accuracy"].value
    labels = json.loads((tmp_path / "adapter" / "labels.json").read_text())
    assert len(labels) == 8 and (tmp_path / "adapter" / "class_head.safetensors").is_file()
    own = {"full": 984_192, "lora": 81_920}[method]
    assert record.cost["trainable_parameters"] == own + 20_526  # 768 + 384·50 + 50 + 100 + 408
    assert record.cost["trainable_parameters_final"] == own + 20_526


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_body_that_does_not_move_forgets_nothing(bench, small_trial, tmp_path, method):
    still = ("training.learning_rate=1e-30", "training.max_steps=1", "training.eval_every=1")
    config = small_trial(f"method={method}", *TOPICS, *still)
    record = run_trial(job(tmp_path, bench.cache, config), bench)
    assert record.value("forgetting.kl") == 0.0
    assert record.value("forgetting.nll") == 0.0


@pytest.mark.parametrize("data", ["topics", "task"])
def test_two_stages_stopped_in_either_equal_those_in_one_go(bench, small_trial, tmp_path, data):
    """Each with a cache of its own: nothing comes from elsewhere."""
    overrides = [*TWO_STAGES, *(TOPICS if data == "topics" else TOPICS[1:])]
    config = small_trial(*overrides, "training.weight_decay=0.1")
    whole = Workbench("cpu", tmp_path / "cache-1")
    whole.pool = bench.pool
    expected = run_trial(job(tmp_path / "whole", whole.cache, config), whole)
    assert expected.status == "complete", expected.reason
    assert expected.provenance["first_stage_steps"] == 6
    other = Workbench("cpu", tmp_path / "cache-2")
    other.pool = bench.pool
    work = job(tmp_path / "parts", other.cache, config)
    with pytest.raises(Interrupted, match="after step 3"):
        run_trial(work, other, stopping=after(3))
    assert (work.path / "checkpoint-first" / "step-3").is_dir()
    assert not (work.path / "metrics.jsonl").exists()
    with pytest.raises(
        Interrupted, match="after step 5"
    ):  # three of the first stage, five of the next
        run_trial(work, other, stopping=after(8))
    assert (work.path / "checkpoint" / "step-5").is_dir()
    assert not (work.path / "checkpoint-first").exists()
    record = run_trial(replace(work, attempt=2), other)
    assert record.measurements == expected.measurements
    for name in ("metrics.jsonl", "first_stage.jsonl"):
        assert rows(work.path, name) == rows(tmp_path / "whole", name)
    assert not list(work.path.glob("checkpoint*"))


def test_the_first_stage_is_trained_once_and_counted_for_all(bench, small_trial, tmp_path):
    first, second = [
        run_trial(job(tmp_path / name, bench.cache, small_trial(*TWO_STAGES, *TOPICS, *own)), bench)
        for name, own in (("a", ["method.unfreezing=last"]), ("b", ["method.unfreezing=full"]))
    ]
    assert len(list((bench.cache / "first_stage").iterdir())) == 1
    assert len(rows(tmp_path / "a", "first_stage.jsonl")) == 6
    assert not (tmp_path / "b" / "first_stage.jsonl").exists()
    (kept,) = (bench.cache / "first_stage").iterdir()
    before = first.measurements
    assert second.cost["train_seconds"] > 0
    kept.write_bytes(kept.read_bytes()[:1000])  # torn: made again
    torn = run_trial(
        job(
            tmp_path / "c",
            bench.cache,
            small_trial(*TWO_STAGES, *TOPICS, "method.unfreezing=last"),
        ),
        bench,
    )
    assert torn.measurements == before
    assert len(rows(tmp_path / "c", "first_stage.jsonl")) == 6
    # The last layer alone is the classifier's: what is forgotten is the first stage's doing.
    assert first.cost["trainable_parameters"] == 10_542  # of a body half as wide
    other = small_trial(
        *TWO_STAGES, *TOPICS, "method.unfreezing=last", "training.learning_rate=1e-5"
    )
    again = run_trial(job(tmp_path / "d", bench.cache, other), bench)
    assert again.value("forgetting.kl") == first.value("forgetting.kl") > 0


def test_merging_a_classifier_is_refused(small_trial):
    with pytest.raises(InputError, match=r"evaluation\.merged.*data\.label_column"):
        small_trial("method=lora", *TOPICS, "evaluation.merged=true")
