"""Scores from summed statistics equal those of the tools that define them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from synthetic_run import Maker

from harness.reporting.evidence.estimates import Estimate, with_intervals
from harness.statistics.comparing.replicates import replicates
from harness.statistics.resampling import draw_counts
from harness.statistics.scores import aggregate, aggregate_resamples, can_aggregate, kind_of

README_OUTPUTS = [
    "The dog bit the man.",
    "It wasn't surprising.",
    "The man had just bitten him.",
]
README_REFERENCES = [
    ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
    ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
]


def statistics(metric, outputs, references) -> np.ndarray:
    return np.array(metric._extract_corpus_statistics(outputs, references), dtype=float)


def corpus(share: float, seed: int, n: int = 80) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    references = [Maker._sentence(rng) for _ in range(n)]
    return [Maker._spoil(r, share, rng) for r in references], references


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("metric", [BLEU(force=True), CHRF(), CHRF(word_order=2)])
def test_equals_sacrebleu_corpus_score(metric, share):
    outputs, references = corpus(share, seed=3)
    name = "test.bleu" if isinstance(metric, BLEU) else "test.chrf"
    ours = aggregate(name, statistics(metric, outputs, [references]))
    assert ours == pytest.approx(metric.corpus_score(outputs, [references]).score, abs=1e-9)


@pytest.mark.parametrize(
    ("outputs", "references"),
    [
        (["mill"], ["the mill"]),  # too short for longer n-grams
        (["", ""], ["the mill", "a river"]),
        (["a b c d e f"], ["f e d c b a"]),  # unigrams only: smoothed
        (["x y z w"], ["a b c d"]),
    ],
)
def test_degenerate_corpora_score_as_sacrebleu(outputs, references):
    for name, metric in (("test.bleu", BLEU(force=True)), ("test.chrf", CHRF())):
        ours = aggregate(name, statistics(metric, outputs, [references]))
        assert ours == pytest.approx(metric.corpus_score(outputs, [references]).score, abs=1e-9)


def test_o37_sacrebleu_readme_trio():
    perfect = list(README_REFERENCES[0])
    assert _bleu(perfect, README_REFERENCES) == pytest.approx(100.0)
    changed = [perfect[0].replace("man", "guy"), *perfect[1:]]
    assert _bleu(changed, README_REFERENCES) == pytest.approx(83.88, abs=0.005)
    ours = aggregate("test.bleu", statistics(BLEU(), README_OUTPUTS, README_REFERENCES))
    theirs = sacrebleu.corpus_bleu(README_OUTPUTS, README_REFERENCES).score
    assert ours == pytest.approx(theirs, abs=1e-9)
    one = _bleu(["the cat sat on mat"], [["the cat sat on the mat"]])
    assert one == pytest.approx(57.893007, abs=1e-6)


def _bleu(outputs, references) -> float:
    return float(aggregate("test.bleu", statistics(BLEU(), outputs, references)))


def test_o27_perplexity_is_weighted_by_token():
    stats = np.array([[10.0, 10.0], [270.0, 90.0]])
    assert aggregate("test.perplexity", stats) == pytest.approx(16.444647, abs=1e-6)
    uniform = np.array([[5 * math.log(50257), 5.0]])
    assert aggregate("test.perplexity", uniform) == pytest.approx(50257)


def test_the_other_kinds():
    assert aggregate("test.bits_per_byte", np.array([[8 * math.log(2), 4.0]])) == pytest.approx(2.0)
    assert aggregate("forgetting.kl", np.array([[1.0, 10], [3, 10]])) == pytest.approx(0.2)
    assert aggregate("forgetting.kl.news", np.array([[1.0, 10]])) == pytest.approx(0.1)
    assert aggregate("forgetting.nll", np.array([[12.0, 10, 11.0]])) == pytest.approx(0.1)
    tasks = np.array([[1.0, 1], [0, 1], [0, 0], [0, 1]])
    assert aggregate("forgetting.tasks", tasks) == pytest.approx(-0.5)
    assert aggregate("test.accuracy", np.array([[1.0], [0.0]])) == pytest.approx(0.5)


def test_what_cannot_be_aggregated_says_so():
    assert not can_aggregate("test.bleu", np.ones((3, 9)))
    assert not can_aggregate("test.bleu", np.ones((0, 10)))
    assert not can_aggregate("test.rouge", np.ones((3, 2)))
    assert kind_of("drift.kl_target") == "kl"


@pytest.mark.parametrize("name", ["test.bleu", "test.chrf", "forgetting.tasks"])
def test_resamples_equal_scores_of_resampled_corpora(name):
    outputs, references = corpus(0.4, seed=5, n=12)
    stats = {
        "test.bleu": lambda: statistics(BLEU(force=True), outputs, [references]),
        "test.chrf": lambda: statistics(CHRF(), outputs, [references]),
        "forgetting.tasks": lambda: np.random.default_rng(0).integers(2, size=(12, 2)) * 1.0,
    }[name]()
    counts = draw_counts(12, 7, np.random.default_rng(1))
    assert counts.sum(axis=1).tolist() == [12.0] * 7
    slow = [aggregate(name, np.repeat(stats, c.astype(int), axis=0)) for c in counts]
    np.testing.assert_allclose(aggregate_resamples(name, stats, counts), slow)


def test_order_of_items_does_not_matter():
    outputs, references = corpus(0.4, seed=6)
    stats = statistics(BLEU(force=True), outputs, [references])
    shuffled = np.random.default_rng(0).permutation(stats)
    assert aggregate("test.bleu", shuffled) == pytest.approx(aggregate("test.bleu", stats))


def test_no_interval_leaves_the_range_of_its_score():
    """None of 20 answers unfinished in one candidate, all in another, a few in a third."""
    found = []
    for unfinished in ([0] * 20, [1] * 20, [1, 0, 1, 0, 0] * 4):
        items = np.stack([np.array([unfinished], float).T] * 2)
        items[1, :3, 0] = 1 - items[1, :3, 0]  # another seed differs in three
        kept = replicates("test.unfinished", items, (1, 2))
        value = float(np.mean(kept.values))
        found.append(Estimate("test.unfinished", value, None, None, 20, (), kept))
    few, many, some = with_intervals(found)
    assert few.low == 0.0
    assert few.high is not None and few.high > few.value
    assert many.high == 100.0
    assert some.low is not None and 0 < some.low < some.value
