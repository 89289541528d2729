"""Texts of a batch end to end in one row, without padding, each attending to itself alone.

A padded batch computes its padding too, and attention grows with the square of the padded length. A
flash attention kernel takes the bounds of texts in one row. On a CPU, transformers separates them by
a mask of all pairs of tokens, which costs several times the padding. Here the kernel runs once for
each text instead, which gives the same numbers as padded rows up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from harness.errors import is_out_of_memory
from harness.models.cached.virtual_prefix import caches_every_position, n_virtual_tokens
from harness.models.views import as_pretrained, output_layer, recomputes_activations

if TYPE_CHECKING:
    from torch import Tensor, nn

TEXT_TOKENS = 5  # cost of one more call of the attention kernel in each layer, in padding tokens
TEST_LENGTHS = (12, 5)  # tokens of the test texts

_exact: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@dataclass(frozen=True)
class Row:
    """N tokens of the texts of a batch, in order and without padding."""

    input_ids: Tensor  # (1, N) int64
    position_ids: Tensor  # (1, N) int64, from 0 in each text
    lengths: list[int]  # of the texts
    where: np.ndarray  # (N,) bool: the chosen positions


def one_row(input_ids: Tensor, segments: np.ndarray, where: np.ndarray) -> Row:
    """Return the texts of (B, T) ``input_ids`` end to end.

    ``segments`` (B, T) is 0 at padding and otherwise the number of the text in its row.
    """
    places = np.flatnonzero(segments)
    rows, numbers = places // segments.shape[1], segments.ravel()[places]
    starts = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(numbers, prepend=0) != 0))
    lengths = np.diff(starts, append=len(places))
    positions = np.arange(len(places)) - np.repeat(starts, lengths)
    device = input_ids.device
    return Row(
        input_ids=input_ids.flatten()[torch.from_numpy(places).to(device)][None],
        position_ids=torch.from_numpy(positions)[None].to(device),
        lengths=lengths.tolist(),
        where=where.ravel()[places],
    )


def goes_end_to_end(model: nn.Module, attention_mask: Tensor) -> bool:
    """Return True if a batch with this (B, T) mask costs less in one row, and equals padded rows."""
    segments = attention_mask.cpu().numpy()
    packed = segments.max() > 1
    return bool(packed or (padded_right(segments) and saves(segments))) and fits_one_row(model)


def padded_right(mask: np.ndarray) -> bool:
    """Return True if padding is only on the right in each row of a (B, T) ``mask``."""
    return bool((mask[:, :-1] >= mask[:, 1:]).all())


def saves(segments: np.ndarray) -> bool:
    """Return True if one row of the texts in (B, T) ``segments`` costs less than padded rows."""
    n_padding = int((segments == 0).sum())
    return n_padding > TEXT_TOKENS * len(segments)


def fits_one_row(model: nn.Module) -> bool:
    """Return True if ``model`` computes the texts of one row as it computes padded rows.

    Its layers must attend to all earlier tokens of a text by a kernel that can be kept to it. So
    windows, state spaces and virtual tokens are excluded. So is gradient checkpointing, which would
    run the kernel again when the bounds of the texts are no longer set. Whether the rest of a model
    mixes tokens is tested once, on short texts.
    """
    from torch.distributed.fsdp import FSDPModule

    if not attends_by_flash(model) and not attends_on_cpu(model):
        return False
    if n_virtual_tokens(model) or recomputes_activations(model):
        return False
    if model not in _exact:
        inner: Any = getattr(model, "get_base_model", lambda: model)()
        sharded = any(isinstance(each, FSDPModule) for each in (model, inner))
        _exact[model] = not sharded and caches_every_position(inner) and _equals_padded(model)
    return _exact[model]


def attends_by_flash(model: nn.Module) -> bool:
    """Return True if attention uses a flash attention kernel."""
    from transformers.utils.generic import is_flash_attention_requested

    return is_flash_attention_requested(config=as_pretrained(model).config)


def attends_on_cpu(model: nn.Module) -> bool:
    """Return True if attention is torch's own on a CPU."""
    config = as_pretrained(model).config
    return config._attn_implementation == "sdpa" and output_layer(model).weight.device.type == "cpu"


def kept_apart(model: nn.Module, lengths: Sequence[int]) -> AbstractContextManager[None]:
    """Context in which ``model`` attends within texts of ``lengths`` in one row.

    Flash attention takes their bounds from the positions.
    """
    return nullcontext() if attends_by_flash(model) else _attending_by_text(list(lengths))


@contextmanager
def _attending_by_text(lengths: list[int]) -> Iterator[None]:
    """Context in which torch's attention runs once for each text, without a mask."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as MASKS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as KERNELS

    whole = KERNELS["sdpa"]

    def attention(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **named: Any
    ) -> tuple[Tensor, None]:
        assert attention_mask is None
        texts = zip(*(each.split(lengths, dim=2) for each in (query, key, value)), strict=True)
        return torch.cat([whole(module, *text, None, **named)[0] for text in texts], dim=1), None

    def no_mask(*arguments: Any, local_size: int | None = None, **named: Any) -> None:
        if local_size is not None:
            raise ValueError("attention to a window of tokens needs a mask")

    KERNELS["sdpa"], MASKS["sdpa"] = attention, no_mask
    try:
        yield
    finally:
        del KERNELS["sdpa"], MASKS["sdpa"]  # shown again: transformers' own


@torch.no_grad()
def _equals_padded(model: nn.Module) -> bool:
    """Return True if the logits of test texts in one row equal those in padded rows."""
    was_training = model.training
    vocabulary, device = output_layer(model).weight.shape[0], output_layer(model).weight.device
    segments = (np.arange(max(TEST_LENGTHS)) < np.array(TEST_LENGTHS)[:, None]).astype(np.int64)
    ids = (
        torch.arange(segments.size).mul(7919).remainder(vocabulary).view(segments.shape).to(device)
    )
    model.eval()
    try:
        padded = model(input_ids=ids, use_cache=False).logits[segments > 0]
        row = one_row(ids, segments, segments > 0)
        with kept_apart(model, row.lengths):
            output = model(input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False)
        apart = output.logits[0]
    except Exception as error:  # model code may fail in any way without a mask
        if is_out_of_memory(error):
            raise
        return False
    finally:
        model.train(was_training)
    is_16_bit = padded.dtype in (torch.float16, torch.bfloat16)
    difference = float((apart - padded).float().abs().max())
    largest = max(1.0, float(padded.float().abs().max()))
    return difference <= (2e-2 if is_16_bit else 1e-4) * largest
