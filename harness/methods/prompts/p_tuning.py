"""P-tuning, Liu et al. 2021, arXiv:2103.10385: virtual tokens that a small network writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from harness.config.strict import require
from harness.methods.base import AdaptContext
from harness.methods.prompts.virtual_tokens import VirtualTokens, of_embeddings
from harness.methods.with_peft import put_adapter
from harness.models.views import input_embeddings

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PTuning(VirtualTokens):
    """[encoder(P); X] at the embedding layer: the paper's prompt encoder (§3), all of it before X.

    The encoder is a bidirectional LSTM with an MLP of two layers on top, or an MLP of three. After
    training its output is all that is kept.
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
        widths = [d, *[2 * h] * (self.encoder_num_layers - 1)]  # of what each layer reads
        # Both directions have four gates of input, state and two biases.
        lstm = sum(2 * 4 * h * (width + h + 2) for width in widths)
        return d, lstm + (2 * h + 1) * 2 * h + (2 * h + 1) * d

    def adapt(self, model: nn.Module, plan: AdaptContext) -> nn.Module:
        from peft import PromptEncoderConfig, TaskType

        config = PromptEncoderConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=self.num_virtual_tokens,
            **of_embeddings(model),
            encoder_reparameterization_type=self.encoder_reparameterization_type,
            # None is peft's own default, which its annotation leaves out
            encoder_hidden_size=cast(int, self.encoder_hidden_size),
        )
        if self.encoder_reparameterization_type != "MLP":  # its layers are three, always
            config.encoder_num_layers = self.encoder_num_layers
        return put_adapter(model, config)
