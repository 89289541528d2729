"""Answers may be as long as references are; what is cut all the same is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.data.rows.example import Example
from harness.data.rows.splits import Splits
from harness.evaluation.answers.length import answer_length
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.quality import quality
from harness.evaluation.texts import prepare


@pytest.fixture(scope="module")
def config(trial_config):
    return trial_config("method=lora", "evaluation.max_new_tokens=null")


@pytest.fixture(scope="module")
def length_of(tokenizer_builtin):
    return lambda text: len(tokenizer_builtin(text, add_special_tokens=False)["input_ids"])


def with_validation(splits: Splits, *rows: tuple[str, tuple[str, ...]]) -> Splits:
    examples = tuple(Example(prompt, references) for prompt, references in rows)
    return replace(splits, validation=examples)


def test_a_quarter_more_than_the_longest_reference(splits, tokenizer_builtin, config, length_of):
    text = " ".join(["the mill by the river"] * 8)
    own = with_validation(splits, ("one", ("short", text)), ("two", ("word",)))
    found = answer_length(own, tokenizer_builtin, config.data, config.evaluation)
    longest = length_of(text) + 1
    assert (found.longest, found.references, found.longer) == (longest, 3, 0)
    assert found.tokens == longest + max(longest // 4, 8)
    assert str(found) == f"auto({found.tokens})"


def test_one_reference_in_a_hundred_does_not_decide(splits, tokenizer_builtin, config, length_of):
    rows = [("one", ("a few words",))] * 199 + [("two", (" ".join(["river"] * 150),))]
    found = answer_length(
        with_validation(splits, *rows), tokenizer_builtin, config.data, config.evaluation
    )
    assert found.tokens == length_of("a few words") + 1 + 8
    assert found.longer == 1
    assert "and could only be cut" in found.sentences()[1]


def test_the_test_split_has_no_say(splits, tokenizer_builtin, config):
    rows = tuple(Example(e.prompt, (e.references[0] * 9,)) for e in splits.test)
    about = (tokenizer_builtin, config.data, config.evaluation)
    searched = prepare(splits, *about, "validation").answers
    assert prepare(splits, *about, "test").answers.tokens == searched.tokens
    assert prepare(replace(splits, test=rows), *about, "test").answers == searched


def test_prompts_keep_half_of_the_room(splits, tokenizer_builtin, config):
    long = " ".join(["river"] * 300)
    own = with_validation(splits, (long, (long,)), ("short", ("word",)))
    found = prepare(own, tokenizer_builtin, config.data, config.evaluation, "validation")
    assert found.answers.tokens == config.data.max_length // 2
    assert len(found.prompts[0]) == config.data.max_length // 2
    assert found.answers.prompts_cut == 1
    assert "1 prompt is shortened" in found.answers.sentences()[-1]


def test_a_number_is_a_number(splits, tokenizer_builtin, config):
    evaluation = replace(config.evaluation, max_new_tokens=3)
    found = answer_length(splits, tokenizer_builtin, config.data, evaluation)
    assert (found.tokens, str(found)) == (3, "3")
    assert found.longer == found.references
    assert "100 % of the references are longer" in found.sentences()[1]


def test_cut_answers_are_counted(lend, splits, config):
    """The built-in base goes on and on; with a head that prefers the end it says nothing."""
    with lend() as base:
        texts = prepare(splits, base.tokenizer, config.data, config.evaluation, "validation")
        texts = replace(texts, general=None, answers=replace(texts.answers, tokens=2))

        def measured() -> MeasurementCollector:
            found = MeasurementCollector(100)
            quality(found, base.model, base.tokenizer, texts, config.evaluation, "cpu")
            return found

        cut = measured()

        def end(module, inputs, output):
            output[..., base.tokenizer.eos_token_id] = 1e4
            return output

        handle = base.model.lm_head.register_forward_hook(end)
        whole = measured()
        handle.remove()
    assert cut.values()["validation.unfinished"] == 100
    assert whole.values()["validation.unfinished"] == 0
    assert "max_new_tokens:auto(2)" in cut.measurements["validation.unfinished"].signature
