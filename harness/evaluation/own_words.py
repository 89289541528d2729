"""Check that generated answers are the model's own, by a plain forward pass of the whole text.

Generation depends on a cache, padding, positions, wrappers and the internals of other libraries. A
fault in one of them changes the answers but not the perplexity. The forward pass is the one that
measures likelihoods, and uses none of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from harness.evaluation.decoding import Decoding, penalized, spread
from harness.language import recorded
from harness.models.logits import logits_at

if TYPE_CHECKING:
    from torch import Tensor, nn

PROMPTS = 8  # answers checked per call, to prompts from the shortest to the longest
TOKENS = 64  # first tokens of each answer that are checked

# Nats by which a token may lie below the likeliest one. Rounding depends on the order of summation, so
# near ties are broken differently. Seen on a model of 135 M: fp32 0; bf16, and nf4 computed in bf16,
# 0.13; int8 1.4, with 1 % of the tokens beyond the tie.
TIE = 0.05  # at least
TIE_OF_HALF = 2.0  # 16-bit weights: this many times the precision at the largest logit
SHARE_OF_HALF = 0.02  # 16-bit weights: this share of the tokens may lie further below
TIE_OF_INTEGERS, SHARE_OF_INTEGERS = 1.0, 0.05  # integer weights, perhaps integer activations
COMPUTED_AS_STORED = {"Tensor", "Parameter", "Params4bit"}  # all other types hold integers


class NotTheModels(RuntimeError):
    """Raised when generated text differs from the text that the model itself predicts."""


def chosen_prompts(prompts: Sequence[np.ndarray]) -> list[int]:
    """Return the indices of the answers to check: at most ``PROMPTS``, of prompts of all lengths."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    places = np.linspace(0, len(order) - 1, min(PROMPTS, len(order)))
    return [order[round(place)] for place in places]


@torch.no_grad()
def check_own_words(
    model: nn.Module,
    prompts: Sequence[np.ndarray],
    answers: Sequence[Sequence[int]],
    decoding: Decoding,
    ends: Sequence[int],
    device: str,
) -> None:
    """Raise NotTheModels if greedy ``answers``, given as tokens, are not the likeliest ones.

    Allows for ``decoding``'s penalty and minimum length, and for ties, see ``TIE``.
    """
    pairs = [(p, list(a)[:TOKENS]) for p, a in zip(prompts, answers, strict=True) if len(a)]
    if not pairs:
        return
    rows = [torch.tensor([*prompt.tolist(), *answer]) for prompt, answer in pairs]
    ids, mask = (
        pad_sequence(r, batch_first=True) for r in (rows, [torch.ones_like(r) for r in rows])
    )
    where = torch.zeros_like(mask, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        where[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = True
    on_device = ids.to(device), mask.to(device), where.to(device)
    logits = logits_at(model, *on_device, share_virtual_tokens=False)
    parts = logits.split([len(answer) for _, answer in pairs])
    below = torch.cat(
        [
            _below_the_likeliest(part.float(), prompt, answer, decoding, ends)
            for (prompt, answer), part in zip(pairs, parts, strict=True)
        ]
    )
    tie, share = _tolerance(model, logits)
    n, far = len(below), int((below > tie).sum())
    if far > max(share * n, float(share > 0)):
        raise NotTheModels(
            recorded(
                "the answers are not what the model says: {far} of {n} checked tokens are not the "
                "likeliest by a plain forward pass over the same text, by up to {most:.3g} nats (ties: "
                "{tie:.2g}). The fault lies in how answers are generated, here or in the installed "
                "transformers and peft; likelihoods do not depend on it",
                far=far,
                n=n,
                most=float(below.max()),
                tie=tie,
            )
        )


def _below_the_likeliest(
    scores: Tensor, prompt: np.ndarray, answer: list[int], decoding: Decoding, ends: Sequence[int]
) -> Tensor:
    """Return (T,) nats between the likeliest and the generated token, from (T, vocabulary) logits."""
    generated = torch.tensor(answer, device=scores.device)
    if decoding.repetition_penalty != 1:
        text = torch.from_numpy(prompt.astype(np.int64)).to(scores.device)
        before = torch.cat([text, generated[:-1]]).expand(len(answer), -1)
        upto = torch.arange(before.shape[1], device=scores.device)
        known = upto < len(prompt) + torch.arange(len(answer), device=scores.device)[:, None]
        known = spread(before, known, scores.shape[1])
        scores = penalized(scores, known, decoding.repetition_penalty)
    if decoding.min_new_tokens and ends:
        scores = scores.clone()
        scores[: decoding.min_new_tokens, list(ends)] = -torch.inf
    return scores.max(dim=1).values - scores.gather(1, generated[:, None])[:, 0]


def _tolerance(model: nn.Module, logits: Tensor) -> tuple[float, float]:
    """Return the nats that count as a tie, and the share of tokens that may exceed them."""
    stored = [*model.parameters(), *model.buffers()]
    if {type(each).__name__ for each in stored} - COMPUTED_AS_STORED:
        return TIE_OF_INTEGERS, SHARE_OF_INTEGERS
    dtypes = [each.dtype for each in stored if each.is_floating_point()]
    precision = max(torch.finfo(dtype).eps for dtype in (*dtypes, logits.dtype))
    if precision <= torch.finfo(torch.float32).eps:
        return TIE, 0.0
    largest = float(logits.max(dim=1).values.abs().max())
    return max(TIE, TIE_OF_HALF * precision * largest), SHARE_OF_HALF
