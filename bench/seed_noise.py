"""Per-example results of the built-in example with many seeds, input of bench/cases.py.

    python -m bench.seed_noise FOLDER [--seeds 30] [--steps 60]

Six configurations of the built-in model and task, seed by seed, each measured on the 100 validation
examples and on general text; one that is there already is not run again. About six seconds a run on a
core that has nothing else to do.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from harness.compose.command_line import compose_trial
from harness.config import LimitsConfig
from harness.records import read_record
from harness.trials.job import Job
from harness.trials.run import Workbench, run_trial

METHODS = {
    "lora": ["method=lora"],
    "full": ["method=full"],
    "full_low": ["method=full", "training.learning_rate=4e-4"],
    "ulmfit": ["method=ulmfit"],
    "qlora": ["method=qlora"],
    "adalora": ["method=adalora"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    common = [f"training.max_steps={arguments.steps}", "training.batch_size=4"]
    common += [f"training.eval_every={arguments.steps}", "training.evaluate_before_training=false"]
    common += ["evaluation.metrics=[bleu]", "evaluation.watched_examples=1"]
    bench = Workbench("cpu", arguments.folder / "cache")
    for seed, (name, own) in itertools.product(range(1, arguments.seeds + 1), METHODS.items()):
        path = arguments.folder / name / str(seed)
        if read_record(path) is not None:
            continue
        config = compose_trial([*common, *own, f"seed={seed}"])[0].trial({})
        names = (str(path), str(bench.cache), name)
        limits = LimitsConfig(None, None, None, None)
        job = Job(*names, config, limits, 0, 1, name, name, (), {}, False, False)
        found = run_trial(job, bench).measurements
        quality, moved = (found[n].value for n in ("validation.bleu", "forgetting.kl"))
        print(f"{name} seed {seed}: BLEU {quality:.1f}, KL {moved:.3f}", flush=True)


if __name__ == "__main__":
    main()
