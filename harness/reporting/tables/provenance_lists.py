"""Provenance of the numbers: definitions, signatures, sample sizes, versions and warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.language import phrase, retold, say
from harness.records.disk_usage import gigabytes, size_of
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.folders.run_folder import SweepRecords, flat
from harness.reporting.verdict.rule import DRAWS
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, kind_of


def definitions(candidates: CandidateSet) -> list[str]:
    """Return one sentence for each kind of measurement in this report."""
    names = [n for c in candidates.members for n in c.estimates]
    kinds = dict.fromkeys(kind_of(name) for name in names)
    known = [METRIC_DEFINITIONS[kind].definition for kind in kinds if kind in METRIC_DEFINITIONS]
    return [say(definition) for definition in known if definition]


def methodology(run: SweepRecords, candidates: CandidateSet) -> list[str]:
    """Describe in sentences how the numbers were computed and how the choice was made."""
    seeds = run.sweep.confirm.get("seeds")
    stage = (
        say(
            "Hyper-parameters were chosen within each method on the validation split. The "
            "test split was opened once, to choose between the finalists. The winner is "
            "the best of several on the same test examples, so its score is slightly "
            "optimistic."
        )
        if candidates.confirmed
        else say("No finalist was confirmed: the numbers are validation scores of selected trials.")
    )
    lines = [
        say(
            "The rule keeps the candidates within the limits that are shown to be within "
            "the margin of the best in quality, and better than the untouched base. Of "
            "these it keeps the least forgetting, and all within a tenth of it. Of these "
            "it takes the cheapest: by peak memory of a device (within 5 %), then time to "
            "prepare and to train (within a quarter), then trainable parameters. The "
            "memory of a CPU process decides nothing. If no candidate is shown to be "
            "within the margin, the best score is named with the probability that another one is "
            "better by more than the margin: for now, if that is above 5 %. If none is shown "
            "to be better than the base, none is named."
        ),
        stage,
        say(
            "Intervals cover other examples and other seeds. They are t intervals, whose "
            "variance has two parts: examples (jackknife, paired between candidates) and "
            "seeds, pooled over candidates because each has few. With one seed everywhere "
            "they cover other examples alone, and no difference between candidates is "
            "tested."
        ),
        say(
            "Letters: two candidates share one exactly if Tukey's test of all pairs does "
            "not show that they differ. Among equal candidates this test calls some pair "
            "different one time in twenty. Sharing a letter does not show that two are "
            "equal. Shown to be within the margin means that none of the others is better "
            "by more than the margin, with 95 % confidence for all candidates at once (Hsu "
            "1984)."
        ),
        say(
            "Stability: share of {draws:,} redraws of examples and seeds, with the "
            "estimated errors, in which the rule makes the same choice.",
            draws=DRAWS,
        ),
    ]
    lines += _budget(run.sweep.search)
    if isinstance(seeds, list) and seeds:
        lines.append(
            say(
                "Confirm seeds: {seeds}; sweep seed {seed}.",
                seeds=", ".join(map(str, seeds)),
                seed=run.sweep.seed,
            )
        )
    return lines


def _budget(search: Mapping[str, Any]) -> list[str]:
    words = {
        "seconds": say("seconds of training"),
        "tokens": say("tokens"),
        "gpu_hours": say("hours of a device"),
    }
    further = [f"{search[key]:g} {what}" for key, what in words.items() if search.get(key)]
    if not further:
        return []
    return [
        say(
            "Every method had the same budget: at most {trials} search trials. No trial "
            "began after finished ones had used {further}.",
            trials=search.get("trials"),
            further=say(" or ").join(further),
        )
    ]


class Signature(NamedTuple):
    """A measurement, its n, and the signature of how it was made."""

    measurement: str
    n: str  # of items
    signature: str


def signatures(candidates: CandidateSet) -> list[Signature]:
    """Return (measurement, n, signature), one line for each distinct one."""
    found: dict[Signature, None] = {}
    for candidate in candidates.members:
        for row in candidate.rows:
            for name, measured in row.record.measurements.items():
                found[Signature(name, n=str(measured.n), signature=measured.signature)] = None
    return list(found)


def facts(run: SweepRecords, candidates: CandidateSet) -> list[tuple[str, str]]:
    """Return names and values of hardware and software of the trials. Several values are all listed."""
    sweep = run.sweep
    lines = [(say("sweep"), sweep.name), (say("command"), sweep.command)]
    lines += [(say("created"), sweep.created), (say("model"), sweep.model)]
    lines += _base_cards(run)
    lines += [(say("data"), sweep.data), (say("limits"), f.settings(sweep.limits) or say("none"))]
    for part in (phrase("search"), phrase("confirm")):
        values: Mapping[str, Any] = getattr(sweep, part)
        lines.append(
            (say(part), ", ".join(f"{key}={value}" for key, value in values.items()) or None)
        )
    shown = ("model", "data", "versions", "git", "device")
    size = gigabytes(sum(size_of(row.folder) for row in run.rows))
    lines.append((say("disk"), say("{size} in trials", size=size)))
    found: dict[str, Counter[str]] = {}
    for row in run.rows:
        provenance = {key: row.record.provenance.get(key) for key in shown}
        for path, value in flat(provenance).items():
            if value is not None:
                found.setdefault(path, Counter())[str(value)] += 1
    for path, values in found.items():
        told = (
            value if len(values) == 1 else say("{value} ({n} trials)", value=value, n=n)
            for value, n in values.most_common(6)
        )
        lines.append((path, "; ".join(told)))
    return [(name, value) for name, value in lines if value is not None]


_ON_THE_CARD = {
    "licence": phrase("licence of the base, as its card says"),
    "languages": phrase("languages of the base, as its card says"),
    "training data": phrase("training data of the base, as its card says"),
    "biases and limitations": phrase("known biases of the base, as its card says"),
}


def _base_cards(run: SweepRecords) -> list[tuple[str, str]]:
    """Return what the cards of the bases say. Records of earlier versions hold none."""
    known = [row.record.provenance for row in run.rows if "base_card" in row.record.provenance]
    found: dict[str, dict[str, None]] = {}
    for card in (provenance["base_card"] for provenance in known):
        for part, text in (card or {}).items():
            if part in _ON_THE_CARD:
                found.setdefault(part, {})[say("unknown") if text == "unknown" else str(text)] = (
                    None
                )
    if known and not found:
        unknown = say("unknown: it was not on the machine of the trials")
        return [(say("card of the base"), unknown)]
    return [(say(_ON_THE_CARD[part]), "; ".join(texts)) for part, texts in found.items()]


def warnings(run: SweepRecords) -> list[str]:
    """Return the warnings of trials, with the number of trials that raised each."""
    counts = Counter(
        str(warning) for row in run.rows for warning in row.record.provenance.get("warnings") or ()
    )
    return [
        say("{text} ({n} of {trials} trials)", text=retold(text), n=n, trials=len(run.rows))
        for text, n in counts.most_common(30)
    ]


def missing(run: SweepRecords) -> list[str]:
    """Return requested measurements that failed, with the reason and the number of trials."""
    counts = Counter(
        (name, reason) for row in run.rows for name, reason in row.record.missing.items()
    )
    n = len(run.rows)
    return [
        say(
            "{name}: missing in {times} of {n} trials, because {reason}.",
            name=name,
            times=times,
            n=n,
            reason=retold(reason.rstrip(".")),
        )
        for (name, reason), times in counts.most_common(30)
    ]


def seed_values(candidate: Candidate) -> str:
    """Describe the quality of each seed: '101: 48.2, 102: 49.1'."""
    if candidate.quality is None:
        return f.MISSING
    values = candidate.quality.by_seed
    seeds = [row.record.seed for row in candidate.rows]
    if len(values) != len(seeds):
        return f.MISSING
    name = candidate.quality.name
    return ", ".join(f"{s}: {f.score(name, v)}" for s, v in zip(seeds, values, strict=True))
