"""Accuracy, macro F1 and loss against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

from harness.evaluation.classification import class_statistics
from harness.evaluation.collector import MeasurementCollector
from harness.statistics.resampling import draw_counts
from harness.statistics.scores import aggregate, aggregate_resamples


def drawn(n: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities that are right more often than not, classes of unequal size."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(n_classes, n, p=np.arange(1, n_classes + 1) / sum(range(n_classes + 1)))
    logits = rng.normal(size=(n, n_classes)) + 1.5 * np.eye(n_classes)[classes]
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), classes


@pytest.mark.parametrize(("n", "n_classes"), [(200, 6), (7, 5), (1, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_as_scikit_learn(n, n_classes, seed):
    logprobs, classes = drawn(n, n_classes, seed)
    statistics = class_statistics(logprobs, classes)
    said = logprobs.argmax(axis=1)
    found = {kind: float(aggregate(f"test.{kind}", s)) for kind, s in statistics.items()}
    loss = log_loss(classes, np.exp(logprobs), labels=range(n_classes))
    assert found == pytest.approx(
        {
            "accuracy": accuracy_score(classes, said),
            "macro_f1": f1_score(classes, said, average="macro"),
            "loss": loss,
        },
        rel=1e-6,
    )


def test_resampled_as_scikit_learn_on_the_resampled_texts():
    logprobs, classes = drawn(20, 6, 2)
    said, counts = logprobs.argmax(axis=1), draw_counts(20, 30, np.random.default_rng(0))
    statistics = class_statistics(logprobs, classes)
    scores = aggregate_resamples("test.macro_f1", statistics["macro_f1"], counts)
    for score, count in zip(scores, counts.astype(int), strict=True):
        again = np.repeat(np.arange(20), count)
        expected = f1_score(classes[again], said[again], average="macro")
        assert score == pytest.approx(expected)


def test_measured_with_interval_and_unit():
    logprobs, classes = drawn(100, 4, 3)
    measured = MeasurementCollector(200)
    for kind, statistics in class_statistics(logprobs, classes).items():
        measured.add(f"validation.{kind}", statistics, "how")
    accuracy = measured.measurements["validation.accuracy"]
    assert accuracy.n == 100 and accuracy.signature == "how"
    low, high = accuracy.interval
    assert low < accuracy.value < high
    # A mean of n zeros and ones: its interval is the binomial one, nearly.
    wide = 1.96 * (accuracy.value * (1 - accuracy.value) / 100) ** 0.5
    assert high - low == pytest.approx(2 * wide, rel=0.25)
