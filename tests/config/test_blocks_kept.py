"""Blocks are composed once and values written in afterwards: the outcome is Hydra's own."""

from __future__ import annotations

import os
import shutil

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harness.compose.hydra_cache import HydraCache
from harness.compose.tree import conf_dir
from harness.errors import InputError

CASES = (
    ["method=adalora", "training.max_steps=3", "seed=4", "name=x"],
    ["method=qlora", "training={max_steps: 3}", "limits.minutes=null", "~search.sampler"],
    ["data=h2o", "+foo.bar=1", "++evaluation.per_task.x.y=1", "+other=[1,{a: 2}]"],
    ["model=hub", "model.name=a/b", "model.name=c/d", "training.max_steps=${seed}"],
    ["+sweep=compare", "~sweep", "search.space={}"],
)


def both(overrides, beside=None):
    """(ours, Hydra's): composed trees, or what was raised."""
    searched = [] if beside is None else [f"hydra.searchpath=['file://{beside}']"]
    how = HydraCache(conf_dir(), beside).tree, lambda o: compose("config", [*searched, *o])
    found = []
    for composed in how:
        try:
            found.append(OmegaConf.to_container(composed(overrides)))
        except Exception as error:
            found.append((type(error), str(error)))
    return found


@pytest.fixture
def initialized():
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        yield


@pytest.mark.usefixtures("initialized")
@pytest.mark.parametrize("overrides", CASES, ids=" ".join)
def test_equals_hydras_own(overrides):
    for _ in range(2):  # the second is made of what the first left
        ours, hydras = both(overrides)
        assert ours == hydras


@pytest.mark.usefixtures("initialized")
@pytest.mark.parametrize(
    "wrong",
    ["training.nope=1", "~training.nope", "+seed=1", "nope=1", "training=nope"],
)
def test_says_what_hydra_says(wrong):
    ours, hydras = both([wrong])
    assert isinstance(ours, tuple)
    assert ours == hydras


@pytest.mark.usefixtures("initialized")
def test_a_block_of_the_users_own_is_a_block(tmp_path):
    """`retention` is a value with us; beside a folder of that name it chooses a file from there."""
    (tmp_path / "retention").mkdir()
    (tmp_path / "retention" / "mine.yaml").write_text("kl_weight: 0.5\n")
    ours, hydras = both(["+retention=mine", "seed=3"], tmp_path)
    assert ours == hydras
    assert ours["retention"]["kl_weight"] == 0.5 and ours["seed"] == 3


@pytest.mark.usefixtures("initialized")
def test_what_was_written_into_one_is_in_no_other():
    blocks = HydraCache(conf_dir(), None)
    assert blocks.tree([]).seed == 0
    assert blocks.tree(["seed=3"]).seed == 3
    assert blocks.tree(["+foo=3"]).foo == 3
    again = blocks.tree([])
    assert again.seed == 0 and "foo" not in again


def test_a_changed_file_is_read_again(tmp_path, monkeypatch):
    from harness.compose import tree
    from harness.compose.command_line import compose_trial

    shutil.copytree(conf_dir(), tmp_path / "conf")
    monkeypatch.setattr(tree, "conf_dir", lambda: tmp_path / "conf")
    file = tmp_path / "conf" / "method" / "lora.yaml"
    assert compose_trial(["method=lora"])[0].trial({}).method["lora_dropout"] == 0.0
    before = file.stat()
    file.write_text(file.read_text().replace("lora_dropout: 0.0", "lora_dropout: 0.3"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert compose_trial(["method=lora"])[0].trial({}).method["lora_dropout"] == 0.3
    file.rename(file.with_name("moved.yaml"))
    with pytest.raises(InputError, match="lora"):
        compose_trial(["method=lora"])
