"""Shared fixtures: the built-in base loaded once, its data, and trials of seconds."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A trial of seconds: the real one, with less of everything.
SMALL = (
    "data.train_limit=12",
    "data.validation_limit=5",
    "data.test_limit=5",
    "data.general_limit=2",
    "evaluation.max_new_tokens=6",
    "evaluation.batch_size=16",
    "evaluation.watched_examples=4",
    "evaluation.bootstrap_resamples=100",
    "evaluation.task_limit=4",
    "training.warmup_steps=2",
    "training.batch_size=4",
)


# The files that take longest, first: no process is left with one of them at the end.
LONG = (
    *("test_real_sweep", "test_method_contract", "test_resume", "test_ray", "test_slurm"),
    "test_packed_sweep",
    *("test_team_of_processes", "test_driver", "test_sharding", "test_checkpoint_selection"),
    *("test_score", "test_run_trial", "test_doctor", "test_tracking", "test_outcomes"),
    *("test_startup", "test_wheel", "test_identity", "test_team", "test_loop", "test_sequence"),
    *("test_samplers", "test_study", "test_bad_input", "test_tracking_deleted"),
    *("test_composition", "test_classification_trial", "test_historic_mistakes", "test_criterion"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session", autouse=True)
def process():
    """One thread, and little collecting of garbage. Sweeps in this process have no other workers."""
    import torch

    from harness.launch import forking
    from harness.records import heartbeat

    forking.import_ahead = lambda: None

    torch.set_num_threads(1)
    # ``stopping`` counts steps in tests: it is not asked on a slow machine's long evaluations too.
    heartbeat.ASK_SECONDS = float("inf")
    # What the libraries made when they were imported lives as long as the process: no collection
    # need go through it again, nor come after every few hundred objects of a training step.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def few_objects():
    """What earlier modules left alive is no part of a collection: trials collect a dozen times."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def trial_config() -> Callable[..., Any]:
    """`trial_config("method=lora", "method.r=4")`: a small TrialConfig, through Hydra."""
    from functools import cache

    from harness.compose.command_line import compose_trial

    @cache
    def composed(*overrides: str) -> Any:
        return compose_trial([*SMALL, *overrides])[0].trial({})

    return composed


@pytest.fixture(scope="session")
def pool():
    from harness.models.pool import ModelPool

    return ModelPool("cpu")


@pytest.fixture(scope="module")
def bench(tmp_path_factory, pool):
    """A workbench with a cache of its own, over the base that the session holds."""
    from harness.trials.workbench import Workbench

    bench = Workbench("cpu", tmp_path_factory.mktemp("cache"))
    bench.pool = pool
    return bench


@pytest.fixture(scope="session")
def model_config(trial_config):
    return trial_config("method=full").model


@pytest.fixture(scope="session")
def small_model(pool, tmp_path_factory) -> str:
    """The override for a random model of the built-in one's kind, half as deep and half as wide."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from harness.compose.command_line import compose_trial

    tokenizer = pool.tokenizer(compose_trial(["method=full"])[0].trial({}).model)
    folder = tmp_path_factory.mktemp("small-model")
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256}
    vocabulary = {"vocab_size": len(tokenizer), "tie_word_embeddings": True}
    config = AutoConfig.for_model("llama", **vocabulary, **size, **heads, initializer_range=0.1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"model.name={folder}"


@pytest.fixture(scope="module")
def small_trial(trial_config, small_model) -> Callable[..., Any]:
    """`trial_config` of the small model: a trial takes a third of the time.

    For tests of what does not depend on how much a model knows.
    """
    return lambda *overrides: trial_config(small_model, *overrides)


@pytest.fixture(scope="session")
def tokenizer_builtin(pool, model_config):
    return pool.tokenizer(model_config)


@pytest.fixture(scope="session")
def splits(trial_config):
    from harness.data.rows.splits import read_splits

    return read_splits(trial_config("method=full").data)


@pytest.fixture(scope="session")
def encoded(tokenizer_builtin, trial_config):
    """The sequences of the first 12 training examples, each with several references."""
    from harness.data.rows.splits import read_splits
    from harness.data.tokens.encode import encode

    data = trial_config("method=full", "data.train_limit=null").data
    return encode(read_splits(data).train[:12], tokenizer_builtin, data, all_references=True)


@pytest.fixture
def lend(pool, model_config):
    """`with lend(quantization) as base`: the built-in base, full precision unless asked."""

    def lent(quantization=None, **changes):
        return pool.lend(replace(model_config, **changes), quantization)

    return lent


@pytest.fixture
def lend_small(pool, small_trial):
    """`with lend_small() as base`: the model of `small_trial`, as it was made."""
    return lambda quantization=None: pool.lend(small_trial("method=full").model, quantization)
