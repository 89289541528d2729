"""The model of a trial in a folder: loaded by plain libraries, merged, measured, described."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from harness import export
from harness.records import read_jsonl
from harness.reporting import formatting as f


@pytest.fixture(scope="module")
def lora(runs, tmp_path_factory):
    """The export of the LoRA trial, merged and in 4 bits, by the command."""
    folder = tmp_path_factory.mktemp("exports") / "lora"
    (trial,) = (runs / "demo" / "trials" / "lora").iterdir()
    arguments = [str(trial), f"output={folder}", "merged=true", "bits=4", "base=tiny/base"]
    assert export.main(arguments) == 0
    return folder


@pytest.fixture
def written(runs, tmp_path):
    """`written("full")` → the folder of that trial's export."""

    def made(method, *arguments):
        (trial,) = (runs / "demo" / "trials" / method).iterdir()
        assert export.main([str(trial), f"output={tmp_path / method}", *arguments]) == 0
        return tmp_path / method

    return made


def base_folder(trial, method):
    return trial(method)[1].config["model"]["name"]


def asked_and_answered(trial, method):
    """The first test prompt as a person would type it, and the answer that the trial recorded."""
    row = read_jsonl(trial(method)[0] / "predictions.jsonl")[0]
    return row["prompt"].removesuffix("\n"), row["output"]


def test_a_finalist_has_its_speed_as_trained_and_merged(trial):
    for method, merged in (("lora", True), ("prompt_tuning", False), ("full", False)):
        speed = trial(method)[1].afterwards["speed"]
        kinds = ["trained", "merged"] if merged else ["trained"]
        assert list(speed.measurements) == [f"{kind}.tokens_per_second" for kind in kinds]
        for one in speed.measurements.values():
            assert one.value > 0 and one.n == 5 and "one batch of 5 prompts" in one.signature
        assert (speed.note is None) == merged


def test_plain_peft_and_transformers_load_it(lora, trial):
    own, _ = trial("lora")
    for name in ("adapter_model.safetensors", "tokenizer.json"):
        assert (lora / name).read_bytes() == (own / "adapter" / name).read_bytes()
    base = AutoModelForCausalLM.from_pretrained(base_folder(trial, "lora"))
    name = "model.layers.1.mlp.down_proj"
    start = base.get_submodule(name).weight.detach().clone()
    tuned = PeftModel.from_pretrained(base, lora).eval()
    assert tuned.peft_config["default"].base_model_name_or_path == "tiny/base"
    merged = AutoModelForCausalLM.from_pretrained(lora / "merged").eval()
    ids = torch.arange(5, 25).unsqueeze(0)
    with torch.no_grad():
        apart = tuned(input_ids=ids).logits - merged(input_ids=ids).logits
    assert float(apart.abs().max()) < 1e-4
    adapter = load_file(lora / "adapter_model.safetensors")
    a, b = (adapter[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    by_hand = start + tuned.peft_config["default"].lora_alpha / 4 * b @ a
    written = merged.get_submodule(name).weight.detach()
    assert float((written - by_hand).abs().max()) < 1e-6
    assert float((by_hand - start).abs().max()) > 1e-5


def test_measured_again_it_is_the_model_of_the_record(lora, trial):
    record = trial("lora")[1]
    again = json.loads((lora / "export.json").read_text())["again"]
    assert list(again) == ["as exported", "merged", "quantized nf4"]
    for name in ("test.bleu", "test.perplexity", "forgetting.kl", "forgetting.nll"):
        value = record.value(name)
        assert again["as exported"]["measurements"][name]["value"] == pytest.approx(value, rel=1e-6)
        merged = again["merged"]["measurements"][name]["value"]
        assert merged == pytest.approx(value, rel=1e-3, abs=1e-6)
        assert again["merged"]["measurements"][name]["n"] == record.measurements[name].n
    coarse = again["quantized nf4"]["measurements"]["forgetting.kl"]["value"]
    assert coarse != pytest.approx(record.value("forgetting.kl"), rel=1e-3)
    assert all(outcome["tokens_per_second"] > 0 for outcome in again.values())
    card = (lora / "README.md").read_text()
    assert "| measurement | trial's record | as exported | merged | quantized nf4 |" in card
    assert (
        f"({f.score('forgetting.kl', coarse - record.value('forgetting.kl'), sign=True)})" in card
    )


def test_the_card_has_the_numbers_of_the_record(lora, trial):
    record = trial("lora")[1]
    card = ModelCard.load(lora / "README.md")
    assert card.data.base_model == "tiny/base" and card.data.library_name == "peft"
    assert {result.metric_type for result in card.data.eval_results} >= {"bleu", "forgetting_kl"}
    for result in card.data.eval_results:
        (name,) = [n for n in record.measurements if f.title(n) == result.metric_name]
        m = record.measurements[name]
        assert result.metric_value == m.value
        assert result.metric_args["n"] == m.n and result.metric_args["signature"] == m.signature
        assert tuple(result.metric_args["interval_95"]) == m.interval
    assert (
        "ained: test" in card.text
        and " goes from " in card.text
        and "times the base's" in card.text
    )
    assert "| method.r | 4 |" in card.text
    assert record.provenance["data"]["fingerprint"] in card.text
    assert "Licence, languages, training data and biases: unknown" in card.text
    assert "vllm serve ./merged" in card.text


def test_nothing_of_this_machine_and_no_markup_of_others(lora, runs, hostile):
    for path in lora.rglob("*"):
        if path.suffix not in (".json", ".md", ".py", ".jinja"):
            continue
        text = path.read_text()
        for place in (str(runs), str(runs.parent), str(Path.home()), os.getcwd(), "/tmp/"):
            assert place not in text, (path, place)
    card = (lora / "README.md").read_text()
    assert "alert(1)" in card and "rows.csv" in card
    assert hostile not in card and "<script" not in card and "[x](" not in card


def test_load_py_answers_in_a_fresh_process_as_the_trial_did(lora, trial):
    prompt, answer = asked_and_answered(trial, "lora")
    script = (lora / "load.py").read_text()
    script = script.replace("'tiny/base'", repr(base_folder(trial, "lora")))
    place = lora / "load_here.py"
    place.write_text(script)
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1"}  # nothing is compiled here: 2 s sooner
    command = [sys.executable, str(place), prompt]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    place.unlink()
    assert done.returncode == 0, done.stderr
    assert done.stdout.removesuffix("\n") == answer
    code = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert len(code) < 20


@pytest.mark.parametrize("method", ["prompt_tuning", "full"])
def test_load_py_of_other_methods(written, trial, method, monkeypatch, capsys):
    folder = written(method)
    prompt, answer = asked_and_answered(trial, method)
    given = [base_folder(trial, method), prompt] if method == "prompt_tuning" else [prompt]
    monkeypatch.setattr(sys, "argv", ["load.py", *given])
    capsys.readouterr()
    runpy.run_path(str(folder / "load.py"), run_name="__main__")
    assert capsys.readouterr().out.removesuffix("\n") == answer
    whole = method == "full"
    assert (folder / "model.safetensors").exists() == whole
    assert ("BASE_FOLDER" in (folder / "README.md").read_text()) != whole


def test_paths_go_and_what_only_looks_like_one_stays(tmp_path):
    from harness.export.folder import names_only, without_paths

    given = {
        "tokenizer_name_or_path": "/elsewhere/models/tiny",
        "anything": str(tmp_path),
        "added_tokens_decoder": {"3": {"content": "/m/03x"}},
        "extra": ["/m/04y", "a/b/c"],
    }
    assert without_paths(given) == {
        "tokenizer_name_or_path": "tiny",
        "anything": tmp_path.name,
        "added_tokens_decoder": {"3": {"content": "/m/03x"}},
        "extra": ["/m/04y", "a/b/c"],
    }
    said = names_only("see '/home/me/data/rows.csv' and ~/x/y.txt, 3/4 nats/token, https://a/b/c")
    assert said == "see 'rows.csv' and y.txt, 3/4 nats/token, https://a/b/c"


def test_what_cannot_be_merged_is_refused(runs, trial, tmp_path, capsys):
    folder, _ = trial("prompt_tuning")
    assert export.main([str(folder), f"output={tmp_path / 'x'}", "merged=true"]) == 2
    assert "virtual tokens" in capsys.readouterr().err
    assert not (tmp_path / "x").exists() and list(tmp_path.iterdir()) == []


def test_the_same_command_keeps_what_a_person_changed(written, trial, capsys):
    folder = written("full")
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nOur own words.\n")
    again = [str(trial("full")[0]), f"output={folder}"]
    assert export.main(again) == 0
    assert "already exported" in capsys.readouterr().out
    assert export.main([*again, "base=other/name"]) == 2
    assert "overwrite=true" in capsys.readouterr().err
    assert "Our own words." in card.read_text()
    assert export.main([*again, "base=other/name", "overwrite=true"]) == 0
    assert "Our own words." not in card.read_text()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    card.with_name("export.json").unlink()
    assert export.main([*again, "overwrite=true"]) == 2
    assert "is no export" in capsys.readouterr().err


def test_a_killed_export_leaves_nothing_that_looks_whole(trial, tmp_path, monkeypatch):
    from harness.export import write

    folder = tmp_path / "full"
    arguments = [str(trial("full")[0]), f"output={folder}"]
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(write, "model_card", lambda facts: os._exit(9))
        try:
            export.main(arguments)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not folder.exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".full.") and (left / "model.safetensors").exists()
    assert export.main(arguments) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_name_for_a_base_that_has_one_is_refused(trial):
    from dataclasses import replace

    from harness.config import ModelConfig
    from harness.errors import InputError
    from harness.export.base_model import BaseModel

    record = trial("full")[1]
    local = ModelConfig(**record.config["model"])
    assert BaseModel.of(local, record, "own/name").hub == "own/name"
    for name in ("builtin", "Qwen/Qwen3-0.6B"):
        with pytest.raises(InputError, match=r"base='own/name' cannot be used.*this one is"):
            BaseModel.of(replace(local, name=name), record, "own/name")


def test_without_a_recommendation_trials_are_named(runs, trial, capsys):
    assert export.main([str(runs / "demo")]) == 2
    said = capsys.readouterr().err
    assert "5 test examples are too few" in said and f"lora/{trial('lora')[0].name}" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs/nowhere"], "No folder"),
        ([], "The folder of a sweep is needed"),
        (["DEMO", "ffffff"], "Unknown trial 'ffffff'"),
        (["DEMO", "merge=true"], "Did you mean merged?"),
        (["DEMO", "--push"], "it is written push=VALUE"),
        (["DEMO", "merged=yes"], "merged='yes' cannot be used"),
        (["DEMO", "bits=3"], "bits='3' cannot be used: it must be 4"),
        (["DEMO", "push=alone"], "push='alone' cannot be used: it must be a hub name, OWNER/NAME"),
        (["DEMO", "base=/home/me/model"], "base='/home/me/model' cannot be used"),
    ],
)
def test_bad_input_gets_one_message(runs, arguments, said, capsys):
    demo = str(runs / "demo")
    assert export.main([demo if text == "DEMO" else text for text in arguments]) == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err
