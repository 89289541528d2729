"""Candidates in the order of their quality."""

from __future__ import annotations

from collections.abc import Sequence

from harness.reporting.evidence.candidates import Candidate, CandidateSet


def ranked(candidates: CandidateSet) -> list[Candidate]:
    """Return the feasible candidates by quality, then the others by quality."""
    ordered = by_quality(candidates.members, candidates.maximize)
    return [c for c in ordered if c.feasible] + [c for c in ordered if not c.feasible]


def second_measurements(candidates: CandidateSet) -> list[str]:
    """Return the first other score on the split of quality, as a list of at most one name."""
    split = candidates.quality.split(".")[0]
    names = dict.fromkeys(n for c in candidates.members for n in c.estimates)
    return [n for n in names if n.startswith(f"{split}.") and n != candidates.quality][:1]


def by_quality(candidates: Sequence[Candidate], maximize: bool) -> list[Candidate]:
    """Sort candidates by quality, best first and those without a quality last."""

    def key(candidate: Candidate) -> tuple[bool, float, str]:
        quality = candidate.quality
        value = 0.0 if quality is None else quality.value
        return quality is None, -value if maximize else value, candidate.label

    return sorted(candidates, key=key)
