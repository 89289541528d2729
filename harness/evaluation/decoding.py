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


def penalized(scores: Tensor, said: Tensor, penalty: float) -> Tensor:
    """Return ``scores`` (rows, vocabulary) with lower values for tokens in ``said`` (rows, vocabulary).

    CTRL, Keskar et al. 2019, arXiv:1909.05858, §4.1: divided by ``penalty``, or multiplied if
    negative.
    """
    lower = torch.where(scores < 0, scores * penalty, scores / penalty)
    return torch.where(said, lower, scores)


class RepetitionPenalty:
    """Logits processor of transformers that does not penalize padding.

    The library's own treats padding, often the end-of-text token, as part of the prompt. The chance
    that an answer ends would then depend on the other prompts of its batch.
    """

    def __init__(self, ids: Tensor, mask: Tensor, penalty: float) -> None:
        """Prompts (B, T), and where they are no padding."""
        self._ids, self._mask, self._penalty = ids, mask.bool(), penalty

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the prompts, by their places; the others' answers have ended."""
        self._ids, self._mask = self._ids[rows], self._mask[rows]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        beams = len(input_ids) // len(self._ids)
        ids = self._ids.repeat_interleave(beams, dim=0)
        mask = self._mask.repeat_interleave(beams, dim=0)
        said = spread(ids, mask, scores.shape[1])
        answers = input_ids[:, ids.shape[1] :]
        said |= spread(answers, torch.ones_like(answers, dtype=torch.bool), scores.shape[1])
        return penalized(scores, said, self._penalty)


def spread(ids: Tensor, mask: Tensor, n_vocabulary: int) -> Tensor:
    """Mark the tokens among ``ids`` (rows, length) where ``mask`` is true: (rows, vocabulary) bool."""
    counts = torch.zeros(len(ids), n_vocabulary, dtype=torch.int32, device=ids.device)
    return counts.scatter_add_(1, ids, mask.int()) > 0
