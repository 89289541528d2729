"""Options that keep a model near its base: replay, distance in distribution, distance in weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.config.strict import require


@dataclass(frozen=True)
class RetentionConfig:
    """Options against forgetting that every method can be trained with; 0 is off.

    ``data.replay`` is the general text that they look back at.
    """

    replay_share: float  # of a step's sequences
    kl_weight: float
    kl_on: Literal["replay", "target"]  # the label tokens of which text
    kl_sequences: int  # of replay text in each step, if replay_share is 0
    l2_sp_weight: float
    ewc_weight: float
    ewc_samples: int  # sequences of replay text that the Fisher information is estimated on

    def __post_init__(self) -> None:
        at = "retention."
        share = self.replay_share
        require(0 <= share < 1, at + "replay_share", share, "a share in [0, 1)")
        for name in ("kl_weight", "l2_sp_weight", "ewc_weight"):
            value = getattr(self, name)
            require(value >= 0, at + name, value, "0 (off) or above")
        for name in ("kl_sequences", "ewc_samples"):
            require(getattr(self, name) >= 1, at + name, getattr(self, name), "at least 1")

    @property
    def looks_back(self) -> str | None:
        """Return the first active option that needs replay text, or None."""
        if self.replay_share:
            return f"retention.replay_share={self.replay_share:g}"
        if self.kl_weight and self.kl_on == "replay":
            return f"retention.kl_weight={self.kl_weight:g}"
        return f"retention.ewc_weight={self.ewc_weight:g}" if self.ewc_weight else None

    def n_replay(self, batch: int) -> int:
        """Return the number of replay sequences in a step's ``batch``.

        This is ``replay_share · batch`` rounded to the nearest integer, halves up. If the share is
        not 0, at least one sequence is replay and at least one is not.
        """
        if not self.replay_share:
            return 0
        return min(batch - 1, max(1, int(self.replay_share * batch + 0.5)))
