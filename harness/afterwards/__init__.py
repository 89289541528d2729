"""Steps after training: merge, interpolate with the base, quantize, analyse the update."""

from harness.afterwards.outcomes import (
    Trained,
    measured_again,
    outcomes_of,
    some_logits,
    wanted,
)
from harness.afterwards.quantize import check_schemes
from harness.afterwards.speed import speeds

__all__ = [
    "Trained",
    "check_schemes",
    "measured_again",
    "outcomes_of",
    "some_logits",
    "speeds",
    "wanted",
]
