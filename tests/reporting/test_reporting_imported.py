"""Results of other tools as a report: peft's method_comparison, and folders of the Trainer."""

from __future__ import annotations

import csv
import json
import math

import pytest

from harness.errors import InputError
from harness.report import main
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.folders import read_run
from harness.statistics.pareto import front

# Published on 2026-08-21: experiment → right answers of 1,319, forgetting. The first seven are the
# front of all 63.
PUBLISHED = {
    "lily/llama-3.2-3B-rank140-mlp-a2-b2-s8.0": (694, 0.21611618995666504),
    "lora/llama-3.2-3B-rank64-rslora": (677, 0.11056065559387207),
    "shira/llama-3.2-3B-lr_0.0003-random_seed_42": (673, 0.052082061767578125),
    "lora/llama-3.2-3B-rank10-target-mlp": (652, 0.03183579444885254),
    "lora/llama-3.2-3B-rank14-target-mlp-bdlora": (642, 0.02977299690246582),
    "osf/llama-3.2-3B-rank128": (563, 0.016516447067260742),
    "unilora/llama-3.2-3B-default": (2, 0.00015497207641601562),
    "hira/llama-3.2-3B-rank32-lr4.5e-3": (677, 0.12995314598083496),
    "lora/llama-3.2-3B-rank32": (631, 0.04995572566986084),
    "full-finetuning/llama-3.2-3B-lr_0.00001": (622, 0.029975175857543945),
    "adalora/llama-3.2-3B-rank32": (492, 0.02210104465484619),
    "prompt_tuning/llama-3.2-3B-default": (75, 0.7416304349899292),
}


def result(folder, experiment, right, forgetting, **changes):
    train = {
        "status": "success",
        "train_time": 965.5,
        "accelerator_memory_max": 22_561_161_216,
        "num_trainable_params": 18_350_080,
        "num_total_params": 3_231_099_904,
        "file_size": 73_415_408,
        "metrics": [
            {"step": 250, "valid accuracy": 0.4},
            {"step": 5000, "test accuracy": right / 1319, "forgetting": forgetting},
        ],
    }
    content = {
        "run_info": {
            "experiment_name": experiment,
            "created_at": "2026-07-15T07:28:22+00:00",
            "train_config": {"model_id": "meta-llama/Llama-3.2-3B", "seed": 0},
        },
        "train_info": train | changes,
        "meta_info": {"package_info": {"peft-version": "0.19.2"}, "system_info": {}},
    }
    (folder / f"{experiment.replace('/', '--')}.json").write_text(json.dumps(content))


@pytest.fixture
def published(tmp_path):
    for experiment, (right, forgetting) in PUBLISHED.items():
        result(tmp_path, experiment, right, forgetting)
    return tmp_path


def test_the_front_and_the_error_of_published_results(published):
    found = candidate_set(read_run(published))
    points = [(c.quality.value, c.forgetting.value) for c in found.members]
    best = front(points, ("maximize", "minimize"))
    assert {found.members[i].configuration for i in best} == set(list(PUBLISHED)[:7])
    (lora,) = (c for c in found.members if c.configuration.endswith("rank64-rslora"))
    share = 677 / 1319
    assert lora.quality.n == 1319 and lora.quality.value == pytest.approx(100 * share)
    half = 100 * 1.96 * math.sqrt(share * (1 - share) / 1319)
    assert lora.quality.high - lora.quality.low == pytest.approx(2 * half, rel=0.01)
    assert lora.label == "lora experiment=rank64-rslora"
    assert lora.cost["peak_memory_gb"] == pytest.approx(22.56, abs=0.01)


def test_its_report_says_that_nothing_was_tested(published, tmp_path):
    (published / "broken.json").write_text("{")
    result(published, "lora/llama-3.2-3B-stopped", 0, 0.0, status="cancelled")
    assert main([str(published), "name=peft", f"reports_dir={tmp_path / 'reports'}"]) == 0
    out = tmp_path / "reports" / "peft"
    found = json.loads((out / "report.json").read_text())
    cautions = " ".join(found["recommendation"]["cautions"])
    assert "one run with seed 0" in cautions and "2 files are no complete result" in cautions
    assert found["recommendation"]["command"] is None
    assert "python -m harness.trial" not in (out / "report.md").read_text()
    rows = list(csv.DictReader((out / "leaderboard.csv").open()))
    assert len(rows) == len(PUBLISHED)


def test_results_of_another_task_are_refused(tmp_path):
    result(tmp_path, "lora/x", 0, 0.0, metrics=[{"test dino_similarity": 0.7}])
    with pytest.raises(InputError, match="no result with a 'test accuracy'"):
        read_run(tmp_path)


def trainer_folder(folder, *losses, adapter=None):
    checkpoint = folder / "checkpoint-20"
    checkpoint.mkdir(parents=True)
    log = [{"step": 10 * i, "eval_loss": loss} for i, loss in enumerate(losses, 1)]
    log.append({"step": 20, "train_runtime": 12.5, "train_loss": 2.0})
    (checkpoint / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    if adapter is not None:
        (checkpoint / "adapter_config.json").write_text(json.dumps(adapter))
    return folder


def test_folders_of_the_trainer_are_compared(tmp_path, capsys):
    lora = {"peft_type": "LORA", "base_model_name_or_path": "some/model"}
    one = trainer_folder(tmp_path / "a", 2.5, 2.0, adapter=lora)
    other = trainer_folder(tmp_path / "b", 2.4, 2.2)
    reports = tmp_path / "reports"
    assert main([str(one), str(other), "name=both", f"reports_dir={reports}"]) == 0
    found = json.loads((reports / "both" / "report.json").read_text())
    losses = {row["method"]: row["measurements"]["validation.loss"] for row in found["leaderboard"]}
    assert {name: loss["value"] for name, loss in losses.items()} == {"lora": 2.0, "full": 2.2}
    assert "forgetting not measured" in " ".join(found["recommendation"]["cautions"])
    assert "One seed" in capsys.readouterr().out


def test_a_folder_that_was_never_evaluated_is_refused(tmp_path):
    with pytest.raises(InputError, match="no eval_loss"):
        read_run(trainer_folder(tmp_path / "a"))
