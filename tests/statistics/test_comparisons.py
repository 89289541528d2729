"""Errors, tests and letters against scipy, against exact cases, and at their rates under equality."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from scipy import stats

from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.draws import redraw
from harness.statistics.comparing.influence import influences
from harness.statistics.comparing.letters import compact_letters
from harness.statistics.comparing.replicates import Replicates, replicates
from harness.statistics.comparing.simultaneous import best_reach, tukey_p, tukey_reach
from harness.statistics.comparing.standard_errors import Errors
from harness.statistics.comparing.studentized_range import range_quantile, range_sf
from harness.statistics.resampling import bootstrap_scores, draw_counts

N = 100


def made_up(rng, k: int, seeds: int, seed_sd: float, means=0.0, crossed: float = 0.6):
    """k methods' (seeds, N, 1) statistics; SDs in units of the error that items give one score."""
    wide = N**0.5
    scores = rng.normal(0, wide, N) + rng.normal(0, 0.5 * wide, (k, 1, N))
    scores = scores + rng.normal(0, seed_sd, (k, seeds, 1)) + np.reshape(means, (-1, 1, 1))
    return list((scores + rng.normal(0, crossed * wide, (k, seeds, N)))[..., None])


def compared(statistics, maximize: bool = True) -> Comparisons:
    found = [replicates("test.made_up", one, range(len(one))) for one in statistics]
    return Comparisons(found, maximize)


def seeds_only(values) -> Comparisons:
    """Return replicates without items, from the scores of seeds alone."""
    return Comparisons([Replicates(np.asarray(v), tuple(range(len(v)))) for v in values], True)


@pytest.mark.parametrize(("k", "df"), [(3, 1.5), (3, 4), (6, 6.3), (26, 26), (60, 200)])
def test_the_studentized_range_is_scipys(k, df):
    assert range_quantile(0.05, k, df) == pytest.approx(
        stats.studentized_range.ppf(0.95, k, df), rel=1e-5
    )
    assert range_sf(4.5, k, df) == pytest.approx(stats.studentized_range.sf(4.5, k, df), abs=1e-6)


def test_seeds_of_each_its_own_are_welchs_test_and_seeds_in_common_the_paired_one():
    """With many seeds own variances outweigh the common factor; no items are known."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 400), rng.normal(0.2, 2, 400)
    shared = rng.normal(0, 3, 400)
    own = [Replicates(a, tuple(range(400))), Replicates(b, tuple(range(400, 800)))]
    found = Comparisons(own, True).difference(0, 1)
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert found.p_value == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue, rel=0.1)
    found = seeds_only([a + shared, b + shared]).difference(0, 1)
    assert found.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=0.1)


def test_equal_variances_are_tukeys_test_of_all_pairs():
    """Every candidate has the same spread, so the common variance is scipy's."""
    base = np.array([-1.5, -0.5, 0.5, 1.5])
    values = [base + shift for shift in (0.0, 1.0, 2.4, 5.0)]
    theirs = stats.tukey_hsd(*values)
    own = [Replicates(v, tuple(range(4 * i, 4 * i + 4))) for i, v in enumerate(values)]
    ours = Comparisons(own, True)
    for i, j in itertools.combinations(range(4), 2):
        found = ours.difference(i, j)
        pooled = math.sqrt(2 * base.var(ddof=1) / 4)
        assert found.error.total == pytest.approx(pooled)
        assert tukey_p(found.difference / pooled, 4, 12) == pytest.approx(
            theirs.pvalue[i, j], abs=1e-6
        )
        assert found.p_family >= theirs.pvalue[i, j] - 1e-6  # fewer degrees of freedom are claimed


def test_bonferroni_is_little_above_dunnetts_quantile():
    """Hsu's constant is Dunnett's one-sided: here from draws that share the best's error."""
    rng = np.random.default_rng(0)
    best, others = rng.normal(size=(200_000, 1)), rng.normal(size=(200_000, 5))
    dunnett = np.quantile(((best - others) / math.sqrt(2)).max(axis=1), 0.95)
    assert dunnett < best_reach(6, 1e6) < 1.06 * dunnett
    assert best_reach(2, 10.0) == pytest.approx(stats.t.ppf(0.95, 10))


def test_influences_of_a_mean_are_its_deviations_and_of_bleu_its_bootstrap_error():
    column = np.random.default_rng(0).random((30, 1))
    expected = column[:, 0] - column.mean()
    np.testing.assert_allclose(influences("test.made_up", column), expected, atol=1e-12)
    words = ["the", "mill", "stands", "near", "a", "river", "and", "serves", "cheap", "food"]
    rng = np.random.default_rng(3)
    references = [" ".join(rng.permutation(words)) for _ in range(150)]
    kept = (" ".join(w for w in r.split() if rng.random() < 0.8) for r in references)
    counted = BLEU(force=True)._extract_corpus_statistics(list(kept), [references])
    counted = np.array(counted, dtype=float)
    jackknife = influences("test.bleu", counted).std(ddof=1) / math.sqrt(150)
    counts = draw_counts(150, 2000, np.random.default_rng(1))
    assert jackknife == pytest.approx(
        bootstrap_scores("test.bleu", counted, counts).std(), rel=0.08
    )


def test_what_seeds_do_to_single_items_is_counted_once():
    """One method against itself, with seeds that differ item by item alone."""
    rng = np.random.default_rng(0)
    totals = []
    for _ in range(200):
        one = rng.normal(0, 10, (1, N)) + rng.normal(0, 6, (6, N))
        found = compared([one[:3, :, None], one[3:, :, None]]).errors.between(0, 1)
        totals.append(found.total**2)
    truth = 2 * 36 / N / 3  # counted twice it would be 2.5 of it
    assert truth < np.mean(totals) < 1.7 * truth


@pytest.mark.parametrize(("seeds", "seed_sd"), [(2, 0.0), (2, 1.0), (3, 4.0), (5, 1.0)])
def test_equal_methods_are_called_different_as_often_as_said(seeds, seed_sd):
    """Error rates among six: any pair 5 %, one pair 5 %, and intervals cover in 95 %."""
    rng = np.random.default_rng(7)
    family, pair, held = [], [], []
    for _ in range(200):
        found = compared(made_up(rng, 6, seeds, seed_sd))
        family.append(found.different.any())
        pair.append(found.difference(0, 1).p_value <= 0.05)
        held += [low <= 0 <= high for low, high in map(found.interval, range(6))]
    assert np.mean(family) <= 0.08 and np.mean(pair) <= 0.08
    assert 0.925 <= np.mean(held) <= 0.98


@pytest.mark.parametrize("k", [26, 60])
def test_many_candidates_neither_all_differ_nor_all_tie(k):
    rng = np.random.default_rng(3)
    equal = [compared(made_up(rng, k, 2, 1.0)).different.any() for _ in range(6)]
    assert np.mean(equal) <= 0.34
    found = compared(made_up(rng, k, 2, 0.3, np.r_[np.zeros(k - 1), -54.0]))
    assert found.different[k - 1, : k - 1].all()
    assert not set(found.letters()[k - 1]) & set("".join(found.letters()[: k - 1]))


def test_who_is_truly_beyond_the_margin_is_rarely_shown_within_it():
    """Five methods just beyond it, with the best: Hsu's bounds for all of them at once."""
    rng = np.random.default_rng(5)
    wrong = []
    for _ in range(300):
        found = compared(made_up(rng, 6, 3, 0.3, np.r_[0.0, np.full(5, -2.01)], crossed=0.2))
        wrong.append((found.shortfall[1:] <= 2.0).any())
    assert np.mean(wrong) <= 0.075


def test_the_chance_that_another_is_better_is_students_for_two_and_calibrated_for_six():
    """One of six whose chance is stated as 5 % or less is beyond the margin as seldom as that."""
    rng = np.random.default_rng(0)
    two = compared(made_up(rng, 2, 3, 1.0, [0.0, 1.0]))
    error = two.errors.between(0, 1)
    ahead = two.means[1] - two.means[0]
    exact = stats.t.cdf((ahead - 0.5) / error.total, error.df)
    assert two.chance_beyond(0, 0.5, rng) == pytest.approx(exact, abs=0.02)
    wrong, said = [], []
    for _ in range(300):
        truth = rng.normal(0, 3, 6)
        found = compared(made_up(rng, 6, 3, 1.0, truth))
        best = int(found.means.argmax())
        said.append(found.chance_beyond(best, 1.0, rng) or 0.0)
        wrong.append(truth.max() - truth[best] > 1.0)
        if found.shortfall[best] <= 1.0:  # what is shown is all the more likely
            assert said[-1] <= 0.05
    unlikely = np.array(said) <= 0.05
    assert 0.3 < unlikely.mean() < 0.9 and np.mean(np.array(wrong)[unlikely]) <= 0.05
    assert np.mean(wrong) == pytest.approx(np.mean(said), abs=0.03) and np.mean(wrong) > 0.05
    assert compared(made_up(rng, 3, 1, 1.0)).chance_beyond(0, 1.0, rng) is None


def test_the_smaller_is_better_where_it_is():
    rng = np.random.default_rng(0)
    statistics = made_up(rng, 3, 3, 0.1, [0.0, 9.0, 30.0])
    found = compared(statistics, maximize=False)
    assert list(np.argsort(found.shortfall)) == [0, 1, 2]
    assert found.letters()[0] == "A" != found.letters()[2]


def test_one_seed_everywhere_is_untested():
    found = compared(made_up(np.random.default_rng(0), 3, 1, 1.0, [0.0, 50.0, 90.0]))
    assert not found.tested and not found.different.any()
    assert found.difference(0, 2).p_value is None and np.isinf(found.shortfall).all()
    assert found.interval(0) is not None  # over items


def test_one_seed_of_one_is_given_the_spread_of_the_others():
    rng = np.random.default_rng(0)
    several = made_up(rng, 3, 4, 3.0)
    found = compared([*several[:2], several[2][:1]])
    errors = found.errors
    assert errors.of(2).seeds == pytest.approx(
        2 * np.mean([errors.of(0).seeds, errors.of(1).seeds]), rel=0.3
    )


def test_a_base_is_moved_by_no_seed():
    statistics = made_up(np.random.default_rng(0), 2, 3, 3.0)
    found = [replicates("test.made_up", one, range(3)) for one in statistics]
    base = Replicates(np.array([0.0]), (0,), item_error=1.0, fixed=True)
    errors = Errors([*found, base])
    assert errors.of(2).seeds == 0 and errors.of(2).items == pytest.approx(1.0)
    assert errors.of(0).total == pytest.approx(Errors(found).of(0).total)


def test_redraws_have_the_estimated_errors():
    found = compared(made_up(np.random.default_rng(2), 3, 3, 1.0))
    draws = redraw(found.errors, found.means, 20_000, np.random.default_rng(0))
    assert draws.std(axis=0) == pytest.approx(
        [found.errors.of(i).total for i in range(3)], rel=0.03
    )
    spread = (draws[:, 0] - draws[:, 1]).std()
    assert spread == pytest.approx(found.errors.between(0, 1).total, rel=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_letters_are_true_of_every_pair(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 14))
    different = np.triu(rng.random((k, k)) < 0.4, 1)
    different = different | different.T
    letters = [set(own) for own in compact_letters(different)]
    assert all(letters)
    for i, j in itertools.combinations(range(k), 2):
        assert bool(letters[i] & letters[j]) != bool(different[i, j])


def test_many_letters_are_still_told_apart():
    k = 30
    letters = [set(own.split()) for own in compact_letters(~np.eye(k, dtype=bool))]
    assert len(set(map(frozenset, letters))) == k and letters[0] == {"A"} and letters[26] == {"A1"}


def test_tukey_of_two_is_the_single_test():
    assert tukey_reach(2, 7.0) == pytest.approx(stats.t.ppf(0.975, 7))
    assert tukey_p(2.1, 2, 7.0) == pytest.approx(2 * stats.t.sf(2.1, 7))


def test_a_method_is_not_different_from_itself():
    one = made_up(np.random.default_rng(0), 1, 3, 1.0)[0]
    found = compared([one, one]).difference(0, 1)
    assert (found.difference, found.p_value, found.different) == (0.0, 1.0, False)


def test_seeds_that_agree_add_nothing_and_seeds_that_do_not_widen_the_interval():
    one, other = made_up(np.random.default_rng(1), 2, 1, 0.0)
    alone = compared([one]).errors.of(0).total
    assert compared([np.concatenate([one, one])]).errors.of(0).total == pytest.approx(alone)
    far = compared([np.concatenate([one, other + 10.0])])
    low, high = far.interval(0)
    assert high - low > 6 * alone and low < one.mean() and high > other.mean() + 10
