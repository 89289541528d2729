"""Data settings: the source of examples, and the conversion of rows to prompts and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.config.strict import require
from harness.errors import InputError

# Variables of a chat template that the conversation, the tokenizer and the renderer set.
_TEMPLATES_OWN = ("messages", "tools", "documents", "add_generation_prompt", "chat_template")
_TEMPLATES_OWN += ("return_assistant_tokens_mask", "continue_final_message", "conversations")


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | bool | int | float)


@dataclass(frozen=True)
class DataConfig:
    """Source of examples, and the conversion of a row to prompt and answers.

    ``train`` and its siblings are a file, a list of files, or a split name for ``hub``. ``general``
    maps a domain's name to text that is not trained on: forgetting is measured there. ``replay`` is
    other text of the same kind, used by the options of RetentionConfig.
    """

    source: Literal["builtin", "jsonl", "json", "csv", "parquet", "text", "pages", "hub"]
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
    label_column: str | None  # instead of an answer: the class of the text
    messages_column: str | None  # instead of prompt and answer: a conversation in each row
    system_column: str | None  # text before the prompt; in a chat the system's turn
    prompt_template: str  # '{column}' is replaced by the row's value
    chat: bool  # prompt and answer become turns, written by the model's chat template
    chat_template: str | None  # a Jinja file instead of the model's own template
    template_arguments: Mapping[str, Any] | None  # for the template, as enable_thinking is
    only_last_answer: bool  # of a conversation; otherwise every assistant turn is learned
    id_column: str | None  # with parent_id_column: rows chained into conversations
    parent_id_column: str | None
    limit_chained_samples: bool  # only conversations that no other one continues
    loss_on: Literal["answer", "all"]
    max_length: int  # tokens of prompt, answer and end together
    too_long: Literal["truncate", "drop", "error"]
    truncate: Literal["left", "right"]  # the side a prompt is cut from
    padding_quantile: float  # of a step's lengths: longer sequences lose their first tokens
    packing: Literal["none", "documents", "stream"]
    validation_fraction: float  # drawn from train if no validation split is given
    test_fraction: float
    split_seed: int
    drop_duplicates: bool  # rows of a split that repeat an earlier one
    train_share: float  # of train's prompts, after drawing, chosen by split_seed
    train_limit: int | None
    validation_limit: int | None
    test_limit: int | None
    general_limit: int | None  # documents of each domain
    overlap_ngram: int  # words in a row that count as shared between splits
    overlap_similarity: float  # of texts that count as near-duplicates: Jaccard's, of characters
    drop_overlap: Literal["none", "prompt", "near", "ngram"]  # which rows of train are left out

    def __post_init__(self) -> None:
        require(self.max_length >= 8, "data.max_length", self.max_length, "at least 8 tokens")
        for name in ("validation_fraction", "test_fraction"):
            value = getattr(self, name)
            require(0 <= value < 1, f"data.{name}", value, "a share in [0, 1)")
        for name in ("train_limit", "validation_limit", "test_limit", "general_limit"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"data.{name}", value, "null or at least 1")
        for name in ("train_share", "padding_quantile"):
            value = getattr(self, name)
            require(0 < value <= 1, f"data.{name}", value, "a share in (0, 1]")
        ngram, alike = self.overlap_ngram, self.overlap_similarity
        require(ngram >= 1, "data.overlap_ngram", ngram, "at least 1 word")
        require(0.8 <= alike <= 1, "data.overlap_similarity", alike, "a share in [0.8, 1]")
        self._check_lengths()
        self._check_chat()
        require(
            self.label_column is None or self.label_column != self.text_column,
            "data.label_column",
            self.label_column,
            "another column than data.text_column",
        )
        if self.text_column is not None or self.messages_column is not None:
            return
        if self.label_column is not None and self.prompt_column is None:
            raise InputError(
                "data.text_column, or data.prompt_column with data.prompt_template, must name the "
                f"column of the text whose class data.label_column={self.label_column!r} is."
            )
        if self.label_column is None and None in (self.prompt_column, self.answer_column):
            raise InputError(
                "data.prompt_column and data.answer_column must both name a column, "
                "or data.text_column one for plain language modelling, "
                "or data.messages_column one of conversations."
            )

    def _check_lengths(self) -> None:
        if self.packing != "none" and self.is_classification:
            raise InputError(
                f"data.packing={self.packing!r} cannot be used with data.label_column: one class a "
                "sequence."
            )
        if self.packing == "stream" and not self.is_plain_text:
            raise InputError(
                "data.packing='stream' needs data.text_column: answers would be learned after prompts "
                "of other rows. Use documents."
            )
        if self.packing != "none" and self.padding_quantile < 1:
            raise InputError(
                f"data.padding_quantile={self.padding_quantile:g} cannot be used with "
                f"data.packing={self.packing!r}: packed sequences are filled, not padded."
            )
        if self.truncate == "right" and self.is_chat:
            raise InputError(
                "data.truncate='right' cannot be used with conversations: it would cut off the place "
                "where the answer begins. Use left."
            )

    def _check_chat(self) -> None:
        for name, value in (self.template_arguments or {}).items():
            field = f"data.template_arguments.{name}"
            require(
                name not in _TEMPLATES_OWN, field, value, "set by no one: conversations give it"
            )
            plain = "text, a number, true, false, null, or lists and mappings of them"
            require(_is_plain(value), field, value, plain)
        others = ("text_column", "label_column", "id_column", "parent_id_column", "system_column")
        for name in others if self.messages_column is not None else ():
            if getattr(self, name) is not None:
                raise InputError(
                    f"data.{name}={getattr(self, name)!r} cannot be used with data.messages_column: "
                    "the rows are whole conversations."
                )
        if self.chat and (self.text_column is not None or self.label_column is not None):
            raise InputError(
                "data.chat=true cannot be used with data.text_column or data.label_column: a chat has "
                "prompts and answers."
            )
        if (self.id_column is None) != (self.parent_id_column is None):
            raise InputError(
                "data.id_column and data.parent_id_column name what chains rows together: set both "
                "or none."
            )
        if self.parent_id_column is not None and not self.chat:
            raise InputError(
                f"data.parent_id_column={self.parent_id_column!r} needs data.chat=true: rows chained "
                "into a conversation are written by a chat template."
            )
        if self.chat_template is not None and not self.is_chat:
            raise InputError(
                f"data.chat_template={self.chat_template!r} needs data.chat=true or "
                "data.messages_column."
            )

    @property
    def is_classification(self) -> bool:
        """True if each text belongs to one of several classes, and nothing is generated."""
        return self.label_column is not None

    @property
    def is_chat(self) -> bool:
        """True if prompts and answers are turns of conversations, written by a chat template."""
        return self.chat or self.messages_column is not None

    def of_texts(self) -> DataConfig:
        """Return the settings for reading plain text beside this data: one sequence per document."""
        return replace(
            self,
            **dict.fromkeys(("label_column", "messages_column", "system_column", "chat_template")),
            **dict.fromkeys(("id_column", "parent_id_column")),
            text_column="text",
            chat=False,
            packing="none",
        )

    @property
    def is_plain_text(self) -> bool:
        """True for language modelling without prompts and answers."""
        return self.text_column is not None and not self.is_classification
