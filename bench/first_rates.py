"""First trials at the published rate for the model's width, against those at a method's default.

    python -m bench.first_rates                                        # the built-in model
    python -m bench.first_rates model=hub model.name=DIR data=jsonl …  # one of yours

Runs full fine-tuning and LoRA once a seed at the default of the method's file, at the rule's rate
(``harness/methods/first_rate.py``), at a third and at three times that, and on the built-in model at
its tuned rate. Prints the first objective on validation, bits per byte, and KL from the base on the
general texts. A minute on one core for the built-in model.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from harness.compose.command_line import compose_from_data
from harness.config import LimitsConfig
from harness.methods.first_rate import published_rate
from harness.models.loading.architecture import read_architecture
from harness.trials.job import Job
from harness.trials.run import Workbench, run_trial

DEFAULTS = {"full": 1e-5, "lora": 2e-4}
SEEDS = (0, 1)


def main() -> None:
    typed = ["method=full,lora", *sys.argv[1:]]
    sweep, plans, _ = compose_from_data(typed)
    quality = next(iter(sweep.objectives))
    with tempfile.TemporaryDirectory() as folder:
        bench = Workbench("cpu", Path(folder) / "cache")
        for plan in plans:
            model = plan.trial({}).model
            about = read_architecture(model)
            assert about is not None
            rule = published_rate(plan.method, about)
            assert rule is not None
            print(f"{plan.method}: {about.family}, width {about.width}", flush=True)
            rates = {"default": DEFAULTS[plan.method], "rule / 3": rule / 3, "rule": rule}
            rates |= {"3 × rule": 3 * rule}
            if model.name == "builtin":
                rates["tuned"] = plan.trial({}).training.learning_rate
            for label, rate in rates.items():
                for seed in SEEDS:
                    trial = plan.trial({"training.learning_rate": rate}, seed=seed)
                    names = (str(Path(folder) / "trial"), str(bench.cache), plan.method)
                    limits = LimitsConfig(None, None, None, None)
                    job = Job(*names, trial, limits, 0, 1, "bench", "bench", (), {}, False, False)
                    record = run_trial(replace(job, folder=f"{names[0]}-{label}-{seed}"), bench)
                    wanted = (quality, "validation.bits_per_byte", "forgetting.kl")
                    found = [f"{name} {record.value(name)}" for name in dict.fromkeys(wanted)]
                    print(f"  {label:>8} {rate:.2e} seed {seed} {record.status}  {'  '.join(found)}",
                          flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
