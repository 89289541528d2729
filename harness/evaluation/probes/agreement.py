"""Agreement probe: continuations of general text compared with those of the base model.

A model that has forgotten nothing continues general text like its base. There is no right answer, so
a different continuation need not be worse: this measures a distance, not a quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from harness.config import DataConfig, EvaluationConfig
from harness.evaluation.answers.answer_scores import answer_statistics
from harness.evaluation.answers.length import WITHOUT_REFERENCES
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.forgetting import general_text
from harness.evaluation.probes.probe import Answers, Probe, Questions
from harness.evaluation.texts import Texts
from harness.statistics.measurements.names import AGREEMENT_CHRF, AGREEMENT_EXACT_MATCH

PROMPT_TOKENS = 32  # of a document, or half of it where it is shorter


@dataclass(frozen=True)
class AgreementProbe(Probe):
    """Probe that has both models continue the beginnings of general documents."""

    questions: Questions
    texts: str  # name of the general text, for signatures
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
        """Add ``agreement.exact_match``, in percent of continuations, and ``agreement.chrf``.

        Both are 100 if all continuations are identical.
        """
        signature = f"text:{self.texts}|first {PROMPT_TOKENS} tokens|{self.questions.how}"
        signature += "|reference:the base's own"
        pairs = zip(answers.texts, base.texts, strict=True)
        same = np.array([[float(ours == before)] for ours, before in pairs])
        measured.add(AGREEMENT_EXACT_MATCH, same, f"exact|{signature}")
        references = [[text] for text in base.texts]
        statistics, chrf_signature = answer_statistics("chrf", answers.texts, references, "13a")
        measured.add(AGREEMENT_CHRF, statistics, f"{chrf_signature}|{signature}")


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
