"""Forward passes over a data set, in batches that are halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import torch

from harness.data.tokens.batches import Batch, collate, evaluation_batches, longest_first
from harness.errors import is_out_of_memory
from harness.models.label_logits import LabelLogits
from harness.models.logits import logits_at
from harness.models.pass_cost import forward_tokens

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.data.tokens.encode import Encoded

Result = TypeVar("Result")
Reader = Callable[[Batch, Iterator[tuple[slice, "Tensor"]]], Result]


def planned_batches(model: nn.Module, encoded: Encoded, batch_size: int) -> list[list[int]]:
    """Return the batches in which ``model`` reads ``encoded``, as sequence indices, longest first."""
    return evaluation_batches(encoded, longest_first(encoded), batch_size, forward_tokens(model))


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
    of sequences is that of ``longest_first`` for any batch size. Raises the allocator's error if one
    sequence does not fit.
    """
    left = planned_batches(model, encoded, batch_size)
    while left:
        indices = left[0]
        results: list[Result] = []
        try:
            results.append(_read(model, collate(encoded, indices, 0).to(device), read))
        except (RuntimeError, MemoryError) as error:
            if len(indices) == 1 or not is_out_of_memory(error):
                raise
        if not results:  # outside the handler, which keeps tensors alive
            torch.cuda.empty_cache()
            order = [index for batch in left for index in batch]
            left = evaluation_batches(encoded, order, len(indices) // 2, forward_tokens(model))
            continue
        yield indices, results[0]
        del left[0]


def _read(model: nn.Module, batch: Batch, read: Reader[Result]) -> Result:
    """Run the model on ``batch`` and return the result of ``read``."""
    labels = LabelLogits(model, len(batch.targets))

    def run() -> Tensor:
        return logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)

    return read(batch, labels.chunks(run))
