"""Parameters of a model grouped by depth: classifier, blocks, embeddings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from harness.models.quantization import CLASS_HEAD

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Layers:
    """All parameters of a model by depth, each once. Tied embeddings count as embeddings."""

    classifier: list[nn.Parameter]  # [] if there is none
    blocks: list[list[nn.Parameter]]  # top first; the top one includes output layer and final norm
    embeddings: list[nn.Parameter]

    @property
    def of_base(self) -> list[list[nn.Parameter]]:
        """Blocks and embeddings, top first."""
        return [*self.blocks, self.embeddings] if self.embeddings else self.blocks

    def top(self, n: int | None, block_groups: int | None) -> list[list[nn.Parameter]]:
        """Return the classifier and the top ``n`` layers of the base, in groups, top first.

        Blocks among them are divided into ``block_groups`` groups of consecutive blocks. Group
        sizes differ by at most one, larger groups at the top. If ``block_groups`` is None or
        exceeds the number of blocks, each block is a group. Classifier and embeddings are groups of
        their own.
        """
        selected = self.of_base[:n]
        blocks, below = selected[: len(self.blocks)], selected[len(self.blocks) :]
        above = [self.classifier] if self.classifier else []
        return [*above, *_divided(blocks, block_groups or len(blocks)), *below]


def _divided(blocks: Sequence[list[nn.Parameter]], n: int) -> list[list[nn.Parameter]]:
    """Divide ``blocks`` into ``n`` groups of consecutive blocks of nearly equal size."""
    n = min(n, len(blocks))
    sizes = [len(blocks) // n + (index < len(blocks) % n) for index in range(n)]
    ends = list(accumulate(sizes))
    starts = [0, *ends[:-1]]
    return [
        [parameter for block in blocks[start:end] for parameter in block]
        for start, end in zip(starts, ends, strict=True)
    ]


def layers_of(model: nn.Module) -> Layers:
    """Return the layers of ``model``, with or without a classifier on top.

    A block holds the parameters under one number of the longest numbered list (``layers.3``,
    ``h.3``). Parameters defined before the first block are embeddings. Those defined after the last
    block belong to the top block.
    """
    # named_parameters yields them in order of definition, tied ones once.
    named = [(n, p) for n, p in model.named_parameters() if not n.startswith(f"{CLASS_HEAD}.")]
    numbered = [re.match(r"(.*?\.)(\d+)\.", name) for name, _ in named]
    numbers = sorted({int(match.group(2)) for match in numbered if match})
    bottom: list[nn.Parameter] = []
    by_block: dict[int, list[nn.Parameter]] = {number: [] for number in numbers}
    top: list[nn.Parameter] = []
    for (_, parameter), match in zip(named, numbered, strict=True):
        if match:
            by_block[int(match.group(2))].append(parameter)
        else:
            (top if any(by_block.values()) else bottom).append(parameter)
    classifier = [p for name, p in model.named_parameters() if name.startswith(f"{CLASS_HEAD}.")]
    if not numbers:
        return Layers(classifier, [top + bottom], [])
    first, *lower = [by_block[number] for number in reversed(numbers)]
    return Layers(classifier, [top + first, *lower], bottom)


def layer_groups(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return all parameters by depth, top first, with one group for each block."""
    return layers_of(model).top(None, None)
