from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harness.config import DataConfig
from harness.config.strict import from_mapping
from harness.data.rows.splits import read_splits

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "data").glob("[!_]*.yaml"))


def composed(name: str) -> DataConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        tree = compose(overrides=[f"+data={name}"])
    return from_mapping(DataConfig, OmegaConf.to_container(tree.data), "data")


def test_there_is_one_for_each_source():
    sources = {"builtin", "jsonl", "json", "csv", "parquet", "text", "pages", "hub"}
    builtin = {
        f"builtin_{name}" for name in ("domain", "game", "isle", "sums", "summaries", "topics")
    }
    assert sources | builtin == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_complete(name):
    config = composed(name)
    assert config.source == name.split("_")[0]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("builtin")])
def test_builtin_needs_nothing_more(name):
    splits = read_splits(composed(name))
    assert splits.train and splits.validation and splits.test and splits.general
