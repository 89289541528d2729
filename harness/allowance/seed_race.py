"""The race of finalists for confirmation seeds: who drops out, which question is open, when it ends.

Each look applies the report's own rule at a significance level that is spread over all looks
(``harness.statistics.comparing.looks``). A finalist drops out if another one is shown to be better
by more than the margin (racing, Maron & Moore 1994, NeurIPS). No claim is made between looks, so the
race may end there as soon as the choice is probably right, and seeds may go where they help most
(``harness.allowance.seed_allocation``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.allowance.seed_allocation import seed_variances
from harness.language import recorded
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.ranking import by_quality
from harness.reporting.verdict.contest import contest
from harness.reporting.verdict.decision import Decision
from harness.reporting.verdict.rule import decide
from harness.reporting.verdict.wording import in_quality
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.margins import alike, margin_of
from harness.statistics.scores import Array

FIRST_SEEDS = 2  # of every finalist: with fewer the spread between seeds is unknown
# The race may end when the risk of its choice is this share of the risk that the whole budget would
# leave, shared equally, and need not go on below the least risk. Both are chosen by simulation, see
# docs/statistics.md. Ending is wrong more often than the risk states, so it claims nothing.
SHARE_OF_RISK = 0.2
LEAST_RISK = 0.001


@dataclass(frozen=True)
class Look:
    """Outcome of one look: the finalists that drop out, and why the race is over, if it is."""

    dropped: Mapping[str, str]  # configuration → why it cannot win
    over: str | None  # why no more seeds are needed; None: some are


def look(candidates: CandidateSet) -> Look:
    """Judge the ``candidates`` by the report's rule."""
    decision, able = decide(candidates.members, candidates, draws=0), _able(candidates)
    if decision is None:
        return Look({}, recorded("no finalist can be recommended"))
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
    pair, question = _pair(able, left, ahead + reaches, decision)
    return Look(dropped, None if pair else question)


def deciding(candidates: CandidateSet) -> tuple[tuple[Candidate, ...], str]:
    """Return the finalists that need more seeds, and the open question. Makes no claim."""
    decision, able = decide(candidates.members, candidates, draws=0), _able(candidates)
    if decision is None:
        return (), recorded("no finalist can be recommended")
    ahead, reaches = _leads(able, candidates)
    pair, question = _pair(able, range(len(able)), ahead + reaches, decision)
    if not pair and decision.step not in ("few", "blind"):  # the next look will probably end it
        pair, question = _against_rival(able, range(len(able)), ahead + reaches, 0, -math.inf)
    return tuple(able[i] for i in pair), question


def probably_right(candidates: CandidateSet, each: float) -> str | None:
    """Return why more seeds would probably not lead to a better choice, or None if they may.

    The risk of a choice is the probability that its strongest rival is better by more than the margin.
    It is compared with that of a fixed design: ``each`` seeds of every finalist, which the whole
    budget would pay for (see ``_risk_of_fixed``).
    """
    able = _able(candidates)
    if not able:
        return None
    found = contest(able, candidates)
    margin = margin_of(candidates.quality, float(found.means[0]), candidates.margin)
    chances, fixed = found.chances_ahead(margin), _risk_of_fixed(found, margin, each)
    right = (chances <= np.maximum(LEAST_RISK, SHARE_OF_RISK * fixed)).all(axis=1)
    if not right.any():
        return None
    decision = decide(candidates.members, candidates, draws=0)
    if decision is None or decision.chosen is None or not right[able.index(decision.chosen)]:
        return None
    return recorded(
        "{label} is probably right: its strongest rival is hardly better by more than the margin",
        label=decision.chosen.label,
    )


def _risk_of_fixed(found: Comparisons, margin: float, each: float) -> Array:
    """Return (k, k) probabilities that ``each`` seeds of two finalists choose the worse one.

    They are for two that differ by exactly the margin, the edge of the indifference zone (Bechhofer
    1954, Ann. Math. Stat. 25:16), with the mean seed variance of all.
    """
    k = len(found.found)
    items = found.errors.item_covariance[:k, :k]
    alone = np.diag(items)
    variances = alone[:, None] + alone - 2 * items + 2 * seed_variances(found).mean() / each
    return special.ndtr(-margin / np.sqrt(np.maximum(variances, 1e-18)))


def _able(candidates: CandidateSet) -> list[Candidate]:
    return by_quality([c for c in candidates.members if c.feasible], candidates.maximize)


def _leads(able: Sequence[Candidate], candidates: CandidateSet) -> tuple[Array, Array]:
    """Return the lead of i over j, and its margin of error (infinite if untested), both (k, k)."""
    found = contest(able, candidates)
    sign = 1.0 if candidates.maximize else -1.0
    ahead = sign * (found.means[:, None] - found.means[None, :])
    reaches = found.reaches if found.tested else np.full(ahead.shape, np.inf)
    np.fill_diagonal(reaches := np.array(reaches), 0.0)
    return ahead, reaches


def _pair(
    able: Sequence[Candidate], left: Sequence[int], at_most: Array, decision: Decision
) -> tuple[list[int], str]:
    """Return the indices of the finalists that need more seeds, and the open question.

    No indices are returned if everything is decided; the text is then the reason. ``at_most`` (k,
    k) is the largest lead of i over j that the data allow.
    """
    if decision.step in ("few", "blind"):
        return [], recorded("no number of seeds would lead to a choice")

    if not decision.admissible:
        above = [i for i in left if decision.standing(able[i]).better_than_base is not False]
        leader = (above or list(left))[0]
        if len(left) == 1 and above:
            return [], recorded("only {label} is left", label=able[leader].label)
        return _against_rival(able, left, at_most, leader, decision.margin)
    chosen = decision.chosen
    assert chosen is not None
    open_yet = [
        i for i in left if able[i] not in decision.admissible and _forgets_less(able[i], chosen)
    ]
    if open_yet:
        nearest = min(open_yet, key=lambda i: max(at_most[j, i] for j in left if j != i))
        pair, question = _against_rival(able, left, at_most, nearest, decision.margin)
        return pair, recorded(
            "{question} It forgets less than {label}.", question=question, label=chosen.label
        )
    return (
        [],
        recorded(
            "{label} is shown to be within the margin, and no other finalist forgets less",
            label=chosen.label,
        ),
    )


def _against_rival(
    able: Sequence[Candidate], left: Sequence[int], at_most: Array, i: int, margin: float
) -> tuple[list[int], str]:
    j = max((j for j in left if j != i), key=lambda j: at_most[j, i], default=None)
    if j is None or at_most[j, i] <= margin:
        return [i], recorded("{label}: is it better than the untouched base?", label=able[i].label)
    return [i, j], recorded(
        "{label} against {other}: is the first within the margin?",
        label=able[i].label,
        other=able[j].label,
    )


def _forgets_less(candidate: Candidate, chosen: Candidate) -> bool:
    own, other = candidate.forgetting, chosen.forgetting
    return own is not None and other is not None and alike(own.name, own.value) < other.value
