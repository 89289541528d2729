"""A trial checks its own answers: what is generated must be what the model says."""

from __future__ import annotations

import numpy as np
import pytest
from running import adapted, job

from harness.evaluation.decoding import Decoding
from harness.evaluation.generation import generate
from harness.evaluation.own_words import NotTheModels
from harness.models.cached import continuing
from harness.trials.run import run_trial


@pytest.fixture(scope="module")
def prompts(encoded):
    found = [encoded.sequence(i)[: encoded.first_label[i]] for i in range(len(encoded))]
    return list({prompt.tobytes(): prompt for prompt in found}.values())[:6]


@pytest.fixture
def prefix_lost(monkeypatch):
    """The fault of transformers 5.24 with peft 0.21: virtual tokens are not seen while decoding."""
    monkeypatch.setattr(continuing, "n_virtual_tokens", lambda model: 0)


def answers(model, tokenizer, prompts, beams=1, tokens=20, **decoding):
    return generate(
        *(model, tokenizer, prompts),
        max_new_tokens=tokens,
        num_beams=beams,
        batch_size=4,
        device="cpu",
        decoding=Decoding(**decoding),
    )


RULES = {
    "greedy": {},
    "penalty": {"repetition_penalty": 1.7},
    "least length": {"min_new_tokens": 9},
    "both, and a stop": {"repetition_penalty": 0.8, "min_new_tokens": 5, "stop": (" the",)},
    "beams": {"beams": 3, "repetition_penalty": 1.3},
    "drawn": {"do_sample": True, "top_p": 0.9, "temperature": 3.0, "min_new_tokens": 5},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["p_tuning", "p_tuning_v2"])
def test_right_answers_pass_under_every_rule(lend, trial_config, prompts, method, dtype):
    with lend(dtype=dtype) as base:
        model = adapted(base, trial_config(f"method={method}")).model
        for name, rule in RULES.items():
            assert len(answers(model, base.tokenizer, prompts, **rule).texts) == 6, name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["p_tuning", "p_tuning_v2"])
def test_a_lost_prefix_is_seen_under_every_rule(
    lend, trial_config, prompts, prefix_lost, method, dtype
):
    with lend(dtype=dtype) as base:
        model = adapted(base, trial_config(f"method={method}")).model
        for rule in RULES.values():
            with pytest.raises(NotTheModels, match="not the likeliest"):
                answers(model, base.tokenizer, prompts, **rule)


def test_a_rule_that_is_not_kept_is_seen(lend, prompts, monkeypatch):
    """Without the penalty other tokens would have been the likeliest."""
    from harness.evaluation import generation

    with lend() as base:
        answers(base.model, base.tokenizer, prompts, repetition_penalty=2.0)
        monkeypatch.setattr(
            generation, "RepetitionPenalty", lambda *about: lambda input_ids, scores: scores
        )
        with pytest.raises(NotTheModels):
            answers(base.model, base.tokenizer, prompts, repetition_penalty=2.0)


def test_padding_is_no_word_that_was_said(lend, prompts):
    """Its token is that of a text's end here, which the penalty would make less likely."""
    longer = np.concatenate([prompts[1][:1], *(prompt[1:] for prompt in prompts[:3])])
    with lend() as base:
        alone = [
            answers(base.model, base.tokenizer, [p], repetition_penalty=1.5).tokens[0]
            for p in prompts
        ]
        together = answers(base.model, base.tokenizer, [*prompts, longer], repetition_penalty=1.5)
    assert together.tokens[:-1] == alone


def test_the_metrics_are_missing_and_the_trial_is_complete(
    bench, trial_config, tmp_path, prefix_lost
):
    config = trial_config(
        *("method=p_tuning", "training.max_steps=4", "training.learning_rate=3e-2"),
        *("stage=confirm", "evaluation.max_new_tokens=20"),
        *("evaluation.instructions=builtin", "evaluation.instruction_tokens=6"),
        *(
            "evaluation.agreement_prompts=2",
            "evaluation.probes=builtin",
            "evaluation.probe_tokens=6",
        ),
        *("evaluation.task_folder=builtin", "evaluation.multiple_choice=[generation]"),
    )
    record = run_trial(job(tmp_path, bench.cache, config), bench)
    assert record.status == "complete"
    generated = {"test.bleu", "test.chrf", "instructions", "agreement", "probes"}
    assert generated <= set(record.missing)
    assert all("not what the model says" in record.missing[name] for name in generated)
    assert any(name.endswith("_generated") for name in record.missing), "lm-eval generates as well"
    assert not [n for n in record.measurements if n.split(".")[0] in ("probes", "agreement")]
    assert not {"test.bleu", "test.chrf", "test.unfinished"} & set(record.measurements)
    assert {"test.perplexity", "forgetting.kl"} <= set(record.measurements)
    assert "test.bleu" in record.base
    assert (tmp_path / "predictions.jsonl").read_text() == ""
