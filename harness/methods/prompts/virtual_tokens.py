"""Base class of methods that learn virtual tokens and leave every weight of the base unchanged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self, TypedDict

from harness.config.strict import require
from harness.errors import InputError
from harness.language import recorded
from harness.methods.base import AdaptContext, Method
from harness.methods.sizing import largest_within
from harness.models.views import as_pretrained, input_embeddings

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class VirtualTokens(Method):
    """Method with ``num_virtual_tokens`` learned positions before the text.

    The tuned model differs from the base from the start, because virtual tokens receive attention.
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
        return "its virtual tokens are computed from whole tensors before the model runs"

    @property
    def cannot_merge(self) -> str:
        return recorded("virtual tokens precede the input and are not part of any weight")

    def size(self, model: nn.Module) -> tuple[int, int]:
        """Return the trained parameters of one virtual token, and those shared by all of them."""
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
        n_positions = context_length(model)
        require(
            n_positions is None or self.num_virtual_tokens < n_positions,
            "method.num_virtual_tokens",
            self.num_virtual_tokens,
            f"below {n_positions}, this model's positions for virtual tokens and text together",
        )

    def check_length(self, model: nn.Module, longest: int) -> None:
        n_positions, n = context_length(model), self.num_virtual_tokens
        if n_positions is not None and n + longest > n_positions:
            raise InputError(
                f"method.num_virtual_tokens={n} cannot be used: the longest text has {longest} "
                "tokens "
                f"(generated tokens included), and this model has {n_positions} positions for "
                "both. Use "
                f"{max(0, n_positions - longest)} virtual tokens at most, or lower data.max_length."
            )


class EmbeddingFields(TypedDict):
    """Arguments of a peft configuration."""

    token_dim: int
    num_layers: int
    num_attention_heads: int


def embedding_arguments(model: nn.Module) -> EmbeddingFields:
    """Return arguments of a peft configuration for vectors among the embeddings of ``model``.

    peft would use the width of the layers, which differs in OPT-350m. It also requires attention
    heads, which are not used here and which Mamba does not have.
    """
    width = input_embeddings(model).embedding_dim
    return {"token_dim": width, "num_layers": 1, "num_attention_heads": 1}


def context_length(model: nn.Module) -> int | None:
    """Return the number of positions of ``model``; None if its configuration has no limit."""
    return getattr(as_pretrained(model).config.get_text_config(), "max_position_embeddings", None)


def initial_tokens(context: AdaptContext, n: int, text: str | None) -> list[int]:
    """Return ``n`` token ids to initialize virtual tokens.

    Taken from ``text``, repeated as needed, or from random training sequences if that is None.
    Raises InputError if ``text`` has no tokens.
    """
    if text is not None:
        ids = context.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise InputError(f"method.init_text={text!r} has no tokens.")
    else:
        ids = []
        for batch in context.calibration(n, batch_size=1):
            ids += batch.input_ids[0].tolist()
            if len(ids) >= n:
                break
    return (ids * -(-n // len(ids)))[:n]
