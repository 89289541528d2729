"""Virtual tokens against the same by hand, against published sizes, and where they cannot be used."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from running import adapted, fit, logits_of

from harness import methods
from harness.data.tokens.batches import collate
from harness.errors import InputError
from harness.methods.prompts.prefix_tuning import activations
from harness.methods.prompts.prompt_tuning import FREQUENT_TOKENS
from harness.methods.prompts.virtual_tokens import initial_tokens
from harness.models.logits import logits_at
from harness.models.quantization import Quantization
from harness.trials.cost import final_sizes, sizes

IDS = torch.arange(3, 43).reshape(2, 20)
TEXT = "the king of the vale"
N = "method.num_virtual_tokens"
KINDS = {
    "prompt tuning": ["method=prompt_tuning"],
    "prefix tuning": ["method=prefix_tuning", "method.encoder_hidden_size=24"],
    "prefix tuning, wide": ["method=prefix_tuning", "method.encoder_hidden_size=null"],
    "P-tuning, MLP": ["method=p_tuning", "method.encoder_hidden_size=48"],
    "P-tuning, LSTM": [
        "method=p_tuning",
        "method.encoder_reparameterization_type=LSTM",
        "method.encoder_hidden_size=16",
        "method.encoder_num_layers=3",
    ],
    "P-tuning v2": ["method=p_tuning_v2"],
}


def encoder(model):
    return model.prompt_encoder["default"]


def close(one, other):
    return float((one - other).abs().max()) < 1e-5 * float(other.abs().max())


# -- the same by hand


def with_vectors(base, vectors):
    """Logits at ``IDS`` after (n, d) ``vectors``, by plain transformers."""
    texts = base.model.get_input_embeddings()(IDS)
    before = vectors.detach().expand(len(IDS), -1, -1)
    with torch.no_grad():
        return base.model(inputs_embeds=torch.cat([before, texts], dim=1)).logits


def test_prompt_tuning_is_vectors_before_the_input(lend, trial_config):
    with lend() as base:
        model = adapted(base, trial_config("method=prompt_tuning")).model
        ours = logits_of(model, IDS)
        assert close(ours, with_vectors(base, encoder(model).embedding.weight))


def test_p_tuning_is_an_mlp_of_three_layers_over_vectors(lend, trial_config):
    with lend() as base:
        model = adapted(base, trial_config(*KINDS["P-tuning, MLP"])).model
        state = dict(encoder(model).named_parameters())
        hidden = state["embedding.weight"]
        assert hidden.shape == (20, 128)
        for layer in (0, 2, 4):
            weight, bias = state[f"mlp_head.{layer}.weight"], state[f"mlp_head.{layer}.bias"]
            hidden = hidden @ weight.T + bias
            hidden = hidden.clamp(min=0) if layer < 4 else hidden
        assert close(logits_of(model, IDS), with_vectors(base, hidden))


@pytest.mark.parametrize("kind", ["prefix tuning", "P-tuning v2"])
def test_prefix_tuning_is_a_cache_of_keys_and_values(lend, trial_config, kind):
    from transformers import DynamicCache

    with lend() as base:
        model = adapted(base, trial_config(*KINDS[kind], "method.init=random")).model
        n = model.active_peft_config.num_virtual_tokens
        state = dict(encoder(model).named_parameters())
        prefix = state["embedding.weight"]
        if kind == "prefix tuning":  # the two layers of §4.3
            hidden = torch.tanh(prefix @ state["transform.0.weight"].T + state["transform.0.bias"])
            prefix = hidden @ state["transform.2.weight"].T + state["transform.2.bias"]
        # (n, 2·layers·heads·head) → per layer two of (batch, heads, n, head)
        parts = prefix.detach().reshape(n, 4, 2, 4, 32).permute(1, 2, 3, 0, 4)
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(parts):
            cache.update(keys.expand(2, -1, -1, -1), values.expand(2, -1, -1, -1), layer)
        ours = logits_of(model, IDS)
        with torch.no_grad():
            theirs = base.model(input_ids=IDS, past_key_values=cache).logits
    assert ours.shape == (2, 20, 1024)  # not longer than the input
    assert close(ours, theirs)


@pytest.mark.parametrize("kind", ["prefix tuning", "P-tuning v2"])
@pytest.mark.parametrize("text", [TEXT, None])
def test_a_prefix_of_real_words_begins_as_if_they_stood_there(lend, trial_config, kind, text):
    """The MLP is solved for them: it begins at the same keys and values."""
    shown = "null" if text is None else f"'{text}'"
    with lend() as base:
        config = trial_config(*KINDS[kind], "method.init=activations", f"method.init_text={shown}")
        begun = adapted(base, config)
        ids = torch.tensor(initial_tokens(begun.plan, begun.method.num_virtual_tokens, text))
        ours = logits_of(begun.model, IDS)
        theirs = logits_of(base.model, torch.cat([ids.expand(2, -1), IDS], dim=1))[:, len(ids) :]
        n = len(activations(base.model, ids[None]))
    assert n == begun.method.num_virtual_tokens
    assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


def test_prompt_tunings_three_starts(lend, trial_config):
    with lend() as base:
        vectors = base.model.get_input_embeddings().weight

        def start(*overrides):
            config = trial_config("method=prompt_tuning", f"{N}=20", *overrides)
            return encoder(adapted(base, config).model).embedding.weight.detach()

        random = start("method.init=random", f"{N}=60")
        sampled = start("method.init=sample_vocabulary")
        text = start("method.init=text", f"method.init_text='{TEXT}'")
        ids = base.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
        special = base.tokenizer.all_special_ids
        rows = [int((vectors == row).all(dim=1).nonzero()[0]) for row in sampled]
        assert torch.equal(text, vectors[(ids * 20)[:20]])
    assert float(random.min()) >= -0.5 and float(random.max()) <= 0.5
    assert abs(float(random.std()) - 12**-0.5) < 0.01  # of U[-½, ½]
    assert len(set(rows)) > 15 and not set(rows) & set(special)
    assert max(rows) < FREQUENT_TOKENS


# -- sizes


@pytest.fixture(scope="module")
def llama_3b():
    """The shapes of Llama-3.2-3B, without memory."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    shapes = dict(hidden_size=3072, intermediate_size=8192, num_hidden_layers=28)
    heads = dict(num_attention_heads=24, num_key_value_heads=8, head_dim=128, vocab_size=128256)
    config = LlamaConfig(**shapes, **heads, max_position_embeddings=131072)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("method", "n", "published"),
    [
        ("prompt_tuning", 200, 614_400),
        ("p_tuning_v2", 200, 11_468_800),  # peft calls it prefix tuning
        ("p_tuning", 20, 28_382_208),
    ],
)
def test_published_sizes(llama_3b, trial_config, method, n, published):
    """num_trainable_params of the published results of peft's method_comparison."""
    asked = methods.build(trial_config(f"method={method}").method)
    each, shared = asked.size(llama_3b)
    assert n * each + shared == published
    assert asked.matched(llama_3b, published) == replace(asked, num_virtual_tokens=n)
    assert asked.matched(llama_3b, published + each - 1).num_virtual_tokens == n  # never above
    assert asked.matched(llama_3b, published + each).num_virtual_tokens == n + 1
    with pytest.raises(InputError, match=f"match.trainable_parameters=9 .* {each + shared}"):
        asked.matched(llama_3b, 9)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_those_of_what_is_trained_and_kept(lend, trial_config, kind):
    with lend() as base:
        method = methods.build(trial_config(*KINDS[kind]).method)
        each, shared = method.size(base.model)
        begun = adapted(base, trial_config(*KINDS[kind], "method.num_virtual_tokens=7"))
        size = sizes(begun.model)
        final = final_sizes(begun.model, set())
    assert size["trainable_parameters"] == 7 * each + shared
    kept = 7 * (1024 if "prefix" in kind or "v2" in kind else 128)
    assert final == {"trainable_parameters_final": kept, "adapter_bytes": 4 * kept}


@pytest.mark.parametrize("shape", ["gpt2", "gpt_neox", "qwen3", "gemma2"])
@pytest.mark.parametrize("kind", ["prefix tuning", "P-tuning v2"])
def test_sizes_on_other_architectures(trial_config, encoded, tokenizer_builtin, shape, kind):
    """Fused projections, shared keys, and heads that are wider than their share."""
    from running import plan_for
    from transformers import AutoConfig, AutoModelForCausalLM

    small = dict(num_hidden_layers=2, hidden_size=16, num_attention_heads=4, vocab_size=1024)
    small |= {"intermediate_size": 16, "pad_token_id": 0}
    if shape in ("qwen3", "gemma2"):
        small |= {"num_key_value_heads": 2, "head_dim": 8}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(shape, **small)).eval()
    config = trial_config(*KINDS[kind], "method.num_virtual_tokens=3", "method.init=activations")
    method = methods.fitted(config.method, model)
    each, shared = method.size(model)
    tuned = method.adapt(model, plan_for(config, tokenizer_builtin, 1, encoded))
    assert sizes(tuned)["trainable_parameters"] == 3 * each + shared
    assert logits_of(tuned, IDS).isfinite().all()


# -- where they stand in the way


@pytest.mark.parametrize("kind", ["prefix tuning", "P-tuning, MLP"])
def test_rows_of_the_logits_are_those_of_the_input(lend, trial_config, encoded, kind):
    batch = collate(encoded, [1, 2, 30], pad_id=0)
    with lend() as base, torch.no_grad():
        model = adapted(base, trial_config(*KINDS[kind])).model.eval()
        whole = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        some = logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)
    length = batch.input_ids.shape[1]
    assert float((some - whole[:, -length:][batch.predict]).abs().max()) < 1e-4


@pytest.mark.parametrize("kind", ["prefix tuning", "P-tuning, LSTM", "P-tuning v2"])
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantized_base(pool, model_config, trial_config, encoded, tmp_path, kind, quantization):
    config = trial_config(*KINDS[kind], "training.learning_rate=1e-2")
    with pool.lend(model_config, Quantization(quantization, True)) as base:
        names = [name for name, _ in base.model.named_modules()]
        done = fit(base, config, encoded, tmp_path, steps=5)
        assert done.losses[-1] < done.losses[0]
    with pool.lend(model_config, Quantization(quantization, True)) as again:
        assert again is base  # it came back as it was
        assert [name for name, _ in again.model.named_modules()] == names


@pytest.mark.parametrize("kind", ["prompt tuning", "P-tuning, MLP"])
def test_recomputed_activations_train_the_same(lend, trial_config, encoded, tmp_path, kind):
    config = trial_config(*KINDS[kind])
    losses = []
    for recompute in (False, True):
        with lend() as base:
            folder = tmp_path / str(recompute)
            done = fit(base, config, encoded, folder, 4, gradient_checkpointing=recompute)
            losses.append(done.losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("method", ["prefix_tuning", "p_tuning_v2"])
def test_a_prefix_cannot_be_recomputed(trial_config, method):
    with pytest.raises(InputError, match="gradient_checkpointing=True cannot be used"):
        trial_config(f"method={method}", "training.gradient_checkpointing=true")


@pytest.mark.parametrize("kind", ["prompt tuning", "prefix tuning", "P-tuning, MLP"])
def test_more_than_the_context_holds(lend, trial_config, kind):
    method = methods.build(trial_config(*KINDS[kind], "method.num_virtual_tokens=200").method)
    with lend() as base:
        method.check(base.model)
        method.check_length(base.model, 56)  # 256 positions
        with pytest.raises(InputError, match=r"200 .* 57 tokens .* 256 positions .* 199 virtual"):
            method.check_length(base.model, 57)
        with pytest.raises(InputError, match=r"num_virtual_tokens=256 .* below 256"):
            replace(method, num_virtual_tokens=256).check(base.model)
