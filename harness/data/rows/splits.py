"""Splits that share no prompt: given or drawn, limited, counted, and fingerprinted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import builtin
from harness.config import DataConfig
from harness.config.strict import require
from harness.data.collection import uncollected
from harness.data.rows.chat_template import read_template
from harness.data.rows.columns import (
    needed_columns,
)
from harness.data.rows.example import Example, digest, merge, plain
from harness.data.rows.examples import examples_of, number_classes
from harness.data.rows.files.sources import SOURCE_OF_SUFFIX, naming, stream_rows
from harness.data.rows.general import read_general
from harness.data.rows.overlap import as_examples, without_overlap
from harness.data.rows.sampling import sample
from harness.data.rows.split_drawing import draw, share, without_duplicates
from harness.errors import InputError


@dataclass(frozen=True)
class Splits:
    """All text of a trial. ``fingerprint`` depends on the content alone, not on its location."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    general: dict[str, tuple[str, ...]]  # domain → documents that measure forgetting in the search
    general_test: dict[
        str, tuple[str, ...]
    ]  # domain → documents that measure it for finalists only
    replay: tuple[str, ...]  # documents to replay; none of them is in either of these
    fingerprint: str
    counts: dict[str, int]
    labels: tuple[str, ...] = ()  # classification: the names of the classes, sorted


def read_splits(config: DataConfig) -> Splits:
    """Read and check every split and the general text. Raises InputError for unusable data.

    Splits that are not configured are drawn from train by ``split_seed``, whole prompts at a time.
    Limits take a random sample of a split by ``split_seed``, after drawing. ``test`` may be empty
    (``test_fraction=0``).
    """
    is_text = config.is_plain_text
    counts: dict[str, int] = {}
    given = _given(config)
    needed_columns(config)  # an unusable template is reported before any file is read
    template = read_template(config)
    rows = {}
    for name, (source, paths) in given.items():
        seen: Counter[str] = Counter()
        with naming(f"data.{name}"), uncollected():
            rows[name] = examples_of(stream_rows(source, paths, config, seen), config, name, counts)
        counts |= {f"{name}_{what}": n for what, n in seen.items() if n}
        unique = without_duplicates(rows[name])
        if config.drop_duplicates:
            counts[f"{name}_duplicate_rows_dropped"] = len(rows[name]) - len(unique)
            rows[name] = unique
        elif name != "train":
            counts[f"{name}_duplicate_rows"] = len(rows[name]) - len(unique)
    labels = number_classes(rows, config) if config.is_classification else ()
    draw(rows, config)
    whole = share(rows["train"], config.train_share, config.split_seed)

    def limited(name: str, examples: Sequence[Example], limit: int | None) -> tuple[Example, ...]:
        kept = sample(examples, limit, config.split_seed)
        if len(kept) < len(examples):
            counts[f"{name}_left_out_by_limit"] = len(examples) - len(kept)
        return tuple(kept)

    validation, test = (
        limited(name, rows[name] if is_text or labels else merge(rows[name]), limit)
        for name, limit in (("validation", config.validation_limit), ("test", config.test_limit))
    )
    texts = read_general(config)
    general, general_test, replay = texts.search, texts.test, texts.replay
    counts |= texts.counts
    if config.drop_overlap != "none":
        documents = as_examples(general, general_test)
        held_out = {"data.validation": validation, "data.test": test, "data.general": documents}
        kept = without_overlap(
            whole,
            held_out,
            kind=config.drop_overlap,
            n=config.overlap_ngram,
            least=config.overlap_similarity,
        )
        counts["train_rows_dropped_for_overlap"] = len(whole) - len(kept)
        whole = kept
    train = limited("train", whole, config.train_limit)
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
    fingerprint = digest(
        {
            "columns": [config.prompt_column, config.answer_column, config.text_column],
            "template": None if config.text_column is not None else config.prompt_template,
            "train": plain(train),
            "validation": plain(validation),
            "test": plain(test),
            "general": general,
            "general_test": general_test,
            "replay": replay,
        }
        | ({"labels": [config.label_column, *labels]} if labels else {})
        | ({"chat_template": template} if template is not None else {})
    )
    return Splits(
        train=train,
        validation=validation,
        test=test,
        general=general,
        general_test=general_test,
        replay=replay,
        fingerprint=fingerprint,
        counts=counts,
        labels=labels,
    )


def _given(config: DataConfig) -> dict[str, tuple[str, str | list[str]]]:
    """Return `{split: (source, paths)}` of the configured splits. Raises InputError without train."""
    named = {"train": config.train, "validation": config.validation, "test": config.test}
    if config.source == "builtin":
        for name, value in named.items():
            if value is not None:
                first = value if isinstance(value, str) else next(iter(value), "")
                source = SOURCE_OF_SUFFIX.get(Path(first).suffix.lower(), "jsonl")
                raise InputError(
                    f"data.{name}={value!r} cannot be used with data=builtin: choose the source of "
                    f"your files as well, e.g. data={source}."
                )
        paths = _builtin(config)
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


def _builtin(config: DataConfig) -> tuple[Path, Path, Path]:
    """Train, validation and test of the built-in data that ``config`` names or has the columns of."""
    unnamed = (
        (builtin.DOMAIN_TRAIN, builtin.DOMAIN_VALIDATION, builtin.DOMAIN_TEST)
        if config.is_plain_text
        else (builtin.TOPICS_TRAIN, builtin.TOPICS_VALIDATION, builtin.TOPICS_TEST)
        if config.is_classification
        else (builtin.TASK_TRAIN, builtin.TASK_VALIDATION, builtin.TASK_TEST)
    )
    of_name = {
        None: unnamed,
        "isle": (builtin.ISLE_TRAIN, builtin.ISLE_VALIDATION, builtin.ISLE_TEST),
        "sums": (builtin.SUMS_TRAIN, builtin.SUMS_VALIDATION, builtin.SUMS_TEST),
        "game": (builtin.GAME_TRAIN, builtin.GAME_VALIDATION, builtin.GAME_TEST),
        "summaries": (
            builtin.SUMMARIES_TRAIN,
            builtin.SUMMARIES_VALIDATION,
            builtin.SUMMARIES_TEST,
        ),
    }
    accepted = "null or one of " + ", ".join(filter(None, of_name))
    require(config.name in of_name, "data.name", config.name, f"{accepted} with data=builtin")
    return of_name[config.name]


_EXAMPLE_FILE = "a file, e.g. data.train=train.{}"


def _keys(examples: Sequence[Example]) -> set[str]:
    return {example.key for example in examples}


def _texts(*sets: dict[str, tuple[str, ...]]) -> set[str]:
    return {text for domains in sets for texts in domains.values() for text in texts}
