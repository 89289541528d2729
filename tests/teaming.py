"""Comparison of a trial over two processes with the same trial in one."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from harness.records import read_jsonl


def rows(folder, kind="train"):
    return [row for row in read_jsonl(folder / "metrics.jsonl") if row["kind"] == kind]


def weights(folder):
    (file,) = (folder / "adapter").glob("*.safetensors")
    return load_file(file)


def assert_alike(one, other, rel=1e-5):
    """To ``rel``: each loss, each norm of a gradient, and the weights as one vector.

    (Not each weight: Adam makes a step of a gradient that is next to nothing, sign and all.)
    """
    assert len(rows(one)) == len(rows(other)) > 0
    for a, b in zip(rows(one), rows(other), strict=True):
        assert a.keys() == b.keys() and a["tokens"] == b["tokens"]
        for name in a.keys() - {"kind", "seconds"}:
            assert a[name] == pytest.approx(b[name], rel=rel, abs=1e-7), (a["step"], name)
    expected, found = weights(one), weights(other)
    assert expected.keys() == found.keys()
    whole, apart = (
        torch.cat([f(name).flatten().double() for name in expected])
        for f in (lambda name: expected[name], lambda name: expected[name] - found[name])
    )
    assert apart.norm() <= rel * whole.norm()
