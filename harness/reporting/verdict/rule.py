"""The rule that picks one candidate, as steps that can be run again under other conditions.

The rule keeps the feasible candidates shown to be within the margin of the best in quality and better
than the untouched base. Among these it keeps the least forgetting, and among equals in forgetting it
chooses the cheapest. If no candidate is shown to be within the margin, it names the one with the best
score, without claiming more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.estimates import Estimate
from harness.reporting.evidence.ranking import by_quality
from harness.statistics.comparing.comparisons import Comparisons, Difference
from harness.statistics.comparing.draws import redraw
from harness.statistics.comparing.looks import level_at
from harness.statistics.comparing.margins import FEWEST_ITEMS, alike, margin_of
from harness.statistics.comparing.simultaneous import best_reach
from harness.statistics.scores import Array

DRAWS = 1000
# What counts as the same cost, relative: memory of a device is the same in every run, time is not.
SAME_COST = {"peak_memory_gb": 0.05, "seconds": 0.25, "trainable_parameters": 0.05}


@dataclass(frozen=True)
class Standing:
    """A feasible candidate against the best one in quality."""

    candidate: Candidate
    difference: Difference  # candidate minus best
    shortfall: (
        float  # at most so far below the best of the others, with 95 % confidence; see Comparisons
    )
    better_than_base: bool | None  # shown; None where that cannot be tested


@dataclass(frozen=True)
class Decision:
    """Record of the rule's decision, step by step."""

    margin: float  # in the unit of quality
    best: Candidate  # in quality, as measured
    standings: tuple[Standing, ...]  # every feasible candidate, best quality first
    admissible: tuple[Candidate, ...]  # shown within the margin and better than the base
    calm: tuple[Candidate, ...]  # of those, the least forgetting and what forgets alike
    chosen: Candidate | None
    step: str  # what decided: 'only', 'quality', 'forgetting', 'cost'; 'base', 'blind', 'few': nothing
    cost_name: str | None  # which cost decided, for step 'cost'
    stability: float | None  # share of redraws of items and seeds that choose this one
    choices: tuple[tuple[str, float], ...]  # label, share of the redraws; the most frequent first
    other_margins: tuple[tuple[float, Candidate], ...]  # from this margin on, that choice
    tested: bool  # on seeds: whether anything said of differences has been tested

    @property
    def firm(self) -> bool:
        """True if the choice is shown to be within the margin of the best."""
        return bool(self.admissible)

    def standing(self, candidate: Candidate) -> Standing:
        return next(s for s in self.standings if s.candidate is candidate)


def contest(candidates: Sequence[Candidate], field: CandidateSet) -> Comparisons:
    """Compare the candidates in quality, at the level of this look."""
    found = [c.quality.replicates for c in candidates if c.quality is not None]
    assert len(found) == len(candidates)
    here = {id(c) for c in candidates}
    dropped = [c for c in field.candidates if c.dropped and id(c) not in here]
    others = [c.quality.replicates for c in dropped if c.quality is not None]
    return Comparisons(found, field.maximize, level_at(field.looks), others)


def compare(
    a: Estimate | None, b: Estimate | None, among: Sequence[Estimate | None]
) -> Difference | None:
    """Return a minus b, with errors pooled over all estimates of this measurement."""
    known = [one for one in among if one is not None]
    places = {id(one): i for i, one in enumerate(known)}
    if a is None or b is None or id(a) not in places or id(b) not in places:
        return None
    together = Comparisons([one.replicates for one in known], True)
    return together.difference(places[id(a)], places[id(b)])


def decide(
    candidates: Sequence[Candidate], field: CandidateSet, draws: int = DRAWS
) -> Decision | None:
    """Apply the rule; None if no candidate is feasible."""
    feasible = by_quality([c for c in candidates if c.feasible], field.maximize)
    return _Rule(feasible, field).decision(draws) if feasible else None


class Choice(NamedTuple):
    """The candidate that the rule takes for some scores; candidates by their places."""

    chosen: int | None
    step: str  # that decided
    cost_name: str | None  # of the cost that decided, where one did
    calm: list[int]  # those that forget alike


class _Rule:
    """The rule on feasible candidates, best quality first."""

    def __init__(self, feasible: Sequence[Candidate], field: CandidateSet) -> None:
        self.candidates, self.field = list(feasible), field
        self.contest = contest(feasible, field)
        self.margin = margin_of(field.quality, float(self.contest.means[0]), field.margin)

    def decision(self, draws: int) -> Decision:
        shortfall, better = self.contest.shortfall, self.better
        admitted = [i for i in range(len(better)) if self._admits(shortfall[i], better[i])]
        choice = self.choose(admitted)
        chosen, step = choice.chosen, choice.step
        n = min((c.quality.n for c in self.candidates if c.quality and c.quality.n), default=None)
        if n is not None and n < FEWEST_ITEMS:
            chosen, step = None, "few"
        elif self.field.blind == self.field.quality:
            chosen, step = None, "blind"
        elif chosen is None:
            step = "base"
        choices = self._choices(draws) if chosen is not None else ()
        return Decision(
            margin=self.margin,
            best=self.candidates[0],
            standings=tuple(
                Standing(c, self.contest.difference(i, 0), float(shortfall[i]), better[i])
                for i, c in enumerate(self.candidates)
            ),
            admissible=tuple(self.candidates[i] for i in admitted),
            calm=tuple(self.candidates[i] for i in choice.calm),
            chosen=None if chosen is None else self.candidates[chosen],
            step=step,
            cost_name=choice.cost_name,
            stability=None
            if chosen is None or not choices
            else dict(choices).get(self.candidates[chosen].label, 0.0),
            choices=choices,
            other_margins=self._other_margins(),
            tested=self.contest.tested,
        )

    def _admits(self, shortfall: float, better: bool | None) -> bool:
        return shortfall <= self.margin and better is not False

    @cached_property
    def _means(self) -> Array:
        return self.contest.means

    @cached_property
    def _against_base(self) -> tuple[Array, Array]:
        """Return (k,) values of each base and (k,) gains needed to exceed it; NaN if untestable."""
        k, level = len(self.candidates), self.contest.level
        values, needed = np.full(k, np.nan), np.full(k, np.nan)
        for i, candidate in enumerate(self.candidates):
            base = candidate.base_replicates
            if base is None:
                continue
            both = Comparisons([*self.contest.found, base], self.field.maximize)
            if both.errors.known:
                error = both.errors.between(i, k)
                values[i] = base.mean
                needed[i] = float(best_reach(k + 1, error.df, level)) * error.total
        return values, needed

    def _better(self, means: Array) -> Array:
        """(..., k) means -> (..., k) 1 shown better than the base, 0 not, NaN not testable."""
        values, needed = self._against_base
        gain = (means - values) * (1.0 if self.field.maximize else -1.0)
        return np.where(np.isnan(needed), np.nan, gain > needed)

    @cached_property
    def better(self) -> list[bool | None]:
        return [None if np.isnan(b) else bool(b) for b in self._better(self._means)]

    def choose(
        self,
        admitted: Sequence[int],
        means: Array | None = None,
        forgetting: Array | None = None,
        better: Sequence[bool | None] | None = None,
    ) -> Choice:
        """Return the choice for these scores."""
        means = self._means if means is None else means
        better = self.better if better is None else better
        if not admitted:  # none is shown within the margin: take the best score above its base
            above = [i for i in range(len(means)) if better[i] is not False]
            if not above:
                return Choice(None, step="base", cost_name=None, calm=[])
            best = max(above, key=lambda i: means[i] if self.field.maximize else -means[i])
            step = "only" if len(means) == 1 else "quality"
            return Choice(best, step=step, cost_name=None, calm=[])
        if len(means) == 1:
            return Choice(0, step="only", cost_name=None, calm=[0])
        if len(admitted) == 1:
            return Choice(admitted[0], step="quality", cost_name=None, calm=list(admitted))
        calm, known = self._calm(admitted, forgetting)
        chosen, cost = self._cheapest(calm, means)
        if len(calm) == 1:
            return Choice(chosen, step="forgetting", cost_name=None, calm=calm)
        step = "cost" if cost else ("forgetting" if known else "quality")
        return Choice(chosen, step=step, cost_name=cost, calm=calm)

    @cached_property
    def _forgetting(self) -> Array:
        """(k,), NaN where it was not measured."""
        return np.array(
            [np.nan if c.forgetting is None else c.forgetting.value for c in self.candidates]
        )

    def _calm(self, admitted: Sequence[int], forgetting: Array | None) -> tuple[list[int], bool]:
        """Return the candidates tied for least forgetting, and whether it was measured."""
        values = self._forgetting if forgetting is None else forgetting
        known = [i for i in admitted if not np.isnan(values[i])]
        if not known or self.field.forgetting is None:
            return list(admitted), False
        limit = alike(self.field.forgetting, min(float(values[i]) for i in known))
        return [i for i in known if values[i] <= limit], True

    def _cheapest(self, places: Sequence[int], means: Array) -> tuple[int, str | None]:
        """Return the cheapest: least device memory, then time, then trainable parameters.

        Ties go to the better quality. Candidates of unknown cost lose to those of known cost.
        """
        left, decided = list(places), None
        for name, same in SAME_COST.items():
            costs = {i: cost for i in left if (cost := spent(self.candidates[i], name)) is not None}
            if not costs or len(left) == 1:
                continue
            limit = min(costs.values()) * (1 + same)
            kept = [i for i in left if i in costs and costs[i] <= limit]
            if len(kept) < len(left):
                left, decided = kept, name
        return max(left, key=lambda i: means[i] if self.field.maximize else -means[i]), decided

    def _choices(self, draws: int) -> tuple[tuple[str, float], ...]:
        """Return the rule's choices when items and seeds are redrawn, with their shares."""
        if not draws or not self.contest.tested or len(self.candidates) == 1:
            return ()
        rng = np.random.default_rng([self.field.seed, len(self.candidates)])
        means = redraw(self.contest.errors, self._means, draws, rng)
        short = self.contest.shortfalls(means, self.contest.reaches)
        better = self._better(means)
        forgetting = np.tile(self._forgetting, (draws, 1))
        known = [i for i, c in enumerate(self.candidates) if c.forgetting is not None]
        if known:
            estimates = [self.candidates[i].forgetting for i in known]
            both = Comparisons([one.replicates for one in estimates if one is not None], False)
            forgetting[:, known] = redraw(both.errors, both.means, draws, rng)
        counts: dict[str, int] = {}
        for b in range(draws):
            shown = [None if np.isnan(value) else bool(value) for value in better[b]]
            admitted = [i for i, s in enumerate(short[b]) if self._admits(s, shown[i])]
            chosen = self.choose(admitted, means[b], forgetting[b], shown).chosen
            label = "no recommendation" if chosen is None else self.candidates[chosen].label
            counts[label] = counts.get(label, 0) + 1
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return tuple((label, n / draws) for label, n in ordered)

    def _other_margins(self) -> tuple[tuple[float, Candidate], ...]:
        """Return the margins at which the choice changes, with the choice from there on."""
        found: list[tuple[float, Candidate]] = []
        shortfall = self.contest.shortfall
        for limit in sorted({max(0.0, float(s)) for s in shortfall if np.isfinite(s)}):
            admitted = [
                i for i, s in enumerate(shortfall) if s <= limit and self.better[i] is not False
            ]
            chosen = self.choose(admitted).chosen
            if (
                admitted
                and chosen is not None
                and (not found or found[-1][1] is not self.candidates[chosen])
            ):
                found.append((limit, self.candidates[chosen]))
        return tuple(found)


def spent(candidate: Candidate, name: str) -> float | None:
    """Return a cost that may decide. CPU process memory may not: it varies by 10 % between runs."""
    if name == "seconds":
        train = candidate.cost.get("train_seconds")
        return None if train is None else train + candidate.cost.get("preparation_seconds", 0.0)
    if name == "peak_memory_gb" and candidate.on_cpu:
        return None
    return candidate.cost.get(name)


def tie_letters(candidates: Sequence[Candidate], field: CandidateSet) -> dict[str, str]:
    """Return label -> letters. Two share one if they do not differ significantly in quality."""
    feasible = by_quality([c for c in candidates if c.feasible], field.maximize)
    if not feasible:
        return {}
    together = contest(feasible, field)
    if not together.tested:
        return {c.label: "untested" for c in feasible}
    return {c.label: letter for c, letter in zip(feasible, together.letters(), strict=True)}
