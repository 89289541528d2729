"""Knowledge probes: scores of bases and tuned models, and their answers side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.language import phrase, say
from harness.records import read_jsonl
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.table import Cell, Table
from harness.reporting.tables.leaderboard import interval_text
from harness.statistics.measurements.names import (
    PROBES_CHAT_KEPT,
    PROBES_INVENTED,
    PROBES_INVENTED_UNANSWERABLE,
    PROBES_RECALLED,
    PROBES_RECALLED_OLD,
    PROBES_REPETITION,
)

MODELS, LONGEST = 6, 320  # most models side by side; characters shown of an answer
SHOWN = {
    phrase("new"): 8,
    phrase("old"): 4,
    phrase("unanswerable"): 4,
}  # visible probes, evenly spaced; the others are folded
COLUMNS = {
    PROBES_RECALLED: phrase("New facts recalled"),
    PROBES_INVENTED: phrase("New facts invented"),
    PROBES_INVENTED_UNANSWERABLE: phrase("Invented where there is no answer"),
    PROBES_RECALLED_OLD: phrase("Old facts recalled"),
    PROBES_REPETITION: phrase("Repetition"),
    PROBES_CHAT_KEPT: phrase("Chat kept"),
}


@dataclass(frozen=True)
class Said:
    """One answer, divided around the value that decided its ``verdict``."""

    before: str
    named: str
    after: str
    verdict: str
    note: str  # set if an answer lacks the form of a chat model's; else ''


@dataclass(frozen=True)
class Asked:
    kind: str
    prompts: tuple[str, ...]
    accepted: str
    answers: tuple[Said | None, ...]  # in the order of the models


@dataclass(frozen=True)
class Knowledge:
    """Models and their answers to the probes. Empty if no probes were measured."""

    scores: Table = field(default_factory=lambda: Table((), ()))
    models: tuple[tuple[str, str | None], ...] = ()  # (name, method; None for a base)
    shown: tuple[Asked, ...] = ()
    others: tuple[Asked, ...] = ()


def knowledge(candidates: CandidateSet, order: Sequence[Candidate]) -> Knowledge:
    """Collect the answers of the first candidates in ``order`` that were asked, and of their bases."""
    asked = [c for c in order if c.rows and any(name in c.estimates for name in COLUMNS)][:MODELS]
    asked.sort(key=lambda c: [d.label for d in candidates.members].index(c.label))
    if not asked:
        return Knowledge()
    bases: dict[str, Candidate] = {}
    for candidate in asked:
        bases.setdefault(_base_name(candidate), candidate)
    models = [(say("{name}, untouched", name=name), None) for name in bases]
    models += [(candidate.label, candidate.method) for candidate in asked]
    sources = [(c, "base") for c in bases.values()] + [(c, "tuned") for c in asked]
    kept = [(_rows(candidate), which) for candidate, which in sources]
    probes = dict.fromkeys(key for rows, _ in kept for key in rows)
    every = [_asked([(rows.get(key), which) for rows, which in kept]) for key in probes]
    places = sorted(place for kind, n in SHOWN.items() for place in _spread(every, kind, n))
    shown = [every[place] for place in places]
    others = [one for place, one in enumerate(every) if place not in places]
    return Knowledge(_scores(candidates, bases, asked), tuple(models), tuple(shown), tuple(others))


def _base_name(candidate: Candidate) -> str:
    model = candidate.rows[0].record.config.get("model", {})
    return str(model.get("name"))


def _scores(
    candidates: CandidateSet, bases: Mapping[str, Candidate], asked: Sequence[Candidate]
) -> Table:
    names = [
        name
        for name in COLUMNS
        if any(name in c.estimates or name in c.base for c in (*bases.values(), *asked))
    ]
    headers = [say("Model"), *(say(COLUMNS[name]) for name in names)]
    if candidates.forgetting:
        headers.append(
            f"{f.title(candidates.forgetting)}, {f.unit(candidates.forgetting)}".rstrip(", ")
        )
    rows = []
    for name, candidate in bases.items():
        cells = [Cell(say("{name}, untouched", name=name), "quiet")]
        cells += [Cell(f.measured(n, candidate.base.get(n)), "number") for n in names]
        rows.append(
            (*cells, *([Cell(say("0 by definition"), "number")] if candidates.forgetting else []))
        )
    for candidate in asked:
        cells = [Cell(candidate.method, "method")]
        cells += [Cell(interval_text(candidate.estimates.get(n)), "number") for n in names]
        if candidates.forgetting:
            cells.append(Cell(interval_text(candidate.forgetting), "number"))
        rows.append(tuple(cells))
    note = say(
        "Shares of probes (repetition: of an answer's 4-grams). Brackets are 95 % "
        "intervals over probes, and over seeds if there are several. A model with a "
        "chat template is asked in it; any other model continues a sentence. The two "
        "forms differ, so compare a tuned model with its own base first. The new facts "
        "that untouched models recall show the rate of guessing."
    )
    return Table(tuple(headers), tuple(rows), note)


def _rows(candidate: Candidate) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the probes of the first seed, with the answers of base and tuned model."""
    rows = read_jsonl(candidate.rows[0].folder / "probes.jsonl")
    whole = [r for r in rows if isinstance(r, dict) and {"completion", "tuned", "base"} <= set(r)]
    return {(str(row["completion"]), str(row.get("chat"))): row for row in whole}


def _asked(found: Sequence[tuple[dict[str, Any] | None, str]]) -> Asked:
    row = next(row for row, _ in found if row is not None)
    answers = [None if one is None else _said(one[which]) for one, which in found]
    prompts = [one[which]["prompt"] for one, which in found if one is not None]
    accepted = ", ".join(map(str, row["accepted"]))
    return Asked(str(row["kind"]), tuple(dict.fromkeys(prompts)), accepted, tuple(answers))


def _said(answer: Mapping[str, Any]) -> Said:
    text, start, end = str(answer["text"]), int(answer["start"]), int(answer["end"])
    after = text[end:]
    room = max(0, LONGEST - end)
    after = after if len(after) <= room else after[:room] + " …"
    note = say("not as a chat model answers") if answer.get("kept") is False else ""
    return Said(text[:start], text[start:end], after, str(answer["verdict"]), note)


def _spread(every: Sequence[Asked], kind: str, n: int) -> list[int]:
    """Return up to ``n`` positions of a kind, evenly spaced."""
    own = [place for place, one in enumerate(every) if one.kind == kind]
    return own[:: max(1, len(own) // n)][:n]
