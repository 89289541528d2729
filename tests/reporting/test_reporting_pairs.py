"""Finalists against each other, and whether the search's order held, from a made-up run."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.tables import pairs
from harness.reporting.tables.pairs import pairs_table, stability_table
from harness.reporting.tables.search import budget_table
from harness.reporting.verdict.recommendation import recommend
from harness.reporting.verdict.wording import difference
from harness.statistics.comparing.comparisons import ScoreDifference
from harness.statistics.rank_correlation import rank_stability


@pytest.fixture(scope="module")
def run(sweep_folder):
    return load_run(sweep_folder)


@pytest.fixture(scope="module")
def candidates(run):
    return candidate_set(run)


def test_every_pair_once_and_its_numbers(run, candidates):
    table = pairs_table(run, candidates)
    labels = [c.label for c in candidates.members if c.quality is not None]
    assert {frozenset((r[0].text, r[1].text)) for r in table.rows} == {
        frozenset(pair) for pair in combinations(labels, 2)
    }
    by_label = {c.label: c for c in candidates.members}
    for row in table.rows:
        one, other = (by_label[cell.text].quality for cell in row[:2])
        said = float(row[2].text.split()[0].replace("−", "-"))
        assert said == pytest.approx(one.value - other.value, abs=0.06)


def test_what_is_clearly_worse_is_found_alone_and_among_all_pairs(run, candidates):
    rows = [r for r in pairs_table(run, candidates).rows if "prompt_tuning" in r[1].text]
    assert rows
    for row in rows:
        assert "strong" in row[2].role
        alone, family = (float(cell.text.removeprefix("< ")) for cell in row[3:5])
        assert alone <= family < 0.05 and alone < 0.02


def test_the_order_of_the_search_beside_the_test(run, candidates):
    table = stability_table(run, candidates)
    order = [int(row[-2].text) for row in table.rows], [int(row[-1].text) for row in table.rows]
    assert all(sorted(ranks) == list(range(1, len(table.rows) + 1)) for ranks in order)
    found = rank_stability(*order, maximize=False)
    assert f"Kendall's τ {found.kendall:.2f}, " in table.note  # four have no interval
    assert f"number {found.test_rank} on the test split" in table.note


def test_two_finalists_have_no_order_to_speak_of(run, candidates):
    assert not stability_table(run, replace(candidates, members=candidates.members[:2])).rows


def test_hypervolumes_are_shares_of_what_all_cover(run):
    table = budget_table(run, "validation.bleu", True)
    at = table.headers.index("Hypervolume")
    shares = [float(row[at].text.removesuffix(" %")) for row in table.rows]
    assert min(shares) >= 0 and max(shares) <= 100 <= sum(shares) + 2


def test_best_of_n_counts_the_trials_that_were_spent(run):
    """Each method spent four trials, one without a score: the best of 1 is not known to exist."""
    table = budget_table(run, "validation.bleu", True)
    spent, best = table.headers.index("Trials"), table.headers.index("Best")
    (expected,) = (i for i, header in enumerate(table.headers) if header.startswith("Expected"))
    assert table.headers[expected] == "Expected best of 4"
    for row in table.rows:
        assert (row[spent].text, row[expected].text) == ("4", row[best].text)


def test_an_interval_without_0_is_of_its_pair_where_all_pairs_show_nothing(candidates):
    found = ScoreDifference(-8.3, -12.4, -4.2, 0.002, 0.098, None, different=False)
    alone = difference(found, candidates)
    assert "[−12.4, −4.2]" in alone and "for this pair alone" in alone
    assert alone.endswith("p = 0.098 among all pairs: not significant")
    assert "alone" not in difference(replace(found, low=-17.0, high=0.4), candidates)


def test_a_part_of_the_pairs_has_the_numbers_of_all(run, candidates, monkeypatch):
    """As in the decision, which tests all of them: a page has one p for a pair."""
    whole = {(row[0].text, row[1].text): row for row in pairs_table(run, candidates).rows}
    monkeypatch.setattr(pairs, "MOST", 3)
    part = pairs_table(run, candidates)
    assert len(part.rows) == 3 and "the best 3 of" in part.note
    assert all(row == whole[row[0].text, row[1].text] for row in part.rows)


def test_the_pairs_of_the_best_are_those_of_the_decision(run, candidates):
    rows = {(row[0].text, row[1].text): row for row in pairs_table(run, candidates).rows}
    decided = recommend(run, candidates)
    assert decided.chosen is not None
    compared = [(label, why) for label, why in decided.runners_up if "among all pairs" in why]
    assert compared
    for label, why in compared:
        p = rows[decided.chosen.label, label][4].text
        assert (f"p {p}" if p.startswith("<") else f"p = {p}") in why
