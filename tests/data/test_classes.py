"""Classification data: which class a text has, what is a label, and what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.data.rows.splits import read_splits
from harness.data.tokens.batches import collate
from harness.data.tokens.encode import encode, encode_for_language_modelling
from harness.data.tokens.token_cache import cached_encode
from harness.errors import InputError

ROWS = [{"text": f"text {i} is long", "kind": "cba"[i % 3], "n": i % 2} for i in range(30)]
CLASSES = {"text_column": "text", "label_column": "kind", "prompt_column": None}


def test_classes_are_those_of_train_sorted(jsonl, config):
    splits = read_splits(config(train=jsonl("a.jsonl", ROWS), **CLASSES))
    assert splits.labels == ("a", "b", "c")
    for example in (*splits.train, *splits.validation, *splits.test):
        assert example.references == (splits.labels[example.label],)
        assert example.references == ("cba"[int(example.prompt.split()[1]) % 3],)
    numbers = read_splits(config(train="a.jsonl", **CLASSES | {"label_column": "n"}))
    assert numbers.labels == ("0", "1")
    assert numbers.fingerprint != splits.fingerprint


def test_a_prompt_template_makes_the_text(jsonl, config):
    changes = {
        "prompt_column": "text",
        "label_column": "kind",
        "prompt_template": "n={n}: {prompt}",
    }
    splits = read_splits(config(train=jsonl("a.jsonl", ROWS), **changes))
    assert {e.prompt for e in splits.train} <= {f"n={i % 2}: text {i} is long" for i in range(30)}


def test_a_rare_class_may_be_drawn_away_and_the_same_text_keeps_both_classes(jsonl, config):
    rows = [*ROWS, {"text": "rare", "kind": "z"}]
    for seed in range(3):
        splits = read_splits(config(train=jsonl("a.jsonl", rows), split_seed=seed, **CLASSES))
        assert splits.labels == ("a", "b", "c", "z")
    twice = [{"text": "x", "kind": "a"}, {"text": "x", "kind": "b"}]
    given = {"validation": jsonl("v.jsonl", twice), "train": "a.jsonl", "test_fraction": 0.0}
    splits = read_splits(config(**given, **CLASSES))
    assert [e.label for e in splits.validation] == [0, 1]


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        (ROWS, {"label_column": "sort"}, "data.label_column.*Known: kind, n, text"),
        ([{"text": "a", "kind": "x"}] * 3, {}, "one class, 'x'"),
        ([{"text": "a", "kind": None}], {}, r"a\.jsonl:1.*data\.label_column.*null"),
        (ROWS, {"label_column": "text"}, "data.label_column='text'.*another column"),
        (
            ROWS,
            {"text_column": None, "prompt_column": "text", "prompt_template": "{text} {kind}"},
            "the prompt would contain data.label_column 'kind'",
        ),
        (ROWS, {"text_column": None}, "data.prompt_column"),
    ],
    ids=["column", "one class", "null", "the text itself", "leaks", "no text"],
)
def test_what_cannot_be_used(jsonl, config, rows, changes, said):
    with pytest.raises(InputError, match=said):
        read_splits(config(train=jsonl("a.jsonl", rows), **(CLASSES | changes)))


def test_a_class_that_train_does_not_have(jsonl, config):
    jsonl("v.jsonl", [{"text": "new", "kind": "d"}])
    with pytest.raises(InputError, match=r"data\.validation: Unknown class.*'d'.*Known: a, b, c"):
        read_splits(config(train=jsonl("a.jsonl", ROWS), validation="v.jsonl", **CLASSES))


def test_a_sequence_is_the_text_and_its_one_label_the_class(jsonl, config, tokenizer):
    data = config(train=jsonl("a.jsonl", ROWS), max_length=8, **CLASSES)
    splits = read_splits(data)
    encoded = encode(splits.train, tokenizer, data, all_references=True)
    for index, example in enumerate(splits.train):
        ids = encoded.sequence(index)
        expected = tokenizer(example.prompt)["input_ids"][-7:]  # cut from the left: bos is kept
        assert ids.tolist() == [tokenizer.bos_token_id, *expected]
    assert encoded.classes.tolist() == [e.label for e in splits.train]
    assert encoded.counts["label_tokens"] == len(splits.train)
    assert encoded.counts["n_too_long"] == sum(len(e.prompt) > 7 for e in splits.train) > 0
    batch = collate(encoded, [3, 0], pad_id=0)
    assert batch.predict is None
    assert batch.targets.tolist() == [splits.train[3].label, splits.train[0].label]
    with pytest.raises(InputError, match="too_long"):
        encode(splits.train, tokenizer, config(too_long="error", max_length=8, **CLASSES),
               all_references=True)  # fmt: skip


def test_kept_on_disk_with_their_classes(jsonl, config, tokenizer, here):
    data = config(train=jsonl("a.jsonl", ROWS), **CLASSES)
    train = read_splits(data).train
    made = [cached_encode(here / "c", train, tokenizer, data, all_references=True) for _ in "12"]
    assert len(list((here / "c").iterdir())) == 1
    assert np.array_equal(made[0].classes, made[1].classes)
    assert np.array_equal(made[0].tokens, made[1].tokens)


def test_for_language_modelling_every_token_is_a_label(jsonl, config, tokenizer):
    data = config(train=jsonl("a.jsonl", ROWS), **CLASSES)
    train = read_splits(data).train
    encoded = encode_for_language_modelling(train, tokenizer, data)
    assert encoded.classes is None and set(encoded.first_label) == {1}
    assert encoded.sequence(0).tolist() == [
        *tokenizer(train[0].prompt)["input_ids"],
        tokenizer.eos_token_id,
    ]
    pairs = [{"prompt": "p", "answer": "a"}] * 2 + [
        {"prompt": f"q{i}", "answer": "a"} for i in "123"
    ]
    task = config(train=jsonl("b.jsonl", pairs))
    encoded = encode_for_language_modelling(read_splits(task).train, tokenizer, task)
    assert set(encoded.first_label) == {1}


def test_the_built_in_classification_task():
    from harness import builtin

    rows = {}
    for split in ("TRAIN", "VALIDATION", "TEST"):
        text = Path(getattr(builtin, f"TOPICS_{split}")).read_text(encoding="utf-8")
        rows[split] = [json.loads(line) for line in text.splitlines()]
    texts = [row["text"] for part in rows.values() for row in part]
    assert len(texts) == len(set(texts)) == 700
    topics = {path.stem for path in builtin.GENERAL.glob("*.jsonl")}
    for part in rows.values():
        assert {row["topic"] for row in part} == topics
    general = [*builtin.GENERAL.glob("*.jsonl"), *builtin.GENERAL_TEST.glob("*.jsonl")]
    kept_away = [json.loads(line)["text"] for path in general for line in path.open()]
    assert not [text for text in texts if any(text in document for document in kept_away)]


TREC = Path(__file__).parents[2].parent / "shared" / "data" / "trec"


def test_trec_as_it_is_distributed_can_be_read(here, config):
    from bench.trec import convert

    raw = "DESC:def What is caf\xe9 ?\nHUM:ind Who ?\nLOC:city Where is it ?\n"
    for name in ("train_5500.label", "TREC_10.label"):
        (here / name).write_bytes(raw.encode("latin-1"))
    assert convert(here, here / "out") == {"train": 3, "test": 3}
    rows = [json.loads(line) for line in (here / "out" / "train.jsonl").open(encoding="utf-8")]
    assert rows[0] == {"text": "What is café ?", "label": "DESC"}


@pytest.mark.shared
@pytest.mark.skipif(not TREC.is_dir(), reason="the real data are not here")
def test_trec(here, config):
    from bench.trec import convert

    assert convert(TREC, here / "trec") == {"train": 5452, "test": 500}
    given = {"train": "trec/train.jsonl", "test": "trec/test.jsonl"}
    splits = read_splits(config(**given, **CLASSES | {"label_column": "label"}))
    assert splits.labels == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    assert len(splits.test) == 500
