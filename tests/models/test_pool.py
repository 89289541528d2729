"""A lent base is returned unchanged, or loaded again."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
import torch
from running import adapted

from harness.errors import InputError
from harness.models.load import load_base
from harness.models.loading.base_fingerprint import base_fingerprint
from harness.models.loading.location import check_model
from harness.models.loading.skeleton import load_skeleton
from harness.models.pool import ModelPool, checksums
from harness.models.quantization import Quantization


@pytest.fixture
def own(model_config):
    pool = ModelPool("cpu")
    return lambda quantization=None: pool.lend(model_config, quantization)


def test_untouched_it_is_the_same_object(own):
    with own() as first:
        pass
    with own() as second:
        assert second is first


def test_one_changed_bit_and_it_is_loaded_anew(own):
    with own() as first:
        weight = first.model.model.layers[2].mlp.up_proj.weight
        original = float(weight.detach()[3, 4])
        with torch.no_grad():
            weight.view(torch.int32)[3, 4] ^= 1
    with own() as second:
        assert second is not first
        assert float(second.model.model.layers[2].mlp.up_proj.weight.detach()[3, 4]) == original


def test_after_an_exception_it_is_loaded_anew(own):
    with pytest.raises(ZeroDivisionError), own() as first:
        1 / 0  # noqa: B018
    with own() as second:
        assert second is not first


@pytest.mark.parametrize(
    "method", ["lora", "adalora", "prompt_tuning", "prefix_tuning", "random_mask"]
)
def test_adapters_are_taken_out(own, trial_config, method):
    with own() as first:
        names = [name for name, _ in first.model.named_modules()]
        adapted(first, trial_config(f"method={method}"))
    with own() as second:
        assert second is first
        assert [name for name, _ in second.model.named_modules()] == names
        assert not hasattr(second.model, "peft_config")
        assert not second.model.training
        assert not any(p.requires_grad for p in second.model.parameters())


def test_bases_that_take_turns_are_loaded_once_where_the_host_has_room(model_config):
    """Parked, and lent again with the bits that they had; a spoilt one is loaded anew."""
    free = [100.0]
    pool, other = ModelPool("cpu", lambda: free[0]), replace(model_config, attention="eager")
    assert other != model_config

    def lent(config, quantization=None):
        with pool.lend(config, quantization) as base:
            return base

    nf4 = Quantization("nf4", True)
    first, second, third = lent(model_config), lent(other), lent(model_config, nf4)
    assert lent(model_config) is first and lent(other) is second
    assert lent(model_config, nf4) is not third, "quantized ones are not moved"
    assert len(pool._kept) == 1, "one beside a trial"
    with torch.no_grad():
        second.model.lm_head.weight[3, 4] += 1
    assert lent(model_config) is first and lent(other) is not second
    free[0] = 0.0
    lent(model_config)
    assert lent(other) is not first and lent(model_config) is not first


def test_kinds_are_kept_apart(own):
    with own() as full, own(Quantization("nf4", True)) as quantized:
        assert full.model is not quantized.model
        assert full.fingerprint != quantized.fingerprint
        assert quantized.provenance["quantization"] == "nf4"


def test_checksums_see_any_bit_order_and_sign():
    class Box(torch.nn.Module):
        def __init__(self, tensor):
            super().__init__()
            self.register_buffer("held", tensor)

    for dtype in (torch.uint8, torch.bfloat16, torch.float32, torch.int64):
        tensor = torch.arange(37).to(dtype)
        first = checksums(Box(tensor))
        assert checksums(Box(tensor.clone())) == first
        for i in (0, 17, 36):
            changed = tensor.clone()
            changed[i] += 1
            assert checksums(Box(changed)) != first, (dtype, i)
    tensor = torch.randn(40)
    assert checksums(Box(-tensor)) != checksums(Box(tensor))


def test_fingerprints_tell_weights_and_ways_of_loading_apart(model_config, tmp_path):
    import shutil

    from harness.models.loading.location import model_path

    plain = base_fingerprint(model_config, None)
    others = [
        base_fingerprint(model_config, Quantization("nf4", True)),
        base_fingerprint(model_config, Quantization("nf4", False)),
        base_fingerprint(replace(model_config, dtype="bfloat16"), None),
    ]
    assert len({plain, *others}) == 4
    shutil.copytree(model_path(model_config), tmp_path / "copy")
    copied = replace(model_config, name=str(tmp_path / "copy"))
    assert base_fingerprint(copied, None) == plain  # where it lies does not matter
    shutil.copytree(tmp_path / "copy", tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text().replace("1e-06", "1e-05"))
    changed = replace(model_config, name=str(tmp_path / "other"))
    assert base_fingerprint(changed, None) != plain


def test_what_cannot_be_a_model_is_said(model_config, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text("{}")
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    for name, message in {
        "": "model.name is not set",
        "./nowhere": "folder does not exist",
        str(tmp_path / "empty"): "no config.json",
        str(tmp_path / "pickled"): "no \\*.safetensors file",
        "a/b/c": "neither an existing folder nor a hub name",
    }.items():
        with pytest.raises(InputError, match=message):
            check_model(replace(model_config, name=name))


def test_skeleton_has_the_models_shapes_and_no_weights(model_config, lend):
    skeleton = load_skeleton(model_config)
    assert all(p.is_meta for p in skeleton.parameters())
    with lend() as base:
        shapes = {name: p.shape for name, p in base.model.named_parameters()}
    assert {name: p.shape for name, p in skeleton.named_parameters()} == shapes


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_dtype(model_config, dtype):
    base = load_base(replace(model_config, dtype=dtype), None, "cpu")
    expected = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    assert {p.dtype for p in base.model.parameters()} == {expected}
    assert base.provenance["dtype"] == str(expected).removeprefix("torch.")


def test_int8(model_config):
    import bitsandbytes

    base = load_base(model_config, Quantization("int8", False), "cpu")
    kinds = [type(m) for m in base.model.modules() if isinstance(m, bitsandbytes.nn.Linear8bitLt)]
    assert len(kinds) == 28


def test_lending_again_costs_no_loading(own):
    """A guard against paying for loading each time: hashing a megabyte takes far less."""
    with own():
        pass
    began = time.perf_counter()
    with own():
        pass
    assert time.perf_counter() - began < 0.5 * (1 + os.getloadavg()[0])
