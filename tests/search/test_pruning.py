"""Rungs: who goes on does not depend on who came first, and is decided alike after a restart."""

from __future__ import annotations

import itertools
import json

import pytest

from harness.search.pruning import RungTable

BOTH = {"validation.bleu": "maximize", "forgetting.kl": "minimize"}


def values(perplexity, kl):
    return {"validation.perplexity": perplexity, "forgetting.kl": kl}


def table(path, objectives=BOTH, factor=3, grace=1):
    return RungTable(path / "rungs.json", objectives, factor, grace)


OTHERS = {f"t{i}": values(10 + i, 0.1 + i / 10) for i in range(6)}


def test_a_newcomer_that_dominates_goes_on_and_a_dominated_one_stops(tmp_path):
    for order in itertools.islice(itertools.permutations(OTHERS), 0, 720, 97):
        (tmp_path / "rungs.json").unlink(missing_ok=True)
        rungs = table(tmp_path)
        for name in order:
            rungs.goes_on("lora", 1, name, OTHERS[name])
        before = (tmp_path / "rungs.json").read_text()
        assert rungs.goes_on("lora", 1, "new", values(1, 0.01))
        (tmp_path / "rungs.json").write_text(before)
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


def test_one_in_three_goes_on(tmp_path):
    rungs = table(tmp_path, {"validation.perplexity": "minimize"})
    going = {name: rungs.goes_on("lora", 1, name, v) for name, v in reversed(OTHERS.items())}
    # from the worst to the best: each is the best so far
    assert all(going.values())
    again = {name: rungs.goes_on("lora", 1, name, v) for name, v in OTHERS.items()}
    assert [name for name, go in again.items() if go] == ["t0", "t1"]


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
    assert rungs.goes_on("lora", 2, "x", values(99, 9.0))


def test_grace_and_what_was_not_measured(tmp_path):
    rungs = table(tmp_path, grace=2)
    for name, v in OTHERS.items():
        assert rungs.goes_on("lora", 1, name, v)
    assert not (tmp_path / "rungs.json").exists()
    rungs = table(tmp_path)
    for name, v in OTHERS.items():
        rungs.goes_on("lora", 1, name, v)
    assert rungs.goes_on("lora", 1, "x", {"validation.perplexity": 99}), "KL missing: not judged"
    assert "x" not in json.loads((tmp_path / "rungs.json").read_text())["lora/1"]


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


def test_a_torn_table_begins_anew(tmp_path, capsys):
    (tmp_path / "rungs.json").write_text('{"lora/1": {"a": [1')
    assert table(tmp_path).goes_on("lora", 1, "x", values(99, 9.0))
    assert "not readable" in capsys.readouterr().err
