"""Where examples come from, and how a row becomes prompt and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.errors import InputError
from harness.strict import require


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from and how a row becomes prompt and answers.

    ``train`` and its siblings are a file, a list of files, or for ``hub`` a split name.
    ``general`` maps a domain's name to text that is not trained on: forgetting is measured there.
    ``replay`` is other text of its kind, which RetentionConfig's switches look back at.
    """

    source: Literal["builtin", "jsonl", "json", "csv", "parquet", "text", "hub"]
    name: str | None  # hub: data set name or local directory
    subset: str | None  # hub: configuration name
    train: str | list[str] | None
    validation: str | list[str] | None
    test: str | list[str] | None
    general: Mapping[str, str] | list[str] | str | None
    general_test: Mapping[str, str] | list[str] | str | None
    replay: Mapping[str, str] | list[str] | str | None
    prompt_column: str | None
    answer_column: str | None
    text_column: str | None  # instead of prompt and answer: plain language modelling
    label_column: str | None  # instead of an answer: which of several classes the text is
    prompt_template: str  # '{column}' is replaced by the row's value
    loss_on: Literal["answer", "all"]
    max_length: int  # tokens, prompt and answer and end together
    too_long: Literal["truncate", "drop", "error"]
    validation_fraction: float  # drawn from train where no validation split is given
    test_fraction: float
    split_seed: int
    train_limit: int | None
    validation_limit: int | None
    test_limit: int | None
    general_limit: int | None  # documents a domain

    def __post_init__(self) -> None:
        require(self.max_length >= 8, "data.max_length", self.max_length, "at least 8 tokens")
        for name in ("validation_fraction", "test_fraction"):
            value = getattr(self, name)
            require(0 <= value < 1, f"data.{name}", value, "a share in [0, 1)")
        for name in ("train_limit", "validation_limit", "test_limit", "general_limit"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"data.{name}", value, "null or at least 1")
        require(
            self.label_column is None or self.label_column != self.text_column,
            "data.label_column",
            self.label_column,
            "another column than data.text_column",
        )
        if self.text_column is not None:
            return
        if self.label_column is not None and self.prompt_column is None:
            raise InputError(
                "data.text_column, or data.prompt_column with data.prompt_template, must name the "
                f"column of the text whose class data.label_column={self.label_column!r} is."
            )
        if self.label_column is None and None in (self.prompt_column, self.answer_column):
            raise InputError(
                "data.prompt_column and data.answer_column must both name a column, "
                "or data.text_column one for plain language modelling."
            )

    @property
    def is_classification(self) -> bool:
        """A text belongs to one of several classes; nothing is written."""
        return self.label_column is not None

    @property
    def is_plain_text(self) -> bool:
        """Language modelling: no prompt, no answer."""
        return self.text_column is not None and not self.is_classification
