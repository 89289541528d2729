"""Checks of the form of answers, by hand and with the real model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.errors import InputError
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.probes.format_checks import CHECKS, kept
from harness.evaluation.probes.instructions import (
    SHIPPED,
    InstructionProbe,
    asked,
    follows,
    read_instructions,
)
from harness.evaluation.probes.probe import Answers, Questions

# check, value, texts that keep it, texts that do not
EXAMPLES = [
    ("min_words", 3, ["one two three", "It's a well-known fact"], ["one two", "a-b-c d"]),
    ("max_words", 2, ["one, two!", "well-known"], ["one two three"]),
    ("max_characters", 5, ["abcde"], ["abcdef"]),
    ("sentences", 2, ["One. Two!", 'He said "go." Then he went.'], ["One.", "A. B. C."]),
    ("max_sentences", 1, ["It costs 3.50 today."], ["One. Two."]),
    ("lines", 2, ["a\n\nb\n"], ["a", "a\nb\nc"]),
    ("min_lines", 2, ["a\nb\nc"], ["a\n\n"]),
    ("paragraphs", 2, ["a\nb\n\nc", "a\n \n\nb"], ["a\nb"]),
    ("list_items", 2, ["- a\n- b", "Here:\n1. a\n2) b", "* a\n• b"], ["- a", "a\nb", "-a\n-b"]),
    ("contains", ["cat", "the end"], ["A Cat. The end."], ["A caterpillar. The end.", "cat"]),
    ("excludes", ["cat"], ["caterpillar"], ["My CAT!"]),
    ("one_of", ["yes", "no"], ["Yes.", " no "], ["yes, sir", "maybe"]),
    ("at_least", {"a": 2}, ["a or a"], ["a or an"]),
    ("starts_with", "Well:", ["Well: no", "\n Well: no"], ["well: no"]),
    ("ends_with", "Bye.", ["So. Bye.\n"], ["Bye. So."]),
    ("line_starts", ["A:", "B:"], ["A: x\n\nB: y"], ["A: x\nC: y"]),
    ("lowercase", True, ["straße, 3 µm", "123"], ["No"]),
    ("uppercase", True, ["ABC 1!"], ["ABc"]),
    ("no_commas", True, ["a b"], ["a, b"]),
    ("no_digits", True, ["two"], ["2"]),
    ("quoted", True, ['"a\nb"'], ['a "b"', '"']),
    ("title", True, ["<<A walk>>\ntext"], ["<A walk>", "<<>>"]),
    ("json", True, ["[1, 2]", '```json\n{"a": 1}\n```'], ["{a: 1}", 'Here: {"a": 1}']),
    ("json_keys", ["a", "b"], ['{"b": 1, "a": {}}'], ['{"a": 1}', '{"a":1,"b":1,"c":1}', "[1]"]),
]


def test_every_check_has_examples():
    assert {name for name, *_ in EXAMPLES} == set(CHECKS)


@pytest.mark.parametrize(("name", "value", "good", "bad"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_checks_by_hand(name, value, good, bad):
    assert [kept(text, {name: value}) for text in good] == [[True]] * len(good)
    assert [kept(text, {name: value}) for text in bad] == [[False]] * len(bad)
    assert kept(" \n", {name: value}) == [False]  # nothing said is nothing followed


def test_deep_nesting_is_no_json_and_no_crash():
    assert kept("[" * 100_000, {"json": True}) == [False]


@pytest.mark.parametrize("source", SHIPPED)
def test_what_is_shipped_can_be_read_and_is_not_kept_by_any_text(source):
    instructions = read_instructions(source)
    assert len(set(instructions.prompts)) == len(instructions.prompts) >= 40
    one_for_all = "Yes, certainly: here is what you asked for. I hope that it helps."
    share = follows(instructions, [one_for_all] * len(instructions.prompts))
    assert (share[:, 0] == share[:, 1]).mean() < 0.25


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no json", "not JSON"),
        ('{"prompt": "x"}', "'prompt' and 'checks'"),
        ('{"prompt": " ", "checks": {"json": true}}', "'prompt' must be some text"),
        ('{"prompt": "x", "checks": {}}', "at least one check"),
        ('{"prompt": "x", "checks": {"max_word": 3}}', "Did you mean max_words"),
        ('{"prompt": "x", "checks": {"max_words": "3"}}', "takes a whole number, not '3'"),
        ('{"prompt": "x", "checks": {"max_words": true}}', "takes a whole number, not True"),
        ('{"prompt": "x", "checks": {"contains": "cat"}}', "takes a list of words"),
        ('{"prompt": "x", "checks": {"json": false}}', "takes true, not False"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(tmp_path, line, message):
    path = tmp_path / "own.jsonl"
    path.write_text('{"prompt": "x", "checks": {"json": true}}\n\n' + line + "\n")
    with pytest.raises(InputError, match=message) as error:
        read_instructions(str(path))
    assert f"{path}:3" in str(error.value)


def test_a_file_that_is_not_there_and_one_without_rows(tmp_path):
    with pytest.raises(
        InputError, match=r"evaluation\.instructions='nowhere\.jsonl' cannot be read"
    ):
        read_instructions("nowhere.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no rows"):
        read_instructions(str(tmp_path / "empty.jsonl"))


@pytest.fixture
def own(tmp_path):
    rows = [
        {"prompt": "a", "checks": {"max_words": 1}},
        {"prompt": "b", "checks": {"max_words": 1, "lowercase": True}},
        {"prompt": "c", "checks": {"lowercase": True}},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_instructions(str(path))


def test_changes_are_paired_and_signed(own):
    """Base: 2 of 3 prompts, 3 of 4 checks; tuned: 2 of 3 (another two), 2 of 4."""
    measured = MeasurementCollector(100)
    probe, base = InstructionProbe(Questions([], 8, 1), own, "plain"), ["One one", "two", "three"]
    probe.add_changes(measured, Answers(["one", "Two two", "three"], []), Answers(base, []))
    whole = measured.measurements["forgetting.instructions"]
    assert (whole.value, whole.n) == (0.0, 3)
    assert measured.items["forgetting.instructions"].tolist() == [[1, 0, 1], [0, 1, 1], [1, 1, 1]]
    checks = measured.measurements["forgetting.instructions.checks"]
    assert checks.value == pytest.approx((2 - 3) / 4)
    probe.add_changes(measured, Answers(["", "", ""], []), Answers(["one", "two", "three"], []))
    assert measured.measurements["forgetting.instructions"].value == -1.0


def test_asked_as_a_chat_template_has_it_and_plain_without(own, tokenizer_builtin):
    plain, form = asked(own, tokenizer_builtin)
    assert form == "plain"
    assert plain[0].tolist() == [tokenizer_builtin.bos_token_id, *ids(tokenizer_builtin, "a")]
    from copy import deepcopy

    chatty = deepcopy(tokenizer_builtin)
    chatty.chat_template = "{% for m in messages %}Q: {{ m.content }}\n{% endfor %}A:"
    prompts, form = asked(own, chatty)
    assert form == "chat template"
    assert [p.tolist() for p in prompts] == [ids(chatty, f"Q: {p}\nA:") for p in own.prompts]
    assert all(prompt.dtype == np.int32 for prompt in prompts)


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]
