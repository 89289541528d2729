"""Several texts in one row that do not see each other: how a model is told, and whether it heeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor


def attention_arguments(attention_mask: Tensor) -> dict[str, Any]:
    """Return the arguments that tell a model which tokens attend to which.

    A mask of 0 and 1 is passed on. From (B, T) numbers of texts, 0 at padding, it returns (B, T)
    positions within each text, and no mask.
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
