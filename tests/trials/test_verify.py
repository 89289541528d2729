"""A trial verified from its record: equal to the bit, or told where it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from running import identified, job

from harness.records import read_jsonl, read_record, write_record, write_text
from harness.records.store import to_jsonl
from harness.trials.run import Workbench, run_trial
from harness.verify import difference, main


@pytest.fixture(scope="module")
def done(small_trial, tmp_path_factory, pool):
    """Method → the folder of a real trial. ULMFiT trains a stage before; LoRA has dropout."""
    cases = {
        "lora": ("method=lora", "method.lora_dropout=0.2", "training.token_mask_probability=0.1"),
        "ulmfit": ("method=ulmfit", "method.lm_steps=3"),
    }
    folders = {}
    for name, overrides in cases.items():
        config = small_trial(*overrides, "training.max_steps=8", "training.eval_every=2")
        folder = tmp_path_factory.mktemp("done") / name
        bench = Workbench("cpu", folder.parent / "cache")
        bench.pool = pool
        run_trial(job(folder, bench.cache, config, **identified(config)), bench)
        folders[name] = folder
    return folders


@pytest.fixture
def copy(done, tmp_path):
    def copied(method="lora"):
        return Path(shutil.copytree(done[method], tmp_path / method))

    return copied


@pytest.mark.parametrize("method", ["lora", "ulmfit"])
def test_equal_and_nothing_is_touched(copy, method, capsys):
    folder = copy(method)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main([str(folder), "steps=5"]) == 0
    assert "Equal: the first 5 steps" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_one_bit_in_one_loss_is_seen(copy, capsys):
    import math

    folder = copy()
    rows = read_jsonl(folder / "metrics.jsonl")
    (third,) = [row for row in rows if row["kind"] == "train" and row["step"] == 3]
    real = third["loss"]
    third["loss"] = math.nextafter(real, 2 * real)
    write_text(folder / "metrics.jsonl", to_jsonl(rows))
    assert main([str(folder / "record.json"), "steps=4"]) == 1
    said = capsys.readouterr().out
    assert "Different from step 3: loss is" in said and repr(real) in said
    assert "Versions, machine and threads are those of the record." in said


def test_other_versions_are_told(copy, capsys):
    folder = copy()
    record = read_record(folder)
    record.provenance["versions"]["torch"] = "1.0"
    record.provenance["device"] = "a GPU"
    record.provenance["pack"] = {"trials": 3}
    write_record(folder, record)
    assert main([str(folder), "steps=1"]) == 0
    said = capsys.readouterr().out
    assert "other trials were trained together with it, and none here" in said
    assert "torch: 1.0 in the record" in said and "device: a GPU in the record, cpu here" in said


def test_what_cannot_be_verified(copy, capsys, tmp_path):
    folder = copy()

    def refused(*arguments):
        assert main([*map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "no record.json" in refused(tmp_path)
    assert "steps='0'" in refused(folder, "steps=0")
    assert "One trial" in refused()
    data = json.loads((folder / "record.json").read_text())
    data["provenance"]["data"]["fingerprint"] = "0000"
    (folder / "record.json").write_text(json.dumps(data))
    assert "the data is not that of the record any more (fingerprint 0000" in refused(folder)
    data["provenance"]["data"].pop("fingerprint")
    data["config"]["seed"] += 1
    (folder / "record.json").write_text(json.dumps(data))
    assert "not the one that gave it its fingerprint" in refused(folder)
    (folder / "metrics.jsonl").unlink()
    assert "no training step" in refused(folder)


def test_curves_of_another_length():
    rows = [{"step": n, "loss": 1.0, "seconds": n} for n in (1, 2, 3)]
    assert difference(rows, [{**row, "seconds": 0.0} for row in rows], 3) is None
    assert "run now has no loss" in str(difference(rows, rows[:2], 3))
    assert "record has no loss" in str(difference(rows[:2], rows, 3))
    assert "(+0.5)" in str(difference(rows, [{**rows[0], "loss": 1.5}], 1))
