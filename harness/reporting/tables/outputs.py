"""Answers of the base and the finalists side by side, for a few examples that nobody selected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.language import say
from harness.reporting.evidence.candidates import Candidate
from harness.reporting.evidence.folders.run_folder import read_predictions

SHOWN, ANSWERING, LONGEST = 8, 8, 1200


@dataclass(frozen=True)
class Answer:
    who: str
    method: str | None  # None for the base
    text: str
    exact: bool  # equal to a reference, ignoring white space around it
    unfinished: bool = False  # cut at evaluation.max_new_tokens


@dataclass(frozen=True)
class AnswerExample:
    prompt: str
    references: tuple[str, ...]
    answers: tuple[Answer, ...]


def examples(candidates: Sequence[Candidate], split: str) -> tuple[AnswerExample, ...]:
    """Return evenly spaced examples of a split with the answers of the first candidates' first seed."""
    answered: list[tuple[Candidate, dict[str, dict]]] = []
    for candidate in [c for c in candidates if c.rows][:ANSWERING]:
        rows = read_predictions(candidate.rows[0].folder)
        own = [row for row in rows if row.get("split", split) == split]
        answered.append((candidate, {str(row["prompt"]): row for row in own}))
    prompts = list(next((rows for _, rows in answered if rows), {}))
    step = max(1, len(prompts) // SHOWN)
    made = []
    for prompt in prompts[::step][:SHOWN]:
        found = [(candidate, rows[prompt]) for candidate, rows in answered if prompt in rows]
        given = found[0][1].get("references") or ()
        references = tuple(map(str, [given] if isinstance(given, str) else given))
        base = next((row for _, row in found if isinstance(row.get("base"), str)), None)
        answers = []
        if base is not None:
            cut = base.get("base_unfinished") is True
            answers.append(_answer(say("untouched base"), None, base["base"], references, cut))
        for candidate, row in found:
            identity = (candidate.label, candidate.method, str(row["output"]), references)
            answers.append(_answer(*identity, row.get("unfinished") is True))
        made.append(AnswerExample(_short(prompt), tuple(map(_short, references)), tuple(answers)))
    return tuple(made)


def _answer(
    who: str, method: str | None, text: str, references: Sequence[str], unfinished: bool
) -> Answer:
    exact = text.strip() in {reference.strip() for reference in references}
    return Answer(who, method, _short(text), exact, unfinished)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"
