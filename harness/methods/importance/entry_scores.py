"""Scores of how much single entries of the weights matter for the loss, and selection by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from harness.errors import InputError
from harness.models.logits import logits_at
from harness.records import heartbeat

if TYPE_CHECKING:
    from harness.data.tokens.batches import Batch
    from harness.methods.base import AdaptContext

Score = Literal[
    "gradient", "gradient_squared", "weight_gradient", "fisher", "empirical_fisher", "magnitude"
]
GRADIENT_BATCH = 8  # sequences in one backward pass if only the sum of gradients is needed


def importance(
    model: nn.Module, context: AdaptContext, score: Score, samples: int
) -> dict[str, Tensor]:
    """Return parameter name → float32 scores of its shape, 0 or more, tied parameters once.

    g is the gradient of the mean negative log-likelihood of the labels in ``samples`` training
    sequences. Scores are |g| (gradient), g² (gradient_squared), |w·g| (weight_gradient) and |w|
    (magnitude, which uses no data).

    fisher and empirical_fisher average the squares of *each sequence's* ∇ log p. The square of the
    average would be small where sequences disagree. empirical_fisher uses the true labels. fisher
    draws labels from the model, E_x E_{y∼p_θ(y|x)} (∇ log p_θ(y|x))² (Sung et al. 2021,
    arXiv:2111.09839, §2). It draws one label per position, given the true preceding text.

    Raises InputError if a score is not finite.
    """
    named = dict(model.named_parameters())
    if score == "magnitude":
        return {name: parameter.detach().float().abs() for name, parameter in named.items()}
    squared = score in ("fisher", "empirical_fisher")
    generator = (
        torch.Generator(context.device).manual_seed(context.seed) if score == "fisher" else None
    )
    with gradient_sums(named, squared) as sums:
        n_sequences = n_labels = 0
        for batch in context.calibration(samples, 1 if squared else GRADIENT_BATCH):
            summed_nll(model, batch, generator).backward()
            n_sequences += len(batch.input_ids)
            n_labels += len(batch.targets)
    for name, total in sums.items():
        total /= n_sequences if squared else n_labels
        if score == "gradient_squared":
            total.square_()
        if score == "weight_gradient":
            total *= named[name].detach()
        total.abs_()
        if not total.isfinite().all():
            raise InputError(
                f"method.score={score!r} cannot be used: the score is not finite for {name} on "
                "these data."
            )
    return sums


def summed_nll(model: nn.Module, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
    """Return −log p of the labels of ``batch`` in nats, summed, as a scalar with gradients.

    With a ``generator``, labels are drawn from the model's own predictions instead.
    """
    logits = logits_at(model, batch.input_ids, batch.attention_mask, batch.predict).float()
    labels = batch.targets
    if generator is not None:
        labels = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator)[:, 0]
    return torch.nn.functional.cross_entropy(logits, labels, reduction="sum")


def mean_nll(model: nn.Module, batches: Sequence[Batch]) -> float:
    """Return the mean negative log-likelihood over all labels of ``batches``, in nats per token."""
    summed = sum(float(summed_nll(model, batch)) for batch in batches)
    return summed / sum(len(batch.targets) for batch in batches)


@contextmanager
def gradient_sums(
    named: Mapping[str, nn.Parameter], squared: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Sum the gradients, or their squares, of all backward passes in the context.

    Yields parameter name → float32 sum. Each gradient is freed as soon as it is added, so only one
    dense copy of the model is held. On exit no parameter requires gradients.
    """
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in named.items()}

    def adding(total: Tensor) -> Any:
        def add(parameter: Tensor) -> None:
            assert parameter.grad is not None
            gradient = parameter.grad.float()
            total.addcmul_(gradient, gradient) if squared else total.add_(gradient)
            parameter.grad = None

        return add

    handles = []
    for name, parameter in named.items():
        parameter.requires_grad_(True)
        handles.append(parameter.register_post_accumulate_grad_hook(adding(sums[name])))
    try:
        yield sums
    finally:
        for handle in handles:
            handle.remove()
        for parameter in named.values():
            parameter.requires_grad_(False)


def largest(scores: Sequence[Tensor], k: int) -> list[Tensor]:
    """Return, for each tensor, the sorted flat indices of its entries among the ``k`` largest of all.

    Scores must be non-negative. Ties go to the first entries. Non-negative floats sort like their
    bit patterns, so bisection over bits finds the k-th largest exactly and without sorting.
    """
    bits = [score.float().flatten().view(torch.int32) for score in scores]
    assert 1 <= k <= sum(map(len, bits))
    low, high = 0, 2**31 - 1
    while low < high:
        middle = (low + high + 1) // 2
        heartbeat.mark()
        if sum(int((part >= middle).sum()) for part in bits) >= k:
            low = middle
        else:
            high = middle - 1
    missing = k - sum(int((part > low).sum()) for part in bits)
    selected = []
    for part in bits:
        above, equal = (part > low).nonzero()[:, 0], (part == low).nonzero()[:missing, 0]
        missing -= len(equal)
        selected.append(torch.cat([above, equal]).sort().values)
    return selected


def apportioned(total: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Divide ``total`` in proportion to ``sizes`` into whole numbers (largest remainder method).

    Returns name → share.
    """
    size_sum = sum(sizes.values())
    shares = {name: divmod(total * size, size_sum) for name, size in sizes.items()}
    spare = total - sum(quotient for quotient, _ in shares.values())
    by_remainder = sorted(shares, key=lambda name: -shares[name][1])  # stable: ties keep order
    return {name: shares[name][0] + (name in by_remainder[:spare]) for name in shares}
