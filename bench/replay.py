"""``python -m bench.replay runs/NAME``: pruning against no pruning, replayed on finished trials.

Each rule plays the same trials in the same random orders in simulated time. Printed: seconds until all
are through, trials that ran to their end, and the best quality and the least forgetting that were found
by half the time and by all the time that no pruning takes, as means over orders. Without a folder the
trials are made up: 60 curves that cross, noisy early, of configurations with a price for quality.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from bench.pruning_replay import Curve, End, read_curves, replay
from harness.search.pruning.asha import RungTable

BOTH = {"validation.perplexity": "minimize", "forgetting.kl": "minimize"}
RULES = {  # name → tie-break and reduction factor
    "none": None,
    "near_best": ("near_best", 3),
    "crowding": ("crowding", 3),
    "epsnet": ("epsnet", 3),
    "epsnet, η=2": ("epsnet", 2),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--orders", type=int, default=20)
    options = parser.parse_args()
    objectives: Mapping[str, str] = BOTH
    if options.folder is None:
        curves = made_up(60)
    else:
        described = yaml.safe_load((options.folder / "sweep.yaml").read_text(encoding="utf-8"))
        objectives = described["objectives"]
        curves = read_curves(options.folder, list(objectives))
    print(f"{len(curves)} trials, {options.workers} worker(s), {options.orders} random orders")
    compare(curves, objectives, options.workers, options.orders)


def compare(
    curves: Sequence[Curve], objectives: Mapping[str, str], workers: int, orders: int
) -> None:
    names = list(objectives)
    header = [f"{name} by {share}" for name in names for share in ("half", "all")]
    print(f"{'rule':<12} {'seconds':>9} {'whole':>6}  " + "  ".join(f"{h:>32}" for h in header))
    limits = {}
    for rule, about in RULES.items():
        rows = []
        for order in range(orders):
            shuffled = [curves[i] for i in np.random.default_rng(order).permutation(len(curves))]
            with tempfile.TemporaryDirectory() as folder:
                rungs = None
                if about is not None:
                    ties, factor = about
                    rungs = RungTable(Path(folder) / "rungs.jsonl", objectives, factor, 1, ties)
                ends = replay(shuffled, workers, rungs)
            limits.setdefault(order, ends[-1].time)
            found = [
                best(ends, name, objectives[name], share * limits[order])
                for name in names
                for share in (0.5, 1.0)
            ]
            rows.append([ends[-1].time, sum(end.whole for end in ends), *found])
        mean = np.nanmean(rows, axis=0)
        values = "  ".join(f"{value:>32.4g}" for value in mean[2:])
        print(f"{rule:<12} {mean[0]:>9,.0f} {mean[1]:>6.1f}  {values}")


def best(ends: Sequence[End], name: str, way: str, until: float) -> float:
    """Return the best final value of the trials complete by then; NaN if there is none."""
    values = [end.curve.final[name] for end in ends if end.whole and end.time <= until]
    if not values:
        return float("nan")
    return max(values) if way == "maximize" else min(values)


def made_up(n: int) -> list[Curve]:
    rng = np.random.default_rng(0)
    curves = []
    for number in range(n):
        skill, slow = rng.random(), rng.random()
        price = 0.05 + 0.4 * skill**2 + 0.1 * rng.random()
        evaluations = []
        for share in (0.25, 0.5, 0.75, 1.0):
            learnt = skill * share ** (0.3 + slow)
            noise = 0.05 * rng.standard_normal() * (1.25 - share)
            values = {
                "validation.perplexity": 12 - 8 * (learnt + noise),
                "forgetting.kl": price * share,
            }
            evaluations.append((60 * share, values))
        final = {"validation.perplexity": 12 - 8 * skill, "forgetting.kl": price}
        curves.append(Curve("lora", str(number), tuple(evaluations[:-1]), 60.0, final))
    return curves


if __name__ == "__main__":
    main()
