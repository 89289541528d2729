"""The race of finalists: who is out, who runs again, and when it is over.

The report's own rule judges each look, at a level that is spent over the looks
(``harness.statistics.comparing.looks``). A finalist drops out when somebody is shown to be better by
more than the margin, since it could not be chosen any more: racing (Maron & Moore 1994, NeurIPS).
Between looks nothing is claimed, so seeds may go where they help most: to the pair that decides, as in
LUCB (Kalyanakrishnan, Tewari, Auer & Stone 2012, ICML). It is a finalist that may be the choice, and
the rival whose possible lead over it is largest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.ranking import by_quality
from harness.reporting.verdict.contest import contest
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.rule import decide
from harness.reporting.verdict.wording import in_quality
from harness.statistics.comparing.margins import alike
from harness.statistics.scores import Array

FIRST_SEEDS = 2  # of every finalist: below it nobody knows how seeds differ


@dataclass(frozen=True)
class Look:
    """Finalists that a look drops, and the reason why the race is over, if it is."""

    dropped: Mapping[str, str]  # configuration → why it cannot win
    over: str | None  # why no more seeds are needed; None: some are


def look(candidates: CandidateSet) -> Look:
    """Judge the ``candidates`` as the report does at this look."""
    decision, able = decide(candidates.members, candidates, draws=0), _able(candidates)
    if decision is None:
        return Look({}, "no finalist can be recommended")
    ahead, reaches = _leads(able, candidates)
    surely = ahead - reaches
    dropped = {
        able[
            i
        ].configuration: f"dropped at look {candidates.looks}: {able[j].label} is shown to be better "
        f"by more than the margin of {in_quality(candidates, decision.margin)}"
        for i in range(len(able))
        if surely[j := int(np.argmax(surely[:, i])), i] > decision.margin
    }
    left = [i for i, candidate in enumerate(able) if candidate.configuration not in dropped]
    pair, said = _pair(able, left, ahead + reaches, decision)
    return Look(dropped, None if pair else said)


def deciding(candidates: CandidateSet) -> tuple[tuple[Candidate, ...], str]:
    """Return the finalists whose seeds decide now, and what about. Claims nothing."""
    decision, able = decide(candidates.members, candidates, draws=0), _able(candidates)
    if decision is None:
        return (), "no finalist can be recommended"
    ahead, reaches = _leads(able, candidates)
    pair, said = _pair(able, range(len(able)), ahead + reaches, decision)
    if not pair and decision.step not in ("few", "blind"):  # the next look will probably end it
        pair, said = _against_rival(able, range(len(able)), ahead + reaches, 0, -math.inf)
    return tuple(able[i] for i in pair), said


def _able(candidates: CandidateSet) -> list[Candidate]:
    return by_quality([c for c in candidates.members if c.feasible], candidates.maximize)


def _leads(able: Sequence[Candidate], candidates: CandidateSet) -> tuple[Array, Array]:
    """Return (k, k): by how much i is ahead of j, and how far that may be off; infinite untested."""
    found = contest(able, candidates)
    sign = 1.0 if candidates.maximize else -1.0
    ahead = sign * (found.means[:, None] - found.means[None, :])
    reaches = found.reaches if found.tested else np.full(ahead.shape, np.inf)
    np.fill_diagonal(reaches := np.array(reaches), 0.0)
    return ahead, reaches


def _pair(
    able: Sequence[Candidate], left: Sequence[int], at_most: Array, decision: Decision
) -> tuple[list[int], str]:
    """Return the places of those whose seeds decide, and what about; nobody where all is decided.

    ``at_most``: (k, k), by how much i may be ahead of j.
    """
    if decision.step in ("few", "blind"):
        return [], "no number of seeds would lead to a choice"

    if not decision.admissible:
        above = [i for i in left if decision.standing(able[i]).better_than_base is not False]
        leader = (above or list(left))[0]
        if len(left) == 1 and above:
            return [], f"{able[leader].label} alone is left"
        return _against_rival(able, left, at_most, leader, decision.margin)
    chosen = decision.chosen
    assert chosen is not None
    open_yet = [
        i for i in left if able[i] not in decision.admissible and _forgets_less(able[i], chosen)
    ]
    if open_yet:
        nearest = min(open_yet, key=lambda i: max(at_most[j, i] for j in left if j != i))
        pair, said = _against_rival(able, left, at_most, nearest, decision.margin)
        return pair, f"{said} It forgets less than {chosen.label}."
    return [], f"{chosen.label} is shown to be within the margin, and nobody left forgets less"


def _against_rival(
    able: Sequence[Candidate], left: Sequence[int], at_most: Array, i: int, margin: float
) -> tuple[list[int], str]:
    j = max((j for j in left if j != i), key=lambda j: at_most[j, i], default=None)
    if j is None or at_most[j, i] <= margin:
        return [i], f"{able[i].label}: is it better than the untouched base?"
    return [i, j], f"{able[i].label} against {able[j].label}: is the first within the margin?"


def _forgets_less(candidate: Candidate, chosen: Candidate) -> bool:
    own, other = candidate.forgetting, chosen.forgetting
    return own is not None and other is not None and alike(own.name, own.value) < other.value


def next_seeds(seeds: Mapping[str, int], pair: Sequence[str], workers: int = 1) -> dict[str, int]:
    """Return the seeds that each of ``pair`` has after the next round.

    The one with fewer catches up, by half its own, so that both are compared on the same seeds. Equals
    get one more each, or as many as there are workers.
    """
    assert pair
    fewest, most = (f(seeds[name] for name in pair) for f in (min, max))
    if fewest < most:
        goal = min(most, fewest + max(math.ceil(fewest / 2), workers))
    else:
        goal = most + math.ceil(workers / len(pair))
    return {name: goal for name in pair if seeds[name] < goal}
