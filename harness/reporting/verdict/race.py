"""Description of the race of finalists: rounds, candidates dropped, and the reason for its end."""

from __future__ import annotations

from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.statistics.comparing.looks import level_at


def race_in_words(run: SweepRecords, candidates: CandidateSet) -> list[str]:
    """Describe the rounds of confirm seeds; nothing where all seeds ran at once."""
    race = run.race
    if not race.rounds:
        return []
    each = sorted(race.seeds.values())
    few, many = each[0], each[-1]
    seeds = f"{few} seeds each" if few == many else f"{few} to {many} seeds"
    text = f"Race: {len(each)} finalists ran with {seeds}, {sum(each)} confirm runs, in rounds"
    if candidates.looks:
        level = 100 * (1 - level_at(candidates.looks))
        text += (
            f". At look {candidates.looks} each statement is made with {level:.1f} % confidence, so "
            "that 95 % holds for all looks together"
        )
    labels = {c.configuration: c.label for c in candidates.members}
    dropped = [labels.get(name, name) for name in race.dropped]
    if dropped:
        text += f". Dropped on the way, beyond the margin: {', '.join(dropped)}"
    if candidates.looks > race.looks or not race.rounds[-1].said:
        return [f"{text}. It has not ended; this is its state."]
    return [f"{text}. It ended because {race.rounds[-1].said.rstrip('.?')}."]
