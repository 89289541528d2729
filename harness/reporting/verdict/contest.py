"""Comparisons of candidates in quality and of their estimates, and tie letters."""

from __future__ import annotations

from collections.abc import Sequence

from harness.language import phrase
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.estimates import Estimate
from harness.reporting.evidence.ranking import by_quality
from harness.statistics.comparing.comparisons import Comparisons, ScoreDifference
from harness.statistics.comparing.looks import level_at

UNTESTED = phrase("untested")  # in the place of letters, where no difference was tested


def contest(considered: Sequence[Candidate], candidates: CandidateSet) -> Comparisons:
    """Compare the candidates in quality, at the level of this look."""
    found = [c.quality.replicates for c in considered if c.quality is not None]
    assert len(found) == len(considered)
    here = {id(c) for c in considered}
    dropped = [c for c in candidates.members if c.dropped and id(c) not in here]
    others = [c.quality.replicates for c in dropped if c.quality is not None]
    return Comparisons(found, candidates.maximize, level_at(candidates.looks), others)


def compare(
    a: Estimate | None, b: Estimate | None, among: Sequence[Estimate | None]
) -> ScoreDifference | None:
    """Return a minus b, with errors pooled over all estimates of this measurement."""
    known = [one for one in among if one is not None]
    places = {id(one): i for i, one in enumerate(known)}
    if a is None or b is None or id(a) not in places or id(b) not in places:
        return None
    together = Comparisons([one.replicates for one in known], True)
    return together.difference(places[id(a)], places[id(b)])


def tie_letters(considered: Sequence[Candidate], candidates: CandidateSet) -> dict[str, str]:
    """Return label -> letters. Two share one if they do not differ significantly in quality."""
    feasible = by_quality([c for c in considered if c.feasible], candidates.maximize)
    if not feasible:
        return {}
    together = contest(feasible, candidates)
    if not together.tested:
        return {c.label: UNTESTED for c in feasible}
    return {c.label: letter for c, letter in zip(feasible, together.letters(), strict=True)}
