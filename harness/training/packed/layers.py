"""Linear layers that apply the LoRA adapters of several members to one frozen base layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.methods.low_rank.plain_lora import dropout, scale
from harness.models.end_to_end import goes_end_to_end

if TYPE_CHECKING:
    from torch import Tensor

    from harness.training.packed.member import Member


class NotPackable(Exception):
    """These trials cannot be trained together; each can be trained alone."""


class Rows:
    """Rows of one pass: first those of member 0, then those of member 1, and so on.

    If their texts are end to end, each token is a row of its own.
    """

    def __init__(
        self,
        counts: Sequence[int],
        lengths: Sequence[int],
        device: Any,
        padded: Sequence[Tensor | None] | None = None,
    ) -> None:
        """``counts`` are rows by member. ``lengths`` are the tokens of each member's longest row.

        ``padded`` is given for tokens. It has a (B, T) mask of text for each member whose texts
        would be padded if it trained alone.
        """
        self.counts, self.lengths, self._padded = list(counts), list(lengths), padded
        self.n, self.length, self._most = sum(counts), max(lengths), max(counts)
        self._places: Tensor | None = None  # of the rows, if some members have fewer than others
        if min(counts) < self._most:
            places = [k * self._most + i for k, n in enumerate(counts) for i in range(n)]
            self._places = torch.tensor(places, device=device)

    @classmethod
    def of_tokens(cls, masks: Sequence[Tensor | None], alone: nn.Module, device: Any) -> Rows:
        """Return the tokens of texts end to end. ``masks`` (B, T) of members are not 0 at text.

        Alone, each would train a model like ``alone``.
        """
        counts = [0 if mask is None else int((mask != 0).sum()) for mask in masks]
        padded = [
            None if mask is None or goes_end_to_end(alone, mask) else (mask != 0).to(device)
            for mask in masks
        ]
        return cls(counts, [1] * len(counts), device, padded)

    def as_alone(self, k: int, x: Tensor) -> Tensor:
        """Return the rows of member ``k`` in the shape that they would have if it trained alone.

        A pack of padded rows may be longer than those of one member.
        """
        if self._padded is None:
            return x[:, : self.lengths[k]]
        mask = self._padded[k]
        if mask is None:
            return x
        return x.new_zeros(*mask.shape, x.shape[-1]).masked_scatter(mask[..., None], x)

    def from_alone(self, k: int, x: Tensor) -> Tensor:
        """Return the rows of member ``k`` in this pass: the inverse of ``as_alone``."""
        if self._padded is None:
            return nn.functional.pad(x, (0, 0, 0, self.length - self.lengths[k]))
        mask = self._padded[k]
        return x if mask is None else x[mask][:, None]

    def by_member(self, x: Tensor) -> Tensor:
        """Return (R, T, d) rows as (K, most·T, d), with zeros where a member has fewer rows."""
        shape = (len(self.counts), self._most * self.length, x.shape[-1])
        if self._places is None:
            return x.reshape(shape)
        zeros = x.new_zeros(len(self.counts) * self._most, *x.shape[1:])
        return zeros.index_copy(0, self._places, x).view(shape)

    def in_order(self, y: Tensor) -> Tensor:
        """Return the (R, T, d) rows of a (K, most·T, d) tensor: the inverse of ``by_member``."""
        rows = y.reshape(-1, self.length, y.shape[-1])
        return rows if self._places is None else rows.index_select(0, self._places)


class Pass:
    """The pass under way, which all packed layers of a model read."""

    rows: Rows | None = None


class PackedLinear(nn.Module):
    """h_k = W₀x_k + s_k·B_k A_k dropout_k(x_k) for the rows x_k of each member k.

    A is (K, R, d_in) and B is (K, d_out, R), where R is the largest rank. Smaller ranks are padded
    with zeros, which get no gradient. Outside a pass of the pack it is the base layer alone.
    """

    def __init__(
        self,
        base_layer: nn.Module,
        a: nn.Parameter,
        b: nn.Parameter,
        name: str,
        members: Sequence[Member],
        now: Pass,
    ) -> None:
        super().__init__()
        self.base_layer, self.a, self.b = base_layer, a, b
        self._now, self._members = now, list(members)
        self._dropout = [dropout(member.layers[name]) for member in members]
        scales = [scale(member.layers[name]) for member in members]
        self._scales = a.new_tensor(scales)[:, None, None]

    def forward(self, x: Tensor, *arguments: Any, **named: Any) -> Tensor:
        result = self.base_layer(x, *arguments, **named)
        rows = self._now.rows
        if rows is None:
            return result
        if x.numel() != rows.n * rows.length * x.shape[-1]:
            raise NotPackable("a layer with an adapter sees a part of the tokens only")
        own = x.to(self.a.dtype).reshape(rows.n, rows.length, -1)
        if self.training and any(self._dropout):
            own = self._dropped(own, rows)
        inner = torch.bmm(rows.by_member(own), self.a.mT) * self._scales
        update = rows.in_order(torch.bmm(inner, self.b.mT))
        return (result + update.reshape(result.shape)).to(result.dtype)

    def _dropped(self, x: Tensor, rows: Rows) -> Tensor:
        """Apply each member's dropout, with the draws that it would get alone."""
        parts = list(x.split(rows.counts))
        for k, (member, p) in enumerate(zip(self._members, self._dropout, strict=True)):
            if p and rows.counts[k]:
                with member.own_random():
                    kept = nn.functional.dropout(rows.as_alone(k, parts[k]), p)
                parts[k] = rows.from_alone(k, kept)
        return torch.cat(parts)
