"""Prefix tuning, Li & Liang 2021, arXiv:2101.00190: learned keys and values in every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from harness.config.strict import require
from harness.errors import InputError, refused_by_library
from harness.methods.base import AdaptContext
from harness.methods.prompts.virtual_tokens import VirtualTokens, initial_tokens
from harness.methods.with_peft import put_adapter
from harness.models.views import as_pretrained

if TYPE_CHECKING:
    from torch import Tensor, nn

ADVICE = (
    "Peft's prefix needs keys and values of one shape in every layer, which this model does not "
    "have; "
    "method=prompt_tuning puts vectors before the input instead."
)


@dataclass(frozen=True)
class PrefixTuning(VirtualTokens):
    """Train n keys and values that precede those of the text in every layer.

    h_i = P[i, :] for i in the prefix, P of (n, 2·layers·width) (Eq. 3). With ``prefix_projection``,
    P[i, :] = MLP(P'[i, :]) during training (§4.3), which is more stable. Only the MLP's output is
    kept. Without it this is P-tuning v2, Liu et al. 2021, arXiv:2110.07602.
    """

    prefix_projection: bool
    encoder_hidden_size: int | None
    init: Literal["activations", "random"]
    init_text: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        hidden = self.encoder_hidden_size
        require(
            hidden is None or hidden >= 1,
            "method.encoder_hidden_size",
            hidden,
            "null or at least 1",
        )

    @property
    def allows_gradient_checkpointing(self) -> bool:
        return False  # the prefix is a cache, and transformers drops caches when it recomputes

    def size(self, model: nn.Module) -> tuple[int, int]:
        width, out = _widths(model)
        if not self.prefix_projection:
            return out, 0
        hidden = self.encoder_hidden_size or width
        return width, (width + 1) * hidden + (hidden + 1) * out

    def check(self, model: nn.Module) -> None:
        super().check(model)
        config = as_pretrained(model).config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        unsupported = sorted(k for k in kinds if "attention" not in k or k.startswith("linear"))
        if unsupported or not getattr(config, "num_attention_heads", None):
            in_layers = f" in its layers of type {', '.join(unsupported)}" if unsupported else ""
            raise InputError(
                f"A prefix of keys and values cannot be used with {type(model).__name__}, which "
                "has no "
                f"attention to read them{in_layers}. Use vectors before the input: "
                "method=prompt_tuning."
            )

    def adapt(self, model: nn.Module, context: AdaptContext) -> nn.Module:
        import torch
        from peft import PrefixTuningConfig, TaskType

        config = PrefixTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=self.num_virtual_tokens,
            prefix_projection=self.prefix_projection,
            # None is peft's default, although annotated as int
            encoder_hidden_size=cast(int, self.encoder_hidden_size),
            num_attention_heads=as_pretrained(model).config.get_text_config().num_attention_heads,
        )
        tuned = put_adapter(model, config)
        if self.init == "activations":
            ids = torch.tensor([initial_tokens(context, self.num_virtual_tokens, self.init_text)])
            with refused_by_library("A prefix of keys and values", ADVICE):
                _initialize(tuned.prompt_encoder["default"], activations(model, ids))
        return tuned


def activations(model: nn.Module, ids: Tensor) -> Tensor:
    """Return (T, 2·layers·width) keys and values of every layer at the (1, T) tokens ``ids``."""
    import torch
    from peft.tuners.cartridge.utils import prompt_embeddings_from_past_key_values

    with torch.no_grad():
        outputs = model(input_ids=ids.to(as_pretrained(model).device), use_cache=True)
        cache = outputs.past_key_values
    return prompt_embeddings_from_past_key_values(cache, num_virtual_tokens=ids.shape[1]).float()


def _initialize(encoder: Any, prefix: Tensor) -> None:
    """Initialize peft's ``encoder`` so that its output is ``prefix`` of (n, 2·layers·width).

    Only the MLP's last layer is set, by least squares. This is exact if there are at most as many
    virtual tokens as hidden units. The authors train the MLP towards the activations instead.
    """
    import torch

    with torch.no_grad():
        if not encoder.prefix_projection:
            encoder.embedding.weight.copy_(prefix)
            return
        *lower_layers, last = encoder.transform
        hidden = torch.nn.Sequential(*lower_layers)(encoder.embedding.weight)
        mean = prefix.mean(dim=0)
        last.weight.copy_((torch.linalg.pinv(hidden) @ (prefix - mean)).T)
        last.bias.copy_(mean)


def _widths(model: nn.Module) -> tuple[int, int]:
    """Return the width of one layer's keys (shared heads once), and of all keys and values together."""
    config = as_pretrained(model).config.get_text_config()
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    width = head * (getattr(config, "num_key_value_heads", None) or heads)
    return width, 2 * config.num_hidden_layers * width
