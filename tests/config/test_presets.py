"""Another tool's default block, as it stands in that tool's own configuration class."""

from __future__ import annotations

import pytest

from harness.compose.command_line import compose_sweep

# H2O LLM Studio 1.14, text_causal_language_modeling_config.py: its parameter, its default, our key.
H2O = (
    ("mask_prompt_labels", True, "data.loss_on", "answer"),
    ("max_length", 512, "data.max_length", 512),
    ("padding_quantile", 1.0, "data.padding_quantile", 1.0),
    ("backbone_dtype", "int4", "method.quantization", "nf4"),
    ("gradient_checkpointing", True, "training.gradient_checkpointing", True),
    ("loss_function", "TokenAveragedCrossEntropy", "training.loss_average", "token"),
    ("optimizer", "AdamW", "training.optimizer", "adamw"),
    ("learning_rate", 1e-4, "training.learning_rate", 1e-4),
    ("freeze_layers", (), "training.freeze_layers", []),
    ("batch_size", 2, "training.batch_size", 2),
    ("epochs", 1, "training.epochs", 1),
    ("schedule", "Cosine", "training.schedule", "cosine"),
    ("min_learning_rate_ratio", 0.0, "training.min_learning_rate_ratio", 0.0),
    ("warmup_epochs", 0.0, "training.warmup_steps", 0),
    ("weight_decay", 0.0, "training.weight_decay", 0.0),
    ("gradient_clip", 0.0, "training.max_grad_norm", None),
    ("grad_accumulation", 1, "training.gradient_accumulation_steps", 1),
    ("lora_r", 4, "method.r", 4),
    ("lora_alpha", 16, "method.lora_alpha", 16),
    ("lora_dropout", 0.05, "method.lora_dropout", 0.05),
    ("lora_target_modules", "", "method.target_modules", "all-linear"),
    ("use_dora", False, "method.use_dora", False),
    ("use_rslora", False, "method.use_rslora", False),
    ("save_checkpoint", "last", "training.select_checkpoint", "last"),
    ("token_mask_probability", 0.0, "training.token_mask_probability", 0.0),
    ("neftune_noise_alpha", 0.0, "training.neftune_alpha", 0.0),
    ("min_length_inference", 2, "evaluation.min_new_tokens", 2),
    ("max_length_inference", 256, "evaluation.max_new_tokens", 256),
    ("do_sample", False, "evaluation.do_sample", False),
    ("num_beams", 1, "evaluation.num_beams", 1),
    ("repetition_penalty", 1.0, "evaluation.repetition_penalty", 1.0),
    ("mixed_precision_dtype", "bfloat16", "training.precision", "bf16"),
)


@pytest.fixture(scope="module")
def plan():
    sweep, (plan,) = compose_sweep(["sweep=h2o_preset"])
    assert sweep.search.trials == 8
    return plan


@pytest.fixture(scope="module")
def first(plan):
    return plan.trial({})


@pytest.mark.parametrize(("theirs", "default", "key", "value"), H2O)
def test_h2o_s_default_block(first, theirs, default, key, value):
    part, name = key.split(".")
    of = getattr(first, part)
    assert (of[name] if part == "method" else getattr(of, name)) == value


def test_h2o_s_own_grid_is_what_is_searched(plan):
    assert {key: dimension.values for key, dimension in plan.space.items()} == {
        "method.r": (2, 4, 8, 16, 32, 64, 128),
        "training.learning_rate": (1e-6, 5e-6, 1e-5, 5e-5, 1e-4, 3e-4, 5e-4),
    }
