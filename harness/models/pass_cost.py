"""Cost of one more forward pass of a model, by which sequences are divided into batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.data.tokens.batches import FORWARD_TOKENS
from harness.models.weights.stored_bytes import number_of_weights

if TYPE_CHECKING:
    from torch import nn

# Operations that a GPU could do in one pass's launches. A LoRA pass of 28 layers launches some 7,600
# kernels, which takes Python 40 ms. A large GPU does 2e14 operations a second in 16 bits.
LOST_IN_LAUNCHES = 40e-3 * 2e14
OPERATIONS = 6  # for each weight and token, forward and backward
MOST_TOKENS = 8192


def forward_tokens(model: nn.Module) -> int:
    """Return the cost of one more forward pass of ``model``, in padding tokens.

    A CPU computes from the first operation on, and pays mostly for tokens. A GPU waits for launches,
    in which a small model would read thousands of tokens and one of 8 billion weights 167. The figure
    for a GPU follows from the number of weights, so that each run divides a step in the same way. It
    is an estimate, which a measurement on a GPU may correct.
    """
    weights = list(model.parameters())
    if not any(weight.is_cuda for weight in weights):
        return FORWARD_TOKENS
    return tokens_of_launches(sum(map(number_of_weights, weights)))


def tokens_of_launches(weights: int) -> int:
    """Return the tokens that a model of so many ``weights`` would read in one pass's launches."""
    return min(MOST_TOKENS, round(LOST_IN_LAUNCHES / (OPERATIONS * weights)))
