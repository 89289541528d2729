"""Shared base of methods that learn vectors before the text and leave every weight unchanged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self, TypedDict

from harness.config.strict import require
from harness.errors import InputError
from harness.methods.base import AdaptContext, Method
from harness.methods.sizing import largest_within
from harness.models.views import as_pretrained, input_embeddings

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class VirtualTokens(Method):
    """``num_virtual_tokens`` positions before the text, whose content is learned.

    No such model starts at the base: the virtual tokens take attention from the first step on.
    """

    num_virtual_tokens: int

    size_field: ClassVar[str | None] = "num_virtual_tokens"

    def __post_init__(self) -> None:
        n = self.num_virtual_tokens
        require(n >= 1, "method.num_virtual_tokens", n, "an integer of at least 1")

    @property
    def starts_at_base(self) -> bool:
        return False

    @property
    def cannot_shard(self) -> str | None:
        return "its virtual tokens are made before the model runs, of whole tensors"

    @property
    def cannot_merge(self) -> str:
        return "virtual tokens stand before the input and are no part of any weight"

    def size(self, model: nn.Module) -> tuple[int, int]:
        """Trained parameters: of one virtual token, and of what all of them share."""
        raise NotImplementedError

    def matched(self, model: nn.Module, trainable_parameters: int) -> Self:
        each, shared = self.size(model)
        n = largest_within(
            trainable_parameters,
            range(1, context_length(model) or 10**6),
            lambda n: n * each + shared,
            "method.num_virtual_tokens",
        )
        return replace(self, num_virtual_tokens=n)

    def check(self, model: nn.Module) -> None:
        context = context_length(model)
        require(
            context is None or self.num_virtual_tokens < context,
            "method.num_virtual_tokens",
            self.num_virtual_tokens,
            f"below {context}, the positions that this model has for them and the text together",
        )

    def check_length(self, model: nn.Module, longest: int) -> None:
        context, n = context_length(model), self.num_virtual_tokens
        if context is not None and n + longest > context:
            raise InputError(
                f"method.num_virtual_tokens={n} cannot be used: the longest text has {longest} tokens "
                f"(what is generated included), and this model has {context} positions for both. Use "
                f"{max(0, context - longest)} virtual tokens at most, or lower data.max_length."
            )


class EmbeddingFields(TypedDict):
    """Fields of a peft configuration."""

    token_dim: int
    num_layers: int
    num_attention_heads: int


def of_embeddings(model: nn.Module) -> EmbeddingFields:
    """Fields of a peft configuration for vectors that stand among the embeddings of ``model``.

    peft would take their width from the layers, which OPT-350m has wider, and asks for attention heads
    that it does not use here and Mamba does not have.
    """
    width = input_embeddings(model).embedding_dim
    return {"token_dim": width, "num_layers": 1, "num_attention_heads": 1}


def context_length(model: nn.Module) -> int | None:
    """The positions that ``model`` was made for; None where its configuration names none."""
    return getattr(as_pretrained(model).config.get_text_config(), "max_position_embeddings", None)


def words(plan: AdaptContext, n: int, text: str | None) -> list[int]:
    """``n`` token ids to begin with: of ``text``, again and again, or of training sequences."""
    if text is not None:
        ids = plan.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise InputError(f"method.init_text={text!r} has no tokens.")
    else:
        ids = []
        for batch in plan.calibration(n, batch_size=1):
            ids += batch.input_ids[0].tolist()
            if len(ids) >= n:
                break
    return (ids * -(-n // len(ids)))[:n]
