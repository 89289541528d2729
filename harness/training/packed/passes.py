"""Passes of a step: the micro-batches of all members side by side, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.data.tokens.batches import Batch, collate, count_labels, micro_batches
from harness.data.tokens.encode import Encoded
from harness.models.end_to_end import fits_one_row
from harness.models.label_logits import LabelLogits
from harness.models.logits import logits_at
from harness.training.packed.layers import Rows
from harness.training.packed.member import Member
from harness.training.packed.pack import Pack

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor


@dataclass(frozen=True)
class Share:
    """A member's part of a step."""

    passes: list[Batch]
    n_labels: int
    n_sequences: int
    n_tokens: int


def share_of(member: Member, data: Encoded, step: int) -> Share:
    """Return the micro-batches of ``step`` that the member would have alone."""
    (part,) = member.criterion.parts(step)
    lengths = data.lengths if part.longest is None else data.lengths.clip(max=part.longest)
    passes = []
    for group in micro_batches(part.indices, lengths, member.progress.micro_batch_size):
        chunk = collate(data, group, 0, part.longest)
        passes.append(member.augmentation.masked(chunk, group, step))
    n_tokens = sum(int((chunk.attention_mask != 0).sum()) for chunk in passes)
    n_labels = count_labels(data, part.indices, part.longest)
    return Share(passes, n_labels, len(part.indices), n_tokens)


def accumulate(pack: Pack, shares: Sequence[Share], accelerator: Accelerator) -> list[float]:
    """Accumulate the gradients of all members. Returns the mean NLL of each (nats)."""
    config, device = pack.members[0].config, accelerator.device
    sums = torch.zeros(len(shares), device=device)
    for number in range(max(len(share.passes) for share in shares)):
        chunks = [s.passes[number] if number < len(s.passes) else None for s in shares]
        batch, owner, weights = _side_by_side(chunks, shares, config.loss_average == "token")
        batch, owner, weights = batch.to(device), owner.to(device), weights.to(device)
        end_to_end = fits_one_row(pack.base)
        pack.now.rows = _rows(chunks, pack, end_to_end, device)
        run = partial(_logits, pack.base, batch, accelerator, end_to_end)
        labels = LabelLogits(pack.base, len(batch.targets), lambda: accelerator.autocast())
        try:
            for rows, logits in labels.chunks(run):
                nll = nn.functional.cross_entropy(
                    logits.float(),
                    batch.targets[rows],
                    reduction="none",
                    label_smoothing=config.label_smoothing,
                )
                weighted = nll * weights[rows]
                sums.index_add_(0, owner[rows], weighted.detach())
                accelerator.backward(weighted.sum())
            labels.backward()
        finally:
            pack.now.rows = None
    return sums.tolist()


def _side_by_side(
    chunks: Sequence[Batch | None], shares: Sequence[Share], by_token: bool
) -> tuple[Batch, Tensor, Tensor]:
    """Return the micro-batches of all members as one, and the owner and weight of each label.

    The weights are those of ``mean_nll`` in each member's own step.
    """
    present = [(k, chunk) for k, chunk in enumerate(chunks) if chunk is not None]
    length = max(chunk.input_ids.shape[1] for _, chunk in present)

    def padded(name: str) -> Tensor:
        parts = [getattr(chunk, name) for _, chunk in present]
        return torch.cat([nn.functional.pad(p, (0, length - p.shape[1])) for p in parts])

    owners, weights, rows, first = [], [], [], 0
    for k, chunk in present:
        share, n_rows = shares[k], len(chunk.input_ids)
        owners.append(torch.full((len(chunk.targets),), k))
        if by_token:
            weights.append(torch.full((len(chunk.targets),), 1 / share.n_labels))
        else:
            per_row = torch.bincount(chunk.rows, minlength=n_rows)[chunk.rows]
            weights.append(1 / (per_row * share.n_sequences))
        rows.append(chunk.rows + first)
        first += n_rows
    batch = Batch(
        input_ids=padded("input_ids"),
        attention_mask=padded("attention_mask"),
        predict=padded("predict"),
        targets=torch.cat([chunk.targets for _, chunk in present]),
        rows=torch.cat(rows),
    )
    return batch, torch.cat(owners), torch.cat(weights)


def _rows(chunks: Sequence[Batch | None], pack: Pack, end_to_end: bool, device: Any) -> Rows:
    """Return the owners of the rows, or of the tokens if texts are computed end to end."""
    if end_to_end:
        masks = [None if chunk is None else chunk.attention_mask for chunk in chunks]
        return Rows.of_tokens(masks, pack.base, device)
    counts = [0 if chunk is None else len(chunk.input_ids) for chunk in chunks]
    lengths = [0 if chunk is None else chunk.input_ids.shape[1] for chunk in chunks]
    return Rows(counts, lengths, device)


def _logits(base: nn.Module, batch: Batch, accelerator: Accelerator, end_to_end: bool) -> Tensor:
    ids, mask, where = batch.input_ids, batch.attention_mask, batch.predict
    with accelerator.autocast():
        return logits_at(base, ids, mask, where, end_to_end=end_to_end)
