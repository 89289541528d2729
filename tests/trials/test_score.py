"""``harness.evaluate``: what a trial measured of its weights, measured of the same weights again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from running import job

from harness import evaluate
from harness.config import ModelConfig
from harness.errors import InputError
from harness.records import read_record
from harness.trials.by_hand.saved_adapter import read_saved
from harness.trials.by_hand.score_adapter import run_score
from harness.trials.run import run_trial

TASKS = ("evaluation.task_folder=builtin", "evaluation.task_limit=2", "stage=confirm")
STEPS = ("training.epochs=null", "training.max_steps=3", "training.eval_every=100", *TASKS)
LIMITS = ("train_limit", "validation_limit", "test_limit", "general_limit")  # of conftest's SMALL
SIZES = ("max_new_tokens", "batch_size", "watched_examples", "bootstrap_resamples")
CLASSES = ("data=builtin_topics", "data.train_limit=40")


@pytest.fixture(scope="module")
def trained(bench, trial_config, tmp_path_factory):
    """`trained("method=lora")`: config, folder and record of a trial that kept its adapter."""
    from functools import cache

    @cache
    def ran(*overrides):
        config = trial_config(*overrides, *STEPS)
        folder = tmp_path_factory.mktemp("trial")
        record = run_trial(job(folder, bench.cache, config, keep_adapter=True), bench)
        assert record.status == "complete", record.reason
        return config, folder, record

    return ran


def score(bench, config, folder, adapter):
    """The record of ``adapter`` (None: the base) under ``config``."""
    saved = None if adapter is None else read_saved(str(adapter))
    asked = replace(config, method={"name": "any"})
    return run_score(job(folder, bench.cache, asked, method="any"), bench, saved)


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=qlora",),  # on the quantized base that its record names
        ("method=prefix_tuning",),
        ("method=full", *CLASSES),
    ],
    ids=lambda overrides: "-".join(o.split("=")[1] for o in overrides[:2]),
)
def test_the_numbers_of_the_trial(bench, trained, tmp_path, overrides):
    config, folder, record = trained(*overrides)
    again = score(bench, config, tmp_path, folder / "adapter").record
    assert again.base == record.base
    assert again.missing == record.missing
    if overrides == ("method=prefix_tuning",):  # saved as what its network last wrote: rounding
        values = {name: m.value for name, m in record.measurements.items()}
        assert {name: m.value for name, m in again.measurements.items()} == pytest.approx(
            values, 1e-5
        )
    else:
        assert again.measurements == record.measurements
        for name in ("items.jsonl", "predictions.jsonl"):
            assert (tmp_path / name).read_text() == (folder / name).read_text()
    assert again == read_record(tmp_path)
    assert "train_seconds" not in again.cost
    assert again.cost["adapter_bytes"] > 0


@pytest.fixture(scope="module")
def foreign(trained, tmp_path_factory):
    """The LoRA trial's weights, put into a model and saved by peft and transformers alone."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from harness import builtin

    _, folder, _ = trained("method=lora")
    ours = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    plain = LoraConfig(
        r=ours["r"],
        lora_alpha=ours["lora_alpha"],
        target_modules=sorted(ours["target_modules"]),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(builtin.MODEL), plain)
    set_peft_model_state_dict(model, load_file(folder / "adapter" / "adapter_model.safetensors"))
    place = tmp_path_factory.mktemp("foreign")
    model.save_pretrained(place)
    return place


def test_an_adapter_saved_by_plain_peft(bench, trained, foreign, tmp_path):
    config, _, record = trained("method=lora")
    again = score(bench, config, tmp_path, foreign)
    assert again.record.measurements == record.measurements
    assert again.doubts == []
    assert not (foreign / "tokenizer.json").exists()  # nothing of ours lies there


def test_the_command(trained, foreign, tmp_path, capsys):
    """The same numbers through the door, and the record again from the second call."""
    config, _, record = trained("method=lora")
    data, evaluation = config.data, config.evaluation
    command = [f"data.{name}={getattr(data, name)}" for name in LIMITS]
    command += [f"evaluation.{name}={getattr(evaluation, name)}" for name in SIZES]
    command += [*TASKS, f"adapter={foreign}", f"runs_dir={tmp_path}", "launcher.threads=1"]
    assert evaluate.main(command) == 0
    (folder,) = (tmp_path / "evaluated" / "trials" / "lora").iterdir()
    made = read_record(folder)
    assert made is not None
    assert made.measurements == record.measurements
    assert made.overrides[0] == f"adapter={foreign}"
    assert not [text for text in made.overrides if text.startswith("method=")]
    written = (folder / "record.json").read_bytes()
    capsys.readouterr()
    assert evaluate.main(command) == 0
    assert "already measured" in capsys.readouterr().out
    assert (folder / "record.json").read_bytes() == written


def test_the_base_itself_has_forgotten_nothing(bench, trained, tmp_path):
    config, _, record = trained("method=lora")
    alone = score(bench, config, tmp_path, None).record
    assert {m.value for n, m in alone.measurements.items() if n.startswith("forgetting.")} == {0.0}
    assert {n: m for n, m in alone.measurements.items() if n in alone.base} == {
        n: m for n, m in record.base.items() if n in alone.measurements
    }


def test_merged_weights(bench, trained, tmp_path):
    """A whole model that merging left: the adapter's numbers but for rounding."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from harness import builtin

    config, folder, record = trained("method=lora")
    base = AutoModelForCausalLM.from_pretrained(builtin.MODEL)
    merged = PeftModel.from_pretrained(base, folder / "adapter").merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    again = score(bench, config, tmp_path, tmp_path / "merged").record
    for name in ("test.perplexity", "forgetting.kl", "tasks.vale_nature.acc"):
        expected = record.measurements[name].value
        assert again.measurements[name].value == pytest.approx(expected, rel=1e-4)


def changed(folder: Path, place: Path, **fields) -> Path:
    """A copy of an adapter with other values in its adapter_config.json."""
    shutil.copytree(folder, place)
    path = place / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return place


def test_an_adapter_for_another_base(bench, trained, tmp_path):
    config, folder, _ = trained("method=lora")
    other = changed(folder / "adapter", tmp_path / "other", base_model_name_or_path="a/Other-7B")
    (doubt,) = read_saved(str(other)).doubts(config.model)
    assert "made for 'Other-7B'" in doubt
    mine = replace(config.model, name="/somewhere/Other-7B")
    assert read_saved(str(other)).doubts(mine) == []
    assert isinstance(mine, ModelConfig)
    for name, fields, message in (
        ("wide", {"r": 7}, "does not fit this base: .*size mismatch"),
        ("absent", {"target_modules": ["nowhere"]}, "does not fit this base"),
        ("fewer", {"target_modules": ["q_proj"]}, "it has besides .* tensors, such as"),
    ):
        unfit = changed(folder / "adapter", tmp_path / name, **fields)
        with pytest.raises(InputError, match=message):
            score(bench, config, tmp_path / "out", unfit)


def test_tensors_that_the_file_lacks(bench, trained, tmp_path):
    from safetensors.torch import load_file, save_file

    config, folder, _ = trained("method=lora")
    place = changed(folder / "adapter", tmp_path / "half")
    tensors = load_file(place / "adapter_model.safetensors")
    tensors.popitem()
    save_file(tensors, place / "adapter_model.safetensors")
    with pytest.raises(InputError, match="it lacks 1 tensors"):
        score(bench, config, tmp_path / "out", place)


def test_classes_have_to_be_the_datas(bench, trained, tmp_path):
    _, folder, _ = trained("method=lora")
    classes, _, _ = trained("method=full", *CLASSES)
    with pytest.raises(InputError, match="the classes none, and the data has"):
        score(bench, classes, tmp_path, folder / "adapter")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "it has no \\*.safetensors"),
        ({"adapter_model.bin": "x", "adapter_config.json": "{}"}, "it has no \\*.safetensors"),
        ({"model.safetensors": "x"}, "neither adapter_config.json"),
        ({"model.safetensors": "x", "adapter_config.json": "{"}, "cannot be read"),
        ({"model.safetensors": "x", "adapter_config.json": "{}"}, "no adapter_model.safetensors"),
        (
            {"adapter_model.safetensors": "x", "adapter_config.json": '{"peft_type": "EVIL"}'},
            "does not know its type 'EVIL'",
        ),
    ],
)
def test_folders_that_are_refused(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_saved(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["adapter=/no/such/place"], "this folder does not exist"),
        (["method=lora"], "nothing is trained here"),
        (["training.learning_rate=1"], "nothing is trained here"),
        (["evaluation.tasks=3"], "evaluation.tasks=3"),
    ],
)
def test_mistakes_are_answered_before_anything_is_spent(tmp_path, capsys, arguments, message):
    assert evaluate.main([*arguments, f"runs_dir={tmp_path / 'runs'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
