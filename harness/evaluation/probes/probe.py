"""Interface of a probe: questions outside the tuned task, and the scores of the answers.

The untouched base answers the same questions. A new probe is one class in a file of this folder, and
one entry of ``asking.PROBES``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.config import DataConfig, EvaluationConfig
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.decoding import GREEDY, Decoding
from harness.evaluation.generation import batches_of, generate
from harness.evaluation.texts import Texts

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Answers:
    """Answers of one model, in the order of the prompts."""

    texts: list[str]
    tokens: list[list[int]]  # with the one that ends an answer


@dataclass(frozen=True)
class Questions:
    """Prompts of a probe, with the settings for generating the answers."""

    prompts: Sequence[np.ndarray]  # (T,) int32 each
    max_new_tokens: int
    batch_size: int
    ends: tuple[int, ...] = ()  # tokens that end an answer beside the end of a text
    decoding: Decoding = GREEDY

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with its answer."""
        return max(map(len, self.prompts)) + self.max_new_tokens

    @property
    def how(self) -> str:
        """Describe greedy answers for signatures."""
        return f"greedy|max_new_tokens:{self.max_new_tokens}{batches_of(self.batch_size)}"

    def ask(self, model: nn.Module, tokenizer: Any, device: str) -> Answers:
        """Return the answers of ``model``. Raises NotTheModels."""
        generated = generate(
            model,
            tokenizer,
            self.prompts,
            max_new_tokens=self.max_new_tokens,
            num_beams=1,
            batch_size=self.batch_size,
            device=device,
            decoding=self.decoding,
            ends=self.ends,
        )
        return Answers(generated.texts, generated.tokens)


class Probe:
    """One kind of question to a tuned model. Subclasses are frozen dataclasses.

    ``configured`` is required, and one of ``add_levels`` and ``add_changes``.
    """

    name: ClassVar[str]  # reported as missing where answers cannot be used
    questions: Questions

    @classmethod
    def configured(
        cls, texts: Texts, tokenizer: Any, config: EvaluationConfig, data: DataConfig | None
    ) -> Probe | None:
        """Return the probe that ``config`` selects, or None.

        ``data`` says how conversations are written. Raises InputError for unusable questions.
        """
        raise NotImplementedError

    def add_levels(self, measured: MeasurementCollector, answers: Answers, base: Answers) -> None:
        """Add the measurements of one model's answers by themselves.

        For the base model the method is called with ``answers`` equal to ``base``.
        """

    def add_changes(self, measured: MeasurementCollector, answers: Answers, base: Answers) -> None:
        """Add the measurements that compare a tuned model's answers with the base's."""

    def files(self, answers: Answers, base: Answers) -> Mapping[str, list[dict[str, Any]]]:
        """Return the rows of further files to write, as file name without ``.jsonl`` → rows."""
        return {}
