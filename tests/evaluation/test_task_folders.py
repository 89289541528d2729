"""Folders of task YAMLs: read as data, refused where they name code, run as lm-eval means them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.errors import InputError
from harness.evaluation import benchmarks
from harness.evaluation.benchmarks.loading import load_tasks
from harness.evaluation.collector import MeasurementCollector

MC = Path(__file__).parents[2].parent / "shared" / "data" / "mc"
ITEMS = [
    {"question": "The sky is", "choices": ["blue", "a song"], "answer": 0, "page": "one"},
    {"question": "A dog is", "choices": ["a letter", "an animal"], "answer": 1, "page": "one"},
    {"question": "Milk is", "choices": ["white", "a road"], "answer": 0, "page": "two"},
    {"question": "Snow is", "choices": ["cold", "hot"], "answer": 0, "page": "three"},
]
PASSAGE = "{{query.split('\\nQuestion:')[0]}}"  # BoolQ's questions stand under their passage
CHOICES = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "items.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}


@pytest.fixture
def evaluation(trial_config):
    return replace(trial_config("method=lora").evaluation, task_limit=None)


@pytest.fixture
def write(tmp_path, evaluation):
    """Write a YAML; the configuration that runs the folder."""

    def written(name="items", **changes):
        rows = "\n".join(json.dumps(item) for item in ITEMS)
        (tmp_path / "items.jsonl").write_text(rows)
        task = {**CHOICES, "task": name, **changes}
        task = {key: value for key, value in task.items() if value is not None}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(task))
        return replace(evaluation, task_folder=str(tmp_path))

    return written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: x\nprocess_docs: !function evil.run\n", "not plain YAML"),
        ("task: x\nfoo: !!python/object/apply:os.system ['true']\n", "not plain YAML"),
        ("- a\n- b\n", "a mapping with a `task:` name"),
        ("dataset_path: json\n", "a mapping with a `task:` name"),
        ("task: x\nclass: evil.Task\n", "class cannot be used"),
        ("task: x\ncustom_dataset: evil.load\n", "custom_dataset cannot be used"),
        ("task: x\nmetric_list: [{metric: evil, hf_evaluate: true}]\n", "a script from a hub"),
        ("task: x\ninclude: ../../secret.yaml\n", "another file of this folder"),
        ("task: x\ninclude: one.yaml\n", "another file of this folder"),
        ("group: g\ntask: [{task: x, num_fewshot: 3}]\n", "lists tasks of this folder by name"),
        (None, "no \\*.yaml in it"),
    ],
)
def test_folders_that_are_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        benchmarks.folder_tasks(str(tmp_path))


def test_a_metric_that_would_be_looked_up_on_a_hub_is_refused(write):
    with pytest.raises(InputError, match="Unknown metric of task 'items' 'accuracyy'"):
        benchmarks.check_tasks(write(metric_list=[{"metric": "accuracyy"}]))


def test_a_template_cannot_reach_python(write, tmp_path):
    """lm-eval's own environment runs this: a YAML without any !function, and the file is there."""
    proof = tmp_path / "proof"
    call = "{{ cycler.__init__.__globals__.os.mkdir('PROOF') }}".replace("PROOF", str(proof))
    with pytest.raises(InputError, match=r"SecurityError.*unsafe"):
        benchmarks.check_tasks(write(doc_to_text=call))
    assert not proof.exists()


def test_include_group_and_tag(write, tmp_path, evaluation):
    config = write("first", tag="some")
    shared = {key: value for key, value in CHOICES.items() if key != "dataset_kwargs"}
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "items.jsonl").write_text(json.dumps(ITEMS[0]))
    (inner / "shared.yaml").write_text(yaml.safe_dump(shared))
    own = {"include": "shared.yaml", "task": "second", "doc_to_text": "{{question}}?"}
    own["dataset_kwargs"] = {"data_files": {"test": ["items.jsonl"]}}
    (inner / "second.yaml").write_text(yaml.safe_dump(own))
    (tmp_path / "both.yaml").write_text("group: both\ntask: [first, second]\n")
    assert set(load_tasks(config).tasks) == {"first", "second"}
    assert load_tasks(config).tasks["second"].doc_to_text(ITEMS[0]) == "The sky is?"
    for named, expected in (
        ("both", {"first", "second"}),
        ("some", {"first"}),
        ("second", {"second"}),
    ):
        assert set(load_tasks(replace(config, tasks=[named])).tasks) == expected
    with pytest.raises(InputError, match="'first' is asked for twice"):
        benchmarks.check_tasks(replace(config, tasks=["first", "both"]))


def test_few_shot_and_limit_by_task(write):
    config = replace(write("a"), num_fewshot=None, task_limit=3)
    write("b", num_fewshot=1)
    loaded = load_tasks(replace(config, per_task={"a": {"limit": 2, "num_fewshot": 2}}))
    shots = {name: task.config.num_fewshot for name, task in loaded.tasks.items()}
    assert (shots, loaded.limits) == ({"a": 2, "b": 1}, {"a": 2, "b": 3})
    loaded = load_tasks(replace(config, num_fewshot=0))
    assert {task.config.num_fewshot for task in loaded.tasks.values()} == {0}
    with pytest.raises(InputError, match=r"task in evaluation.per_task 'c'.*Known: a, b"):
        load_tasks(replace(config, per_task={"c": {"limit": 2}}))


def test_items_that_share_a_passage(write, lend):
    """The error of the mean is the clustered one, and the report can see that it is."""
    config = write()
    with lend() as base:
        plain = benchmarks.run_tasks(base.model, base.tokenizer, config, "cpu")
        by_page = replace(config, per_task={"items": {"cluster": "page"}})
        clustered = benchmarks.run_tasks(base.model, base.tokenizer, by_page, "cpu")
        template = replace(config, per_task={"items": {"cluster": "{{page.split('e')[0]}}"}})
        by_start = benchmarks.run_tasks(base.model, base.tokenizer, template, "cpu")
    assert clustered.tasks["items"].clusters == ["one", "one", "two", "three"]
    assert clustered.tasks["items"].items == plain.tasks["items"].items
    assert by_start.tasks["items"].clusters == ["on", "on", "two", "thr"]
    found = {}
    for name, results in (("plain", plain), ("clustered", clustered)):
        measured = MeasurementCollector(100)
        benchmarks.add(measured, results, results, config)
        found[name] = measured.measurements["tasks.items.acc_norm"]
    assert found["plain"].value == found["clustered"].value
    assert found["plain"].signature + "|clusters:3" == found["clustered"].signature
    values = [x for (x,) in plain.tasks["items"].items["acc_norm"]]
    from harness.statistics.clusters import mean_error

    assert found["clustered"].standard_error == mean_error(values, ["one", "one", "two", "three"])
    with pytest.raises(InputError, match=r"per_task.items.cluster 'pag'. Did you mean page"):
        load_tasks(replace(config, per_task={"items": {"cluster": "pag"}}))


def test_model_written_code_runs_only_if_asked_for(write):
    config = write(unsafe_code=True)
    with pytest.raises(InputError, match="'items' runs code that the model writes"):
        benchmarks.check_tasks(config)
    assert set(load_tasks(replace(config, unsafe_tasks=True)).tasks) == {"items"}


def test_a_hub_out_of_reach_leaves_the_others(write, lend, monkeypatch):
    """Missing tasks have a reason, the others a value, and nothing is cached as final."""
    import datasets

    config = write()
    write("far", dataset_path="someone/far", dataset_kwargs=None)
    real = datasets.load_dataset

    def load(path, *arguments, **options):
        if path == "someone/far":
            raise ConnectionError("Couldn't reach 'someone/far' on the Hub")
        return real(path, *arguments, **options)

    monkeypatch.setattr(datasets, "load_dataset", load)
    with lend() as base:
        results = benchmarks.run_tasks(base.model, base.tokenizer, config, "cpu")
        folder = Path(config.task_folder) / "cache"
        benchmarks.base_results(folder, base, config, "cpu")
        assert not folder.exists()
    assert set(results.tasks) == {"items"}
    measured = MeasurementCollector(100)
    benchmarks.add(measured, results, results, config)
    why = "its data cannot be reached: Couldn't reach 'someone/far' on the Hub"
    assert measured.missing == {"tasks.far": why}
    assert "forgetting.tasks.items" in measured.measurements


def test_a_task_that_fails_is_missing_with_its_reason(write, lend):
    """More answer than the model has positions for."""
    config = write()
    asks = {"generation_kwargs": {"until": ["\n"], "max_gen_toks": 4096}, "doc_to_choice": None}
    metric = [{"metric": "exact_match"}]
    write("long", output_type="generate_until", doc_to_target="x", metric_list=metric, **asks)
    with lend() as base:
        results = benchmarks.run_tasks(base.model, base.tokenizer, config, "cpu")
    assert set(results.tasks) == {"items"}
    assert "4096" in results.missing["long"]


def test_batch_size_auto_gives_the_same_scores(write, lend, capfd):
    config = write()
    with lend() as base:
        base.model.config.max_position_embeddings, kept = (
            32,
            base.model.config.max_position_embeddings,
        )
        fixed = benchmarks.run_tasks(base.model, base.tokenizer, config, "cpu")
        auto = replace(config, task_batch_size="auto")
        assert benchmarks.run_tasks(base.model, base.tokenizer, auto, "cpu") == fixed
        base.model.config.max_position_embeddings = kept
    assert "batch size" not in capfd.readouterr().out


@pytest.mark.shared
@pytest.mark.skipif(not MC.is_dir(), reason="the real data are not here")
def test_real_items_as_local_tasks(tmp_path, lend, evaluation):
    """ARC-easy, PIQA, BoolQ by passage, COPA, LAMBADA: every one runs and says how sure it is."""
    for name in ("arc_easy", "piqa", "boolq", "copa"):
        task = {**CHOICES, "task": name, "doc_to_text": "query", "doc_to_target": "gold"}
        task["dataset_kwargs"] = {"data_files": {"test": str(MC / f"{name}.jsonl")}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(task))
    task = {
        "task": "lambada",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(MC / "lambada_openai.jsonl")}},
        "test_split": "test",
        "output_type": "loglikelihood",
        "doc_to_text": "context",
        "doc_to_target": "continuation",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    }
    (tmp_path / "lambada.yaml").write_text(yaml.safe_dump(task))
    config = replace(
        evaluation,
        task_folder=str(tmp_path),
        task_limit=6,
        per_task={"boolq": {"cluster": PASSAGE}},
    )
    with lend() as base:
        results = benchmarks.run_tasks(base.model, base.tokenizer, config, "cpu")
    assert results.missing == {}
    measured = MeasurementCollector(100)
    benchmarks.add(measured, results, results, config)
    found = measured.measurements
    for name in ("arc_easy", "piqa", "boolq", "copa", "lambada"):
        assert found[f"forgetting.tasks.{name}"].value == 0
        assert found[f"tasks.{name}.acc"].n == 6
        assert found[f"tasks.{name}.acc"].standard_error is not None
    assert found["tasks.lambada.perplexity"].value > 1
    assert found["forgetting.tasks"].n == 30
