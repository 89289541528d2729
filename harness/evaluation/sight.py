"""Check, before a metric selects anything, that it separates right answers from wrong ones.

The references are scored as answers, beside empty answers and the answers of other examples. BLEU of
answers under four words is 0 even for the right ones. SQuAD's normalization turns "?" into an empty
text, so an empty answer counts as right. Such a metric cannot select a configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from harness.config.metrics import OWN
from harness.evaluation.answers.answer_scores import answer_statistics
from harness.evaluation.answers.scripts import writes_without_spaces
from harness.language import recorded
from harness.statistics.scores import Array, aggregate

MOST = 200  # answers that are checked, spaced evenly over all
SCALE = 100.0  # score of perfect answers, except in the metrics of ``PERFECT``
PERFECT = {"ter": 0.0}
BY_SPACES = ("13a", "intl", "none")  # BLEU tokenizers that split words at spaces
INSTEAD = ("exact_match", "chrf", "token_f1")
NOTHING_COUNTED = recorded("have nothing that it counts")  # for metrics that are not in ``LACK``
LACK = {
    "bleu": recorded("have fewer than the four words in a row that BLEU counts"),
    "rouge2": recorded("have fewer than two words"),
    **dict.fromkeys(
        ("exact_match", "token_f1"),
        recorded("are empty or alike without case, punctuation and articles"),
    ),
}


@dataclass(frozen=True)
class Sight:
    """Result of checking a metric's ability to discriminate on ``n`` answers."""

    n: int
    unseen: (
        int  # examples whose right answer scores as wrong, or whose wrong answer scores as right
    )
    why: str | None  # why the metric cannot measure quality; None if it can

    @property
    def sees_most(self) -> bool:
        return self.why is None and 2 * self.unseen <= self.n


def look(metric: str, references: Sequence[Sequence[str]], tokenize: str) -> Sight:
    """Check one of ``harness.config.metrics.OWN`` on these references.

    The metric is blind if the right answers together score less than half of a perfect score. It is
    also blind if most right answers score the same as an empty answer or as another example's.
    """
    chosen = range(0, len(references), -(-len(references) // MOST) or 1)
    return _look(metric, tuple(tuple(references[i]) for i in chosen), tokenize)


def instead(references: Sequence[Sequence[str]], tokenize: str) -> str:
    """Return the usable metrics as text, such as 'exact_match or chrf'; '' if there are none."""
    return " or ".join(m for m in INSTEAD if look(m, references, tokenize).sees_most)


def look_at_classes(names: Sequence[str]) -> Sight:
    """Check accuracy and macro F1 on texts of these true classes."""
    one = len(set(names)) == 1
    why = recorded(
        "all {n} texts are of one class, so that always saying it is right", n=len(names)
    )
    return Sight(len(names), len(names) if one else 0, why if one else None)


@lru_cache(maxsize=64)
def _look(metric: str, references: tuple[tuple[str, ...], ...], tokenize: str) -> Sight:
    assert metric in OWN
    n = len(references)
    if not n:
        return Sight(0, 0, None)
    if metric == "bleu" and tokenize in BY_SPACES and writes_without_spaces(references):
        return Sight(
            n,
            n,
            recorded(
                "the references are written without spaces, so that by evaluation.tokenize={tokenize} "
                "a sentence is one word and BLEU 0 for every answer that is not a reference; use "
                "evaluation.tokenize=char (any such script), zh (Chinese) or ja-mecab (Japanese)",
                tokenize=tokenize,
            ),
        )
    right = [max(texts, key=len) for texts in references]
    answer_sets = (right, [""] * n, _others(right, references))
    whole, each = zip(
        *(_scores(metric, texts, references, tokenize) for texts in answer_sets), strict=True
    )
    good, none, other = whole
    unreached = np.abs(each[0] - PERFECT.get(metric, SCALE)) > SCALE / 2
    alike = ~unreached & ((each[0] == each[1]) | (each[0] == each[2]))  # any answer scores as right
    unseen = int((unreached | alike).sum())
    if abs(good - PERFECT.get(metric, SCALE)) <= SCALE / 2 and 2 * alike.sum() <= n:
        return Sight(n, unseen, None)
    why = recorded(
        "the right answers themselves score {good:.1f}, no answer {none:.1f} and those of other "
        "examples {other:.1f}: {unseen} of {n} {lack}"
        if good == other != none
        else "the right answers themselves score {good:.1f}, no answer {none:.1f}: {unseen} of {n} "
        "{lack}",
        good=good,
        none=none,
        other=other,
        unseen=unseen,
        n=n,
        lack=LACK.get(metric, NOTHING_COUNTED),
    )
    return Sight(n, unseen, why)


def _others(right: Sequence[str], references: Sequence[Sequence[str]]) -> list[str]:
    """Return for each example the next answer that differs from its own; '' if all are alike."""
    different = list(dict.fromkeys(right))
    place = {text: index for index, text in enumerate(different)}
    found = []
    for text, own in zip(right, references, strict=True):
        after = different[place[text] + 1 :] + different[: place[text]]
        found.append(next((other for other in after if other not in own), ""))
    return found


def _scores(
    metric: str, texts: Sequence[str], references: Sequence[Sequence[str]], tokenize: str
) -> tuple[float, Array]:
    """Return the score of all answers together, and the (n,) scores of single answers."""
    statistics, _ = answer_statistics(metric, texts, references, tokenize)
    name = f"sight.{metric}"
    return round(float(aggregate(name, statistics)), 6), aggregate(name, statistics[:, None, :])
