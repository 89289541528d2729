"""Multiple choice by a written answer: the question that is asked, and how the answer is read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.evaluation import benchmarks
from harness.evaluation.benchmarks.choices import generated_twin, read_choice
from harness.evaluation.benchmarks.loading import load_tasks
from harness.evaluation.collector import MeasurementCollector


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("B", 1),
        (" b", 1),
        ("(B) a road", 1),
        ("B. a road\nC. a hill", 1),
        ("**C**", 2),
        ("The answer is B.", 1),
        ("the correct answer is: (C)", 2),
        ("Answer: A", 0),
        ("\n\nC", 2),
        ("a road", 1),  # its own words, before 'a' is taken for a letter
        ("A Road.", 1),
        ("D", None),  # there is no fourth
        ("Because of it", None),
        ("", None),
        ("\n", None),
    ],
)
def test_which_choice_an_answer_names(answer, index):
    assert read_choice(answer, ["a hill", "a road", "the sea"]) == index


@pytest.fixture(scope="module")
def evaluation(trial_config):
    return trial_config("method=lora").evaluation


@pytest.fixture(scope="module")
def both(evaluation):
    return replace(evaluation, multiple_choice=["likelihood", "generation"])


def test_the_question(evaluation):
    task = load_tasks(evaluation).tasks["vale_nature"]
    twin = generated_twin(task)
    doc = task.eval_docs[0]
    lines = twin.doc_to_text(doc).splitlines()
    choices = task.doc_to_choice(doc)
    assert lines[0] == task.doc_to_text(doc)
    assert lines[1:] == [
        *(f"{'ABCDEFGH'[i]}. {choice}" for i, choice in enumerate(choices)),
        "Answer:",
    ]
    right = "ABCDEFGH"[choices.index(doc["answer"]) if doc["answer"] in choices else doc["answer"]]
    assert twin.doc_to_target(doc) == right
    assert twin.process_results(doc, [f" {right}"]) == {"acc": 1.0, "answered": 1.0}
    wrong = next(letter for letter in "AB" if letter != right)
    assert twin.process_results(doc, [wrong]) == {"acc": 0.0, "answered": 1.0}
    assert twin.process_results(doc, ["no idea"]) == {"acc": 0.0, "answered": 0.0}


def test_both_ways_and_their_difference(lend, both):
    """Written answers by hand: what transformers generates after the very prompt, read by us."""
    with lend() as base:
        results = benchmarks.run_tasks(base.model, base.tokenizer, both, "cpu")
        loaded = load_tasks(both)
        tokenizer, name = base.tokenizer, "vale_nature_generated"
        for number, (said,) in enumerate(results.tasks[name].items["acc"]):
            doc = loaded.tasks[name].eval_docs[number]
            ids = [
                tokenizer.bos_token_id,
                *tokenizer(loaded.tasks[name].doc_to_text(doc))["input_ids"],
            ]
            import torch

            out = base.model.generate(
                input_ids=torch.tensor([ids]), max_new_tokens=16, do_sample=False, pad_token_id=0
            )
            text = tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True).split("\n")[0]
            choices = loaded.tasks["vale_nature"].doc_to_choice(doc)
            gold = "ABCDEFGH".index(loaded.tasks[name].doc_to_target(doc))
            assert said == float(read_choice(text, choices) == gold), text
    assert results.missing == {}
    measured = MeasurementCollector(100)
    benchmarks.add(measured, results, results, both)
    found = measured.values()
    for name in ("vale_nature", "vale_people", "vale_lessons"):
        difference = found[f"tasks.{name}_generated.acc"] - found[f"tasks.{name}.acc"]
        assert found[f"tasks.{name}.written_minus_likely"] == pytest.approx(difference)
        assert found[f"forgetting.tasks.{name}_generated"] == 0
    # each question once in the whole
    assert measured.measurements["forgetting.tasks"].n == 3 * 4


def test_one_way_alone(lend, evaluation):
    written = replace(evaluation, multiple_choice=["generation"])
    with lend() as base:
        results = benchmarks.run_tasks(base.model, base.tokenizer, written, "cpu")
    assert all(name.endswith("_generated") for name in results.tasks)
    measured = MeasurementCollector(100)
    benchmarks.add(measured, results, results, written)
    assert measured.measurements["forgetting.tasks"].n == 3 * 4


def test_virtual_tokens_in_batches(lend, trial_config, both):
    """Padding stands before them: one batch or many, the same answers."""
    from running import adapted

    with lend() as base:
        model = adapted(base, trial_config("method=prompt_tuning")).model
        many = benchmarks.run_tasks(model, base.tokenizer, both, "cpu")
        one = benchmarks.run_tasks(model, base.tokenizer, replace(both, task_batch_size=1), "cpu")
    assert many.missing == {}
    assert many == one
