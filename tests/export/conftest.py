"""Real trials of a few steps whose models are exported, in the layout of a sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from running import identified, job

from harness.records import read_record, write_record
from harness.trials.run import Workbench, run_trial

TRIALS = {
    "lora": ("method=lora", "method.r=4", "training.learning_rate=5e-3"),
    "prompt_tuning": ("method=prompt_tuning", "method.num_virtual_tokens=4"),
    "full": ("method=full",),
}
ALWAYS = ("stage=confirm", "evaluation.task_folder=null", "training.eval_every=4")
EVIL = "</script><script>alert(1)</script> | [x](http://evil)"


@pytest.fixture(scope="session")
def runs(small_trial_of_session, tmp_path_factory, pool) -> Path:
    """`runs/NAME` with a confirm trial of each method, two seeds of LoRA."""
    folder = tmp_path_factory.mktemp("work") / "runs"
    bench = Workbench("cpu", folder / ".cache")
    bench.pool = pool
    for name, overrides in TRIALS.items():
        config = small_trial_of_session(*overrides, "training.max_steps=4", *ALWAYS)
        own = identified(config)
        place = folder / "demo" / "trials" / name / own["fingerprint"]
        record = run_trial(job(place, bench.cache, config, keep_adapter=True, **own), bench)
        warned = {**record.provenance, "warnings": [f"{EVIL} in {folder}/rows.csv"]}
        write_record(place, replace(record, provenance=warned))
    return folder


@pytest.fixture(scope="session")
def hostile() -> str:
    """Text of a warning that must stay text."""
    return EVIL


@pytest.fixture(scope="session")
def small_trial_of_session(trial_config, small_model):
    return lambda *overrides: trial_config(small_model, *overrides)


@pytest.fixture
def trial(runs):
    """`trial("lora")` → (its folder, its record)."""

    def found(method):
        (folder,) = (runs / "demo" / "trials" / method).iterdir()
        return folder, read_record(folder)

    return found
