"""Names of other tools: each leads to a key that exists."""

from __future__ import annotations

import pytest

from harness.compose.aliases import _KEYS, counterparts
from harness.compose.command_line import compose_sweep
from harness.compose.folders import conf_dir
from harness.compose.key_comments import key_comments
from harness.errors import InputError


def test_every_counterpart_is_a_key():
    known = {entry.key for entry in key_comments(conf_dir())}
    groups = {"method", "tracking"}
    assert set(_KEYS) - groups - known == set()
    aliases = [alias for texts in _KEYS.values() for alias in texts.split()]
    assert len(aliases) == len(set(aliases))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", ["training.learning_rate"]),
        ("num-train-epochs", ["training.epochs"]),
        ("lora_r", ["method.r"]),
        ("training.lr", ["training.learning_rate"]),
        ("schedule", ["training.schedule"]),
        ("training.learning_rat", ["training.learning_rate"]),
        ("zzz", []),
    ],
)
def test_counterparts(typed, meant):
    keys = {"training.learning_rate", "training.epochs", "training.schedule", "method.r"}
    assert counterparts(typed, keys)[:1] == meant


def test_the_refusal_names_the_counterpart():
    with pytest.raises(
        InputError, match=r"Unknown key 'lr'\. Did you mean training\.learning_rate\?"
    ):
        compose_sweep(["method=lora", "lr=1e-3"])
