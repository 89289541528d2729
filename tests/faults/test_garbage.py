"""Files that a cut-off machine leaves: seen, said, set aside, and made again."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from running import identified, job
from sweeping import composed

from harness.errors import InputError
from harness.evaluation.base_reference import _load
from harness.launch.worker import Worker
from harness.records import read_json, read_record, write_json
from harness.search.sweep_folder import SweepFolder, describe

GARBAGE = [b"", b"\x00" * 64, b'{"identity": {"a": 1', b"\xff\xfe garbage", b"[1, 2]", b"null"]


@pytest.fixture
def sweep(tmp_path):
    sweep, plans = composed("method=lora")
    sweep = replace(sweep, name="s", runs_dir=str(tmp_path), reports_dir=str(tmp_path / "reports"))
    return sweep, list(plans.values())


@pytest.mark.parametrize("garbage", GARBAGE)
def test_the_file_of_the_sweep(sweep, garbage, capsys):
    folder = SweepFolder(sweep[0])
    folder.path.mkdir()
    description = describe(*sweep, {"lora": "m"}, "d", ["method=lora"])
    folder.remember(description)
    assert folder.resumes(description)
    (folder.path / "sweep.yaml").write_bytes(garbage)
    assert not folder.resumes(description), "all is checked again"
    assert "sweep.yaml is not readable" in capsys.readouterr().err
    assert (folder.path / "sweep.yaml.unreadable").read_bytes() == garbage
    folder.remember(description)
    assert folder.resumes(description)


def test_other_data_under_the_same_name_are_refused_with_both_fingerprints(sweep):
    folder = SweepFolder(sweep[0])
    folder.path.mkdir()
    folder.remember(describe(*sweep, {"lora": "m"}, "0123abcd", []))
    with pytest.raises(InputError, match=r"data.content: '0123abcd' → '4567efgh'"):
        folder.resumes(describe(*sweep, {"lora": "m"}, "4567efgh", []))
    with pytest.raises(InputError, match=r"model.content: 'm' → 'n'"):
        folder.resumes(describe(*sweep, {"lora": "n"}, "0123abcd", []))


@pytest.mark.parametrize("garbage", [*GARBAGE, b"{}", b'{"general_nll": 1, "measurements": 2}'])
def test_what_was_kept_of_the_base(tmp_path, garbage, capsys):
    import torch
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "logprobs.safetensors")
    (tmp_path / "reference.json").write_bytes(garbage)
    assert _load(tmp_path, "key") is None


@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_was_kept_of_the_stage_before(tmp_path, garbage):
    import torch
    from safetensors.torch import save_file

    from harness.trials.adapt import _restored

    model = torch.nn.Linear(2, 2)
    before = {name: p.clone() for name, p in model.named_parameters()}
    path = tmp_path / "kept.safetensors"
    path.write_bytes(garbage)
    assert _restored(path, model) is None
    save_file({"weight": torch.ones(2, 2)}, path)  # whole, but not what we write
    assert _restored(path, model) is None
    save_file({"other": torch.ones(3)}, path, metadata={"before": "{}"})
    assert _restored(path, model) is None
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.fixture
def worker(tmp_path, pool):
    worker = Worker("cpu", tmp_path / "cache", os.getppid())
    worker.bench.pool = pool
    return worker


def test_a_decision_that_is_none_does_not_stop_a_trial(worker, trial_config, tmp_path, capsys):
    config = trial_config("method=lora", "training.max_steps=4", "training.eval_every=1")
    folder = tmp_path / "trial"
    work = job(folder, tmp_path / "cache", config, asks_pruner=True, **identified(config))
    write_json(folder / "spec.json", work.to_json())
    for step, content in enumerate(("[1]", "{}", '{"go": true}'), start=1):
        (folder / f"decision-{step}.json").write_text(content)
    worker.run(folder)
    assert read_record(folder).status == "complete"


def test_a_data_file_that_changes_while_a_sweep_runs(worker, tmp_path, trial_config, monkeypatch):
    """The driver fingerprinted one content, a worker that starts later reads another."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"what is {n}", "references": [f"it is {n}"]} for n in range(30)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = trial_config("method=lora", "training.max_steps=2")
    data = replace(
        config.data, source="jsonl", name=None, train=str(tmp_path / "train.jsonl"), validation=None
    )
    config = replace(config, data=replace(data, test=None, validation_fraction=0.3))
    folder = tmp_path / "trial"
    work = job(folder, tmp_path / "cache", config, **identified(config))
    for row in rows:
        row["references"] = ["it is not"]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_json(folder / "spec.json", work.to_json())
    worker.run(folder)
    said = read_json(folder / "rejected.json")["message"]
    assert "changed while the sweep ran" in said and work.fingerprint in said
    assert not (folder / "record.json").exists()
