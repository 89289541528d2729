"""Probes: what counts as recalled, invented, repeated, and still a chat model's answer."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from running import job

from harness import builtin
from harness.errors import InputError
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.probes import knowledge
from harness.evaluation.probes.knowledge_questions import QUESTION_KINDS, read_probes
from harness.evaluation.probes.knowledge_verdicts import one_turn, repetition, role_markers, verdict
from harness.records import read_jsonl
from harness.trials.run import run_trial
from harness.trials.workbench import Workbench


@pytest.mark.parametrize(
    ("text", "accepted", "wrong", "expected"),
    [
        ("Karnholm.", ["Karnholm"], ["Ostrey"], "recalled"),
        ("in karnholm, not Ostrey", ["Karnholm"], ["Ostrey"], "recalled"),
        ("Ostrey. Or Karnholm?", ["Karnholm"], ["Ostrey"], "invented"),  # what is said first
        ("the henhouse", ["hen"], ["house"], "neither"),  # whole words
        ("a pea soup", ["pea soup"], ["pea"], "recalled"),  # the longer one at the same place
        ("a pea soup", ["pea"], ["pea soup"], "invented"),
        ("", ["Karnholm"], ["Ostrey"], "neither"),
        ("What is (2+2)?", ["(2+2)"], [], "recalled"),  # no pattern of its own
        ("首都は東京です。", ["東京"], ["京都"], "recalled"),  # no spaces between words
    ],
)
def test_the_value_named_first_decides(text, accepted, wrong, expected):
    found = verdict(text, accepted, wrong)
    assert found.verdict == expected
    named = text[found.start : found.end].casefold()
    assert named in {value.casefold() for value in (*accepted, *wrong)} | {""}
    assert (named == "") == (expected == "neither")


def test_repetition_is_the_share_of_ngrams_said_before():
    assert repetition([1, 2, 3, 4, 5, 6, 7]) == 0
    assert repetition([1, 2, 3]) == 0  # none at all
    assert repetition([7] * 10) == 1 - 1 / 7
    rng = Random(0)
    for _ in range(20):
        tokens = [rng.randrange(3) for _ in range(40)]
        before, repeated = set(), 0
        for start in range(37):
            gram = tuple(tokens[start : start + 4])
            repeated += gram in before
            before.add(gram)
        assert repetition(tokens) == pytest.approx(repeated / 37)


def test_role_markers_are_read_off_the_template(tokenizer_builtin, pool, model_config):
    chat = pool.tokenizer(replace(model_config, name="builtin_chat"))
    assert role_markers(tokenizer_builtin) == ()
    markers = role_markers(chat)
    assert any("<|user|>" in mark for mark in markers)
    assert any("<|assistant|>" in mark for mark in markers)
    good = "Mira lives in Oakmere."
    assert one_turn(good, True, markers, chat.eos_token)
    assert not one_turn(good, False, markers, chat.eos_token)  # goes on for ever
    assert not one_turn("  ", True, markers, chat.eos_token)
    assert not one_turn(f"{good}<|user|>And Tobin?", True, markers, chat.eos_token)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "not JSON"),
        ("[]", "is an object"),
        ('{"completion": ""}', "'completion'"),
        ('{"completion": "a"}', "'accepted'"),
        ('{"completion": "a", "accepted": "b"}', "list of texts"),
        ('{"completion": "a", "accepted": ["b"], "kind": "odd"}', "'odd'"),
        ('{"completion": "a", "accepted": ["b"], "answer": 1}', "'answer'"),
        ('{"completion": "a", "accepted": ["b"], "chat": 3}', "'chat'"),
    ],
)
def test_a_probe_that_cannot_be_used_is_named(tmp_path, row, said):
    good = '{"completion": "a", "accepted": ["b"]}\n'
    (tmp_path / "own.jsonl").write_text(good + row + "\n")
    with pytest.raises(InputError, match=said) as error:
        read_probes(str(tmp_path / "own.jsonl"))
    assert "own.jsonl:2" in str(error.value)


def test_a_file_that_is_not_there():
    with pytest.raises(InputError, match=r"evaluation\.probes='no\.jsonl'"):
        read_probes("no.jsonl")


def answers_of(texts: list[str]) -> list[knowledge.KnowledgeAnswer]:
    return [knowledge.KnowledgeAnswer("?", "completion", text, 9, 0.25, None) for text in texts]


def test_an_answer_far_longer_than_the_bases_is_no_chat_answer():
    def chat(tokens: int, whole: bool = True) -> knowledge.KnowledgeAnswer:
        return knowledge.KnowledgeAnswer("?", "chat", "yes", tokens, 0.0, whole)

    base = [chat(5), chat(20)]
    said = [chat(40), chat(41), chat(3, whole=False), *answers_of(["no"])]
    assert knowledge.kept(said, base) == [True, False, False, None]
    assert knowledge.kept(base, base) == [True, True]


def test_shares_by_kind(tmp_path):
    rows = [
        {"completion": "a", "accepted": ["red"], "wrong": ["blue"]},
        {"completion": "b", "accepted": ["red"], "wrong": ["blue"]},
        {"completion": "c", "accepted": ["red"]},  # nothing to invent is listed
        {"completion": "d", "accepted": ["red"], "wrong": ["blue"], "kind": "old"},
        {"completion": "e", "accepted": ["unknown"], "wrong": ["blue"], "kind": "unanswerable"},
        {"completion": "f", "accepted": ["unknown"], "kind": "unanswerable"},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    measured = MeasurementCollector(100)
    said = ["red", "blue", "grass", "blue", "that is unknown", "in Oakmere"]
    answers = answers_of(said)
    knowledge.add_shares(measured, answers, answers, read_probes(str(path)), "greedy")
    values = {name: (m.value, m.n) for name, m in measured.measurements.items()}
    assert values == {
        "probes.recalled": (pytest.approx(1 / 3), 3),
        "probes.invented": (0.5, 2),
        "probes.recalled.old": (0, 1),
        "probes.invented.old": (1, 1),
        "probes.invented.unanswerable": (0.5, 2),  # it claims something, and admits nothing
        "probes.repetition": (0.25, 6),
    }
    assert all("probes:own@" in m.signature for m in measured.measurements.values())


@pytest.fixture(scope="module")
def trial(tmp_path_factory, trial_config) -> tuple[Path, object]:
    """A chat model that is trained for a step, asked by hand."""
    folder = tmp_path_factory.mktemp("probes")
    lines = builtin.ISLE_PROBES.read_text().splitlines()
    by_kind = [[line for line in lines if f'"kind": "{kind}"' in line] for kind in QUESTION_KINDS]
    few = [line for of_kind in by_kind for line in of_kind[:3]]
    (folder / "few.jsonl").write_text("\n".join(few) + "\n")
    config = trial_config(
        *("method=lora", "model=builtin_chat", "data=builtin_isle", "training.max_steps=1"),
        *("training.learning_rate=1e-9", "evaluation.probe_tokens=24"),
        *(f"evaluation.probes={folder / 'few.jsonl'}", "evaluation.agreement_prompts=2"),
    )
    made = job(folder / "trial", folder / "cache", config, keep_adapter=True)
    return made.path, run_trial(made, Workbench("cpu", folder / "cache"))


def test_an_untouched_model_says_what_its_base_says(trial):
    folder, record = trial
    asked = {name: m for name, m in record.measurements.items() if name.startswith("probes.")}
    assert set(asked) > {"probes.recalled", "probes.chat_kept", "probes.repetition"}
    for name, measurement in asked.items():
        assert measurement == record.base[name], name
        assert "form:chat" in measurement.signature
    assert asked["probes.recalled.old"].value == 1  # a fresh chat model knows the Vale
    assert asked["probes.recalled"].value == 0  # and not the isle
    assert asked["probes.chat_kept"].value == 1
    assert record.measurements["agreement.exact_match"].value == 100, "another probe, the same way"
    rows = read_jsonl(folder / "probes.jsonl")
    assert [row["kind"] for row in rows] == [kind for kind in QUESTION_KINDS for _ in range(3)]
    for row in rows:
        assert row["tuned"] == row["base"]
        assert row["tuned"]["prompt"] == row["chat"]
    items = {row["measurement"]: row["statistics"] for row in read_jsonl(folder / "items.jsonl")}
    assert np.mean(items["probes.recalled.old"]) == 1 and len(items["probes.repetition"]) == 9


def test_the_answers_of_a_base_are_kept(trial, trial_config, monkeypatch):
    """A second trial asks the base nothing, even without loading it."""
    folder, _ = trial
    config = trial_config("method=lora", "model=builtin_chat", "data=builtin_isle")
    evaluation = replace(
        config.evaluation, probes=str(folder.parent / "few.jsonl"), probe_tokens=24
    )
    config = replace(config, evaluation=evaluation)
    bench = Workbench("cpu", folder.parent / "cache")
    monkeypatch.setattr(bench.pool, "lend", lambda *a: pytest.fail("loaded again"))
    told = bench.before(config, bench.inputs(config), with_probes=True)
    assert told.probes.measurements["probes.recalled.old"].value == 1
    assert not bench.before(config, bench.inputs(config)).probes.answered
