"""Agreement of the tuned model with the base, whose own continuations are the reference.

Without a known right answer, the base's answer takes its place. A model that lost nothing continues
general text like its base. Different words are not worse words: this is a distance, not a quality.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.evaluation.answers.scores import answer_statistics
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.forgetting import general_text
from harness.evaluation.texts import Texts
from harness.statistics.measurements.names import AGREEMENT_CHRF, AGREEMENT_EXACT_MATCH

PROMPT_TOKENS = 32  # of a document, or half of it where it is shorter


def beginnings(texts: Texts, n: int) -> list[np.ndarray]:
    """Return the first tokens of at most ``n`` general documents, evenly from every domain."""
    assert texts.general is not None
    place: dict[str, int] = {}  # documents of each domain so far
    order = []
    for index, domain in enumerate(texts.domains):
        place[domain] = place.get(domain, 0) + 1
        order.append((place[domain], index))
    chosen = sorted(index for _, index in sorted(order)[:n])
    sequences = [texts.general.sequence(index) for index in chosen]
    return [tokens[: max(1, min(1 + PROMPT_TOKENS, len(tokens) // 2))] for tokens in sequences]


def add_agreement(
    measured: MeasurementCollector,
    answers: Sequence[str],
    base: Sequence[str],
    texts: Texts,
    how: str,
) -> None:
    """Add ``agreement.exact_match``, percent of continuations, and ``agreement.chrf``; 100 is
    identical.
    """
    about = (
        f"text:{general_text(texts)}|first {PROMPT_TOKENS} tokens|{how}|reference:the base's own"
    )
    same = np.array([[float(a == b)] for a, b in zip(answers, base, strict=True)])
    measured.add(AGREEMENT_EXACT_MATCH, same, f"exact|{about}")
    statistics, signature = answer_statistics("chrf", answers, [[text] for text in base], "13a")
    measured.add(AGREEMENT_CHRF, statistics, f"{signature}|{about}")
