"""Decision of the rule, and the standing of each candidate against the best one."""

from __future__ import annotations

from dataclasses import dataclass

from harness.reporting.evidence.candidates import Candidate
from harness.statistics.comparing.comparisons import ScoreDifference

UNLIKELY = 0.05  # a chance so small is neglected by the headline, which still states it


@dataclass(frozen=True)
class CandidateStanding:
    """A feasible candidate against the best one in quality."""

    candidate: Candidate
    difference: ScoreDifference  # candidate minus best
    shortfall: float  # 95 % bound on the distance below the best of the others; see Comparisons
    better_than_base: bool | None  # True if shown; None if it cannot be tested


@dataclass(frozen=True)
class Decision:
    """Decision of the rule, with the candidates left after each step."""

    margin: float  # in the unit of quality
    best: Candidate  # in quality, as measured
    standings: tuple[CandidateStanding, ...]  # every feasible candidate, best quality first
    admissible: tuple[Candidate, ...]  # shown within the margin and better than the base
    calm: tuple[Candidate, ...]  # of those, the candidates tied for least forgetting
    chosen: Candidate | None
    step: str  # 'only', 'quality', 'forgetting', 'cost'; without a choice 'base', 'blind', 'few'
    cost_name: str | None  # which cost decided, for step 'cost'
    stability: float | None  # share of redraws of items and seeds that choose this one
    choices: tuple[tuple[str, float], ...]  # label, share of the redraws; the most frequent first
    other_margins: tuple[tuple[float, Candidate], ...]  # (smallest margin, choice from there on)
    tested: bool  # True if the seed variance is known, so that differences were tested
    chance_beyond: float | None  # that another is better by more than the margin; None if untested

    @property
    def firm(self) -> bool:
        """True if the choice is shown to be within the margin of the best."""
        return bool(self.admissible)

    @property
    def probable(self) -> bool:
        """True if the choice is within the margin of the best with a probability of 95 %."""
        return self.chance_beyond is not None and self.chance_beyond <= UNLIKELY

    def standing(self, candidate: Candidate) -> CandidateStanding:
        return next(s for s in self.standings if s.candidate is candidate)
