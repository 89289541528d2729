"""Forward passes over a data set, in batches that are halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from harness.data.tokens.batches import Batch, collate
from harness.errors import is_out_of_memory
from harness.models.label_logits import LabelLogits
from harness.models.logits import logits_at

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.data.tokens.encode import Encoded

Result = TypeVar("Result")
Reader = Callable[[Batch, Iterator[tuple[slice, "Tensor"]]], Result]


def scored(
    model: nn.Module,
    encoded: Encoded,
    batch_size: int,
    device: str,
    read: Reader[Result],
) -> Iterator[tuple[list[int], Result]]:
    """Yield (sequence indices, result of ``read``) for each batch of ``encoded``, longest first.

    ``read`` gets the batch and (rows, (rows, vocabulary) logits) in chunks. It may run twice on a
    batch, because batches are halved when memory runs out, and must have no side effects. The order
    of sequences is that of ``evaluation_batches`` for any batch size. Raises the allocator's error
    if one sequence does not fit.
    """
    order = np.argsort(-encoded.lengths, kind="stable")
    start, size = 0, batch_size
    while start < len(order):
        indices = order[start : start + size].tolist()
        results: list[Result] = []
        try:
            results.append(_read(model, collate(encoded, indices, 0).to(device), read))
        except (RuntimeError, MemoryError) as error:
            if len(indices) == 1 or not is_out_of_memory(error):
                raise
        if not results:  # outside the handler, which keeps tensors alive
            torch.cuda.empty_cache()
            size = len(indices) // 2
            continue
        yield indices, results[0]
        start += len(indices)


def _read(model: nn.Module, batch: Batch, read: Reader[Result]) -> Result:
    """Run the model on ``batch`` and return the result of ``read``."""
    labels = LabelLogits(model, len(batch.targets))

    def run() -> Tensor:
        return logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)

    return read(batch, labels.chunks(run))
