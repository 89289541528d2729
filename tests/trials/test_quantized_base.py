"""Record of a trial on a quantized base: storage, normality and memory."""

from __future__ import annotations

import numpy as np
from running import job

from harness.models.quantization import Quantization
from harness.records import read_json
from harness.training.device_memory import peak_gb
from harness.trials.cost import Clock
from harness.trials.run import run_trial

NF4 = Quantization("nf4", True)
STEPS = ("training.max_steps=2", "training.eval_every=2", "training.optimizer=paged_adamw")


def test_storage_normality_and_the_missing_pages(bench, trial_config, tmp_path):
    config = trial_config("method=qlora", *STEPS)
    record = run_trial(job(tmp_path / "q", bench.cache, config), bench)
    assert record.status == "complete"
    about = record.provenance["model"]
    assert about["bits_per_linear_weight"] == 4.126953125
    assert about["base_bytes"] < 4 * record.cost["total_parameters"] / 3
    assert about["compute_dtype"] == "float32"
    assert len(read_json(tmp_path / "q" / "base_weights.json")["layers"]) == 28
    (warning,) = record.provenance["warnings"]
    assert "a CPU has no paging" in warning

    lora = run_trial(job(tmp_path / "l", bench.cache, trial_config("method=lora", *STEPS)), bench)
    assert lora.provenance["model"]["bits_per_parameter"] == 32
    assert not (tmp_path / "l" / "base_weights.json").exists()


def test_the_base_is_looked_at_once(bench, trial_config):
    config = trial_config("method=qlora").model
    first = bench.base_weights(config, NF4)
    (file,) = (bench.cache / "weights").iterdir()
    written = file.stat().st_mtime_ns
    assert bench.base_weights(config, NF4) == first
    assert file.stat().st_mtime_ns == written
    assert bench.base_weights(config, None) is None


def test_a_base_that_is_quantized_already_is_not_looked_at(bench, trial_config):
    config = trial_config("method=qlora", "model.quantization=nf4").model
    assert bench.base_weights(config, NF4) is None


def test_peak_memory_forgets_what_was_before_the_base():
    """The first trial measures the full-precision base too, and must not look more expensive."""
    clock = Clock("cpu")
    before = np.ones(50_000_000)  # 0.4 GB
    high = peak_gb("cpu")
    del before
    clock.base_is_ready()
    assert peak_gb("cpu") < high - 0.3
