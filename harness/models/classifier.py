"""Classification head on a base: pooling and two linear blocks as in ULMFiT, arXiv:1801.06146."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.errors import InputError
from harness.models.quantization import CLASS_HEAD
from harness.models.views import input_embeddings, output_layer

HIDDEN = 50  # units between the two blocks (§3.3)
DROPOUT = 0.1


class ClassHead(nn.Module):
    """Two blocks of normalization, dropout and a linear layer, ReLU between them (§3.3), in float32.

    Uses LayerNorm where the paper has batch normalization. The result must not depend on the
    division of a step into micro-batches.
    """

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.pooled_norm = nn.LayerNorm(3 * width)
        self.hidden = nn.Linear(3 * width, HIDDEN)
        self.hidden_norm = nn.LayerNorm(HIDDEN)
        self.output = nn.Linear(HIDDEN, n_classes)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return (B, classes) logits of (B, T, width) hidden states. ``mask`` (B, T) is 1 at text."""
        pooled = concat_pool(hidden.float(), mask)
        first = functional.dropout(self.pooled_norm(pooled), DROPOUT, self.training)
        inner = self.hidden(first).relu()
        return self.output(functional.dropout(self.hidden_norm(inner), DROPOUT, self.training))


class FrozenOutput(nn.Module):
    """Copy of the current output layer of ``model`` as buffers, so that nothing trains it.

    It is not saved with the model if it is tied to the embeddings, because loading would untie
    them.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        layer = output_layer(model)
        bias = getattr(layer, "bias", None)
        own = layer.weight is not input_embeddings(model).weight
        self.register_buffer("weight", layer.weight.detach().clone(), persistent=own)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (…, vocabulary) logits of (…, width) hidden states."""
        return functional.linear(hidden, self.weight, self.bias)


def concat_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return h_c = [h_T, maxpool(H), meanpool(H)] (§3.3), (B, 3·d), of ``hidden`` (B, T, d).

    ``mask`` (B, T) is 1 at text, at least once in each row. Padding may be on either side.
    """
    is_text = mask.bool()
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    last = (is_text * positions).argmax(dim=1)
    at_end = hidden[torch.arange(len(hidden), device=hidden.device), last]
    highest = hidden.masked_fill(~is_text[..., None], float("-inf")).amax(dim=1)
    mean = (hidden * is_text[..., None]).sum(dim=1) / is_text.sum(dim=1, keepdim=True)
    return torch.cat([at_end, highest, mean], dim=-1)


def add_class_head(model: nn.Module, n_classes: int) -> None:
    """Add a new trainable head to an adapted ``model``, which can still be used as a language model."""
    layer = output_layer(model)
    head = ClassHead(layer.weight.shape[1], n_classes).to(layer.weight.device)
    model.add_module(CLASS_HEAD, head)


def has_class_head(model: nn.Module) -> bool:
    """Return True if the model has a classification head."""
    return isinstance(getattr(model, CLASS_HEAD, None), ClassHead)


def class_logits(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None, text: Tensor
) -> Tensor:
    """Return (B, classes) float32 logits from the hidden states pooled where ``text`` (B, T) is 1.

    ``attention_mask`` is for the model, which needs none if padding is only on the right.
    Raises InputError if the model has no head yet, because a method needs the loss before training.
    """
    if not has_class_head(model):
        raise InputError(
            "data.label_column cannot be used with this method, or with retention.kl_on=target: "
            "they "
            "need the loss before training, when the classifier has no head yet."
        )
    length = input_ids.shape[1]
    hidden: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden.append(inputs[0][:, -length:])
        return (inputs[0][:, :0], *inputs[1:])

    handle = output_layer(model).register_forward_pre_hook(keep)
    try:
        model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    finally:
        handle.remove()
    with torch.autocast(input_ids.device.type, enabled=False):
        return getattr(model, CLASS_HEAD)(hidden[0], text)


@contextmanager
def without_class_head(model: nn.Module) -> Iterator[None]:
    """Context in which the model has no head, to save it as a language model."""
    head = getattr(model, CLASS_HEAD, None)
    if head is not None:
        delattr(model, CLASS_HEAD)
    yield
    if head is not None:
        model.add_module(CLASS_HEAD, head)


def save_class_head(model: nn.Module, folder: Path, labels: Sequence[str]) -> None:
    """Save the head as ``class_head.safetensors`` and class names as ``labels.json``."""
    from safetensors.torch import save_file

    state = getattr(model, CLASS_HEAD).state_dict()
    save_file({name: t.cpu() for name, t in state.items()}, folder / f"{CLASS_HEAD}.safetensors")
    text = json.dumps(list(labels), ensure_ascii=False)
    (folder / "labels.json").write_text(text, encoding="utf-8")


def load_class_head(model: nn.Module, folder: Path) -> list[str]:
    """Load a saved head onto ``model`` and return the class names."""
    from safetensors.torch import load_file

    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    add_class_head(model, len(labels))
    getattr(model, CLASS_HEAD).load_state_dict(load_file(folder / f"{CLASS_HEAD}.safetensors"))
    return labels
