"""Tokenized texts of one evaluation: the scored split, its prompts, and the general text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harness.config import DataConfig, EvaluationConfig
from harness.data.rows.example import Example
from harness.data.rows.pieces import in_pieces
from harness.data.rows.sampling import sample
from harness.data.rows.splits import Splits
from harness.data.tokens.chat import ends_of_answers
from harness.data.tokens.encode import Encoded, encode, encode_documents, encode_prompts, prompts
from harness.data.tokens.encode_chats import as_scored
from harness.errors import InputError
from harness.evaluation.answers.configured import check_answers
from harness.evaluation.answers.length import NONE, AnswerLength, answer_length, n_cut


@dataclass(frozen=True)
class Texts:
    """Texts of one evaluation. General text has a half for the search and one for finalists."""

    split: str  # 'validation' in the search, 'test' for finalists
    examples: tuple[Example, ...]
    sequences: Encoded  # prompt and first reference of each example
    prompts: list[np.ndarray]  # for generation; [] for plain text
    drift: Encoded | None  # the prompts as documents, for the drift of predictions on the task
    general: Encoded | None  # each sequence is a document, or a piece of a long one
    domains: list[str] = field(default_factory=list)  # one per sequence of ``general``
    labels: tuple[str, ...] = ()  # classification: the names of the classes
    ends: tuple[int, ...] = ()  # tokens that end an answer
    stops: tuple[str, ...] = ()  # conversations: texts that end an answer
    answers: AnswerLength = NONE

    @property
    def longest(self) -> int:
        """Return the tokens of the longest text, generated answers included."""
        encoded = [part for part in (self.sequences, self.drift, self.general) if part is not None]
        lengths = [int(part.lengths.max()) for part in encoded]
        return max(lengths + [len(prompt) + self.answers.tokens for prompt in self.prompts])

    @property
    def general_text(self) -> Texts:
        """Return what forgetting is measured on: the same without prompts, to answer or for drift."""
        return replace(self, prompts=[], drift=None)

    @property
    def fingerprint(self) -> str:
        """Hash all token ids; another tokenizer therefore gives another fingerprint."""
        digest = hashlib.sha256(self.split.encode())
        for encoded in (self.sequences, self.drift, self.general):
            if encoded is not None:
                arrays = (encoded.tokens, encoded.offsets, encoded.first_label, encoded.label_mask)
                for array in (array for array in arrays if array is not None):
                    digest.update(np.ascontiguousarray(array).tobytes())
        for example in self.examples:
            digest.update("\0".join(example.references).encode())
        for prompt in self.prompts:
            digest.update(np.ascontiguousarray(prompt).tobytes())
        digest.update(str(self.answers).encode())
        return digest.hexdigest()[:16]


def watch(splits: Splits, tokenizer: Any, data: DataConfig, limit: int) -> Texts:
    """Return a random part of the validation split, for the evaluations during training.

    It holds at most ``limit`` examples, and as many general documents, evenly from all domains.
    Nothing is generated.
    """
    per_domain = max(1, limit // max(1, len(splits.general)))
    part = replace(splits, validation=tuple(sample(splits.validation, limit, data.split_seed)))
    return _encode(part, tokenizer, data, "validation", [], per_domain)


def prepare(
    splits: Splits, tokenizer: Any, data: DataConfig, evaluation: EvaluationConfig, split: str
) -> Texts:
    """Tokenize all texts that an evaluation on ``split`` ('validation' or 'test') needs.

    Raises InputError if the split is empty or a configured metric is unusable on it.
    """
    examples: tuple[Example, ...] = getattr(splits, split)
    if not examples:
        raise InputError(
            f"data.{split} has no examples, and finalists are measured on it: set data.{split}, a "
            f"data.{split}_fraction above 0, or confirm.finalists=0, which leaves the search alone."
        )
    asked, length = [], answer_length(splits, tokenizer, data, evaluation)
    if evaluation.metrics and not data.is_plain_text and not data.is_classification:
        check_answers([example.references for example in examples], evaluation)
        asked = prompts(examples, tokenizer, data, reserve=length.tokens)
        length = replace(length, prompts_cut=n_cut(asked, examples, tokenizer, data))
    encoded = _encode(splits, tokenizer, data, split, asked, data.general_limit)
    return replace(encoded, answers=length)


def _encode(
    splits: Splits,
    tokenizer: Any,
    data: DataConfig,
    split: str,
    prompts: list[np.ndarray],
    per_domain: int | None,
) -> Texts:
    """Tokenize a split with at most ``per_domain`` pieces of general text from each domain."""
    examples: tuple[Example, ...] = getattr(splits, split)
    general = splits.general if split == "validation" else splits.general_test
    general = {
        name: in_pieces(sample(texts, per_domain, data.split_seed), tokenizer, data.max_length)[
            :per_domain
        ]
        for name, texts in general.items()
    }
    documents = [text for texts in general.values() for text in texts]
    domains = [domain for domain, texts in general.items() for _ in texts]
    ends, stops = ends_of_answers(tokenizer, data)
    return Texts(
        split=split,
        examples=as_scored(examples, tokenizer, data),
        sequences=encode(examples, tokenizer, data, all_references=False),
        prompts=prompts,
        drift=encode_prompts(examples, tokenizer, data),
        general=encode_documents(documents, tokenizer, data.max_length) if documents else None,
        domains=domains,
        labels=splits.labels,
        ends=ends,
        stops=stops,
    )
