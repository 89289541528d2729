"""Packed training against the same trials one after another: ``python -m bench.packed``.

Trains LoRA trials of different ranks, rates and seeds on one base in this process: alone in turn, then
packs of 1, 2, 4 and 8. Prints trial-steps per second of each, the ratio to training alone and the
largest difference of a loss from that of the trial alone. ``--out`` keeps the figures as JSON. Further
arguments are overrides, such as ``model.name=...`` or ``training.batch_size=1``. ``--device cuda`` adds
the peak memory of each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from harness import methods
from harness.compose.command_line import compose_trial
from harness.config import TrialConfig
from harness.data.rows.splits import read_splits
from harness.data.tokens.batches import BatchPlan
from harness.data.tokens.encode import encode
from harness.methods import AdaptContext
from harness.models.pool import ModelPool
from harness.training.checkpoint import CheckpointFolder
from harness.training.criterion import Criterion
from harness.training.device_memory import peak_gb, reset_peak, synchronize
from harness.training.loop import Hooks, train
from harness.training.packed.loop import train_together
from harness.training.packed.member import Member
from harness.training.precision.autocast import accelerator_for

RANKS, RATES = (8, 16, 4, 32), (1e-3, 3e-4, 2e-3)


class Trials:
    """Trials of one base and data, which are trained alone or in packs."""

    def __init__(self, steps: int, device: str, overrides: Sequence[str], n: int) -> None:
        asked = ["method=lora", f"training.max_steps={steps}", *overrides, "tracking=none"]
        asked += ["training.eval_every=1000000", "training.evaluate_before_training=false"]
        self.configs = [
            compose_trial(
                [
                    *asked,
                    f"method.r={RANKS[k % len(RANKS)]}",
                    f"training.learning_rate={RATES[k % len(RATES)]}",
                    f"seed={k}",
                ]
            )[0].trial({})
            for k in range(n)
        ]
        self.steps, self.device = steps, device
        first = self.configs[0]
        self.pool = ModelPool(device)
        tokenizer = self.pool.tokenizer(first.model)
        examples = read_splits(first.data).train
        self.data = encode(examples, tokenizer, first.data, all_references=True)
        self.tokenizer = tokenizer
        self.accelerator = accelerator_for(first.training.precision, device)

    def adapted(self, base: Any, config: TrialConfig) -> tuple[Any, ...]:
        """Return the adapted model and what else both loops take, in their order."""
        method = methods.fitted(config.method, base)
        per_epoch = BatchPlan(len(self.data), config.training.batch_size, 0).steps_per_epoch
        plan = AdaptContext(
            self.steps, per_epoch, self.tokenizer, self.data, config.seed, self.device
        )
        torch.manual_seed(config.seed)
        return method.adapt(base, plan), method, plan

    def alone(self, n: int) -> dict[str, Any]:
        """Train the first ``n`` trials one after another."""
        runs = [self._one(config) for config in self.configs[:n]]
        losses, seconds, peaks = zip(*runs, strict=True)
        return {"seconds": sum(seconds), "peak_gb": max(peaks), "losses": losses}

    def _one(self, config: TrialConfig) -> tuple[list[float], float, float]:
        """Train one trial. Returns its losses, seconds and peak memory (GB)."""
        losses: list[float] = []
        with self.pool.lend(config.model, None) as base, tempfile.TemporaryDirectory() as folder:
            model, method, plan = self.adapted(base.model, config)
            about = (model, method, plan, self.data, config.training, config.seed)
            checkpoints = CheckpointFolder(Path(folder))
            seconds, peak = self._timed(
                lambda: train(*about, self.accelerator, checkpoints, hooks(losses))
            )
        return losses, seconds, peak

    def packed(self, n: int) -> dict[str, Any]:
        """Train the first ``n`` trials in one pack."""
        losses: list[list[float]] = [[] for _ in range(n)]
        first = self.configs[0]
        with self.pool.lend(first.model, None) as base, tempfile.TemporaryDirectory() as folder:
            members = []
            for config, own in zip(self.configs[:n], losses, strict=True):
                model, method, plan = self.adapted(base.model, config)
                members.append(
                    Member(
                        base=base.model,
                        model=model,
                        method=method,
                        context=plan,
                        config=config.training,
                        seed=config.seed,
                        criterion=Criterion(self.data, config.training, config.seed),
                        checkpoints=CheckpointFolder(Path(folder)),
                        hooks=hooks(own),
                    )
                )
            took, most = self._timed(lambda: train_together(members, self.data, self.accelerator))
        return {"seconds": took, "peak_gb": most, "losses": losses}

    def _timed(self, run: Callable[[], Any]) -> tuple[float, float]:
        """Return the seconds of ``run``, of the CPU on a CPU and else of the clock, and its peak."""
        clock = time.process_time if self.device == "cpu" else time.perf_counter
        reset_peak(self.device)
        began = clock()
        run()
        synchronize(self.device)
        return clock() - began, peak_gb(self.device)


def hooks(losses: list[float]) -> Hooks:
    return Hooks(
        on_begin=lambda step: None,
        on_step=lambda row: losses.append(row["loss"]),
        on_evaluation=lambda step: True,
        on_checkpoint=lambda: None,
        stopping=lambda: False,
    )


def compared(trials: Trials, sizes: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Return a row for each size of pack. Both are run in turn ``rounds`` times."""
    rows = []
    trials.alone(1)  # warm: tables of the tokenizer, kernels
    for n in sizes:
        pairs = [(trials.alone(n), trials.packed(n)) for _ in range(rounds)]
        alone, together = pairs[0]
        ratios = [first["seconds"] / second["seconds"] for first, second in pairs]
        differences = [
            abs(a / b - 1)
            for own, by_itself in zip(together["losses"], alone["losses"], strict=True)
            for a, b in zip(own, by_itself, strict=True)
        ]
        n_steps = n * trials.steps
        row = {
            "pack": n,
            "alone_steps_per_s": round(median(n_steps / p[0]["seconds"] for p in pairs), 2),
            "packed_steps_per_s": round(median(n_steps / p[1]["seconds"] for p in pairs), 2),
            "ratio": round(median(ratios), 3),
            "ratio_low": round(min(ratios), 3),
            "ratio_high": round(max(ratios), 3),
            "largest_relative_loss_difference": max(differences),
        }
        if trials.device != "cpu":
            row |= {"alone_peak_gb": alone["peak_gb"], "packed_peak_gb": together["peak_gb"]}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--packs", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    arguments, overrides = parser.parse_known_args()
    trials = Trials(arguments.steps, arguments.device, overrides, max(arguments.packs))
    rows = compared(trials, arguments.packs, arguments.rounds)
    if arguments.out is not None:
        about = {"device": arguments.device, "steps": arguments.steps, "overrides": overrides}
        arguments.out.write_text(json.dumps({**about, "packs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
