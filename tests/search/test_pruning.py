"""Rungs: who goes on does not depend on who came first, and is decided alike after a restart."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pytest

from harness.records import read_jsonl
from harness.search.pruning.asha import RungTable, by_epsilon_net
from harness.search.pruning.pareto_fronts import ParetoFronts

BOTH = {"validation.bleu": "maximize", "forgetting.kl": "minimize"}


def values(perplexity, kl):
    return {"validation.perplexity": perplexity, "forgetting.kl": kl}


def table(path, objectives=BOTH, factor=3, grace=1, ties="near_best"):
    return RungTable(path / "rungs.jsonl", objectives, factor, grace, ties)


OTHERS = {f"t{i}": values(10 + i, 0.1 + i / 10) for i in range(6)}


def test_a_newcomer_that_dominates_goes_on_and_a_dominated_one_stops(tmp_path):
    for order in itertools.islice(itertools.permutations(OTHERS), 0, 720, 97):
        (tmp_path / "rungs.jsonl").unlink(missing_ok=True)
        rungs = table(tmp_path)
        for name in order:
            rungs.goes_on("lora", 1, name, OTHERS[name])
        before = (tmp_path / "rungs.jsonl").read_text()
        assert rungs.goes_on("lora", 1, "new", values(1, 0.01))
        (tmp_path / "rungs.jsonl").write_text(before)
        assert not table(tmp_path).goes_on("lora", 1, "new", values(99, 9.0))


def test_the_order_in_which_they_came_does_not_matter(tmp_path):
    decisions = set()
    for number, order in enumerate(itertools.islice(itertools.permutations(OTHERS), 0, 720, 61)):
        folder = tmp_path / str(number)
        rungs = table(folder)
        for name in order:
            rungs.goes_on("lora", 1, name, OTHERS[name])
        decisions.add(rungs.goes_on("lora", 1, "new", values(10.5, 0.05)))
    assert len(decisions) == 1


def test_each_rung_is_three_times_as_far(tmp_path):
    rungs = table(tmp_path, {"validation.perplexity": "minimize"})
    stopped = []
    for evaluation in range(1, 30):
        for name, v in OTHERS.items():
            rungs.goes_on("lora", evaluation, name, v)
        if not rungs.goes_on("lora", evaluation, "worst", values(99, 9.0)):
            stopped.append(evaluation)
    assert stopped == [1, 3, 9, 27]


def test_one_in_three_goes_on(tmp_path):
    rungs = table(tmp_path, {"validation.perplexity": "minimize"})
    going = {name: rungs.goes_on("lora", 1, name, v) for name, v in reversed(OTHERS.items())}
    # from the worst to the best: each is the best so far
    assert all(going.values())
    again = {name: rungs.goes_on("lora", 1, name, v) for name, v in OTHERS.items()}
    assert again == going, "a trial that goes on from its checkpoint is told what it was told"
    anew = {name: rungs.goes_on("lora", 3, name, v) for name, v in OTHERS.items()}
    assert [name for name, go in anew.items() if go] == ["t0", "t1"]  # from the best to the worst


def test_few_are_not_stopped(tmp_path):
    rungs = table(tmp_path)
    assert rungs.goes_on("lora", 1, "a", values(1, 0.1))
    assert rungs.goes_on("lora", 1, "b", values(9, 0.9)), "two of three say nothing yet"
    assert not rungs.goes_on("lora", 1, "c", values(99, 9.0))


def test_methods_and_rungs_are_apart(tmp_path):
    rungs = table(tmp_path)
    for name, v in OTHERS.items():
        rungs.goes_on("lora", 1, name, v)
    assert rungs.goes_on("full", 1, "x", values(99, 9.0))
    assert rungs.goes_on("lora", 3, "x", values(99, 9.0))


def test_grace_and_what_was_not_measured(tmp_path):
    rungs = table(tmp_path, grace=2)
    for name, v in OTHERS.items():
        assert rungs.goes_on("lora", 1, name, v)
    assert not (tmp_path / "rungs.jsonl").exists()
    rungs = table(tmp_path)
    for name, v in OTHERS.items():
        rungs.goes_on("lora", 1, name, v)
    assert rungs.goes_on("lora", 1, "x", {"validation.perplexity": 99}), "KL missing: not judged"
    assert len(read_jsonl(tmp_path / "rungs.jsonl")) == 6


@pytest.mark.parametrize("cut", range(7))
def test_reloaded_it_decides_alike(tmp_path, cut):
    trials = [*OTHERS.items(), ("y", values(12, 0.15))]
    whole = table(tmp_path / "whole")
    expected = [whole.goes_on("lora", 1, *trial) for trial in trials]
    parts = table(tmp_path / "parts")
    found = [parts.goes_on("lora", 1, *trial) for trial in trials[:cut]]
    parts = table(tmp_path / "parts")
    found += [parts.goes_on("lora", 1, *trial) for trial in trials[cut:]]
    assert found == expected


def test_a_torn_last_line_costs_that_line(tmp_path):
    rungs = table(tmp_path)
    for name, v in OTHERS.items():
        rungs.goes_on("lora", 1, name, v)
    path = tmp_path / "rungs.jsonl"
    whole = path.read_bytes()
    for cut in (2, 20, 60):
        path.write_bytes(whole[:-cut])
        again = table(tmp_path)
        assert [again.goes_on("lora", 1, name, v) for name, v in OTHERS.items()] == [
            row["go"] for row in map(json.loads, whole.decode().splitlines())
        ]
        assert path.read_bytes().endswith(whole.splitlines(keepends=True)[-1])
        assert len(read_jsonl(path)) == 6


def test_measured_anew_it_replaces_what_it_had(tmp_path):
    rungs = table(tmp_path, {"validation.perplexity": "minimize"})
    for name, v in OTHERS.items():
        rungs.goes_on("lora", 1, name, v)
    assert rungs.goes_on("lora", 1, "t5", values(1, 0.1)) and len(OTHERS) == 6
    assert not rungs.goes_on("lora", 1, "new", values(10.5, 0.1)), "7 // 3 = 2 are better"
    again = table(tmp_path, {"validation.perplexity": "minimize"})
    assert not again.goes_on("lora", 1, "other", values(10.6, 0.1))


# -- against another implementation, on random data with ties


def rows(rng, n, m, kind):
    """(n, m) losses above 0; "ties": few values each, so that many are equal in part or as a whole."""
    if kind == "front":  # nobody dominates anybody: all is left to the tie-break
        share = rng.random(n)
        return np.stack([share, 1 - share, *(np.zeros(n) for _ in range(m - 2))], axis=1)[:, :m]
    return rng.integers(1, 5, (n, m)).astype(float) if kind == "ties" else rng.random((n, m))


def fronts(points):
    """By the definition: whom nobody beats, then whom nobody of those left beats, and so on."""

    def beats(a, b):
        return (points[a] <= points[b]).all() and (points[a] < points[b]).any()

    left, found = list(range(len(points))), []
    while left:
        found.append([i for i in left if not any(beats(j, i) for j in left)])
        left = [i for i in left if i not in found[-1]]
    return found


KINDS = pytest.mark.parametrize("kind", ["plain", "ties", "front"])


@KINDS
@pytest.mark.parametrize("m", [1, 2, 3])
def test_fronts_as_sorted_anew(kind, m):
    rng = np.random.default_rng(m)
    for _ in range(3):
        points = rows(rng, 40, m, kind)
        levels = ParetoFronts(m)
        for n, point in enumerate(points, 1):
            place = levels.add(point)
            sorted_anew = fronts(points[:n])
            assert n - 1 in sorted_anew[place]
            assert levels.before(place) == sum(map(len, sorted_anew[:place]))
            expected = sorted(points[sorted_anew[place]].tolist())
            assert sorted(levels.front(place).tolist()) == expected


@KINDS
@pytest.mark.parametrize("ties", ["near_best", "crowding", "epsnet"])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_neither_order_nor_names_of_the_recorded_matter(tmp_path, kind, ties, m):
    ways = {"validation.perplexity": "minimize", "forgetting.kl": "minimize", "drift.x": "maximize"}
    objectives = dict(list(ways.items())[:m])
    rng = np.random.default_rng(m)
    decided = set()
    for trial in range(15):
        *recorded, new = rows(rng, 14, m, kind).tolist()
        answers = set()
        for order in (rng.permutation(13) for _ in range(4)):
            rungs = table(tmp_path / f"{trial}-{order}", objectives, ties=ties)
            for name, index in enumerate(order):
                rungs.goes_on(
                    "a", 1, f"t{name}", dict(zip(objectives, recorded[index], strict=True))
                )
            answers.add(rungs.goes_on("a", 1, "new", dict(zip(objectives, new, strict=True))))
        assert len(answers) == 1
        decided |= answers
    assert decided == {True, False}


@KINDS
@pytest.mark.parametrize("ties", ["near_best", "crowding", "epsnet"])
def test_better_than_all_survives_and_worse_than_all_stops(tmp_path, kind, ties):
    rng = np.random.default_rng(0)
    objectives = {"validation.perplexity": "minimize", "forgetting.kl": "maximize"}
    for n in range(2, 14):
        for what, value, expected in (("best", 0.0, True), ("worst", 9.0, False)):
            rungs = table(tmp_path / f"{n}{what}", objectives, ties=ties)
            for name, (x, y) in enumerate(rows(rng, n, 2, kind)):
                rungs.goes_on("a", 1, f"t{name}", dict(zip(objectives, (1 + x, -y), strict=True)))
            new = dict(zip(objectives, (1 + value, -value), strict=True))
            assert rungs.goes_on("a", 1, "new", new) == expected, (n, what)


def test_an_epsilon_net_goes_where_nobody_is():
    """Farthest-point order by brute force, and by hand on a line."""
    line = np.array([[0, 10], [1, 9], [2, 8], [5, 5], [10, 0]], dtype=float)
    assert list(by_epsilon_net(line)) == [0, 4, 3, 2, 1]
    assert list(by_epsilon_net(line * [1, 1000])) == [0, 4, 3, 2, 1], "units do not matter"
    points = np.unique(np.random.default_rng(1).random((30, 3)), axis=0)
    scaled = (points - points.min(0)) / np.ptp(points, axis=0)
    order = list(by_epsilon_net(points))
    assert sorted(order) == list(range(30)) and order[0] == 0
    for k in range(1, 30):
        room = [min(np.linalg.norm(scaled[i] - scaled[j]) for j in order[:k]) for i in range(30)]
        assert room[order[k]] == pytest.approx(max(room))


def test_the_table_grows_by_a_line_and_stays_quick(tmp_path):
    """2,000 trials on one rung: the last hundred cost no more than a few times the first."""
    rng = np.random.default_rng(0)
    rungs = table(tmp_path)
    points = rng.random((2000, 2))
    spent = []
    for n, (x, y) in enumerate(points):
        began = time.process_time()
        rungs.goes_on("lora", 1, f"t{n}", values(x, y))
        spent.append(time.process_time() - began)
    assert len(read_jsonl(tmp_path / "rungs.jsonl")) == 2000
    assert np.median(spent[-200:]) < 8 * np.median(spent[100:300]) + 1e-3


@pytest.mark.parametrize("ties", ["near_best", "crowding", "epsnet"])
def test_a_stopped_trial_knows_its_rank_and_the_best_and_a_restart_says_the_same(tmp_path, ties):
    rungs = table(tmp_path, ties=ties)
    for name in OTHERS:
        rungs.goes_on("lora", 3, name, OTHERS[name])
    go, standing = rungs.decide("lora", 3, "new", values(14.5, 0.55))
    assert not go and standing is not None
    assert (standing.evaluation, standing.trials, standing.kept) == (3, 7, 2)
    assert standing.rank == 6, "all but the last of them are better in both"
    assert standing.values == values(14.5, 0.55) and standing.best == values(10, 0.1)
    assert table(tmp_path).decide("lora", 3, "new", values(14.5, 0.55)) == (go, standing)
    assert rungs.decide("lora", 3, "best", values(1, 0.01)) == (True, None)


@pytest.mark.parametrize(("ties", "kept"), [("near_best", "near"), ("crowding", "extreme")])
def test_a_rung_keeps_what_is_as_good_and_forgets_less(tmp_path, ties, kept):
    """Two of six go on: the best, and within 2 % of its perplexity the least forgetting."""
    rungs = table(tmp_path, ties=ties)
    seen = {"best": (4.00, 0.9), "near": (4.05, 0.3), "far": (4.3, 0.2), "extreme": (9.0, 0.01)}
    seen |= {"between": (4.02, 0.5), "beaten": (9.5, 0.95)}
    for name in sorted(seen, key=lambda name: name != "beaten"):
        rungs.goes_on("lora", 1, name, values(*seen[name]))
    for name in ("best", kept):  # told anew, all others being there
        assert rungs.goes_on("lora", 1, name, values(seen[name][0] - 1e-6, seen[name][1] - 1e-6))
    for name in seen.keys() - {"best", kept}:
        worse = values(seen[name][0] + 1e-6, seen[name][1] + 1e-6)
        assert not rungs.goes_on("lora", 1, name, worse), name


def test_the_users_margin_counts_at_a_rung_where_quality_itself_is_watched(tmp_path):
    ways = {"validation.accuracy": "maximize", "forgetting.kl": "minimize"}
    seen = {"best": (0.9, 0.9), "a": (0.86, 0.3), "b": (0.89, 0.5), "c": (0.7, 0.1)}
    seen |= {"x": (0.1, 1.0), "y": (0.1, 1.0)}
    for margin, kept in ((None, "b"), (0.05, "a"), (0.5, "c")):
        rungs = RungTable(tmp_path / f"{margin}.jsonl", ways, 3, 1, margin=margin)
        for name, pair in seen.items():
            rungs.goes_on("lora", 1, name, dict(zip(ways, pair, strict=True)))
        again = {n: (q + 1e-9, kl) for n, (q, kl) in seen.items()}
        going = {
            n for n in "abc" if rungs.goes_on("lora", 1, n, dict(zip(ways, again[n], strict=True)))
        }
        assert going == {kept}
