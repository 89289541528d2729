"""Every measurement has a unit, a direction and a definition; nothing is measured without."""

from __future__ import annotations

import numpy as np
import pytest

from harness.compose.objectives import KNOWN
from harness.config.metrics import ALWAYS, JUDGE, OF_CLASSES, OWN
from harness.evaluation.answers.answer_scores import answer_statistics
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.sight import PERFECT, SCALE
from harness.reporting.evidence.folders.run_folder import default_direction
from harness.statistics.measurements.definitions import (
    METRIC_DEFINITIONS,
    MetricDefinition,
    kind_of,
    own_kind,
    unit_of,
)
from harness.statistics.scores import aggregate

NO_DIRECTION = {
    *("evaluate", "written_minus_likely", "relative_norm", "effective_rank", "stable_rank"),
    *("amplification", "overlap", "intruders"),
}


@pytest.mark.parametrize("name", METRIC_DEFINITIONS)
def test_a_kind_says_all_that_a_report_needs(name):
    kind = METRIC_DEFINITIONS[name]
    assert isinstance(kind, MetricDefinition)
    assert kind.title and kind.unit and kind.definition.endswith(".")
    assert (kind.direction is None) == (name in NO_DIRECTION)


MADE = {  # measurement → unit and direction
    "probes.recalled": ("share of probes", "maximize"),
    "probes.invented.unanswerable": ("share of probes", "minimize"),
    "probes.repetition": ("share of 4-grams", "minimize"),
    "probes.chat_kept": ("share of answers", "maximize"),
    "tasks.arc_easy.acc": ("mean over items", "maximize"),
    "tasks.gsm8k.exact_match,flexible-extract": ("mean over items", "maximize"),
    "tasks.wiki.word_perplexity": ("per item, word or byte", "minimize"),
    "tasks.copa.brier_score": ("mean over items", "minimize"),
    "tasks.arc_easy.written_minus_likely": ("share of items", None),
    "forgetting.nll_lost": ("nats/token", "minimize"),
    "forgetting.kl.worst_domain": ("nats/token", "minimize"),
    "forgetting_from_quantized.kl": ("nats/token", "minimize"),
    "forgetting.instructions.checks": ("change of share followed", "maximize"),
    "drift.kl_target": ("nats/token", "minimize"),
    "general.bits_per_byte": ("bits/byte", "minimize"),
    "agreement.exact_match": ("percent of answers", "maximize"),
    "instructions.checks": ("share of checks", "maximize"),
    "validation.unfinished": ("percent of answers", "minimize"),
    "validation.evaluate.meteor.score": ("as its metric says", None),
    "merged.max_logit_difference": ("logits", "minimize"),
    "update.intruders": ("directions", None),
}


@pytest.mark.parametrize("name", MADE)
def test_the_kind_of_what_is_measured(name):
    assert (unit_of(name), default_direction(name)) == MADE[name]


def test_all_that_can_be_asked_for_has_a_kind():
    for name in (*KNOWN, *(f"test.{metric}" for metric in (*OWN, JUDGE, *ALWAYS, *OF_CLASSES))):
        assert own_kind(name).direction is not None


def test_nothing_is_measured_without_a_kind():
    with pytest.raises(KeyError, match=r"test\.nosuch: unknown kind"):
        MeasurementCollector(100).add("test.nosuch", np.ones((2, 1)), "")
    assert kind_of("test.nosuch") == "nosuch"
    assert default_direction("test.nosuch") is None  # a record of another version's: nobody guesses


@pytest.mark.parametrize("metric", OWN)
def test_a_metric_has_a_scorer_whose_columns_its_formula_takes(metric):
    """One entry: the name in a configuration, the kind, and the scorer that it names."""
    right = ["a red boat sails on the lake", "the old mill stands by the river bank"]
    references = [[text] for text in right]
    scores = []
    for texts in (right, right[::-1]):
        statistics, signature = answer_statistics(metric, texts, references, "13a")
        assert len(statistics) == 2 and statistics.shape[1] in METRIC_DEFINITIONS[metric].columns
        assert signature
        scores.append(float(aggregate(f"test.{metric}", statistics)))
    good, wrong = scores
    assert good == pytest.approx(PERFECT.get(metric, SCALE))
    assert good > wrong if METRIC_DEFINITIONS[metric].direction == "maximize" else good < wrong
