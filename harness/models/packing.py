"""Several texts in one row that do not see each other: how a model is told, and whether it heeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn


def attention_arguments(attention_mask: Tensor) -> dict[str, Any]:
    """What tells a model which tokens may see which; a mask of 0 and 1 as it stands.

    Of (B, T) numbers of texts, 0 at padding: (B, T) positions within each text, and no mask.
    """
    if not bool((attention_mask > 1).any()):
        return {"attention_mask": attention_mask}
    return {"attention_mask": None, "position_ids": positions(attention_mask)}


def positions(segments: Tensor) -> Tensor:
    """(B, T) int64 places within each run of one number in (B, T) ``segments``; padding is a run."""
    places = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return places - torch.where(begins, places, 0).cummax(dim=1).values


@torch.no_grad()
def check_texts_apart(model: nn.Module, length: int, device: str) -> None:
    """Raises InputError where ``model`` does not keep packed texts apart.

    Tried, not looked up: the logits of a text must be the same alone and after another one. It is
    random tokens, ``length`` of them at most. Models without attention masks (state space models,
    attention that is biased by distance without position ids) and virtual tokens fail.
    """
    from harness.models.logits import logits_at

    was_training = model.training
    model.eval()
    n = min(12, length // 2)
    vocabulary = model.get_output_embeddings().weight.shape[0]
    ids = torch.arange(2 * n, device=device).mul(7919).remainder(vocabulary)[None]
    where = torch.ones(1, n, dtype=torch.bool, device=device)
    alone = logits_at(model, ids[:, n:], where.long(), where)
    segments = torch.arange(2 * n, device=device).div(n, rounding_mode="floor").add(1)[None]
    why = "its logits depend on the text before"
    try:
        packed = logits_at(model, ids, segments, segments == 2)
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
            f"one sequence would see each other ({why}). Use data.packing=stream or none."
        )
