"""Description of the race of finalists: rounds, candidates dropped, and the reason for its end."""

from __future__ import annotations

from harness.language import retold, say
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
    seeds = (
        say("{few} seeds each", few=few)
        if few == many
        else say("{few} to {many} seeds", few=few, many=many)
    )
    text = say(
        "Race: {n} finalists ran with {seeds}, {total} confirm runs, in rounds",
        n=len(each),
        seeds=seeds,
        total=sum(each),
    )
    if candidates.looks:
        level = 100 * (1 - level_at(candidates.looks))
        text += say(
            ". At look {looks} each statement is made with {level:.1f} % confidence, so "
            "that 95 % holds for all looks together",
            looks=candidates.looks,
            level=level,
        )
    labels = {c.configuration: c.label for c in candidates.members}
    dropped = [labels.get(name, name) for name in race.dropped]
    if dropped:
        text += say(
            ". Dropped on the way, beyond the margin: {dropped}", dropped=", ".join(dropped)
        )
    if candidates.looks > race.looks or not race.rounds[-1].said:
        return [say("{text}. It has not ended; this is its state.", text=text)]
    return [
        say(
            "{text}. It ended because {why}.",
            text=text,
            why=retold(race.rounds[-1].said).rstrip(".?"),
        )
    ]
