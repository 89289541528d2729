"""Check that a model keeps packed texts separate: they must not attend to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.errors import InputError
from harness.models.views import output_layer

if TYPE_CHECKING:
    from torch import nn


@torch.no_grad()
def check_texts_apart(model: nn.Module, length: int, device: str) -> None:
    """Raise InputError if texts packed into one row attend to each other.

    Tests it: the logits of a text must be the same alone and after another text. The texts are at
    most ``length`` random tokens. They are packed into two rows, because some kernels separate
    texts only in a batch of one row. Models without attention masks fail, such as state space
    models, and so do virtual tokens.
    """
    from harness.models.logits import logits_at

    was_training = model.training
    model.eval()
    n = min(12, length // 2)
    vocabulary = output_layer(model).weight.shape[0]
    ids = torch.arange(2 * n, device=device).mul(7919).remainder(vocabulary)[None]
    positions = torch.ones(1, n, dtype=torch.bool, device=device)
    alone = logits_at(model, ids[:, n:], positions.long(), positions)
    segments = torch.arange(2 * n, device=device).div(n, rounding_mode="floor").add(1)[None]
    reason = "its logits depend on the text before"
    try:
        repeated_ids, texts = ids.repeat(2, 1), segments.repeat(2, 1)
        packed = logits_at(model, repeated_ids, texts, texts == 2).view(2, *alone.shape)
    except (TypeError, ValueError) as error:
        packed, reason = None, str(error).splitlines()[0]
    model.train(was_training)
    is_16_bit = alone.dtype in (torch.float16, torch.bfloat16)
    scale = float(alone.float().abs().max())
    close = packed is not None and bool(
        (packed - alone).float().abs().max() <= (2e-2 if is_16_bit else 1e-4) * max(scale, 1.0)
    )
    if not close:
        raise InputError(
            "data.packing='documents' cannot be used with this model and method: texts packed into "
            f"one sequence would attend to each other ({reason}). Use data.packing=stream or none."
        )
