"""Trials that importance needs: how often it puts the setting first that is known to matter most.

    python -m bench.importance [--repeats 100] [--landscapes clear] [--json FILE]

A made-up search at random: quality falls off to both sides of a best learning rate, rises a little
with the logarithm of rank, and carries noise. Batch size and dropout do nothing. The shares of its
variance are known by construction. In the landscape "clear" the rate has 50 % of the variance and
rank 15 %, in "close" 40 % and 25 %, in "none" nothing matters. `FEWEST` of the product is the
smallest number of trials from which on both estimators rank the rate first in at least 90 % of the
searches of "clear".
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.reporting.evidence.searched.importance import FEWEST, importances

SIZES = (8, 12, 16, 20, 24, 30, 40, 60, 100)
SHARES = {"clear": (0.50, 0.15), "close": (0.40, 0.25), "none": (0.0, 0.0)}
RANKS, BATCHES = (4, 8, 16, 32, 64), (8, 16, 32)


def search(trials: int, rate: float, rank: float, rng: np.random.Generator) -> tuple[dict, list]:
    """Draw settings at random and give each its quality; ``rate`` and ``rank`` are variance shares."""
    place = rng.uniform(size=trials)  # of the learning rate on its logarithm
    ranks, batches = rng.choice(RANKS, trials), rng.choice(BATCHES, trials)
    hump = -((place - 0.6) ** 2)
    sure = np.linspace(0, 1, 100_001)
    of_rate = (hump - np.mean(-((sure - 0.6) ** 2))) / np.std(-((sure - 0.6) ** 2))
    of_rank = (np.log2(ranks) - 4) / np.std(np.log2(RANKS))
    noise = rng.normal(size=trials)
    quality = rate**0.5 * of_rate + rank**0.5 * of_rank + (1 - rate - rank) ** 0.5 * noise
    settings = {
        "learning_rate": (1e-5 * 1000**place).tolist(),
        "r": ranks.tolist(),
        "batch_size": batches.tolist(),
        "dropout": rng.uniform(0, 0.2, trials).tolist(),
    }
    return settings, quality.tolist()


def first(landscape: str, trials: int, repeats: int) -> dict[str, Any]:
    """Count how often each estimator ranks the rate first, and how often it is clearly apart."""
    hits: dict[str, int] = {"variance": 0, "top": 0, "both": 0, "apart": 0, "anything_apart": 0}
    for repeat in range(repeats):
        rng = np.random.default_rng([trials, repeat])
        made = importances(*search(trials, *SHARES[landscape], rng))
        leaders = {}
        for name in ("variance", "top"):
            order = sorted(made, key=lambda one, name=name: -getattr(one, name).value)
            leaders[name] = order[0].key
            hits[name] += order[0].key == "learning_rate"
            apart = getattr(order[0], name).low > max(getattr(o, name).high for o in order[1:])
            if name == "variance":
                hits["apart"] += apart and order[0].key == "learning_rate"
                hits["anything_apart"] += apart
        hits["both"] += set(leaders.values()) == {"learning_rate"}
    shares = {f"{name}_share": round(count / repeats, 3) for name, count in hits.items()}
    return {"landscape": landscape, "trials": trials, "repeats": repeats, **shares}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--landscapes", nargs="+", default=list(SHARES), choices=list(SHARES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    print(f"{'landscape':<10}{'trials':>7}{'fANOVA':>8}{'PED':>7}{'both':>7}{'apart':>7}{'any':>7}")
    for landscape in options.landscapes:
        for trials in SIZES:
            row = first(landscape, trials, options.repeats)
            rows.append(row)
            print(
                f"{landscape:<10}{trials:>7}{row['variance_share']:>8.2f}{row['top_share']:>7.2f}"
                f"{row['both_share']:>7.2f}{row['apart_share']:>7.2f}"
                f"{row['anything_apart_share']:>7.2f}",
                flush=True,
            )
    clear = [row for row in rows if row["landscape"] == "clear"]
    enough = [
        row["trials"]
        for at, row in enumerate(clear)
        if all(min(r["variance_share"], r["top_share"]) >= 0.9 for r in clear[at:])
    ]
    print(
        f"both rank the rate first in 90 % from {enough[:1]} trials; the product asks for {FEWEST}"
    )
    if options.json:
        options.json.write_text(json.dumps({"fewest": enough[:1], "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
