"""Conversion of rows to examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from harness.config import DataConfig
from harness.data.rows.columns import (
    Row,
    answer_field,
    render,
    rendered,
    system_turn,
)
from harness.data.rows.conversations import Turn, chained, shown, up_to_the_answer
from harness.data.rows.example import Example
from harness.data.rows.files.sources import naming
from harness.errors import InputError, unknown


def examples_of(
    rows: Iterable[Row], config: DataConfig, split: str, counts: dict[str, int]
) -> list[Example]:
    """Convert rows to examples. Empty answers are dropped and counted; InputError if none is left."""
    column, field = answer_field(config)
    n, n_passed_over, examples = 0, 0, []
    for example in _examples(rows, config, column):
        n += 1
        n_passed_over += sum(not turn.learned for turn in example.turns)
        if example.references:
            examples.append(example)
    if n_passed_over:
        counts[f"{split}_turns_not_learned"] = n_passed_over
    counts[f"{split}_rows_without_answer"] = n - len(examples)
    if not examples:
        raise InputError(f"All {n} rows are empty in {field} '{column}'.")
    return examples


def _examples(rows: Iterable[Row], config: DataConfig, column: str) -> Iterator[Example]:
    if config.is_chat:
        for said in _conversations(rows, config, column):
            before = said.before
            yield Example(shown(before), said.answers, turns=before, fields=said.fields)
        return
    for row in rows:
        prompt, own = ("", ()) if config.is_plain_text else rendered(config, row)
        yield Example(prompt, _answers(row[column]), template=own)


def _answers(value: object) -> tuple[str, ...]:
    """Return the answers of a value that holds one or several, without empty ones."""
    answers = value if isinstance(value, list) else [value]
    return tuple(answer for answer in map(str, answers) if answer.strip())


class _Conversation(NamedTuple):
    before: tuple[Turn, ...]  # turns before the last answer
    answers: tuple[str, ...]  # all accepted forms of the last answer
    fields: str  # its other fields, as JSON


def _conversations(rows: Iterable[Row], config: DataConfig, column: str) -> Iterator[_Conversation]:
    """Yield for each row the turns before the last answer, all its forms and the extra values.

    The forms are () where the answer is empty.
    """
    if config.messages_column is not None:
        for row in rows:
            one = up_to_the_answer(row[column])  # pyright: ignore[reportArgumentType]
            if one is None:
                yield _Conversation(before=(), answers=(), fields="")
            else:
                before, answer = one
                yield _Conversation(before, (answer.content,), answer.fields)
        return
    rows = list(rows)  # chains go back and forth in them
    asked = [Turn("user", render(config, row).strip()) for row in rows]
    answers = [_answers(row[column]) for row in rows]
    chains = [[index] for index in range(len(rows))]
    if config.parent_id_column is not None:
        ids = [str(row[str(config.id_column)]) for row in rows]
        parents = [str(row[config.parent_id_column]) for row in rows]
        fields = "data.id_column and data.parent_id_column"
        chains = chained(ids, parents, fields, config.limit_chained_samples)
    for chain in chains:
        *before, last = chain
        system = system_turn(config, rows[chain[0]])
        turns = [Turn("system", system)] if system else []
        for index in (index for index in before if answers[index]):
            turns += [asked[index], Turn("assistant", answers[index][0])]
        yield _Conversation(before=(*turns, asked[last]), answers=answers[last], fields="")


def number_classes(rows: dict[str, list[Example]], config: DataConfig) -> tuple[str, ...]:
    """Number the class of every example. Also returns the names of all classes of train.

    Call it before splits are drawn. Raises InputError if there is a single class, or if another split
    has a class that train does not have.
    """
    labels = sorted({example.references[0] for example in rows["train"]})
    if len(labels) < 2:
        raise InputError(
            f"data.label_column={config.label_column!r} cannot be used: all rows of data.train have "
            f"one class, '{labels[0]}'. A classifier needs at least two."
        )
    places = {label: place for place, label in enumerate(labels)}
    for split, examples in rows.items():
        for number, example in enumerate(examples):
            name = example.references[0]
            if name not in places:
                with naming(f"data.{split}"):
                    raise unknown(
                        f"class in data.label_column={config.label_column!r}", name, labels
                    )
            examples[number] = replace(example, label=places[name])
    return tuple(labels)
