"""Where a model comes from: pinned, in safetensors, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness import builtin
from harness.errors import InputError
from harness.models.load import load_base
from harness.models.loading import base_fingerprint
from harness.models.loading.base_fingerprint import stored_fingerprint
from harness.models.loading.location import pinned_revision

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that knows where main of owner/model points, and no network."""
    from huggingface_hub import constants

    refs = tmp_path / "models--owner--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_branch_is_pinned_to_the_commit_in_the_cache(cache, model_config):
    assert pinned_revision(replace(model_config, name="owner/model", revision=None)) == COMMIT


def test_a_commit_is_pinned_already_and_a_folder_needs_no_pin(model_config):
    assert pinned_revision(replace(model_config, name="owner/other", revision=COMMIT)) == COMMIT
    assert pinned_revision(model_config) is None


def test_what_is_nowhere_is_said_to_be_nowhere(cache, model_config):
    with pytest.raises(InputError, match="neither an existing folder nor in the cache"):
        pinned_revision(replace(model_config, name="owner/other", revision=None))


def test_two_commits_of_one_name_are_two_models(model_config):
    one, other = (replace(model_config, name="owner/m", revision=c * 40) for c in "ab")
    assert stored_fingerprint(one) != stored_fingerprint(other)


def test_every_file_that_is_read_counts(tmp_path, model_config):
    """A changed chat template is another model; words about it and other formats are not."""

    def fingerprint(name: str, **files: str) -> str:
        (tmp_path / name / "additional_chat_templates").mkdir(parents=True)
        for file, text in ({"config.json": "{}"} | files).items():
            (tmp_path / name / file).write_text(text)
        return stored_fingerprint(replace(model_config, name=str(tmp_path / name)))

    plain = fingerprint("plain")
    assert plain == fingerprint("same", **{"README.md": "x", "pytorch_model.bin": "x"})
    read = ("chat_template.jinja", "a.tiktoken", "vocab.bpe", "additional_chat_templates/b.jinja")
    others = [fingerprint(f"m{i}", **{file: "x"}) for i, file in enumerate(read)]
    assert len({plain, *others, fingerprint("other", **{read[0]: "y"})}) == 6


def test_large_files_are_hashed_once_until_they_are_written_to(tmp_path, model_config, monkeypatch):
    folder, read = tmp_path / "model", []
    shutil.copytree(builtin.MODEL, folder)
    config = replace(model_config, name=str(folder))
    unkept = stored_fingerprint(config)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(base_fingerprint, "LARGE", 10_000)
    monkeypatch.setattr(base_fingerprint, "SETTLED_NS", -(10**18))
    whole = base_fingerprint._read_sha256
    monkeypatch.setattr(
        base_fingerprint, "_read_sha256", lambda file: read.append(file.name) or whole(file)
    )

    def found() -> str:
        stored_fingerprint.cache_clear()  # as another process
        read.clear()
        return stored_fingerprint(config)

    assert found() == unkept and "model.safetensors" in read
    assert found() == unkept and "model.safetensors" not in read and "config.json" in read
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    times = weights.stat()
    weights.write_bytes(content)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))  # of the same size and time
    assert found() != unkept
    for kept in (tmp_path / "cache").rglob("*.json"):
        kept.write_text("[")
    assert found() != unkept and "model.safetensors" in read


def test_a_configuration_that_asks_for_tuples_changes_nothing(tmp_path, trial_config):
    folder = tmp_path / "model"
    shutil.copytree(builtin.MODEL, folder)
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written | {"return_dict": False}))
    model = replace(trial_config("method=lora").model, name=str(folder))
    ids = torch.tensor([[1, 2, 3]])
    assert load_base(model, None, "cpu").model(ids).logits.shape[:2] == (1, 3)
