"""Work that several workers need is divided among them and done once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from harness.data.tokens import token_cache
from harness.trials import workbench
from harness.trials.shared_work import shared_work
from harness.trials.workbench import Workbench


def test_two_divide_the_parts_and_each_part_is_made_once(tmp_path):
    kept, made = {}, []

    def part(name):
        if name not in kept:
            made.append(name)
            time.sleep(0.3)
            kept[name] = len(kept)
        return kept[name]

    def both():
        return shared_work(tmp_path, "base", {name: lambda n=name: part(n) for name in "ab"})

    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        one, other = (pool.submit(both) for _ in range(2))
        assert one.result() == other.result() and list(one.result()) == ["a", "b"]
    assert sorted(made) == ["a", "b"]
    assert time.monotonic() - began < 0.55  # 0.6 one after the other
    assert not list(tmp_path.iterdir())


def test_a_killed_process_holds_nobody_up(tmp_path):
    program = (
        "import sys, time, pathlib\n"
        "from harness.trials.shared_work import shared_work\n"
        "def part(): print('at it', flush=True); time.sleep(60)\n"
        "shared_work(pathlib.Path(sys.argv[1]), 'base', {'a': part})\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "at it\n"
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(shared_work, tmp_path, "base", {"a": lambda: "made"})
            time.sleep(0.2)
            assert not waiting.done()
            holder.send_signal(signal.SIGKILL)
            assert waiting.result(timeout=10) == {"a": "made"}


def test_processes_that_begin_together_tokenize_once(tmp_path, pool, small_trial, monkeypatch):
    """A check of few rows leaves no files; of the processes that train, one writes the tokens."""
    bench, config = Workbench("cpu", tmp_path / "cache"), small_trial("method=lora")
    bench.pool = pool
    checked = bench.train_tokens(config, keep=False)
    assert not (tmp_path / "cache").exists()
    made, encode = tmp_path / "made", token_cache.encode

    def counted(*arguments, **options):
        with made.open("a") as file:
            file.write("x")
        time.sleep(0.2)
        return encode(*arguments, **options)

    monkeypatch.setattr(token_cache, "encode", counted)
    child = os.fork()
    if child == 0:
        bench.train_tokens(config)
        os._exit(0)
    kept = bench.train_tokens(config)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert made.read_text() == "x" and np.array_equal(kept.tokens, checked.tokens)
    (folder,) = (tmp_path / "cache" / "tokens").iterdir()
    assert not folder.name.startswith(".")


def test_the_text_to_replay_is_tokenized_without_reading_the_data_again(
    tmp_path, pool, small_trial, monkeypatch
):
    bench, read, reads = Workbench("cpu", tmp_path), workbench.read_splits, []
    bench.pool = pool
    monkeypatch.setattr(workbench, "read_splits", lambda data: reads.append(1) or read(data))
    inputs = bench.inputs(
        small_trial("method=lora", "retention.replay_share=0.34", "data.replay=builtin")
    )
    assert inputs.replay is not None and len(reads) == 1
