"""Agreement of the tuned model with the base, whose own continuations are the reference.

Without a known right answer, the base's answer takes its place. A model that lost nothing continues
general text like its base. Different words are not worse words: this is a distance, not a quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from harness.config import DataConfig, EvaluationConfig
from harness.evaluation.answers.length import WITHOUT_REFERENCES
from harness.evaluation.answers.scores import answer_statistics
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.forgetting import general_text
from harness.evaluation.probes.probe import Answers, Probe, Questions
from harness.evaluation.texts import Texts
from harness.statistics.measurements.names import AGREEMENT_CHRF, AGREEMENT_EXACT_MATCH

PROMPT_TOKENS = 32  # of a document, or half of it where it is shorter


@dataclass(frozen=True)
class AgreementProbe(Probe):
    """Beginnings of general text, which both models continue."""

    questions: Questions
    texts: str  # for signatures: where the beginnings are from
    name: ClassVar[str] = "agreement"

    @classmethod
    def configured(
        cls, texts: Texts, tokenizer: Any, config: EvaluationConfig, data: DataConfig | None
    ) -> AgreementProbe | None:
        """Return the probe of ``evaluation.agreement_prompts``, if there is general text."""
        if not config.agreement_prompts or texts.general is None:
            return None
        prompts = beginnings(texts, config.agreement_prompts)
        length = config.max_new_tokens or WITHOUT_REFERENCES
        return cls(Questions(prompts, length, config.batch_size), general_text(texts))

    def add_changes(self, measured: MeasurementCollector, answers: Answers, base: Answers) -> None:
        """Add ``agreement.exact_match``, percent of continuations, and ``agreement.chrf``.

        100 is identical.
        """
        about = f"text:{self.texts}|first {PROMPT_TOKENS} tokens|{self.questions.how}"
        about += "|reference:the base's own"
        pairs = zip(answers.texts, base.texts, strict=True)
        same = np.array([[float(ours == before)] for ours, before in pairs])
        measured.add(AGREEMENT_EXACT_MATCH, same, f"exact|{about}")
        references = [[text] for text in base.texts]
        statistics, signature = answer_statistics("chrf", answers.texts, references, "13a")
        measured.add(AGREEMENT_CHRF, statistics, f"{signature}|{about}")


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
