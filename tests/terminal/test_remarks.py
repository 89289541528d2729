"""Remarks of libraries go to a file; errors, and what is ours or unknown, go to the terminal."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging, sys, warnings
from pathlib import Path
from harness.terminal.remarks import divert_remarks, keep_remarks
divert_remarks()
own = logging.getLogger("transformers")  # as transformers does when it is imported
own.addHandler(logging.StreamHandler()); own.propagate = False; own.setLevel(logging.WARNING)
logging.getLogger("bitsandbytes.backends.cpu.ops").warning("no kernels")
keep_remarks(Path(sys.argv[1]))
own.warning("a name that moved"); logging.getLogger("transformers.trainer").error("a fault")
logging.getLogger("torch.utils._pytree").warning("an Enum")
logging.getLogger("unheard_of").warning("from a stranger")
def raised_in(file, category, text):
    exec(compile(f"import warnings; warnings.warn({text!r}, {category})", file, "exec"), {})
raised_in("/v/site-packages/transformers/modeling_utils.py", "FutureWarning", "a deprecation")
raised_in("/v/site-packages/peft/tuners.py", "UserWarning", "a second adapter")
raised_in("/home/me/method.py", "UserWarning", "of a plug-in in a folder")
warnings.warn("ours", UserWarning)
from tqdm import tqdm
list(tqdm(range(3), desc="Loading weights"))
"""
REMARKS = ("no kernels", "a name that moved", "an Enum", "a deprecation", "a second adapter")


def test_remarks_go_to_the_file_and_all_else_to_the_terminal(tmp_path: Path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "trial")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for shown in ("a fault", "from a stranger", "of a plug-in", "ours"):
        assert shown in done.stderr
    kept = (tmp_path / "trial" / "libraries.log").read_text()
    for remark in REMARKS:
        assert remark in kept and remark not in done.stderr
    assert "Loading weights" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize("seconds", [0.01, 5.0])
def test_a_phase_is_a_line_only_if_it_lasts(monkeypatch, capsys, seconds):
    import time

    from harness.terminal import phases

    monkeypatch.setattr(phases, "FIRST_SECONDS", seconds)
    phases.show_phases()
    try:
        with phases.phase("waiting") as show:
            show("loading a model")
            time.sleep(0.05)
    finally:
        phases.direct(None)
    said = capsys.readouterr().err
    assert ("loading a model …" in said) == (seconds < 1) and "waiting" not in said


def test_a_worker_writes_its_phase_for_the_process_that_waits(tmp_path):
    from harness.terminal import phases

    phases.write_phases(tmp_path)
    try:
        with phases.phase("measuring"):
            with phases.phase("loading"):
                assert phases.phase_in(tmp_path) == "loading"
            assert phases.phase_in(tmp_path) == "measuring"
        assert phases.phase_in(tmp_path) is None
    finally:
        phases.direct(None)


def test_the_output_of_a_trial_holds_only_lines_of_ours(tmp_path: Path):
    command = [sys.executable, "-m", "harness.trial", "method=qlora", "training.max_steps=1"]
    command += ["data.train_limit=2", "data.validation_limit=2", "data.general_limit=1", "name=x"]
    command += ["evaluation.task_folder=null", "evaluation.max_new_tokens=1", "launcher.threads=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d  .* …", line) for line in done.stderr.splitlines())
    folder = next((tmp_path / "runs" / "x" / "trials" / "qlora").iterdir())
    _rate, first, *rest, last = done.stdout.splitlines()
    assert first.startswith("runs/x/trials/qlora/") and last == str(folder.relative_to(tmp_path))
    table = re.compile(r"\s*|qlora, seed 0: complete\s*| measurement .*| ─+\s*|train_seconds .*")
    values = re.compile(r" (validation|forgetting|forgetting_from_quantized|drift)\..*")
    strange = [line for line in rest if not table.fullmatch(line)]
    assert [line for line in strange if not values.fullmatch(line)] == []
    assert "torchao" in (folder / "libraries.log").read_text()  # this trial provokes remarks
