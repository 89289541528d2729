"""Sampling of answers: repeatable, by the configured distribution, cut at a stop text."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.evaluation.answers.length import AnswerLength
from harness.evaluation.decoding import Decoding
from harness.evaluation.generation import generate, how_generated


@pytest.fixture(scope="module")
def prompts(encoded):
    return [encoded.sequence(i)[: encoded.first_label[i]] for i in (0, 3, 7)]


@pytest.fixture(scope="module")
def base(pool, model_config):
    with pool.lend(model_config, None) as base:
        yield base


def answers(base, prompts, batch_size=3, tokens=12, beams=1, **decoding):
    return generate(
        base.model,
        base.tokenizer,
        prompts,
        max_new_tokens=tokens,
        num_beams=beams,
        batch_size=batch_size,
        device="cpu",
        decoding=Decoding(**decoding),
    ).texts


def test_drawn_again_they_are_the_same_and_nothing_else_is_touched(base, prompts):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = answers(base, prompts, do_sample=True)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert answers(base, prompts, do_sample=True) == first
    assert first != answers(base, prompts)
    assert len(set(answers(base, [prompts[0]] * 3, do_sample=True))) > 1  # each draws its own


def test_without_spread_they_are_the_most_likely(base, prompts):
    greedy = answers(base, prompts)
    assert answers(base, prompts, do_sample=True, temperature=0.01, top_p=0.9) == greedy
    assert answers(base, prompts, do_sample=True, top_k=1) == greedy
    assert answers(base, prompts, do_sample=True, top_p=1e-6) == greedy


def test_first_tokens_are_drawn_from_the_model_s_distribution(base, prompts):
    """300 draws of one token against its probabilities at temperature 2; top_p leaves the tail out."""
    n = 300
    with torch.no_grad():
        ids = torch.from_numpy(prompts[0].astype(np.int64))[None]
        p = (base.model(input_ids=ids).logits[0, -1].double() / 2).softmax(-1)
    many = {"batch_size": n, "tokens": 1, "do_sample": True, "temperature": 2.0}
    drawn = Counter(answers(base, [prompts[0]] * n, **many))
    top = int(p.argmax())
    text = base.tokenizer.decode([top], skip_special_tokens=True).strip()
    same = [i for i in range(len(p)) if base.tokenizer.decode([i]).strip() == text]
    expected = float(p[same].sum())
    assert drawn[text] / n == pytest.approx(
        expected, abs=4 * np.sqrt(expected * (1 - expected) / n)
    )
    few = Counter(answers(base, [prompts[0]] * n, top_p=0.5, **many))
    order = p.sort(descending=True).values.cumsum(0)
    assert len(few) <= int((order < 0.5).sum()) + 1 < len(drawn)


def test_the_model_s_own_generation_settings_play_no_part(base, prompts):
    """Such as those that instruction models are published with."""
    greedy, beams = answers(base, prompts), answers(base, prompts, beams=2)
    own = base.model.generation_config
    before = {name: getattr(own, name) for name in ("repetition_penalty", "do_sample", "top_k")}
    try:
        own.update(repetition_penalty=5.0, do_sample=True, top_k=3, no_repeat_ngram_size=1)
        assert answers(base, prompts) == greedy
        assert answers(base, prompts, beams=2) == beams
        assert answers(base, prompts, repetition_penalty=5.0) != greedy
    finally:
        own.update(no_repeat_ngram_size=None, **before)


def test_an_answer_ends_before_a_stop_text(base, prompts):
    (whole,) = answers(base, prompts[:1])
    stop = whole.split()[2]
    short = answers(base, prompts, stop=(stop,))
    assert short[0] == whole[: whole.index(stop)].strip() != ""
    assert all(stop not in text for text in short)


def test_what_is_not_a_default_is_in_the_signature(trial_config):
    config = trial_config("method=lora").evaluation
    plain = how_generated("test", AnswerLength(6), config)
    assert plain == "|split:test|beams:1|max_new_tokens:6|batches:16 by length"
    drawn = replace(config, do_sample=True, temperature=0.01, top_p=0.9, stop=["\n"])
    about = how_generated("test", AnswerLength(6), drawn)
    assert about.endswith(
        '|do_sample:True|temperature:0.01|top_p:0.9|stop:["\\n"]|batches:16 by length'
    )
