"""Largest length of generated answers: as configured, or derived from the references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.config import DataConfig, EvaluationConfig
from harness.data.rows.example import Example
from harness.data.rows.splits import Splits
from harness.data.tokens.encode import prompts

WITHOUT_REFERENCES = 64  # tokens, for continuations of plain text, which have no references
SHARE = 0.99  # quantile of the references' lengths
MARGIN = 4  # 1/MARGIN of that length is added,
LEAST = 8  # but at least this many tokens


@dataclass(frozen=True)
class AnswerLength:
    """Largest number of tokens of an answer, with the lengths of the references for comparison.

    The references are those of the validation split, also for the test split. The length is therefore
    the same for base, search and finalists, and does not depend on the test split.
    """

    tokens: int  # with the token that ends the answer
    derived: bool = False  # from the references; else as configured
    references: int = 0  # number of references
    longest: int = 0  # tokens of the longest reference, its end included
    longer: int = 0  # references that have more than ``tokens``
    prompts_cut: int = 0  # prompts that are shortened to make room for an answer

    def __str__(self) -> str:
        """Return the text for signatures: the number of tokens, and if it was derived."""
        return f"auto({self.tokens})" if self.derived else str(self.tokens)

    def sentences(self) -> list[str]:
        """Return sentences for the plan that warn of answers or prompts which are cut."""
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
    """Return ``evaluation.max_new_tokens``, or if it is null a length derived from the references.

    The derived length is the 99 % quantile of the references of the validation split, plus a quarter.
    It is limited to the room that ``data.max_length`` leaves beside the longest prompt, but never
    below half of ``data.max_length``.
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
    """Count the prompts that were shortened for the answer. ``asked`` are those of ``examples``."""
    longest = max(map(len, asked))
    suspects = [i for i, ids in enumerate(asked) if len(ids) == longest]
    whole = prompts([examples[i] for i in suspects], tokenizer, data, reserve=0)
    return sum(len(ids) > longest for ids in whole)
