"""Check that a trial's texts fit the context length of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config import TrialConfig
from harness.models.checks.positions import positions_of

if TYPE_CHECKING:
    from harness.trials.workbench import Inputs


def check_lengths(config: TrialConfig, inputs: Inputs) -> None:
    """Check text lengths. Raises InputError if a text has more tokens than the model has positions."""
    positions_of(config.model).check(longest(inputs))


def length_cautions(config: TrialConfig, inputs: Inputs) -> list[str]:
    """Return warnings about texts that are longer than the model was trained for."""
    warning = positions_of(config.model).caution(longest(inputs))
    return [warning] if warning else []


def longest(inputs: Inputs) -> int:
    """Return the largest number of tokens that the model reads and generates in a trial."""
    lengths = [inputs.train.longest_text, inputs.final.longest, inputs.watched.longest]
    lengths += [] if inputs.replay is None else [inputs.replay.longest_text]
    return max(lengths)
