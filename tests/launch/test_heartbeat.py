"""The heartbeat moves with work that is done, not with the existence of the process."""

from __future__ import annotations

import pytest

from harness.records import heartbeat


@pytest.fixture
def moved(tmp_path, monkeypatch):
    """``moved()`` is true if there was progress since its last call."""
    monkeypatch.setattr(heartbeat, "SECONDS", 0.0)
    heartbeat.begin(tmp_path)
    file, seen = tmp_path / heartbeat.NAME, []

    def look():
        seen.append(file.stat().st_mtime_ns)
        return len(seen) < 2 or seen[-1] != seen[-2]

    look()
    yield look
    heartbeat.end()
    assert not file.exists()


def test_every_forward_pass_is_progress(moved, lend):
    import torch

    ids = torch.tensor([[5, 6, 7]])
    assert not moved(), "time alone is none"
    with lend() as base, torch.no_grad():
        base.model(input_ids=ids)
        assert moved()
        assert not moved()
        base.model.generate(input_ids=ids, max_new_tokens=2, do_sample=False)
        assert moved()


def test_adapters_do_not_hide_it(moved, lend, trial_config):
    import torch
    from running import adapted

    for method in ("lora", "prompt_tuning"):
        with lend() as base, torch.no_grad():
            model = adapted(base, trial_config(f"method={method}")).model
            moved()
            model(input_ids=torch.tensor([[5, 6, 7]]))
            assert moved(), method


def test_without_a_task_there_is_none(tmp_path):
    heartbeat.mark()
    assert list(tmp_path.iterdir()) == []
