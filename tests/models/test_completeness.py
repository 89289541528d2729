"""A checkpoint that does not fill its model is refused with the names, not filled up with noise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import HUB, built, saved

from harness.errors import InputError
from harness.models.load import load_base
from harness.models.loading.location import check_model
from harness.models.quantization import Quantization


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A whole checkpoint: (its folder, its tensors)."""
    folder = tmp_path_factory.mktemp("llama")
    saved(built("Llama"), folder)
    return folder, load_file(folder / "model.safetensors")


@pytest.fixture
def stored(llama, tmp_path):
    """`stored(tensors, **fields)`: the configuration of a checkpoint that holds these instead."""
    folder, _ = llama

    def store(tensors, **fields):
        for file in folder.iterdir():
            if file.suffix == ".json":
                (tmp_path / file.name).write_bytes(file.read_bytes())
        config = json.loads((folder / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | fields))
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
        return replace(HUB, name=str(tmp_path))

    return store


def test_a_whole_one_loads_twice_the_same(llama, stored):
    config = stored(llama[1])
    for quantization in (None, Quantization("nf4", True)):
        base = load_base(config, quantization, "cpu")
        assert base.provenance["attention"] == "sdpa"
        assert torch.equal(base.model.lm_head.weight, llama[1]["lm_head.weight"])


@pytest.mark.parametrize("quantization", [None, Quantization("nf4", True)])
@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("_orig_mod.", "saved under torch.compile"),
        ("base_model.model.", "with an adapter of peft around it"),
        ("module.", "within DataParallel"),
    ],
)
def test_names_that_another_tool_wrote(llama, stored, prefix, why, quantization):
    renamed = {prefix + name: tensor for name, tensor in llama[1].items()}
    with pytest.raises(InputError, match=rf"do not hold 21 tensors \(lm_head\.weight.*{why}"):
        load_base(stored(renamed), quantization, "cpu")


def test_a_classifier_has_no_output_layer(llama, stored):
    tensors = {name: t for name, t in llama[1].items() if name != "lm_head.weight"}
    score = {"score.weight": torch.zeros(2, 32)}
    with pytest.raises(InputError, match=r"1 tensor \(lm_head\.weight\).* or a classifier"):
        load_base(stored(tensors | score), None, "cpu")


def test_where_it_is_tied_it_needs_none(llama, stored):
    tensors = {name: t for name, t in llama[1].items() if name != "lm_head.weight"}
    base = load_base(stored(tensors, tie_word_embeddings=True), None, "cpu")
    assert base.model.lm_head.weight is base.model.model.embed_tokens.weight


def test_a_layer_that_is_gone_and_one_of_another_shape(llama, stored):
    gone = {name: t for name, t in llama[1].items() if ".layers.1." not in name}
    with pytest.raises(InputError, match=r"layers\.1\..*A file of the checkpoint is missing"):
        load_base(stored(gone), None, "cpu")
    with pytest.raises(
        InputError, match=r"mlp\.down_proj\.weight.* other shapes than in config.json"
    ):
        load_base(stored(llama[1], intermediate_size=96), None, "cpu")


def test_a_bias_that_would_be_dropped(llama, stored):
    """Qwen2's weights under Llama's configuration compute something else than Qwen2."""
    bias = {f"model.layers.{i}.self_attn.q_proj.bias": torch.ones(32) for i in (0, 1)}
    with pytest.raises(InputError, match=r"2 tensors \(.*q_proj\.bias.* has no place"):
        load_base(stored(llama[1] | bias), None, "cpu")


def test_what_belongs_to_no_layer_may_lie_there(llama, stored):
    others = {"vision_tower.patch.weight": torch.ones(2), "model.mtp.0.weight": torch.ones(2)}
    others["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    load_base(stored(llama[1] | others), None, "cpu")


def test_a_torn_file(llama, stored, tmp_path):
    config = stored(llama[1])
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be loaded: "):
        load_base(config, None, "cpu")


def test_an_adapter_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds an adapter, not a model\. .*harness\.evaluate"):
        check_model(replace(HUB, name=str(tmp_path)))


def test_attention_that_an_architecture_does_not_have(tmp_path):
    config = saved(built("Gemma 2"), tmp_path)
    assert load_base(config, None, "cpu").provenance["attention"] == "eager"
    with pytest.raises(InputError, match=r"attention=.sdpa. cannot be .*attention=eager"):
        load_base(replace(config, attention="sdpa"), None, "cpu")
