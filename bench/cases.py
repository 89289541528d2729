"""Candidates of known truth for the benches: made-up methods, and the real results that are kept.

    python -m bench.cases FOLDER     # pack what bench.seed_noise left into decisions_records.npz

Real results: six configurations of the built-in example with thirty seeds each, their per-example
statistics packed in ``decisions_records.npz``. Made-up ones: a score of each item is the method's mean
+ the item + method × item + seed + seed × item, all normal.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.estimates import Estimate
from harness.reporting.evidence.folders.run_folder import read_items
from harness.statistics.comparing.replicates import Replicates, replicates

RECORDS = Path(__file__).with_name("decisions_records.npz")
QUALITY, FORGETTING = "validation.bleu", "forgetting.kl"
MADE_UP = "test.made_up"  # a plain mean over items
SEEDS = 30  # of each real configuration
N, ITEM = 200, 1.0  # items, and the standard error that they alone give a score


@dataclass(frozen=True)
class Case:
    """Candidates as they were measured: (S, n, k) statistics each, of quality and of forgetting."""

    name: str
    quality: Sequence[np.ndarray]
    forgetting: Sequence[np.ndarray]
    truth: np.ndarray  # (k,) quality
    moved: np.ndarray  # (k,) forgetting
    margin: float

    @cached_property
    def whole(self) -> list[tuple[Replicates, Replicates]]:
        """Quality and forgetting of each with all its seeds."""
        return [
            (replicates(self.name, q, range(len(q))), replicates(FORGETTING, f, range(len(f))))
            for q, f in zip(self.quality, self.forgetting, strict=True)
        ]


def some(whole: Replicates, seeds: Sequence[int]) -> Replicates:
    """Return the results of some seeds, given by their places."""
    assert whole.influences is not None
    own = list(seeds)
    values, influences = whole.values[own], whole.influences[own]
    return replace(whole, values=values, seeds=tuple(own), influences=influences)


def made_up(
    k: int,
    seeds: int,
    seed_sd: float,
    rng: np.random.Generator,
    means: np.ndarray | None = None,
    forgets: np.ndarray | None = None,
    method_sd: float = 0.5,
    crossed_sd: float = 0.6,
) -> Case:
    """k methods; SDs in units of the error that the items give one score."""
    means = np.zeros(k) if means is None else means
    forgets = np.full(k, 0.5) if forgets is None else forgets
    wide = ITEM * N**0.5
    items = rng.normal(0, wide, (1, 1, N)) + rng.normal(0, method_sd * wide, (k, 1, N))
    crossed = rng.normal(0, crossed_sd * wide, (k, seeds, N))
    scores = means[:, None, None] + items + rng.normal(0, seed_sd, (k, seeds, 1)) + crossed
    kl = forgets[:, None, None] * np.exp(rng.normal(0, 0.05, (k, seeds, 1)))
    kl = kl * rng.gamma(8, 1 / 8, (1, 1, 100)) * np.exp(rng.normal(0, 0.1, (k, seeds, 100)))
    tokens = np.full((k, seeds, 100), 100.0)
    forgetting = np.stack([kl * tokens, tokens], axis=-1)
    return Case(MADE_UP, list(scores[..., None]), list(forgetting), means, forgets, 1.0)


def measured(
    case: Case, seeds: Sequence[int] = (), looks: int = 0, dropped: Sequence[int] = ()
) -> CandidateSet:
    """Return the candidates as a report reads them, with the first ``seeds`` seeds of each."""
    members = []
    for i, each in enumerate(case.whole):
        own = range(seeds[i] if seeds else len(each[0].values))
        quality, forgetting = (
            _estimate(name, some(one, own))
            for name, one in zip((case.name, FORGETTING), each, strict=True)
        )
        members.append(
            Candidate(
                label=str(i),
                method=str(i),
                configuration=str(i),
                settings={},
                rows=(),
                other_rows=(),
                quality=quality,
                forgetting=forgetting,
                estimates={case.name: quality, FORGETTING: forgetting},
                items={},
                cost={},
                base={},
                problems=("dropped",) if i in dropped else (),
                dropped=i in dropped,
            )
        )
    return CandidateSet(
        members=tuple(members),
        quality=case.name,
        maximize=True,
        forgetting=FORGETTING,
        confirmed=True,
        remarks=(),
        margin=case.margin,
        looks=looks,
    )


def _estimate(name: str, found: Replicates) -> Estimate:
    return Estimate(
        name=name,
        value=found.mean,
        low=None,
        high=None,
        n=found.n,
        by_seed=tuple(found.values),
        replicates=found,
    )


def read_records() -> dict[str, dict[str, np.ndarray]]:
    """method -> measurement -> (S, n, k)."""
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(RECORDS) as packed:
        for key in packed.files:
            method, name = key.split("|")
            found.setdefault(method, {})[name] = packed[key].astype(float)
    return found


def keep(folder: Path) -> None:
    """Pack the per-example statistics that bench.seed_noise left."""
    packed = {}
    for method in sorted(path for path in folder.iterdir() if (path / "1").is_dir()):
        seeds = sorted(method.glob("*/items.jsonl"), key=lambda path: int(path.parent.name))
        each = [read_items(path.parent) for path in seeds]
        for name in (QUALITY, FORGETTING):
            statistics = np.stack([items[name] for items in each])
            whole = np.array_equal(statistics, statistics.round())
            kept = statistics.astype(np.int16 if whole else np.float32)
            packed[f"{method.name}|{name}"] = kept
    np.savez_compressed(RECORDS, **packed)
    print(f"{RECORDS}: {RECORDS.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    keep(parser.parse_args().folder)
