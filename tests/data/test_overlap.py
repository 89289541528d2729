"""Overlap between splits, against sets of text compared one by one, and against planted copies."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.data.rows.example import Example
from harness.data.rows.overlap import Side, near, same_prompt, sharing_ngrams, without_overlap
from harness.data.rows.overlap_report import overlap
from harness.data.rows.shingles import SHINGLE, Words, char_shingles, normalized, signatures
from harness.data.rows.splits import read_splits
from harness.errors import InputError

WORDS = [
    *("the", "a", "fox", "dog", "sea", "ship", "old", "new", "red", "blue"),
    *("runs", "sits", "sees", "takes", "to", "from", "under", "over"),
]


def sentence(rng: random.Random, n: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(n))


def edited(text: str, rng: random.Random, share: float) -> str:
    """Some words replaced; case and punctuation are no difference."""
    words = [w if rng.random() > share else rng.choice(WORDS) for w in text.split()]
    return ", ".join(words).upper() + "!"


@pytest.fixture(scope="module")
def sets() -> tuple[list[Example], list[Example]]:
    """Train, and as many again: copies with few or many words changed, and texts of their own."""
    rng = random.Random(0)
    train = [Example(f"p{i}", (sentence(rng, rng.randrange(2, 40)),)) for i in range(150)]
    changed = [
        Example(e.prompt if i % 3 else f"q{i}", (edited(e.references[0], rng, rng.random() / 3),))
        for i, e in enumerate(train)
    ]
    return train, changed


def shingled(example: Example) -> set[str]:
    text = normalized(f"{example.prompt}\n{example.references[0]}").ljust(SHINGLE, "\0")
    return {text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)}


def ngrams_of(example: Example, n: int) -> set[tuple[str, ...]]:
    words = normalized(f"{example.prompt}\n{example.references[0]}").split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def test_near_duplicates_are_those_of_brute_force(sets):
    train, held_out = sets
    every = [shingled(e) for e in train]
    expected = {}
    for place, example in enumerate(held_out):
        own = shingled(example)
        best = max(len(own & other) / len(own | other) for other in every)
        if best >= 0.8:
            expected[place] = best
    found = near(Side(held_out, 13), Side(train, 13), 0.8)
    assert 20 < len(expected) < 130  # else this would show nothing
    assert set(found) == set(expected)
    assert {p: m.similarity for p, m in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize(("n", "most"), [(6, 10), (13, 10), (7, 2)])
def test_shared_ngrams_are_those_of_brute_force(sets, monkeypatch, n, most):
    monkeypatch.setattr("harness.data.rows.overlap.COMMON", (most, 0.0))
    train, held_out = sets
    counts = Counter(gram for e in [*train, *held_out] for gram in ngrams_of(e, n // 2))
    common = {gram for gram, times in counts.items() if times > most}
    assert (len(common) > 10) == (most == 2)

    def telling(example):
        return {
            gram
            for gram in ngrams_of(example, n)
            if not any(gram[i : i + n // 2] in common for i in range(n - n // 2 + 1))
        }

    in_train = {gram for e in train for gram in telling(e)}
    expected = {place for place, e in enumerate(held_out) if telling(e) & in_train}
    assert 0 < len(expected) < len(held_out)
    assert sharing_ngrams(Side(held_out, n), Side(train, n)) == expected


def test_the_same_prompt_whatever_its_case(sets):
    train, held_out = sets
    assert same_prompt(Side(held_out, 13), Side(train, 13)) == {i for i in range(150) if i % 3}
    assert same_prompt(Side([Example("P-1 !", ("x",))], 13), Side([Example("p 1", ("y",))], 13))


def test_signatures_estimate_jaccards_similarity():
    rng = random.Random(1)
    texts = [sentence(rng, 60) for _ in range(40)]
    sets = char_shingles(texts + [edited(t, rng, 0.2) for t in texts])
    rows = signatures(sets)
    estimated = np.array([(rows[i] == rows[i + 40]).mean() for i in range(40)])
    exact = []
    for i in range(40):
        a, b = (set(sets.values[sets.owners == place].tolist()) for place in (i, i + 40))
        exact.append(len(a & b) / len(a | b))
    assert abs(float((estimated - exact).mean())) < 0.02  # no bias: std of one is about 0.05
    assert float(np.abs(estimated - exact).max()) < 0.2


def test_words_are_told_apart_in_every_script():
    assert normalized("“Ça  va?” NO.") == "ça va no"
    assert normalized("猫がmouseを") == "猫 が mouse を"  # each character counts, as no space does
    japanese = ["吾輩は猫である。名前はまだ無い。どこで生れたか"]
    assert len(Words.of([normalized(t) for t in japanese]).ngrams(13).values) == 21 - 13 + 1


def test_a_template_in_every_row_is_no_overlap():
    head = "Below is an instruction that describes a task. Write a response that completes it now. "
    rng = random.Random(3)
    train = [Example(head + sentence(rng, 5), (sentence(rng, 3),)) for _ in range(60)]
    test = [Example(head + sentence(rng, 5), (sentence(rng, 3),)) for _ in range(20)]
    assert sharing_ngrams(Side(test, 13), Side(train, 13)) == set()
    passage = sentence(rng, 15)
    train[7] = Example(head + passage, ("yes",))
    test[3] = Example(f"{head} {passage} and?", ("no",))
    assert sharing_ngrams(Side(test, 13), Side(train, 13)) == {3}


def splits(**sets):
    parts = {"train": (), "validation": (), "test": (), "general": {}, "general_test": {}}
    return SimpleNamespace(**{**parts, "replay": (), **sets})


def test_counts_by_pair_of_splits():
    rng = random.Random(5)
    rows = [Example(f"ask {i}", (sentence(rng, 20),)) for i in range(9)]
    found = overlap(
        splits(
            train=tuple(rows[:5]),
            validation=(rows[5], rows[4]),
            test=(rows[6], rows[5], Example("ask 0", ("no",))),
            general={"news": (rows[7].references[0],)},
            general_test={"news": (f"ask 1\n{rows[1].references[0]}",)},
            replay=(rows[7].references[0],),
        ),
        13,
        0.8,
    )
    counts = {
        f"{p['of']}~{p['within']}": (p["items"], p["prompt"], p["near"], p["ngram"])
        for p in found["pairs"]
    }
    assert counts == {
        "validation~train": (2, 1, 1, 1),
        "test~train": (3, 1, 0, 0),  # the same prompt, another answer
        "test~validation": (3, 1, 1, 1),
        "general~train": (2, 0, 1, 1),
        "general~replay": (2, 1, 1, 1),
    }
    (example,) = found["pairs"][0]["examples"]
    text = f"ask 4\n{rows[4].references[0]}"
    assert example == {"similarity": 1.0, "texts": [text, text]}


def test_the_same_text_of_another_class_is_the_same_text():
    train = [Example("a long enough text about ships", ("sea",), label=1)]
    test = [Example("a long enough text about ships!", ("land",), label=0)]
    assert near(Side(test, 13), Side(train, 13), 0.8)[0].similarity == 1.0


@pytest.mark.parametrize(("kind", "left"), [("prompt", 4), ("near", 3), ("ngram", 2)])
def test_rows_of_train_are_dropped_by_kind(kind, left):
    rng = random.Random(7)
    texts = [sentence(rng, 30) for _ in range(5)]
    train = [Example(f"question number {i}", (text,)) for i, text in enumerate(texts)]
    held_out = {
        "data.validation": [Example("question number 0", ("unlike",))],
        "data.test": [Example("question numbers 1", (texts[1],))],
        "data.general": [Example("", (" ".join(texts[2].split()[:14]) + " other words",))],
    }
    kept = without_overlap(train, held_out, kind, 13, 0.8)
    assert [e.prompt[-1] for e in kept] == list("01234"[5 - left :])


def test_nothing_left_is_refused():
    rows = [Example("one", ("x",)), Example("two", ("y",))]
    with pytest.raises(InputError, match=r"data\.drop_overlap='near' removes all .* prompt"):
        without_overlap(rows, {"data.test": rows}, "near", 13, 0.8)


def test_empty_and_tiny_texts():
    sides = Side([Example("", (".",)), Example("", ("a",))], 13), Side([Example("", ("a",))], 13)
    assert set(near(*sides, 0.8)) == {1}
    assert near(Side([], 13), sides[1], 0.8) == {} == near(sides[0], Side([], 13), 0.8)
    assert sharing_ngrams(*sides) == set()


def test_five_thousand_rows_in_seconds():
    rng = random.Random(9)
    vocabulary = [f"{a}{b}" for a in WORDS for b in WORDS]
    rows = [" ".join(rng.choices(vocabulary, k=40)) for _ in range(5_000)]
    train = tuple(Example(f"row {i}", (text,)) for i, text in enumerate(rows))
    began = time.process_time()
    found = overlap(splits(train=train, test=train[:300]), 13, 0.8)
    assert time.process_time() - began < 6
    assert [found["pairs"][0][kind] for kind in ("prompt", "near", "ngram")] == [300, 300, 300]


def test_many_rows_are_compared_in_parts(monkeypatch):
    """The same counts and texts: runs that are common in all parts together are common."""
    rng = random.Random(4)
    rows = [" ".join(rng.choices(WORDS, k=30)) for _ in range(600)]
    phrase = " ".join(rng.choices(WORDS, k=15))
    rows = [f"{row} {phrase}" if i % 40 == 0 else row for i, row in enumerate(rows)]
    train = tuple(Example(f"row {i}", (text,)) for i, text in enumerate(rows))
    test = (*train[::50], Example("new", (f"other {phrase} words",)))
    whole = overlap(splits(train=train, test=test), 13, 0.8)
    monkeypatch.setattr("harness.data.rows.overlap.AT_ONCE", 10_000)
    assert overlap(splits(train=train, test=test), 13, 0.8) == whole
    assert [whole["pairs"][0][kind] for kind in ("prompt", "near", "ngram")] == [12, 12, 12]


E2E = Path(__file__).parents[2].parent / "shared" / "data" / "e2e"


@pytest.fixture(scope="module")
def restaurants() -> list[list[Example]]:
    """E2E: train as it is, one row a reference; test with prompts of its own."""
    if not E2E.is_dir():
        pytest.skip("needs the real data beside the checkout")
    rows = [
        [json.loads(line) for line in (E2E / name).read_text(encoding="utf-8").splitlines()]
        for name in ("train.jsonl", "test.jsonl")
    ]
    return [
        [Example(r["mr"], tuple([r["ref"]] if isinstance(r["ref"], str) else r["ref"])) for r in of]
        for of in rows
    ]


@pytest.mark.shared
def test_planted_copies_are_found_among_real_ones(restaurants):
    """E2E keeps its prompts apart; rows of train put into test, a word changed, are found again."""
    train, test = restaurants
    side = Side(train, 13)
    own = Side(test, 13)
    assert same_prompt(own, side) == set()
    before = set(near(own, side, 0.8))
    rng = random.Random(11)
    planted = []
    for example in rng.sample(train, 60):
        words = example.references[0].split()
        words[rng.randrange(len(words))] = "really"
        planted.append(Example(example.prompt, (" ".join(words),)))
    both = Side([*test, *planted], 13)
    found = near(both, side, 0.8)
    assert {place for place in found if place < len(test)} == before
    new = {place - len(test) for place in found if place >= len(test)}
    close = {
        at for at, e in enumerate(planted) if max(_similar(e, other) for other in train) >= 0.8
    }
    assert new == close
    assert len(close) > 50
    assert {place - len(test) for place in same_prompt(both, side)} == set(range(60))


def _similar(one: Example, other: Example) -> float:
    if one.prompt != other.prompt:  # a copy's prompt is its original's
        return 0.0
    a, b = shingled(one), shingled(other)
    return len(a & b) / len(a | b)


def test_what_is_read_is_dropped_by_config_and_counted(config, jsonl):
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    rows = [{"prompt": f"q{i}", "answer": f"{i} of them, {i}"} for i in range(6)]
    copy = {"prompt": "q9", "answer": text}
    given = {
        "train": jsonl("a.jsonl", [*rows, copy]),
        "validation": jsonl("b.jsonl", [{"prompt": "q1", "answer": "none"}]),
        "test": jsonl("c.jsonl", [{"prompt": "q8", "answer": text}]),
    }
    prompts = {}
    for kind in ("none", "prompt", "near"):
        splits = read_splits(config(**given, drop_overlap=kind))
        prompts[kind] = [e.prompt.strip() for e in splits.train]
        dropped = splits.counts.get("train_rows_dropped_for_overlap")
        assert dropped == (None if kind == "none" else 7 - len(splits.train))
    assert prompts["none"] == ["q0", "q1", "q2", "q3", "q4", "q5", "q9"]
    assert prompts["prompt"] == ["q0", "q2", "q3", "q4", "q5", "q9"]
    assert prompts["near"] == ["q0", "q2", "q3", "q4", "q5"]
