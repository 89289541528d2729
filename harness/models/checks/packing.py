"""Check that packed texts do not attend to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.errors import InputError
from harness.models.views import output_layer

if TYPE_CHECKING:
    from torch import nn


@torch.no_grad()
def check_texts_apart(model: nn.Module, length: int, device: str) -> None:
    """Raise InputError if ``model`` does not keep packed texts apart.

    Tried, not looked up: the logits of a text must be the same alone and after another one. It is
    random tokens, ``length`` of them at most, in two rows: some kernels tell texts apart in one row
    alone. Models without attention masks (state space models, attention that is biased by distance
    without position ids) and virtual tokens fail.
    """
    from harness.models.logits import logits_at

    was_training = model.training
    model.eval()
    n = min(12, length // 2)
    vocabulary = output_layer(model).weight.shape[0]
    ids = torch.arange(2 * n, device=device).mul(7919).remainder(vocabulary)[None]
    where = torch.ones(1, n, dtype=torch.bool, device=device)
    alone = logits_at(model, ids[:, n:], where.long(), where)
    segments = torch.arange(2 * n, device=device).div(n, rounding_mode="floor").add(1)[None]
    why = "its logits depend on the text before"
    try:
        two, texts = ids.repeat(2, 1), segments.repeat(2, 1)
        packed = logits_at(model, two, texts, texts == 2).view(2, *alone.shape)
    except (TypeError, ValueError) as error:
        packed, why = None, str(error).splitlines()[0]
    model.train(was_training)
    half = alone.dtype in (torch.float16, torch.bfloat16)
    scale = float(alone.float().abs().max())
    close = packed is not None and bool(
        (packed - alone).float().abs().max() <= (2e-2 if half else 1e-4) * max(scale, 1.0)
    )
    if not close:
        raise InputError(
            "data.packing='documents' cannot be used with this model and method: texts packed into "
            f"one sequence would attend to each other ({why}). Use data.packing=stream or none."
        )
