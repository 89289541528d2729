"""Forgetting of full fine-tuning and LoRA at equal BLEU on E2E, from a TinyStories model.

    python -m bench.matched_quality --model DIR --data DIR --stories FILE [--seeds 3]

Every method gets the same grid of nine runs a seed, three rates times three lengths, each with a
schedule of its own; each is measured on the test split (BLEU) and on stories (KL from the base). A
seed's nine points give the least forgetting at which the method reaches a BLEU: linear between
neighbours of the front of quality and forgetting. Prints each run, then forgetting at each BLEU that
both methods reach in every seed: mean over seeds with its 95 % interval (t), and the paired difference.
Half an hour on one core.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import scipy.stats

from harness.compose.command_line import compose_trial
from harness.config import LimitsConfig
from harness.statistics.matched_quality import at_quality
from harness.trials.job import Job
from harness.trials.run import Workbench, run_trial

METHODS = {"full": (5e-4, 1e-3, 2e-3), "lora": (2.5e-3, 5e-3, 1e-2)}  # at method.r=8
STEPS = (75, 150, 300)
TARGETS = (5, 10, 15, 20, 25, 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--stories", required=True, help="text the model was pretrained on")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    common = [
        *("model=hub", f"model.name={arguments.model}", "model.dtype=float32", "stage=confirm"),
        *("data=jsonl", f"data.train={arguments.data}/train.jsonl", "data.prompt_column=mr"),
        *(f"data.validation={arguments.data}/valid.jsonl", "data.answer_column=ref"),
        *(f"data.test={arguments.data}/test.jsonl", "data.test_limit=150"),
        *(f"data.general={arguments.stories}", "data.general_limit=60", "training.precision=no"),
        *("training.batch_size=8", "training.warmup_steps=0", "evaluation.max_new_tokens=80"),
        *("evaluation.batch_size=50", "training.eval_every=1000"),
    ]
    points: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        bench = Workbench("cpu", Path(folder) / "cache")
        for seed, (name, rates) in itertools.product(range(arguments.seeds), METHODS.items()):
            points[name].append([])
            for rate, steps in itertools.product(rates, STEPS):
                own = [f"method={name}", f"training.learning_rate={rate}", f"seed={seed}"]
                own += [f"training.max_steps={steps}", *(["method.r=8"] if name == "lora" else [])]
                point = measured([*common, *own], Path(folder) / "trial", bench)
                points[name][-1].append(point)
                print(f"{name} seed {seed} rate {rate:g} steps {steps}", end="  ")
                print(f"BLEU {point[0]:.1f}  KL {point[1]:.3f}", flush=True)
    print_table(points)


def measured(overrides: list[str], folder: Path, bench: Workbench) -> tuple[float, float]:
    """Return test BLEU and KL from the base (nats/token) of one run."""
    config = compose_trial(overrides)[0].trial({})
    limits = LimitsConfig(None, None, None, None)
    names = (str(folder), str(bench.cache), config.method["name"])
    job = Job(*names, config, limits, 0, 1, "bench", "bench", (), {}, False, False)
    values = run_trial(job, bench).measurements
    return values["test.bleu"].value, values["forgetting.kl"].value


def at_target(points: list[tuple[float, float]], target: float) -> float | None:
    """Forgetting at ``target`` on the front of (quality, forgetting); None above its best."""
    quality, forgetting = np.array(points).T
    return at_quality(quality, forgetting, target, None).value


def print_table(points: dict[str, list[list[tuple[float, float]]]]) -> None:
    print("\nforgetting (KL, nats/token) at equal test BLEU: mean over seeds ± 95 %")
    for target in TARGETS:
        found = {n: [at_target(p, target) for p in own] for n, own in points.items()}
        if any(value is None for own in found.values() for value in own):
            reached = {n: sum(v is not None for v in own) for n, own in found.items()}
            print(f"BLEU {target:2d}  not reached in every seed: {reached}")
            continue
        full, lora = (np.array(found[name]) for name in METHODS)
        said = [
            f"{name} {interval(values)}" for name, values in zip(METHODS, (full, lora), strict=True)
        ]
        print(f"BLEU {target:2d}  {'  '.join(said)}  lora - full {interval(lora - full)}")


def interval(values: np.ndarray) -> str:
    """Format the mean over seeds with its t interval: 'mean ± half'."""
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values)
    return f"{values.mean():.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
