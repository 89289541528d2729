"""Cautions about what scores were measured on: truncated answers, known texts, validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.language import counted, retold, say
from harness.reporting import formatting as f
from harness.reporting.evidence.candidate_set import distinguishing
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.reporting.evidence.overlap_counts import (
    MEANS,
    SERIOUS,
    how_many,
    overlap_pairs,
    provenance_of_most,
)
from harness.reporting.evidence.ranking import by_quality
from harness.reporting.evidence.searched.dominating import dominating
from harness.statistics.measurements.names import DRIFT_KL, FORGETTING, TEST, VALIDATION

LOOK_BACK = ("replay_share", "kl_weight", "ewc_weight")  # options that train on data.replay
FEW = 1.0  # percent of answers that may be cut without a caution


def answer_cautions(candidates: CandidateSet) -> list[str]:
    """Return a caution for each candidate with truncated answers, and one for truncated prompts."""
    split = "test" if candidates.confirmed else "validation"
    found, shortened = [], 0
    for candidate in candidates.members:
        cut = candidate.estimates.get(f"{split}.unfinished")
        length = _answer_length(candidate)
        shortened = max(shortened, int(length.get("prompts_cut", 0)))
        if cut is not None and cut.value > FEW:
            at = (
                say(" at {tokens} tokens (evaluation.max_new_tokens)", tokens=length["tokens"])
                if length
                else ""
            )
            found.append(
                say(
                    "{label}: {value:.0f} % of the answers were cut{at} before the model had ended "
                    "them. The scores are those of the truncated answers.",
                    label=candidate.label,
                    value=cut.value,
                    at=at,
                )
            )
    if shortened:
        found.append(
            counted(
                shortened,
                "1 prompt was shortened to leave room for an answer within data.max_length.",
                "{n:,} prompts were shortened to leave room for an answer within data.max_length.",
            )
        )
    return found


def _answer_length(candidate: Candidate) -> Mapping[str, Any]:
    """Return the recorded largest length of answers, and the number of shortened prompts."""
    for row in candidate.rows:
        recorded = row.record.provenance.get("answers")
        if isinstance(recorded, dict) and "tokens" in recorded:
            return recorded
    return {}


def retention_cautions(candidates: CandidateSet) -> list[str]:
    """Return a caution for each way in which training held down the very measurement that is judged.

    Replay text never holds a document of the general text, see ``data/rows/general.py``. If both come
    from one source, the general text still tells what is kept of that source alone.
    """
    judged = candidates.forgetting
    if judged is None:
        return []
    same_source: dict[str, list[str]] = {}  # method -> options that are on
    on_task = []
    for candidate in candidates.members:
        config = candidate.rows[0].record.config if candidate.rows else {}
        active = _active(config)
        data = config.get("data") or {}
        own_kl = config.get("retention", {}).get("kl_on") == "target" and "kl_weight" in active
        if own_kl and judged == DRIFT_KL:
            on_task.append(candidate.method)
        used = [name for name in active if not (own_kl and name == "kl_weight")]
        replay = data.get("replay")
        if used and judged.startswith(FORGETTING) and replay and replay == data.get("general"):
            same_source[candidate.method] = [f"retention.{name}" for name in used]
    found = []
    if same_source:
        options = dict.fromkeys(name for names in same_source.values() for name in names)
        found.append(
            say(
                "{methods}: {options} trained on documents of the source that {judged} is "
                "measured on (data.replay is data.general). The documents are others, but of "
                "the same kind: it shows what is kept of that kind of text, and says less "
                "about the rest of what the base could do. Measure another kind too, as a "
                "domain of data.general.",
                methods=", ".join(same_source),
                options=", ".join(options),
                judged=f.title(judged),
            )
        )
    if on_task:
        found.append(
            say(
                "{methods}: retention.kl_weight with kl_on=target keeps down {judged} itself, "
                "on the training examples. Judge it by another measurement, such as "
                "forgetting.kl on general text.",
                methods=", ".join(dict.fromkeys(on_task)),
                judged=f.title(judged),
            )
        )
    return found


def _active(config: Mapping[str, Any]) -> list[str]:
    retention = config.get("retention") or {}
    return [name for name in LOOK_BACK if retention.get(name)]


def overlap_cautions(run: SweepRecords) -> list[str]:
    """Return a caution for each number with more than 1 % of its items in the training data."""
    cautions = []
    for pair in overlap_pairs(run):
        number, sets = how_many(pair), (pair["of"], pair["within"])
        if number > SERIOUS * pair["items"] and sets in MEANS:
            cautions.append(counted(number, *MEANS[sets], items=pair["items"]))
    return cautions


def written_cautions(run: SweepRecords) -> list[str]:
    """Return cautions about unexpected content of the data or form of the prompts."""
    provenance = provenance_of_most(run)
    tokens = (provenance.get("data") or {}).get("tokens") or {}
    hint = (provenance.get("written") or {}).get("hint")
    found = [retold(str(hint))] if hint else []
    as_text = tokens.get("values_with_special_tokens_as_text")
    if as_text:
        found.append(
            say(
                "{as_text:,} values of the training data contain the text of a special token "
                "of this tokenizer. They were read as text, not as that token.",
                as_text=as_text,
            )
        )
    shortened = tokens.get("conversations_shortened")
    if shortened:
        found.append(
            say(
                "{shortened:,} conversations of the training data were longer than "
                "data.max_length and lost their first turns.",
                shortened=shortened,
            )
        )
    return found


def search_cautions(
    run: SweepRecords, candidates: CandidateSet, chosen: Candidate | None
) -> list[str]:
    """Return cautions where the scores of the search speak against the order of the finalists."""
    found = _validation_disagrees(run, candidates)
    return found if chosen is None else found + _dominated(run, candidates, chosen)


def _validation_disagrees(run: SweepRecords, candidates: CandidateSet) -> list[str]:
    """Return a caution if validation ranks another finalist first than test does."""
    if not candidates.confirmed or not candidates.quality.startswith(TEST):
        return []
    name = candidates.quality.replace(TEST, VALIDATION, 1)
    searched = {
        (row.record.method, row.record.configuration): row.record.value(name)
        for row in run.rows
        if row.record.stage == "search" and row.record.status == "complete"
    }
    scored: list[tuple[float, Candidate]] = []
    for candidate in candidates.members:
        value = searched.get((candidate.method, candidate.configuration))
        if value is None and name in candidate.estimates:
            value = candidate.estimates[name].value
        if value is not None and candidate.quality is not None:
            scored.append((value, candidate))
    if len(scored) < 2:
        return []
    sign = -1.0 if candidates.maximize else 1.0
    on_validation = {candidate.label: value for value, candidate in scored}
    by_test = by_quality([candidate for _, candidate in scored], candidates.maximize)
    # The sort is stable: equal validation scores agree with any order on test.
    by_validation = sorted(by_test, key=lambda one: sign * on_validation[one.label])
    if [c.label for c in by_test] == [c.label for c in by_validation]:
        return []
    first, top = by_validation[0], by_test[0]
    if first is top:
        return [
            say("Validation and test agree on the best finalist, but not on the order below it.")
        ]
    values = {c.label: f.score(name, value) for value, c in scored}
    tested = [f.score(candidates.quality, c.quality.value) for c in (top, first) if c.quality]
    return [
        say(
            "Validation and test disagree on the best finalist: {name} puts {first} first "
            "({first_value}; {top} {top_value}), {quality} puts {top} first ({top_tested}; "
            "{first} {first_tested}).",
            name=f.title(name),
            first=first.label,
            first_value=values[first.label],
            top=top.label,
            top_value=values[top.label],
            quality=f.title(candidates.quality),
            top_tested=tested[0],
            first_tested=tested[1],
        )
    ]


def _dominated(run: SweepRecords, candidates: CandidateSet, chosen: Candidate) -> list[str]:
    """Return a caution that names the search trial which beat the choice in quality and forgetting."""
    found = dominating(run, candidates, chosen)
    if found is None:
        return []
    row, values = found.trials[0]
    own = [r for r in run.rows if r.record.method == row.record.method]
    shown = {p: row.settings[p] for p in distinguishing(own) if p in row.settings}
    (quality, forgetting), more = found.names, len(found.trials) - 1
    parts = [
        say(
            "Search trial {trial} of {method} ({settings}) dominates {chosen}: {quality} {value} "
            "against {own}, {forgetting} {moved} against {own_moved} {unit}.",
            trial=row.record.trial,
            method=row.record.method,
            settings=f.settings(shown),
            chosen=chosen.label,
            quality=f.title(quality),
            value=f.score(quality, values[0]),
            own=f.score(quality, found.own[0]),
            forgetting=f.title(forgetting),
            moved=f.score(forgetting, values[1]),
            own_moved=f.score(forgetting, found.own[1]),
            unit=f.unit(forgetting),
        )
    ]
    if more:
        parts.append(counted(more, " So does {n} more.", " So do {n} more."))
    if found.same_texts:
        parts.append(say(" Both have one seed and the same texts of the search."))
    else:
        parts.append(
            say(
                " It was measured with one seed on the texts of the search, the choice with new seeds "
                "on those of the test."
            )
        )
        if found.searched:
            parts.append(say(" On the same texts it is not better in both."))
    parts.append(
        say(
            " It stands out among {n} trials, which is partly luck, and was not confirmed: raise "
            "confirm.finalists to find out.",
            n=sum(r.record.stage == "search" for r in run.rows),
        )
    )
    return ["".join(parts)]
