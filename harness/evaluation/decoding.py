"""Decoding settings: how the next token is chosen, and where an answer ends."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch

from harness.config import EvaluationConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Decoding:
    """Decoding settings. The default is greedy search: the most likely token at every step."""

    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    repetition_penalty: float = 1.0
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()  # an answer ends before the first of these

    @classmethod
    def of(cls, config: EvaluationConfig) -> Decoding:
        values = {one.name: getattr(config, one.name) for one in fields(cls)}
        return cls(**{**values, "stop": tuple(config.stop)})

    @property
    def without_chance(self) -> Decoding:
        """Return the same settings with greedy choice in place of sampling."""
        own = {
            name: getattr(GREEDY, name) for name in ("do_sample", "temperature", "top_p", "top_k")
        }
        return replace(self, **own)


GREEDY = Decoding()


def penalized(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Return ``scores`` with lower values for tokens in ``seen``, both (rows, vocabulary).

    A positive score is divided by ``penalty``, a negative one multiplied (CTRL, Keskar et al. 2019,
    arXiv:1909.05858, §4.1).
    """
    lower = torch.where(scores < 0, scores * penalty, scores / penalty)
    return torch.where(seen, lower, scores)


class RepetitionPenalty:
    """Logits processor of transformers that does not penalize padding.

    The library's own treats padding, often the end-of-text token, as part of the prompt. The chance
    that an answer ends would then depend on the other prompts of its batch.
    """

    def __init__(self, ids: Tensor, mask: Tensor, penalty: float) -> None:
        """Take (B, T) prompts and their attention mask."""
        self._ids, self._mask, self._penalty = ids, mask.bool(), penalty

    def keep(self, rows: Tensor) -> None:
        """Keep only the prompts at the indices ``rows``; the answers to the others have ended."""
        self._ids, self._mask = self._ids[rows], self._mask[rows]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        beams = len(input_ids) // len(self._ids)
        ids = self._ids.repeat_interleave(beams, dim=0)
        mask = self._mask.repeat_interleave(beams, dim=0)
        seen = spread(ids, mask, scores.shape[1])
        answers = input_ids[:, ids.shape[1] :]
        seen |= spread(answers, torch.ones_like(answers, dtype=torch.bool), scores.shape[1])
        return penalized(scores, seen, self._penalty)


def spread(ids: Tensor, mask: Tensor, n_vocabulary: int) -> Tensor:
    """Mark the tokens among ``ids`` (rows, length) where ``mask`` is true: (rows, vocabulary) bool."""
    counts = torch.zeros(len(ids), n_vocabulary, dtype=torch.int32, device=ids.device)
    return counts.scatter_add_(1, ids, mask.int()) > 0
