"""Two mistakes by which forgetting was once measured wrong for months, put back and caught.

Both were in the one tool that measured it (huggingface/peft#2925, mended by #3419): logits compared
with targets that were not shifted, and the "before" taken on the adapter as it was before training.
The truth is taken from transformers and peft alone: a fresh base, the saved adapter, their own loss.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from running import job
from transformers import AutoModelForCausalLM

from harness import builtin, methods
from harness.data.tokens import batches
from harness.methods import AdaptContext
from harness.models import scoring
from harness.trials.run import Workbench, run_trial

STILL = ("training.max_steps=1", "training.learning_rate=1e-30")  # measured as it begins
METHODS = {  # none of these is the base before it is trained, or with its adapter switched off
    "prompt_tuning": ("method=prompt_tuning", "method.num_virtual_tokens=8"),
    "pissa": ("method=pissa", "method.r=16"),
}


def nll(model, encoded):
    """Nats a label token by transformers' own loss, which shifts the targets itself."""
    total, n = 0.0, 0
    for i in range(len(encoded)):
        ids = torch.from_numpy(encoded.sequence(i).astype(np.int64))[None]
        labels = ids.clone()
        labels[:, 0] = -100  # after virtual tokens the first token too would be predicted
        with torch.no_grad():
            loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
        total, n = total + float(loss) * (ids.shape[1] - 1), n + ids.shape[1] - 1
    return total / n


def outside_truth(folder, texts):
    """NLL of the untouched base and of the saved adapter on the general text, without our code."""
    base = AutoModelForCausalLM.from_pretrained(builtin.MODEL, dtype=torch.float32).eval()
    before = nll(base, texts.general)
    tuned = PeftModel.from_pretrained(base, folder / "adapter").eval()
    return before, nll(tuned, texts.general)


def trial(bench, trial_config, folder, name):
    config = trial_config(*METHODS[name], *STILL)
    record = run_trial(job(folder, bench.cache, config, keep_adapter=True), bench)
    assert record.status == "complete", record.reason
    before, after = outside_truth(folder, bench.inputs(config).final)
    return record, before, after


def agrees(record, before, after):
    """The check that both mistakes must fail."""
    assert np.log(record.base["general.perplexity"].value) == pytest.approx(before, abs=1e-5)
    assert record.value("forgetting.nll") == pytest.approx(after - before, abs=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_forgetting_is_what_transformers_and_peft_say(bench, trial_config, tmp_path, name):
    record, before, after = trial(bench, trial_config, tmp_path, name)
    agrees(record, before, after)
    starts = methods.build(record.config["method"]).starts_at_base
    assert (abs(after - before) < 1e-5) == starts  # prompt tuning begins away from the base


def unshifted(*given, **named):
    """Each logit beside the token that went in, not the one that comes after it."""
    batch = batches.collate(*given, **named)
    return replace(batch, targets=batch.input_ids[batch.predict])


def test_targets_that_are_not_shifted_are_caught(
    bench, trial_config, tmp_path, tmp_path_factory, monkeypatch
):
    monkeypatch.setattr(scoring, "collate", unshifted)
    fresh = Workbench("cpu", tmp_path_factory.mktemp("cache"))  # the base is measured anew
    fresh.pool = bench.pool
    measured = trial(fresh, trial_config, tmp_path, "prompt_tuning")
    with pytest.raises(AssertionError):
        agrees(*measured)


@pytest.mark.parametrize(
    ("name", "switched_off"), [("prompt_tuning", False), ("pissa", True)], ids=METHODS
)
def test_a_before_that_is_not_the_untouched_base_is_caught(
    bench, trial_config, tmp_path, tmp_path_factory, monkeypatch, name, switched_off
):
    """The adapter before training for the one, the adapter switched off for the other."""
    true_before = Workbench.before

    def on_the_adapter(self, config, inputs, **asked):
        with self.pool.lend(config.model, None) as base:
            plan = AdaptContext(1, 1, inputs.tokenizer, inputs.train, config.seed)
            torch.manual_seed(config.seed)
            model = methods.fitted(config.method, base.model).adapt(base.model, plan)
            wrong = replace(base, model=model)
            about = (config.evaluation, "cpu")
            if switched_off:
                with model.disable_adapter():
                    final = self.references.get(wrong, inputs.final, *about)
            else:
                final = self.references.get(wrong, inputs.final, *about)
        return replace(true_before(self, config, inputs, **asked), final=final)

    monkeypatch.setattr(Workbench, "before", on_the_adapter)
    fresh = Workbench("cpu", tmp_path_factory.mktemp("cache"))
    fresh.pool = bench.pool
    measured = trial(fresh, trial_config, tmp_path, name)
    with pytest.raises(AssertionError):
        agrees(*measured)
