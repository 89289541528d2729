"""Housekeeping: what nobody needs goes, what somebody might need stays."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from harness.clean import main
from harness.records.disk_usage import (
    MOST_GB,
    beyond_bound,
    gigabytes,
    keep_bound,
    mark_used,
    size_of,
)

MB = b"x" * 1_000_000


def put(path: Path, content: bytes = MB) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def runs(tmp_path):
    """A sweep with a trial that has ended and one that has not, and a cache old and new."""
    sweep = tmp_path / "runs" / "s"
    put(sweep / "lock", b"process 1")
    put(sweep / "sweep.yaml", b"{}")
    put(sweep / ".study.db.12.tmp")
    done, going = sweep / "trials" / "lora" / "a", sweep / "trials" / "lora" / "b"
    put(done / "record.json", b"{}"), put(done / "metrics.jsonl", b"")
    put(done / "adapter" / "adapter_model.safetensors")
    for name in ("checkpoint/step-2/state.pt", "checkpoint-first/step-1/state.pt"):
        put(done / name), put(going / name)
    put(done / "selected" / "step-1" / "state.pt"), put(done / ".record.json.7.tmp")
    put(going / "checkpoint" / ".step-4.tmp" / "state.pt")
    old = put(tmp_path / "runs/.cache/tokens/old.npz")
    put(tmp_path / "runs/.cache/tokens/new.npz")
    ago = time.time() - 40 * 86400
    os.utime(old, (ago, ago))
    os.utime(put(tmp_path / "runs/.cache/tokens/set/lengths"), (ago, ago))
    put(tmp_path / "runs/.cache/tokens/set/tokens")  # used yesterday: the set stays whole
    return tmp_path / "runs"


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


KEPT = {
    *("s/lock", "s/sweep.yaml", "s/trials/lora/a/record.json", "s/trials/lora/a/metrics.jsonl"),
    "s/trials/lora/a/adapter/adapter_model.safetensors",
    *("s/trials/lora/b/checkpoint/step-2/state.pt", ".cache/tokens/new.npz"),
    "s/trials/lora/b/checkpoint-first/step-1/state.pt",
    *(".cache/tokens/set/lengths", ".cache/tokens/set/tokens"),
}
NEW = {name for name in KEPT if name.startswith(".cache")}


@pytest.mark.parametrize("asked", ["plan=true", "--dry-run"])
def test_a_plan_removes_nothing_and_says_what_would_go(runs, capsys, asked):
    before = files(runs)
    assert main([str(runs), asked]) == 0
    assert files(runs) == before
    said = capsys.readouterr().out
    assert "0.007 GB of 0.013 GB would be freed. Nothing was deleted." in said
    assert "left by trials that have ended: 4, 0.004 GB" in said
    assert "half-written files: 2, 0.002 GB" in said and "tokens: not used for 30 days: 1" in said


def test_cleaned(runs, capsys):
    assert main([str(runs)]) == 0
    assert files(runs) == KEPT
    assert "0.007 GB freed" in capsys.readouterr().out
    assert main([str(runs)]) == 0
    assert files(runs) == KEPT and "0 GB freed" in capsys.readouterr().out


def test_one_sweep_leaves_the_cache(runs):
    assert main([str(runs / "s")]) == 0
    assert files(runs) == KEPT | {".cache/tokens/old.npz"}


def test_the_cache_by_choice(runs):
    assert main([str(runs), "cache_days=60"]) == 0
    assert files(runs) == KEPT | {".cache/tokens/old.npz"}
    assert main([str(runs), "cache_days=0"]) == 0
    assert files(runs) == KEPT - NEW


def test_a_sweep_that_runs_is_left_alone(runs, capsys):
    before = files(runs / "s")
    with (runs / "s" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main([str(runs / "s")]) == 2
        assert "is in use by process 1" in capsys.readouterr().err
        assert main([str(runs)]) == 0
        assert "left unchanged" in capsys.readouterr().out
    assert files(runs / "s") == before


def test_links_are_not_followed(runs, tmp_path):
    precious = put(tmp_path / "elsewhere" / "precious.bin")
    (runs / "s/trials/lora/a/checkpoint-first").rename(runs / "moved")
    (runs / "s/trials/lora/a/checkpoint-first").symlink_to(precious.parent)
    assert main([str(runs)]) == 0
    assert precious.exists() and not (runs / "s/trials/lora/a/checkpoint-first").exists()


def test_bad_input(runs, tmp_path, capsys):
    for arguments, said in (
        ([], "One folder"),
        ([str(tmp_path / "none")], "cannot be cleaned: no such folder"),
        ([str(tmp_path)], "neither a sweep nor a folder of sweeps"),
        ([str(runs), "cache_days=-1"], "cache_days='-1'"),
        ([str(runs), "plam=true"], "plan=true"),
    ):
        before = files(tmp_path)
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
        assert files(tmp_path) == before


def test_a_cache_of_somebody_else_is_none_of_ours(runs, tmp_path):
    """A home folder has a .cache too, and so may a folder of sweeps with another tool in it."""
    other = put(tmp_path / "home/.cache/huggingface/model.bin")
    beside = put(runs / ".cache/huggingface/model.bin")
    for file in (other, beside):
        os.utime(file, (0, 0))
    assert main([str(tmp_path / "home"), "cache_days=0"]) == 2
    assert main([str(runs), "cache_days=0"]) == 0
    assert other.exists() and beside.exists()


def test_sizes(tmp_path):
    put(tmp_path / "a" / "b"), put(tmp_path / "c", b"xyz")
    assert size_of(tmp_path) == 1_000_003
    assert size_of(tmp_path / "gone") == 0
    assert [gigabytes(n) for n in (0, 3_000_000, 1_270_000_000)] == ["0 GB", "0.003 GB", "1.27 GB"]


def test_a_part_of_the_cache_beyond_its_bound(runs, monkeypatch):
    """The least recently used go, never one that a trial may be about to read."""
    base = runs / ".cache" / "base"
    for days, name in enumerate(("now", "new", "old", "oldest")):
        file = put(base / name / "logprobs.safetensors")
        for path in (file, file.parent):
            os.utime(path, (time.time() - days * 86400,) * 2)
    monkeypatch.setitem(MOST_GB, "base", 0.0021)  # of 0.004
    assert [path.name for path in beyond_bound(base)] == ["oldest", "old"]
    mark_used(base / "oldest")
    assert [path.name for path in beyond_bound(base)] == ["old", "new"]
    monkeypatch.setitem(MOST_GB, "base", 0.0)
    keep_bound(base)
    assert sorted(path.name for path in base.iterdir()) == ["now", "oldest"]
    monkeypatch.setitem(MOST_GB, "base", 5.0)
    assert main([str(runs)]) == 0 and (base / "now").exists()
