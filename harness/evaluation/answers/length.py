"""The number of tokens that an answer may have: as configured, or as long as references are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.config import DataConfig, EvaluationConfig
from harness.data.rows.example import Example
from harness.data.rows.splits import Splits
from harness.data.tokens.encode import prompts

WITHOUT_REFERENCES = 64  # tokens, of what goes on from a text: nothing says how long it should be
SHARE = 0.99  # of the references, at least, that are no longer than the length that is taken
MARGIN = 4  # a quarter more, and
LEAST = 8  # tokens more at least


@dataclass(frozen=True)
class AnswerLength:
    """``tokens`` at most, its end included; and what is known of references of the same split as it.

    The references are those of the validation split, also where the test split is answered: the same
    number for base, search and finalists, and nothing of the test split is in it.
    """

    tokens: int
    derived: bool = False
    references: int = 0
    longest: int = 0  # tokens of the longest of them, its end included
    longer: int = 0  # references that have more than ``tokens``
    prompts_cut: int = 0  # prompts that are answered, shortened to make room for an answer

    def __str__(self) -> str:
        """For signatures. A rule that is the same makes another number of another tokenizer."""
        return f"auto({self.tokens})" if self.derived else str(self.tokens)

    def said(self) -> list[str]:
        """Sentences for the plan."""
        of = f"the longest of {self.references:,} references has {self.longest:,}"
        found = [f"at most {self.tokens:,} tokens each; {of}"] if self.references else []
        if self.longer:
            share = f"{100 * self.longer / self.references:.0f} %"
            remedy = (
                "data.max_length leaves no more room beside the prompts"
                if self.derived
                else "evaluation.max_new_tokens=null takes them as long as references are"
            )
            found.append(f"{share} of the references are longer and could only be cut: {remedy}")
        if self.prompts_cut:
            are = "prompt is" if self.prompts_cut == 1 else "prompts are"
            found.append(f"{self.prompts_cut:,} {are} shortened to leave room for an answer")
        return found


NONE = AnswerLength(0)


def answer_length(
    splits: Splits, tokenizer: Any, data: DataConfig, evaluation: EvaluationConfig
) -> AnswerLength:
    """``evaluation.max_new_tokens``, or where it is null a quarter more than references have.

    That is what 99 % of the references of the validation split keep to. An answer may take what
    ``data.max_length`` leaves beside the longest prompt, and half of it in any case.
    """
    asked = evaluation.max_new_tokens
    examples = splits.validation or splits.train
    if data.is_plain_text or data.is_classification or not examples:
        return AnswerLength(asked or WITHOUT_REFERENCES, derived=asked is None)
    texts = [text for example in examples for text in example.references]
    ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    lengths = np.array([len(one) + 1 for one in ids])
    tokens = asked
    if tokens is None:
        usual = int(np.quantile(lengths, SHARE, method="higher"))
        longest_prompt = max(map(len, prompts(examples, tokenizer, data, reserve=0)))
        room = data.max_length - min(longest_prompt, data.max_length // 2)
        tokens = max(min(usual + max(usual // MARGIN, LEAST), room), evaluation.min_new_tokens)
    longer = int((lengths > tokens).sum())
    return AnswerLength(tokens, asked is None, len(lengths), int(lengths.max()), longer)


def n_cut(
    asked: Sequence[np.ndarray], examples: Sequence[Example], tokenizer: Any, data: DataConfig
) -> int:
    """The prompts among ``asked``, those of ``examples``, that would be longer without an answer."""
    longest = max(map(len, asked))
    suspects = [i for i, ids in enumerate(asked) if len(ids) == longest]
    whole = prompts([examples[i] for i in suspects], tokenizer, data, reserve=0)
    return sum(len(ids) > longest for ids in whole)
