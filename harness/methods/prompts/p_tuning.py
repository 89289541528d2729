"""P-tuning, Liu et al. 2021, arXiv:2103.10385: virtual tokens computed by a small encoder network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from harness.config.strict import require
from harness.methods.base import AdaptContext
from harness.methods.prompts.virtual_tokens import VirtualTokens, embedding_arguments
from harness.methods.with_peft import put_adapter
from harness.models.views import input_embeddings

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PTuning(VirtualTokens):
    """Train [encoder(P); X] at the embedding layer: the prompt encoder (§3), all of it before X.

    The encoder is a bidirectional LSTM followed by a two-layer MLP, or a three-layer MLP. After
    training only its output is kept.
    """

    encoder_reparameterization_type: Literal["MLP", "LSTM"]
    encoder_hidden_size: int | None
    encoder_num_layers: int

    def __post_init__(self) -> None:
        super().__post_init__()
        hidden, layers = self.encoder_hidden_size, self.encoder_num_layers
        require(
            hidden is None or hidden >= 1,
            "method.encoder_hidden_size",
            hidden,
            "null or at least 1",
        )
        require(layers >= 1, "method.encoder_num_layers", layers, "an integer of at least 1")

    def size(self, model: nn.Module) -> tuple[int, int]:
        d = input_embeddings(model).embedding_dim
        h = self.encoder_hidden_size or d
        if self.encoder_reparameterization_type == "MLP":
            return d, (d + 1) * h + (h + 1) * h + (h + 1) * d
        widths = [d, *[2 * h] * (self.encoder_num_layers - 1)]  # input widths of the LSTM layers
        # Two directions, four gates each, with weights for input and state and two biases.
        lstm = sum(2 * 4 * h * (width + h + 2) for width in widths)
        return d, lstm + (2 * h + 1) * 2 * h + (2 * h + 1) * d

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        from peft import PromptEncoderConfig, TaskType

        config = PromptEncoderConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=self.num_virtual_tokens,
            **embedding_arguments(model),
            encoder_reparameterization_type=self.encoder_reparameterization_type,
            # None is peft's default, although annotated as int
            encoder_hidden_size=cast(int, self.encoder_hidden_size),
        )
        if self.encoder_reparameterization_type != "MLP":  # peft's MLP always has three layers
            config.encoder_num_layers = self.encoder_num_layers
        return put_adapter(model, config)
