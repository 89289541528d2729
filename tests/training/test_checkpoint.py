"""Whole or absent: torn checkpoints are passed over, with a message."""

from __future__ import annotations

import shutil

import pytest
import torch

from harness.training.checkpoint import Checkpoint, CheckpointFolder


def checkpoint(step):
    tensors = {"a.weight": torch.full((3, 2), float(step)), "b": torch.arange(4).float()}
    state = {
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
        "random": {"cpu": torch.get_rng_state()},
        "warnings": ["one"],
    }
    return Checkpoint(step, tensors, state)


@pytest.fixture
def folder(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoint")
    for step in (2, 4, 6):
        folder.save(checkpoint(step))
    return folder


def test_the_newest_comes_back_bit_for_bit(folder):
    found = folder.load()
    assert found.step == 6
    assert torch.equal(found.tensors["a.weight"], torch.full((3, 2), 6.0))
    assert found.state["optimizer"]["param_groups"] == [{"lr": 0.1}]
    assert torch.equal(found.state["random"]["cpu"], checkpoint(6).state["random"]["cpu"])
    assert sorted(path.name for path in folder.folder.iterdir()) == ["step-4", "step-6"]


def truncate(name):
    def tear(step):
        data = (step / name).read_bytes()
        (step / name).write_bytes(data[: len(data) // 2])

    return tear


def flip(step):
    data = bytearray((step / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (step / "tensors.safetensors").write_bytes(bytes(data))


def empty(step):
    shutil.rmtree(step)
    step.mkdir()


TEARS = {
    "tensors cut": truncate("tensors.safetensors"),
    "state cut": truncate("state.pt"),
    "manifest cut": truncate("manifest.json"),
    "no manifest": lambda step: (step / "manifest.json").unlink(),
    "no tensors": lambda step: (step / "tensors.safetensors").unlink(),
    "one bit": flip,
    "empty manifest": lambda step: (step / "manifest.json").write_text('{"sha256": {}}'),
    "other manifest": lambda step: (step / "manifest.json").write_text("[1]"),
    "empty folder": empty,
}


@pytest.mark.parametrize("tear", TEARS.values(), ids=TEARS)
def test_a_corrupt_checkpoint_is_named_and_skipped(folder, tear, capsys):
    tear(folder.folder / "step-6")
    assert folder.load().step == 4
    message = capsys.readouterr().err
    assert "step-6" in message
    assert "is damaged" in message
    tear(folder.folder / "step-4")
    assert folder.load() is None
    assert "step-4" in capsys.readouterr().err


def test_after_a_torn_one_whole_ones_are_still_kept(folder):
    truncate("state.pt")(folder.folder / "step-6")
    folder.save(checkpoint(5))
    assert folder.load().step == 5
    folder.save(checkpoint(6))
    assert folder.load().step == 6


def test_what_was_being_written_when_the_power_went_is_no_checkpoint(folder):
    (folder.folder / ".step-8.tmp").mkdir()
    (folder.folder / ".step-8.tmp" / "tensors.safetensors").write_bytes(b"x")
    assert folder.load().step == 6
    folder.save(checkpoint(8))
    assert folder.load().step == 8


def test_saving_a_step_again_replaces_it(folder):
    again = Checkpoint(6, {"a.weight": torch.zeros(1)}, {"warnings": []})
    folder.save(again)
    assert list(folder.load().tensors) == ["a.weight"]


def test_foreign_files_beside_them_do_not_matter(folder):
    (folder.folder / "step-old").mkdir()
    (folder.folder / "notes.txt").write_text("x")
    assert folder.load().step == 6
    folder.clear()
    assert folder.load() is None


def test_no_code_is_loaded(folder):
    """A state that would run code when unpickled is refused by torch itself."""
    import hashlib
    import json
    import pickle

    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    step = folder.folder / "step-6"
    torch.save({"optimizer": Evil()}, step / "state.pt")
    sums = json.loads((step / "manifest.json").read_text())
    sums["sha256"]["state.pt"] = hashlib.sha256((step / "state.pt").read_bytes()).hexdigest()
    (step / "manifest.json").write_text(json.dumps(sums))
    with pytest.raises(pickle.UnpicklingError):
        folder.load()
