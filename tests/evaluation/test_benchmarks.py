"""lm-eval on the built-in tasks, through our own door."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lm_eval
import numpy as np
import pytest
import torch
import yaml
from lm_eval.models.huggingface import HFLM
from running import adapted
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.builtin import CHAT_MODEL
from harness.data.rows.sampling import sample
from harness.errors import InputError
from harness.evaluation import benchmarks
from harness.evaluation.benchmarks import check_chat_template
from harness.evaluation.benchmarks.loading import SEED, load_tasks
from harness.evaluation.benchmarks.results import scores as scores_of_rows
from harness.evaluation.benchmarks.task_model import in_memory
from harness.evaluation.collector import MeasurementCollector
from harness.records import read_jsonl


@pytest.fixture(scope="module")
def evaluation(trial_config):
    return trial_config("method=lora").evaluation


@pytest.fixture(scope="module")
def of_base(pool, model_config, evaluation):
    with pool.lend(model_config, None) as base:
        return benchmarks.run_tasks(base.model, base.tokenizer, evaluation, "cpu")


def known(**tasks):
    """Results as if lm-eval had run tasks with these scores, by item."""
    made = {
        name: benchmarks.TaskScores(
            {"acc": [[float(x)] for x in items]}, {}, "acc", len(items), name
        )
        for name, items in tasks.items()
    }
    return benchmarks.Results(made)


def test_base_on_the_built_in_tasks(of_base, evaluation):
    assert len(of_base.tasks) >= 3
    assert of_base.missing == {}
    for scores in of_base.tasks.values():
        assert scores.main == "acc"
        assert scores.n == len(scores.items["acc"]) == evaluation.task_limit == 4
        assert {x for (x,) in scores.items["acc"]} <= {0.0, 1.0}
    assert sum(x for scores in of_base.tasks.values() for (x,) in scores.items["acc"]) > 0


def test_scores_are_the_likeliest_choice_by_hand(lend, evaluation, of_base):
    """The drawn items of each task, without lm-eval: which ending has the higher likelihood?"""
    import jinja2

    for task in benchmarks.folder_tasks(evaluation.task_folder):
        files = task["dataset_kwargs"]["data_files"]
        path = files if isinstance(files, str) else next(iter(files.values()))
        rows = sample(read_jsonl(Path(path)), 4, SEED)
        got = [x for (x,) in of_base.tasks[task["task"]].items["acc"]]
        with lend() as base:
            tokenizer = base.tokenizer
            for row, score in zip(rows, got, strict=True):

                def render(field, row=row, task=task):
                    value = task[field]
                    if isinstance(value, str) and "{{" in value:
                        return jinja2.Template(value).render(**row)
                    return row[value] if isinstance(value, str) and value in row else value

                context = render("doc_to_text")
                choices = render("doc_to_choice")
                choices = yaml.safe_load(choices) if isinstance(choices, str) else choices
                label = render("doc_to_target")
                label = int(label) if str(label).isdigit() else choices.index(label)
                sums = []
                for choice in choices:
                    head = tokenizer(context)["input_ids"]
                    whole = tokenizer(f"{context} {choice}")["input_ids"]
                    ids = torch.tensor([whole])
                    with torch.no_grad():
                        log_probs = base.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
                    picked = log_probs.gather(1, ids[0, 1:, None])[len(head) - 1 :]
                    sums.append(float(picked.sum()))
                assert score == float(int(np.argmax(sums)) == label), (task["task"], row)


def test_the_base_itself_changed_by_nothing(of_base, evaluation):
    measured = MeasurementCollector(100)
    benchmarks.add(measured, of_base, of_base, evaluation)
    change = {k: m for k, m in measured.measurements.items() if k.startswith("forgetting.")}
    assert {m.value for m in change.values()} == {0.0}
    for one in change.values():  # no change was seen, which does not show that there is none
        assert one.n and one.standard_error == pytest.approx(1.5**0.5 / one.n)
    overall = measured.measurements["forgetting.tasks"]
    assert overall.n == sum(scores.n for scores in of_base.tasks.values())
    assert overall.unit == "accuracy change"


def test_change_is_paired_by_item(evaluation):
    base = known(a=[1, 1, 0, 0], b=[1, 0])
    tuned = known(a=[1, 0, 0, 0], b=[1, 1])
    measured = MeasurementCollector(100)
    benchmarks.add(measured, tuned, base, evaluation)
    assert measured.values() == {
        "forgetting.tasks": 0.0,
        "forgetting.tasks.a": -0.25,
        "forgetting.tasks.b": 0.5,
        "tasks.a.acc": 0.25,
        "tasks.b.acc": 1.0,
    }
    # s/√n of the changes 0, −1, 0, 0 and of the scores 1, 0, 0, 0
    assert measured.measurements["forgetting.tasks.a"].standard_error == pytest.approx(0.25)
    assert measured.measurements["tasks.a.acc"].standard_error == pytest.approx(0.25)
    before = benchmarks.scores_of(base, 100)
    assert {name: m.value for name, m in before.items()} == {"tasks.a.acc": 0.5, "tasks.b.acc": 0.5}
    for name, m in before.items():  # compared only because they were measured alike
        assert m.signature == measured.measurements[name].signature


@pytest.mark.parametrize("name", ["lora", "random_mask", "prompt_tuning"])
def test_adapters_go_through(lend, trial_config, evaluation, of_base, name):
    with lend() as base:
        model = adapted(base, trial_config(f"method={name}")).model
        found = benchmarks.run_tasks(model, base.tokenizer, evaluation, "cpu")
    assert {task: s.n for task, s in found.tasks.items()} == dict.fromkeys(of_base.tasks, 4)
    if name != "prompt_tuning":  # untrained: the base
        assert found == of_base


def test_measured_once_and_again_if_the_items_change(tmp_path, lend, evaluation, of_base):
    import shutil

    tasks = tmp_path / "tasks"
    shutil.copytree(benchmarks.task_folder(evaluation.task_folder), tasks)
    config = replace(evaluation, task_folder=str(tasks))
    runs = []
    with lend() as base:
        handle = base.model.register_forward_hook(lambda *_: runs.append(1))
        first = benchmarks.base_results(tmp_path / "cache", base, config, "cpu")
        n = len(runs)
        assert n > 0
        assert benchmarks.base_results(tmp_path / "cache", base, config, "cpu") == first == of_base
        assert len(runs) == n
        path = sorted(tasks.glob("*.jsonl"))[0]
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join(lines[4:]) + "\n", encoding="utf-8")
        benchmarks.base_results(tmp_path / "cache", base, config, "cpu")
        assert len(runs) > n
        handle.remove()


def test_rows_of_one_task_under_several_filters():
    """The first filter is the main score, the others are scores of their own."""
    found = [("strict", 1, 0.0), ("strict", 0, 1.0), ("flexible", 0, 0.5), ("flexible", 1, 1.0)]
    rows = [
        {"doc_id": doc, "filter": way, "metrics": ["exact_match"], "exact_match": score}
        for way, doc, score in found
    ]
    made = scores_of_rows(rows, {}, "about", None, None)
    assert made.items == {"exact_match": [[1.0], [0.0]], "exact_match,flexible": [[0.5], [1.0]]}
    assert (made.main, made.n) == ("exact_match", 2)


def test_zero_shot_is_zero_whatever_the_task_would_take(tmp_path, lend, evaluation):
    """It goes into the signature: a task's own default must not take its place."""
    import shutil

    tasks = tmp_path / "tasks"
    shutil.copytree(benchmarks.task_folder(evaluation.task_folder), tasks)
    for path in tasks.glob("*.yaml"):
        path.write_text(path.read_text(encoding="utf-8") + "\nnum_fewshot: 2\n", encoding="utf-8")
    longest = {}
    for folder, shots in (("builtin", 0), (str(tasks), 0), (str(tasks), 1)):
        config = replace(evaluation, task_folder=folder, num_fewshot=shots, task_limit=2)
        seen = []
        with lend() as base:
            handle = base.model.register_forward_pre_hook(
                lambda module, args, kwargs, seen=seen: seen.append(
                    (args or [*kwargs.values()])[0]
                ),
                with_kwargs=True,
            )
            benchmarks.run_tasks(base.model, base.tokenizer, config, "cpu")
            handle.remove()
        longest[folder == "builtin", shots] = max(ids.shape[1] for ids in seen)
    assert longest[False, 0] == longest[True, 0] < longest[False, 1]


@pytest.mark.parametrize("shots", [0, 2])
def test_a_chat_model_is_asked_through_its_template_as_lm_eval_asks(evaluation, shots):
    """The same prompts, log-likelihoods and scores as of lm-eval's own model with the same options."""
    tokenizer = AutoTokenizer.from_pretrained(CHAT_MODEL)
    model = AutoModelForCausalLM.from_pretrained(CHAT_MODEL, dtype=torch.float32).eval()
    system = "Answer in one word."
    options = {"apply_chat_template": True, "system_instruction": system}
    config = replace(evaluation, num_fewshot=shots, task_limit=2, **options)
    found = benchmarks.run_tasks(model, tokenizer, config, "cpu")
    assert not found.missing
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, softmax_dtype=torch.float32)
    name, task = next(iter(load_tasks(config).tasks.items()))
    rows = []
    for wrapped in (in_memory(model, tokenizer, config, "cpu"), theirs):
        task.set_fewshot_seed(seed=SEED)
        whole = lm_eval.evaluate(
            lm=wrapped,
            task_dict={"tasks": {name: task}},
            samples={name: [0, 1]},
            bootstrap_iters=0,
            fewshot_as_multiturn=True,
            **options,
        )
        rows.append(sorted(whole["samples"][name], key=lambda row: row["doc_id"]))
    for own, other in zip(*rows, strict=True):
        assert own["arguments"] == other["arguments"] and system in str(own["arguments"])
        ours, its = ([float(x[0][0]) for x in row["resps"]] for row in (own, other))
        np.testing.assert_allclose(ours, its, rtol=1e-5)
    asked = rows[1][0]["arguments"][0][0]
    assert asked.count("<|user|>") == 1 + shots
    assert found.tasks[name].items["acc"] == [[row["acc"]] for row in rows[1]]
    assert (
        "chat template:" in found.tasks[name].signature and "system:" in found.tasks[name].signature
    )


def test_a_template_that_is_not_there_is_refused(evaluation, tokenizer_builtin):
    tokenizer = AutoTokenizer.from_pretrained(CHAT_MODEL)
    for which, name, said in (
        (tokenizer_builtin, True, "no chat template. It must be false"),
        (tokenizer, "defualt", "Unknown template .*Did you mean default"),
    ):
        with pytest.raises(InputError, match=said):
            check_chat_template(which, replace(evaluation, apply_chat_template=name))
    check_chat_template(tokenizer_builtin, evaluation)
