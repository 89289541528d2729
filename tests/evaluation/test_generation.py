"""Answers in batches are the answers one by one, and both are greedy search by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from running import adapted, fit

from harness import methods
from harness.evaluation.generation import generate


@pytest.fixture(scope="module")
def prompts(encoded):
    """Return prompts of very different lengths."""
    found = {}
    for i in range(len(encoded)):
        prompt = encoded.sequence(i)[: encoded.first_label[i]]
        found.setdefault(len(prompt), prompt)
    lengths = sorted(found)
    return [found[lengths[0]], found[lengths[-1]], found[lengths[len(lengths) // 2]]]


def answers(model, tokenizer, prompts, batch_size, tokens=12, beams=1, look=True):
    return generate(
        model,
        tokenizer,
        prompts,
        max_new_tokens=tokens,
        num_beams=beams,
        batch_size=batch_size,
        device="cpu",
        look=look,
    )


def greedy(model, tokenizer, prompt, tokens=12):
    """Without a cache, without padding: the most likely token, again and again."""
    ids = torch.from_numpy(prompt.astype(np.int64))[None]
    start = ids.shape[1]
    with torch.no_grad():
        for _ in range(tokens):
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            token = logits[:, -1].argmax(-1, keepdim=True)
            if int(token) in (tokenizer.eos_token_id, tokenizer.bos_token_id):
                break
            ids = torch.cat([ids, token], dim=1)
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True).strip()


CASES = {
    "full": [],
    "lora": ["training.learning_rate=1e-2"],
    "qlora": [],
    "adalora": ["training.learning_rate=1e-2"],
    "prompt_tuning": ["training.learning_rate=0.3", "method.num_virtual_tokens=10"],
    "prefix_tuning": ["training.learning_rate=3e-3"],
    "p_tuning": ["training.learning_rate=3e-2"],
}


@pytest.mark.parametrize("name", CASES)
def test_batched_is_one_by_one_is_greedy_by_hand(
    pool, model_config, trial_config, encoded, prompts, tmp_path, name
):
    config = trial_config(f"method={name}", *CASES[name])
    quantization = methods.build(config.method).base_quantization
    assert len({len(prompt) for prompt in prompts}) == 3
    with pool.lend(model_config, quantization) as base:
        model = fit(base, config, encoded, tmp_path, steps=4).model
        batched = answers(model, base.tokenizer, prompts, 3)
        single = answers(model, base.tokenizer, prompts, 1)
        by_hand = [greedy(model, base.tokenizer, prompt) for prompt in prompts]
    assert single.texts == by_hand
    assert batched.texts == by_hand
    assert any(by_hand)
    assert batched.tokens_per_second > 0


def test_the_order_of_prompts_is_kept(lend, prompts):
    with lend() as base:
        forward = answers(base.model, base.tokenizer, prompts, 2).texts
        backward = answers(base.model, base.tokenizer, prompts[::-1], 2).texts
    assert forward == backward[::-1]
    assert len(set(forward)) > 1


def test_ends_at_the_end(lend, prompts, monkeypatch):
    """A head that prefers the end from the third token on: two tokens are the answer."""
    with lend() as base:
        tokenizer = base.tokenizer
        plenty = answers(base.model, tokenizer, prompts[:1], 1, tokens=5).texts[0]
        calls = []

        def end_at_third(module, inputs, output):
            calls.append(1)
            if len(calls) == 3:
                output[..., tokenizer.eos_token_id] = 1e4
            return output

        handle = base.model.lm_head.register_forward_hook(end_at_third)
        short = answers(base.model, tokenizer, prompts[:1], 1, tokens=5, look=False).texts[0]
        handle.remove()
        two = answers(base.model, tokenizer, prompts[:1], 1, tokens=2).texts[0]
    assert len(calls) == 3  # nothing was generated after the end
    assert short == two
    assert plenty.startswith(two)


def test_beams_are_at_least_as_likely(lend, prompts):
    def score(model, tokenizer, prompt, text):
        ids = torch.tensor([[*prompt.tolist(), *tokenizer(text)["input_ids"]]])
        with torch.no_grad():
            log_probs = model(input_ids=ids).logits[0].log_softmax(-1)
        picked = log_probs[:-1].gather(1, ids[0, 1:, None])[len(prompt) - 1 :]
        return float(picked.mean())

    with lend() as base:
        one = answers(base.model, base.tokenizer, prompts, 3, tokens=8).texts
        four = answers(base.model, base.tokenizer, prompts, 3, tokens=8, beams=4).texts
        likelier = [
            score(base.model, base.tokenizer, p, b) - score(base.model, base.tokenizer, p, a)
            for p, a, b in zip(prompts, one, four, strict=True)
        ]
    assert sum(likelier) >= -0.05


@pytest.mark.parametrize("beams", [1, 3])
def test_a_prefix_of_real_words_answers_as_if_they_stood_there(lend, trial_config, prompts, beams):
    """The base, asked with the words before each prompt, is the other implementation."""
    from harness.methods.prompts.virtual_tokens import initial_tokens

    config = trial_config("method=p_tuning_v2", "method.init=activations")
    with lend() as base:
        begun = adapted(base, config)
        before = np.array(initial_tokens(begun.plan, 20, None), dtype=np.int32)
        ours = answers(begun.model, base.tokenizer, prompts, 3, beams=beams).texts
        longer = [np.concatenate([before, prompt]) for prompt in prompts]
        assert ours == answers(base.model, base.tokenizer, longer, 1, beams=beams).texts
    assert len(set(ours)) > 1


def test_generating_changes_nothing_in_the_model(lend, trial_config, prompts):
    """Twice the same, and the likelihood in between as well."""
    with lend() as base:
        model = adapted(base, trial_config("method=prompt_tuning")).model
        first = answers(model, base.tokenizer, prompts, 3).texts
        assert answers(model, base.tokenizer, prompts, 3).texts == first
