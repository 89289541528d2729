"""Fronts, crowding and finalists: hand-made cases, Optuna as the second opinion."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from optuna.study._multi_objective import _fast_non_domination_rank
from sweeping import composed, measurement

from harness.records import Measurement, Record
from harness.search.finalists import finalists
from harness.search.limits import excesses
from harness.search.pruning.pareto_fronts import best_first, crowding, fronts

BOTH = ["maximize", "minimize"]


def test_fronts_by_hand():
    points = [(1, 1), (2, 2), (3, 3), (1, 3), (3, 1), (3, 1)]
    assert fronts(points, BOTH) == [[4, 5], [0, 1, 2], [3]]  # (3, 1) twice: neither dominates
    assert fronts(points, ["maximize"] * 2) == [[2], [1, 3, 4, 5], [0]]
    assert fronts([], BOTH) == []
    assert fronts([(5,), (3,), (5,)], ["minimize"]) == [[1], [0, 2]]


@pytest.mark.parametrize("seed", range(20))
def test_fronts_as_optuna_ranks(seed):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 25)), int(rng.integers(1, 4))
    points = rng.integers(0, 6, size=(n, m)).astype(float)  # with ties
    ways = [BOTH[int(i)] for i in rng.integers(0, 2, size=m)]
    losses = points * [1 if way == "minimize" else -1 for way in ways]
    ranks = _fast_non_domination_rank(losses)
    found = fronts(points.tolist(), ways)
    assert [{i for i in range(n) if ranks[i] == r} for r in range(len(found))] == [
        set(front) for front in found
    ]


def test_crowding_by_hand():
    points = [(0.0, 10.0), (1.0, 5.0), (3.0, 4.0), (4.0, 0.0)]
    distance = crowding(points, [0, 1, 2, 3])
    assert distance[0] == distance[3] == math.inf
    assert distance[1] == pytest.approx((3 - 0) / 4 + (10 - 4) / 10)
    assert distance[2] == pytest.approx((4 - 1) / 4 + (5 - 0) / 10)
    assert crowding([(1.0, 1.0)] * 3, [0, 1, 2])[1] == 0.0  # all alike: no division by 0
    assert crowding(points, [2]) == {2: math.inf}


def test_best_first():
    #            quality, forgetting: the front is 0, 1, 2, 3; 4 is dominated
    points = [(10, 5.0), (9, 1.0), (8, 0.9), (2, 0.1), (1, 6.0)]
    order = best_first(points, BOTH)
    assert order[0] == 0, "the best quality first"
    assert order[1] == 3, "then the other end of the front"
    assert order[2] == 1 and order[-1] == 4
    assert best_first([(1, 1), (1, 1)], BOTH) == [0, 1]


# -- finalists


@pytest.fixture(scope="module")
def sweep_of():
    def of(*arguments):
        return composed("method=lora", "confirm.finalists=3", *arguments)[0]

    return of


def trial(number, bleu, kl, status="complete", cost=None, **more):
    values = {"validation.bleu": bleu, "forgetting.kl": kl, **more}
    return Record(
        status=status,
        stage="search",
        method="lora",
        trial=number,
        attempt=1,
        fingerprint=f"{number:012x}",
        configuration=f"{number:012x}",
        seed=0,
        config={},
        overrides=[],
        measurements={k: measurement(v) for k, v in values.items() if v is not None},
        cost=cost or {},
    )


def chosen(records, sweep):
    return [record.trial for record in finalists(records, sweep)]


def test_the_best_and_what_may_be_as_good_and_forgets_less(sweep_of):
    records = [
        trial(0, 10, 5.0),
        trial(1, 9.2, 1.0),
        trial(2, 9.1, 0.9),
        trial(3, 2, 0.1),
        trial(4, 8.9, 6.0),
        trial(5, 9.3, 3.5),
    ]
    order = [
        0,
        2,
        5,
        1,
        4,
        3,
    ]  # within the margin of 1: the ends, then between them; then by quality
    for n in (1, 2, 3, 4, 99):
        assert chosen(records, sweep_of(f"confirm.finalists={n}")) == order[:n]
    assert chosen(records, sweep_of("confirm.finalists=0")) == []
    assert chosen(records, sweep_of("confirm.margin=8")) == [0, 3, 5]
    assert chosen(records, sweep_of("confirm.margin=0")) == [0, 5, 1]


def test_the_example_sends_on_what_forgets_a_third_and_is_as_good(sweep_of):
    """Full fine-tuning of the built-in example: at 4.25e-4 it forgets 0.272 instead of 0.902."""
    records = [trial(0, 78.27, 0.902), trial(1, 77.96, 0.272), trial(2, 41.2, 0.011)]
    assert chosen(records, sweep_of("confirm.finalists=2")) == [0, 1]
    points = [(r.value("validation.bleu"), r.value("forgetting.kl")) for r in records]
    assert best_first(points, BOTH)[:2] == [0, 2], "by crowding: the least forgetting extreme"


@pytest.mark.parametrize(("half", "second"), [(0.0, 1), (0.98, 1), (1.96, 2), (9.8, 3)])
def test_noise_of_items_and_of_the_seeds_that_were_not_run(sweep_of, half, second):
    """Equals lie apart by less than 1.645·√2·√2 standard errors in 95 % of cases, here 3.29 each."""
    records = [
        replace(one, measurements={**one.measurements, "validation.bleu": Measurement(
            value, "points", 100, (value - half, value + half), "made up")})
        for one, value in zip(
            [trial(0, 50, 0.9), trial(1, 0, 0.5), trial(2, 0, 0.3), trial(3, 0, 0.1)],
            (50, 49.5, 47, 35), strict=True)
    ]  # fmt: skip
    assert chosen(records, sweep_of("confirm.finalists=2")) == [0, second]


def test_a_perplexity_is_compared_by_its_logarithm(sweep_of):
    sweep = sweep_of(
        "objectives={perplexity:minimize,forgetting.kl:minimize}", "confirm.finalists=2"
    )
    records = [
        trial(i, None, kl, **{"validation.perplexity": v})
        for i, (v, kl) in enumerate([(100, 0.9), (101.9, 0.5), (102.1, 0.1)])
    ]
    assert chosen(records, sweep) == [0, 1], "2 % is the margin"


@pytest.mark.parametrize("kind", ["bits_per_byte", "perplexity"])
def test_where_the_score_is_blind_the_likelihood_selects_as_it_decides(sweep_of, kind):
    """Near 0 for all, BLEU would send on what learned least."""
    name = f"validation.{kind}"
    records = [trial(0, 0.3, 0.5, **{name: 9.0}), trial(1, 0.2, 0.4, **{name: 3.0})]
    records += [trial(2, 0.0, 0.001, **{name: 9.9}), trial(3, 0.1, 0.3, **{name: 3.005})]
    assert chosen(records, sweep_of("confirm.finalists=2")) == [1, 3]
    base = {"validation.bleu": measurement(40.0)}
    seen = [replace(one, base=base) for one in records]
    assert chosen(seen, sweep_of("confirm.finalists=2")) == [0, 2], "the base's 40 is seen"
    without = [
        trial(r.trial, r.value("validation.bleu"), r.value("forgetting.kl")) for r in records
    ]
    assert chosen(without, sweep_of("confirm.finalists=2")) == [0, 2], "nothing else is known"


def test_what_is_not_whole_is_no_finalist(sweep_of):
    records = [
        trial(0, 99, 0.0, status="pruned"),
        trial(1, 98, 0.0, status="infeasible"),
        trial(2, 97, None),
        trial(3, None, 0.1),
        trial(4, 96, 0.0, status="diverged"),
        trial(5, 5, 0.5),
    ]
    assert chosen(records, sweep_of()) == [5]
    assert chosen(records[:5], sweep_of()) == []
    assert chosen([], sweep_of()) == []


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        ("limits.forgetting=0.5", [1]),
        ("limits.minutes=1", [1]),
        ("limits.peak_memory_gb=2", [1]),
        ("limits.trainable_parameters=100", [1]),
        ("limits.minutes=99", [0, 1]),
    ],
)
def test_limits(sweep_of, limit, kept):
    dear = {"train_seconds": 61.0, "peak_memory_gb": 2.1, "trainable_parameters": 101}
    cheap = {"train_seconds": 60.0, "peak_memory_gb": 2.0, "trainable_parameters": 100}
    records = [trial(0, 10, 0.6, cost=dear), trial(1, 5, 0.5, cost=cheap)]
    sweep = sweep_of(limit)
    assert chosen(records, sweep) == kept
    assert [max(excesses(r, sweep).values()) <= 0 for r in records] == [0 in kept, True]
    assert excesses(trial(2, 1, None), sweep) == {}, "what was not measured breaks no limit"


def test_ties_and_order_do_not_matter(sweep_of):
    rng = random.Random(0)
    records = [trial(i, rng.randint(0, 4), rng.randint(0, 4) / 10) for i in range(20)]
    sweep = sweep_of()
    expected = chosen(records, sweep)
    for _ in range(10):
        rng.shuffle(records)
        assert chosen(records, sweep) == expected


def test_a_tie_in_quality_goes_to_the_better_in_the_rest(sweep_of):
    sweep = sweep_of("objectives={bleu:maximize,chrf:maximize}", "confirm.finalists=1")
    records = [
        trial(0, 5, None, **{"validation.chrf": 1}),
        trial(1, 5, None, **{"validation.chrf": 9}),
    ]
    assert chosen(records, sweep) == [1]
    assert chosen([trial(0, 5, 0.9), trial(1, 5, 0.1)], sweep_of("confirm.finalists=1")) == [1]


def test_one_objective(sweep_of):
    sweep = sweep_of("objectives={bleu:maximize}", "confirm.finalists=2")
    assert chosen([trial(0, 3, None), trial(1, 9, None), trial(2, 5, None)], sweep) == [1, 2]
