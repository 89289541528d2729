"""Rule that chooses one candidate, in steps that can be repeated under other conditions.

The rule keeps the feasible candidates shown to be within the margin of the best in quality and better
than the untouched base. Among these it keeps the least forgetting, and among equals in forgetting it
chooses the cheapest. If no candidate is shown to be within the margin, it names the one with the best
score, without claiming more.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from harness.language import say
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.ranking import by_quality
from harness.reporting.verdict.contest import contest
from harness.reporting.verdict.decision import CandidateStanding, Decision
from harness.statistics.comparing.comparisons import Comparisons
from harness.statistics.comparing.draws import redraw
from harness.statistics.comparing.margins import FEWEST_ITEMS, alike, margin_of
from harness.statistics.comparing.simultaneous import best_reach
from harness.statistics.scores import Array

DRAWS = 1000
# Relative differences that count as the same cost. Device memory hardly varies between runs, time does.
SAME_COST = {"peak_memory_gb": 0.05, "seconds": 0.25, "trainable_parameters": 0.05}


def decide(
    considered: Sequence[Candidate], candidates: CandidateSet, draws: int = DRAWS
) -> Decision | None:
    """Apply the rule; None if no candidate is feasible."""
    feasible = by_quality([c for c in considered if c.feasible], candidates.maximize)
    return _Rule(feasible, candidates).decision(draws) if feasible else None


class RuleChoice(NamedTuple):
    """Choice of the rule for given scores; candidates are given by index."""

    chosen: int | None
    step: str  # the step that decided
    cost_name: str | None  # the cost that decided, if one did
    calm: list[int]  # candidates tied for least forgetting


class _Rule:
    """Applies the rule to feasible candidates, ordered by quality, best first."""

    def __init__(self, feasible: Sequence[Candidate], candidates: CandidateSet) -> None:
        self.feasible, self.candidates = list(feasible), candidates
        self.contest = contest(feasible, candidates)
        self.margin = margin_of(candidates.quality, float(self.contest.means[0]), candidates.margin)

    def decision(self, draws: int) -> Decision:
        shortfall, better = self.contest.shortfall, self.better
        admitted = [i for i in range(len(better)) if self._admits(shortfall[i], better[i])]
        choice = self.choose(admitted)
        chosen, step = choice.chosen, choice.step
        n = min((c.quality.n for c in self.feasible if c.quality and c.quality.n), default=None)
        if n is not None and n < FEWEST_ITEMS:
            chosen, step = None, "few"
        elif self.candidates.blind == self.candidates.quality:
            chosen, step = None, "blind"
        elif chosen is None:
            step = "base"
        choices = self._choices(draws) if chosen is not None else ()
        return Decision(
            margin=self.margin,
            best=self.feasible[0],
            standings=tuple(
                CandidateStanding(c, self.contest.difference(i, 0), float(shortfall[i]), better[i])
                for i, c in enumerate(self.feasible)
            ),
            admissible=tuple(self.feasible[i] for i in admitted),
            calm=tuple(self.feasible[i] for i in choice.calm),
            chosen=None if chosen is None else self.feasible[chosen],
            step=step,
            cost_name=choice.cost_name,
            stability=None
            if chosen is None or not choices
            else dict(choices).get(self.feasible[chosen].label, 0.0),
            choices=choices,
            other_margins=self._other_margins(),
            tested=self.contest.tested,
            chance_beyond=None if chosen is None else self._chance_beyond(chosen),
        )

    def _chance_beyond(self, chosen: int) -> float | None:
        rng = np.random.default_rng([self.candidates.seed, len(self.feasible)])
        return self.contest.chance_beyond(chosen, self.margin, rng)

    def _admits(self, shortfall: float, better: bool | None) -> bool:
        return shortfall <= self.margin and better is not False

    @cached_property
    def _means(self) -> Array:
        return self.contest.means

    @cached_property
    def _against_base(self) -> tuple[Array, Array]:
        """Return (k,) values of each base and (k,) gains needed to exceed it; NaN if untestable."""
        k, level = len(self.feasible), self.contest.level
        values, needed = np.full(k, np.nan), np.full(k, np.nan)
        for i, candidate in enumerate(self.feasible):
            base = candidate.base_replicates
            if base is None:
                continue
            both = Comparisons([*self.contest.found, base], self.candidates.maximize)
            if both.errors.known:
                error = both.errors.between(i, k)
                values[i] = base.mean
                needed[i] = float(best_reach(k + 1, error.df, level)) * error.total
        return values, needed

    def _better(self, means: Array) -> Array:
        """Test (..., k) means against the base: 1 if better, 0 if not shown, NaN if untested."""
        values, needed = self._against_base
        gain = (means - values) * (1.0 if self.candidates.maximize else -1.0)
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
    ) -> RuleChoice:
        """Return the choice for these scores."""
        means = self._means if means is None else means
        better = self.better if better is None else better
        if not admitted:  # none is shown within the margin: take the best score above its base
            above = [i for i in range(len(means)) if better[i] is not False]
            if not above:
                return RuleChoice(None, step="base", cost_name=None, calm=[])
            best = max(above, key=lambda i: means[i] if self.candidates.maximize else -means[i])
            step = "only" if len(means) == 1 else "quality"
            return RuleChoice(best, step=step, cost_name=None, calm=[])
        if len(means) == 1:
            return RuleChoice(0, step="only", cost_name=None, calm=[0])
        if len(admitted) == 1:
            return RuleChoice(admitted[0], step="quality", cost_name=None, calm=list(admitted))
        calm, known = self._calm(admitted, forgetting)
        chosen, cost = self._cheapest(calm, means)
        if len(calm) == 1:
            return RuleChoice(chosen, step="forgetting", cost_name=None, calm=calm)
        step = "cost" if cost else ("forgetting" if known else "quality")
        return RuleChoice(chosen, step=step, cost_name=cost, calm=calm)

    @cached_property
    def _forgetting(self) -> Array:
        """Return (k,) forgetting of the candidates; NaN if not measured."""
        return np.array(
            [np.nan if c.forgetting is None else c.forgetting.value for c in self.feasible]
        )

    def _calm(self, admitted: Sequence[int], forgetting: Array | None) -> tuple[list[int], bool]:
        """Return the candidates tied for least forgetting, and whether it was measured."""
        values = self._forgetting if forgetting is None else forgetting
        known = [i for i in admitted if not np.isnan(values[i])]
        if not known or self.candidates.forgetting is None:
            return list(admitted), False
        limit = alike(self.candidates.forgetting, min(float(values[i]) for i in known))
        return [i for i in known if values[i] <= limit], True

    def _cheapest(self, places: Sequence[int], means: Array) -> tuple[int, str | None]:
        """Return the cheapest: least device memory, then time, then trainable parameters.

        Ties go to the better quality. Candidates of unknown cost lose to those of known cost.
        """
        left, decided = list(places), None
        for name, same in SAME_COST.items():
            costs = {i: cost for i in left if (cost := spent(self.feasible[i], name)) is not None}
            if not costs or len(left) == 1:
                continue
            limit = min(costs.values()) * (1 + same)
            kept = [i for i in left if i in costs and costs[i] <= limit]
            if len(kept) < len(left):
                left, decided = kept, name
        return max(left, key=lambda i: means[i] if self.candidates.maximize else -means[i]), decided

    def _choices(self, draws: int) -> tuple[tuple[str, float], ...]:
        """Return the rule's choices when items and seeds are redrawn, with their shares."""
        if not draws or not self.contest.tested or len(self.feasible) == 1:
            return ()
        rng = np.random.default_rng([self.candidates.seed, len(self.feasible)])
        means = redraw(self.contest.errors, self._means, draws, rng)
        short = self.contest.shortfalls(means, self.contest.reaches)
        better = self._better(means)
        forgetting = np.tile(self._forgetting, (draws, 1))
        known = [i for i, c in enumerate(self.feasible) if c.forgetting is not None]
        if known:
            estimates = [self.feasible[i].forgetting for i in known]
            both = Comparisons([one.replicates for one in estimates if one is not None], False)
            forgetting[:, known] = redraw(both.errors, both.means, draws, rng)
        counts: dict[str, int] = {}
        for b in range(draws):
            shown = [None if np.isnan(value) else bool(value) for value in better[b]]
            admitted = [i for i, s in enumerate(short[b]) if self._admits(s, shown[i])]
            chosen = self.choose(admitted, means[b], forgetting[b], shown).chosen
            label = say("no recommendation") if chosen is None else self.feasible[chosen].label
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
                and (not found or found[-1][1] is not self.feasible[chosen])
            ):
                found.append((limit, self.feasible[chosen]))
        return tuple(found)


def spent(candidate: Candidate, name: str) -> float | None:
    """Return a cost that may decide. CPU process memory may not: it varies by 10 % between runs."""
    if name == "seconds":
        train = candidate.cost.get("train_seconds")
        return None if train is None else train + candidate.cost.get("preparation_seconds", 0.0)
    if name == "peak_memory_gb" and candidate.on_cpu:
        return None
    return candidate.cost.get(name)
