"""Forgetting is exactly 0 before training, for every method that starts at the base."""

from __future__ import annotations

import json

import numpy as np
import pytest
from running import adapted

from harness import methods
from harness.compose.command_line import conf_dir
from harness.errors import InputError
from harness.evaluation import benchmarks
from harness.evaluation.base_reference import ReferenceStore
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.probes.asking import AnswerStore, ask_base, ask_tuned, probes
from harness.evaluation.probes.probe import Answers
from harness.evaluation.suite import evaluate, evaluate_before_training, evaluate_during_training
from harness.evaluation.texts import prepare

# A start that is computed (SVD, QR and back) is off by rounding.
ROUNDED = {"pissa": 1e-7, "olora": 1e-7}
LESS = {
    "eva": ("method.eva_sequences=8",),
    "importance_mask": ("method.samples=8",),
    "forest_importance": ("method.masks=3", "method.samples=4", "method.trees=3"),
}
SHOWN = ("lora", "full")  # of these everything that finalists are measured on


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, splits, tokenizer_builtin, trial_config):
    path = tmp_path_factory.mktemp("own") / "own.jsonl"
    rows = [
        {"prompt": p, "checks": {"max_words": 12}} for p in ("Lesson with Nora.", "Dear Ida,\n")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = trial_config(
        "method=lora",
        f"evaluation.instructions={path}",
        "evaluation.instruction_tokens=8",
        "evaluation.agreement_prompts=3",
        "evaluation.task_folder=builtin",
        "evaluation.task_limit=2",
    ).evaluation
    data = trial_config("method=lora").data
    texts = prepare(splits, tokenizer_builtin, data, config, "test")
    folder = tmp_path_factory.mktemp("base")
    return config, texts, probes(texts, tokenizer_builtin, config), folder


def names():
    return sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))


@pytest.mark.parametrize("name", names())
def test_untrained_it_forgot_exactly_nothing(lend_small, trial_config, prepared, name):
    """KL and NLL, on general text as a whole and on every domain of it, and on the task's prompts."""
    config, texts, asked, folder = prepared
    own = trial_config(f"method={name}", *LESS.get(name, ()))
    method = methods.build(own.method)
    if not method.starts_at_base:
        pytest.skip("it starts elsewhere, and says so")
    with lend_small(method.base_quantization) as base:
        reference = ReferenceStore(folder).get(base, texts, config, "cpu")
        store = AnswerStore(folder)
        before = ask_base(asked, lambda probe: store.get(base, probe, "cpu"), config)
        if name in SHOWN:
            tasks = benchmarks.base_results(folder, base, config, "cpu")
        try:
            model = adapted(base, own).model
        except InputError as error:
            pytest.skip(str(error))  # nothing to train in this model: it has no biases
        if name not in SHOWN:
            values = evaluate_during_training(model, texts, reference, config, "cpu")
            known = evaluate_before_training(model, texts, reference, config, "cpu")
            assert known == values, "a base need not be measured again"
        else:
            measured = evaluate(model, base.tokenizer, texts, reference, config, "cpu")
            ask_tuned(measured, model, base.tokenizer, before, "cpu")
            after = benchmarks.run_tasks(model, base.tokenizer, config, "cpu")
            benchmarks.add(measured, after, tasks, config)
            values = measured.values()
            for way in ("lost", "gained"):
                assert values[f"forgetting.nll_{way}"] == 0.0
            assert values["agreement.exact_match"] == 100.0
            assert values["agreement.chrf"] == pytest.approx(100.0)
            assert {"forgetting.instructions", "forgetting.tasks"} <= set(values)
            assert len([n for n in values if n.startswith("forgetting.kl.")]) == 8 + 1
    moved = {n: v for n, v in values.items() if n.startswith(("forgetting.", "drift."))}
    assert {"forgetting.kl", "forgetting.nll", "drift.kl_target"} <= set(moved)
    assert max(map(abs, moved.values())) <= ROUNDED.get(name, 0.0), moved


def test_lost_minus_gained_is_the_rise():
    from harness.evaluation.forgetting import lost_and_gained
    from harness.statistics.scores import aggregate

    columns = np.array([[12.0, 5.0, 10.0], [7.0, 5.0, 10.0], [4.0, 10.0, 4.0]])
    parts = {f"forgetting.{n}": c for n, c in lost_and_gained(columns).items()}
    values = {name: float(aggregate(name, part)) for name, part in parts.items()}
    assert values == {
        "forgetting.nll_lost": pytest.approx(2 / 20),
        "forgetting.nll_gained": pytest.approx(3 / 20),
    }
    assert float(aggregate("forgetting.nll", columns)) == pytest.approx(-1 / 20)


def test_a_base_that_says_other_things_agrees_less(prepared):
    """The same number of answers, one of two changed: half of them exact."""
    _, _, asked, _ = prepared
    measured = MeasurementCollector(100)
    asked[1].add_changes(measured, Answers(["a b", "c d"], []), Answers(["a b", "c e"], []))
    assert measured.values()["agreement.exact_match"] == 50.0
    assert 0 < measured.values()["agreement.chrf"] < 100
    assert "reference:the base's own" in measured.measurements["agreement.chrf"].signature
