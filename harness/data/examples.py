"""From rows to examples, and from examples to splits that share no prompt."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness import builtin
from harness.config import DataConfig
from harness.data.columns import Row, answer_field, needed_columns, render
from harness.data.general import read_general, read_replay
from harness.data.sources import naming, read_rows
from harness.errors import InputError, unknown


@dataclass(frozen=True)
class Example:
    """One input and every answer accepted. Plain text: prompt "", the document as reference.

    Classification: the text as prompt, the name of its class as reference.
    """

    prompt: str
    references: tuple[str, ...]
    label: int | None = None  # classification: the place of its class in ``Splits.labels``


@dataclass(frozen=True)
class Splits:
    """All text a trial sees. ``fingerprint`` depends on this content alone, not on where it lay."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    general: dict[str, tuple[str, ...]]  # domain → documents that forgetting is searched by
    general_test: dict[str, tuple[str, ...]]  # and those that only finalists are measured on
    replay: tuple[str, ...]  # documents to look back at, none of them in either
    fingerprint: str
    counts: dict[str, int]
    labels: tuple[str, ...] = ()  # classification: the names of the classes, sorted


def read_splits(config: DataConfig) -> Splits:
    """Every split and the general text, checked. Raises InputError for whatever cannot be used.

    What is not given is drawn from train by ``split_seed``, whole prompts at a time. Limits take
    the first n of a split, after drawing. ``test`` may be empty (``test_fraction=0``).
    """
    is_text = config.is_plain_text
    counts: dict[str, int] = {}
    given = _given(config)
    needed_columns(config)  # a template that cannot be used is no fault of the file read first
    rows = {}
    for name, (source, paths) in given.items():
        with naming(f"data.{name}"):
            rows[name] = _examples(read_rows(source, paths, config), config, name, counts)
    labels = _label(rows, config) if config.is_classification else ()
    _draw(rows, config)
    train = tuple(rows["train"][: config.train_limit])
    validation, test = (
        tuple((examples if is_text or labels else merge(examples))[:limit])
        for examples, limit in (
            (rows["validation"], config.validation_limit),
            (rows["test"], config.test_limit),
        )
    )
    general, general_test = read_general(config)
    replay = read_replay(config, general, general_test)
    keys = {"train": _keys(train), "validation": _keys(validation), "test": _keys(test)}
    counts |= {
        "train": len(train),
        "validation": len(validation),
        "test": len(test),
        "train_prompts": len(keys["train"]),
        "train_duplicate_rows": len(train) - len(set(train)),
        "validation_prompts_in_train": len(keys["validation"] & keys["train"]),
        "test_prompts_in_train": len(keys["test"] & keys["train"]),
        "test_prompts_in_validation": len(keys["test"] & keys["validation"]),
        "general_documents_in_train": len(keys["train"] & _texts(general, general_test)),
        "general_documents": sum(map(len, general.values())),
        "general_test_documents": sum(map(len, general_test.values())),
        "replay_documents": len(replay),
    }
    fingerprint = _fingerprint(
        {
            "columns": [config.prompt_column, config.answer_column, config.text_column],
            "template": None if config.text_column is not None else config.prompt_template,
            "train": _plain(train),
            "validation": _plain(validation),
            "test": _plain(test),
            "general": general,
            "general_test": general_test,
            "replay": replay,
        }
        | ({"labels": [config.label_column, *labels]} if labels else {})
    )
    texts = (train, validation, test, general, general_test, replay)
    return Splits(*texts, fingerprint, counts, labels)


def fingerprint_examples(examples: Sequence[Example]) -> str:
    """sha256 over prompts, references and classes, in order."""
    classes = [example.label for example in examples if example.label is not None]
    return _fingerprint([_plain(examples), classes] if classes else _plain(examples))


def merge(examples: Sequence[Example]) -> list[Example]:
    """Examples of one prompt become one, with all references in order and none twice."""
    merged: dict[str, dict[str, None]] = {}
    for example in examples:
        merged.setdefault(example.prompt, {}).update(dict.fromkeys(example.references))
    return [Example(prompt, tuple(references)) for prompt, references in merged.items()]


def _given(config: DataConfig) -> dict[str, tuple[str, str | list[str]]]:
    """`{split: (source, paths)}` of the splits that are given. Raises InputError without train."""
    named = {"train": config.train, "validation": config.validation, "test": config.test}
    if config.source == "builtin":
        for name, value in named.items():
            if value is not None:
                raise InputError(
                    f"data.{name}={value!r} cannot be used with data=builtin: choose the source of "
                    "your files as well, e.g. data=jsonl."
                )
        task = (builtin.TASK_TRAIN, builtin.TASK_VALIDATION, builtin.TASK_TEST)
        domain = (builtin.DOMAIN_TRAIN, builtin.DOMAIN_VALIDATION, builtin.DOMAIN_TEST)
        topics = (builtin.TOPICS_TRAIN, builtin.TOPICS_VALIDATION, builtin.TOPICS_TEST)
        paths = domain if config.is_plain_text else topics if config.is_classification else task
        return {name: ("jsonl", str(path)) for name, path in zip(named, paths, strict=True)}
    if config.source == "hub" and config.name is None:
        raise InputError(
            "data.name is not set: give a data set on the hub or a local directory, "
            "e.g. data.name=./my_dataset."
        )
    if not config.train:
        what = (
            "a split, e.g. data.train=train"
            if config.source == "hub"
            else _EXAMPLE_FILE.format(config.source if config.source != "text" else "txt")
        )
        raise InputError(f"data.train is not set: give {what}.")
    return {name: (config.source, value) for name, value in named.items() if value}


_EXAMPLE_FILE = "a file, e.g. data.train=train.{}"


def _examples(
    rows: Sequence[Row], config: DataConfig, split: str, counts: dict[str, int]
) -> list[Example]:
    """Rows as examples; empty answers are left out and counted. InputError if none is left."""
    examples, (column, field) = [], answer_field(config)
    for row in rows:
        prompt = "" if config.is_plain_text else render(config, row)
        answers = row[column]
        answers = [answers] if isinstance(answers, str) else answers
        references = tuple(answer for answer in answers if answer.strip())
        if references:
            examples.append(Example(prompt, references))
    counts[f"{split}_rows_without_answer"] = len(rows) - len(examples)
    if not examples:
        raise InputError(f"All {len(rows)} rows are empty in {field} '{column}'.")
    return examples


def _label(rows: dict[str, list[Example]], config: DataConfig) -> tuple[str, ...]:
    """Number every example's class; the names of all classes of train, before anything is drawn.

    Raises InputError for a single class, and for one that train does not have.
    """
    labels = sorted({example.references[0] for example in rows["train"]})
    if len(labels) < 2:
        raise InputError(
            f"data.label_column={config.label_column!r} cannot be used: all of data.train is in one "
            f"class, '{labels[0]}'. There is nothing to tell apart."
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


def _draw(rows: dict[str, list[Example]], config: DataConfig) -> None:
    """Move whole prompts (plain text: whole documents) from train to the splits not given."""
    missing = [name for name in ("validation", "test") if name not in rows]
    groups = list(dict.fromkeys(map(_key, rows["train"])))
    random.Random(config.split_seed).shuffle(groups)
    target = dict.fromkeys(groups, "train")
    fractions = {"validation": config.validation_fraction, "test": config.test_fraction}
    if "validation" in missing and config.validation_fraction == 0:
        raise InputError(
            "data.validation is not set and data.validation_fraction is 0: give a validation "
            "split, or a share of train to draw it from, e.g. data.validation_fraction=0.1."
        )
    sizes = {
        name: max(1, round(fractions[name] * len(groups))) if fractions[name] else 0
        for name in missing
    }
    if sum(sizes.values()) >= len(groups):
        unit = (
            "documents"
            if config.is_plain_text
            else "texts"
            if config.is_classification
            else "prompts"
        )
        text = "In a text file, blank lines separate documents. " * (config.source == "text")
        raise InputError(
            f"data.train has {len(groups)} different {unit}: too few to draw "
            f"{' and '.join(f'{size} for {name}' for name, size in sizes.items() if size)} from. "
            + text
            + " ".join(
                f"Set data.{name} to a split of its own." for name, size in sizes.items() if size
            )
        )
    start = 0
    for name, size in sizes.items():
        target.update(dict.fromkeys(groups[start : start + size], name))
        start += size
    drawn: dict[str, list[Example]] = {name: [] for name in ("train", *missing)}
    for example in rows["train"]:
        drawn[target[_key(example)]].append(example)
    rows.update(drawn)


def _key(example: Example) -> str:
    return example.prompt or example.references[0]


def _keys(examples: Sequence[Example]) -> set[str]:
    return set(map(_key, examples))


def _plain(examples: Sequence[Example]) -> list[list[str]]:
    return [[example.prompt, *example.references] for example in examples]


def _texts(*sets: dict[str, tuple[str, ...]]) -> set[str]:
    return {text for domains in sets for texts in domains.values() for text in texts}


def _fingerprint(content: object) -> str:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
