"""Candidates in the order of their quality."""

from __future__ import annotations

from collections.abc import Sequence

from harness.reporting.evidence.candidates import Candidate, CandidateSet


def ranked(candidates: CandidateSet) -> list[Candidate]:
    """Feasible candidates by quality, then the others by quality."""
    ordered = by_quality(candidates.members, candidates.maximize)
    return [c for c in ordered if c.feasible] + [c for c in ordered if not c.feasible]


def second_measurements(candidates: CandidateSet) -> list[str]:
    """The first other score on the split that quality is measured on: a table has room for one more."""
    split = candidates.quality.split(".")[0]
    names = dict.fromkeys(n for c in candidates.members for n in c.estimates)
    return [n for n in names if n.startswith(f"{split}.") and n != candidates.quality][:1]


def by_quality(candidates: Sequence[Candidate], maximize: bool) -> list[Candidate]:
    """Best first; those without a quality last."""

    def key(candidate: Candidate) -> tuple[bool, float, str]:
        quality = candidate.quality
        value = 0.0 if quality is None else quality.value
        return quality is None, -value if maximize else value, candidate.label

    return sorted(candidates, key=key)
